"""The hot loop: serves every connection of the daemon, without a stream and mostly without a task.

It is written for the two common cases: a mail server that keeps its connection and sends one request after
the other (Postfix), and one that connects, asks, half-closes and reads to the end (Exim, greylistd's
clients).  By measurement, a task that waits with `wait_readable` takes as long per request as the whole
decision, and trio's streams take three times as long as greylistd's whole answer.  Therefore

  - a connection that only waits for its peer has no task: it is parked in one epoll, which one task
    watches; that task does everything that needs no waiting (read, decide, answer), for all in turn;
  - the first read happens when we accept: a single request is usually there already;
  - decisions that have to be on disk first wait together, one task for each commit;
  - only a connection that waits for something of its own (a command, a slow source, a peer that does not
    take its answer) gets a task, with a cancel scope;
  - a sweep, a few times a second, ends silent and slow peers and answers overdue decisions;
  - a peer that pipelines gives way to the others every few requests, and all connections together give way
    to the rest of the daemon after ten milliseconds: what is left of them queues for the next turn.

The steps that need no waiting are in `round`.  Each step of a connection runs inside one error boundary
(`RoundRunner.all`, `_connection`): an error there ends that connection and no other.
"""

from __future__ import annotations

import logging
import select
import socket
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter

import trio

from multigrey.contracts import Durability
from multigrey.engine.engine import Engine, failure_of
from multigrey.engine.progress import Progress
from multigrey.errors import MultigreyError
from multigrey.listeners.commands import Commands
from multigrey.listeners.connection import OWN_TASK, Connection, ConnectionLimits, Listening, Need
from multigrey.listeners.round import RoundRunner
from multigrey.listeners.timings import Timings

__all__ = ["REQUEST_TIME", "Server"]

logger = logging.getLogger(__name__)

REQUEST_TIME = 30.0
"""Seconds a peer has to send its first request, or to finish one it has begun."""

_BURST = 64
"""Connections served before other tasks have a turn."""
_SWEEP_EVERY = 0.25


class Server:
    """All connections of the daemon."""

    def __init__(
        self,
        engine: Engine,
        commands: Commands,
        limits: ConnectionLimits,
        now: Callable[[], float] = perf_counter,
    ) -> None:
        """`limits` may be replaced while running (reload); `now` measures turns (see `RoundRunner`)."""
        self.limits = limits
        self._engine = engine
        self._steps = RoundRunner(engine, now)
        self._commands = commands
        self.open: set[Connection] = set()
        self.not_accepting: dict[str, str] = {}
        """Why no connection can be accepted now, by the name of the listener; the others are left out."""
        self._poll = select.epoll()
        self._parked: dict[int, Connection] = {}
        self._shared: dict[Durability, list[tuple[Connection, Progress]]] = {}
        """The connections that wait for the same commit."""
        self._queue: list[Connection] = []
        """The connections that gave way, and wait for their next turn."""
        self._queue_moves = False
        self._nursery: trio.Nursery | None = None
        self._departure: trio.Event | None = None
        """Set when a connection ends; None: no task waits for that."""
        self._draining = False

    @property
    def timings(self) -> Timings | None:
        """Where to add up how long answers take; None: nowhere."""
        return self._steps.timings

    @timings.setter
    def timings(self, timings: Timings | None) -> None:
        self._steps.timings = timings

    @property
    def internal_errors(self) -> int:
        """Bugs of ours that ended a connection: alert on it."""
        return self._steps.troubles.internal_errors

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self.open)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve connections until cancelled; `welcome` takes new ones."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._sweep)
                task_status.started()
                await self._attend_parked()
        finally:
            for connection in list(self.open):
                self._close(connection)
            self._poll.close()

    @property
    def room(self) -> int:
        """How many more may connect."""
        return self.limits.connections - len(self.open)

    def welcome(self, accepted: Iterable[tuple[socket.socket, str]], listening: Listening) -> None:
        """Take over new connections, each with the peer's name; `run` must be running."""
        connections = []
        for sock, peer in accepted:
            try:
                connections.append(Connection(sock, peer, listening, self._steps.tick))
            except Exception:
                self._steps.troubles.internal_errors += 1
                logger.exception("%s: %s: no dialogue can be made", listening.name, peer)
                sock.close()
        self.open.update(connections)
        self._serve(connections)

    async def drain(self, seconds: float) -> None:
        """Let decisions under way be answered, end all other connections, wait at most `seconds`."""
        self._draining = True
        for connection in list(self.open):
            if connection.pending is None:
                self._end(connection)
        with trio.move_on_after(seconds):
            while self.open:
                await self.one_to_leave()
        for connection in list(self.open):
            self._end(connection)

    # Waiting

    async def _attend_parked(self) -> None:
        """Serve the parked connections whose peer has sent something, for ever."""
        while True:
            ready = self._poll.poll(0, _BURST)
            if ready:
                self._serve([self._parked[descriptor] for descriptor, _ in ready])
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(self._poll.fileno())

    def _serve(self, connections: Sequence[Connection]) -> None:
        """Read from all, then decide for all, then answer all (see `round`)."""
        self._steps.begin_turn()
        turn, needs = [], []
        for connection, need in self._steps.receive_all(connections):
            if need is Need.TURN:
                turn.append(connection)
            elif need is Need.DECISION:  # not read again before it has its answer
                self._unpark(connection)
            else:
                needs.append((connection, need))
        self._finish_round([*needs, *self._steps.advance_all(turn)])

    def _finish_round(self, needs: Iterable[tuple[Connection, Need]]) -> None:
        """Send what is queued for each, arrange how each goes on, report the decisions."""
        for connection, need in self._steps.all(self._steps.send, needs):
            self._settle(connection, need)
        self._engine.report()  # last: no answer waits for a subscriber

    def _settle(self, connection: Connection, need: Need) -> None:
        """Arrange that a connection goes on when it has what it needs."""
        if need is Need.READ:
            if not connection.parked and self._steps.one(connection, self._park) is Need.NOTHING:
                self._close(connection)
        elif need is Need.NOTHING:
            self._close(connection)
        elif connection.waits_for_disk:
            self._wait_for_disk(connection)
        elif need is Need.TURN:
            self._unpark(connection)
            self._queue.append(connection)
            if not self._queue_moves:
                self._queue_moves = True
                assert self._nursery is not None
                self._nursery.start_soon(self._move_queue)
        else:
            self._unpark(connection)
            assert self._nursery is not None
            connection.scope = trio.CancelScope()
            self._nursery.start_soon(self._connection, connection, need)

    async def _move_queue(self) -> None:
        """Go on with the connections that gave way, in turns, until there are none."""
        while self._queue:
            await trio.lowlevel.checkpoint()
            self._steps.begin_turn()
            first, self._queue = self._queue[:_BURST], self._queue[_BURST:]
            still_open = [connection for connection in first if connection in self.open]
            self._finish_round(self._steps.advance_all(still_open))
        self._queue_moves = False

    def _park(self, connection: Connection) -> Need:
        if self._draining:
            return Need.NOTHING
        self._poll.register(connection.sock, select.EPOLLIN)
        self._parked[connection.sock.fileno()] = connection
        connection.parked = True
        return Need.READ

    def _unpark(self, connection: Connection) -> None:
        if connection.parked:
            connection.parked = False
            del self._parked[connection.sock.fileno()]
            self._poll.unregister(connection.sock)

    def _close(self, connection: Connection) -> None:
        self._unpark(connection)  # first: it needs the open descriptor
        connection.sock.close()
        connection.pending = None  # so that `_answer_together` leaves it out
        self.open.discard(connection)
        if self._departure is not None:
            self._departure.set()
            self._departure = None

    def _end(self, connection: Connection) -> None:
        """Close a connection, in any state."""
        if connection.scope is not None:
            connection.scope.cancel()
        else:
            self._close(connection)

    def _wait_for_disk(self, connection: Connection) -> None:
        """Answer when the decision is on disk, with all connections that wait for the same commit."""
        progress = connection.pending
        assert progress is not None
        assert progress.durability is not None
        group = self._shared.get(progress.durability)
        if group is None:
            assert self._nursery is not None
            group = self._shared[progress.durability] = []
            self._nursery.start_soon(self._answer_together, progress.durability)
        group.append((connection, progress))

    async def _answer_together(self, durability: Durability) -> None:
        began = perf_counter()
        error = await failure_of(durability)
        group = self._shared.pop(durability)  # not before: until the commit, more connections may join
        if self._steps.timings is not None:
            self._steps.timings.commits.observe(perf_counter() - began)
            self._steps.timings.batches.observe(len(group))
        for start in range(0, len(group), _BURST):
            self._steps.begin_turn()
            answered = self._steps.all(
                self._steps.answer_waiting,
                [
                    (connection, progress, error)
                    for connection, progress in group[start : start + _BURST]
                    if connection.pending is progress  # not if it was overdue, or has ended
                ],
            )
            turn = [connection for connection, need in answered if need is Need.TURN]
            needs = [pair for pair in answered if pair[1] is not Need.TURN]
            self._finish_round([*needs, *self._steps.advance_all(turn)])
            await trio.lowlevel.checkpoint()

    async def _connection(self, connection: Connection, need: Need) -> None:
        """The task of a connection that waits for something of its own; ends when it can be parked."""
        try:
            need = await self._attend(connection, need)
        except Exception as error:  # noqa: BLE001  (reported, and it ends here)
            self._steps.troubles.report(connection, error, self._steps.tick)
            need = Need.NOTHING
        connection.scope = None  # before `_settle`, which may start another task
        self._settle(connection, need)
        self._engine.report()

    async def _attend(self, connection: Connection, need: Need) -> Need:
        assert connection.scope is not None
        with connection.scope:
            while need in OWN_TASK and not connection.waits_for_disk:
                await self._get(connection, need)
                self._steps.begin_turn()
                need = self._steps.send(connection, self._steps.advance(connection))
            return need
        # Cancelled, by `_end`: its decision is overdue, or it has to be closed.
        pending, connection.pending = connection.pending, None
        if not connection.overdue or pending is None:
            return Need.NOTHING
        connection.overdue = False
        self._steps.begin_turn()
        return self._steps.send(
            connection, self._steps.answer_overdue(connection, pending, self.limits.answer_within)
        )

    async def _get(self, connection: Connection, need: Need) -> None:
        """Wait for what is needed."""
        if need is Need.DECISION:
            pending = connection.pending
            assert pending is not None
            reply = await self._engine.finish(pending)
            self._steps.take_answer(connection, pending.attempt, reply)
        elif need is Need.WRITE:
            connection.since = self._steps.tick
            await trio.lowlevel.wait_writable(connection.sock)
        else:
            await self._command(connection)

    async def _command(self, connection: Connection) -> None:
        command, connection.command = connection.command, None
        assert command is not None
        connection.since = self._steps.tick
        try:
            connection.dialogue.answer(command, await self._commands.run(command))
        except MultigreyError as error:
            connection.dialogue.answer(command, str(error))

    # Ending

    async def _sweep(self) -> None:
        """End silent and slow peers, and decisions that take too long, for ever."""
        before = trio.current_time()
        while True:
            now = trio.current_time()
            # A whole stall (a moved virtual machine, a slow page fault) must not count: the next sweep would
            # answer all who asked during it by on_error, although no decision was slow.
            self._steps.tick += min(now - before, 2 * _SWEEP_EVERY)
            before = now
            self._steps.begin_turn()
            for connection in list(self.open):
                if self._steps.late:
                    await trio.lowlevel.checkpoint()
                    self._steps.begin_turn()
                if connection not in self.open:
                    continue  # it ended while others had their turn
                age = self._steps.tick - connection.since
                if connection.pending is not None:
                    if age > self.limits.answer_within:
                        self._give_up(connection)
                        self._engine.report()
                elif age > self._patience(connection):
                    self._end(connection)
                elif connection.parked and connection.partial:
                    need = self._steps.one(connection, self._lose_patience, age)
                    if need is not Need.READ:
                        self._settle(connection, self._steps.one(connection, self._steps.send, need))
                        self._engine.report()
            await trio.sleep(_SWEEP_EVERY)

    def _patience(self, connection: Connection) -> float:
        """Seconds after which a peer is ended that makes no progress."""
        return self.limits.idle if connection.answered and not connection.partial else REQUEST_TIME

    def _lose_patience(self, connection: Connection, age: float) -> Need:
        """Take what a peer has sent as its whole request, if it never ends one (`Dialogue.patience`)."""
        patience = connection.dialogue.patience
        if patience is None or age < patience:
            return Need.READ
        connection.dialogue.receive(b"")
        return self._steps.advance(connection)

    def _give_up(self, connection: Connection) -> None:
        """Answer by on_error for a decision that takes too long."""
        if connection.waits_for_disk:
            need = self._steps.one(
                connection, self._steps.answer_overdue, connection.pending, self.limits.answer_within
            )
            self._settle(connection, self._steps.one(connection, self._steps.send, need))
        else:
            connection.overdue = True
            self._end(connection)

    async def one_to_leave(self) -> None:
        """Wait until a connection ends."""
        if self._departure is None:
            self._departure = trio.Event()
        await self._departure.wait()
