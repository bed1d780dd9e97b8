"""The hot loop: every connection of the daemon, without a stream and mostly without a task.

Everything here is written for the two common cases: a mail server that keeps its connection and asks
one question after the other (Postfix), and one that connects, asks, half-closes and reads to the end
(Exim, greylistd's clients).  Measured, a task that waits with `wait_readable` costs as much per
question as the whole decision, and trio's streams three times greylistd's whole answer.  Therefore

  - a connection that only waits for its peer has no task: it is parked in one epoll, which one task
    watches; whatever can be done at once (read, decide, answer) is done by that task in turn;
  - the first read happens when we accept: a one-shot question is usually there;
  - decisions that have to be on disk first wait together, one task for each commit;
  - only what must wait for something of its own (a command, a slow source, a peer that does not take
    its answer) gets a task, with a cancel scope;
  - a sweep, a few times a second, ends silent and slow peers and answers for overdue decisions;
  - a peer that pipelines gives way to the others every few requests.

Each step of a connection runs inside one error boundary (`_step`, `_connection`): whatever goes wrong
there ends that connection and no other.
"""

from __future__ import annotations

import logging
import select
import socket
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter

import trio

from multigrey.commands import Commands
from multigrey.contracts import Durability
from multigrey.engine import Engine, Pending, Waiting, failure_of
from multigrey.errors import MultigreyError, ProtocolError
from multigrey.listeners.connection import OWN_TASK, Connection, ConnectionLimits, Listening, Need
from multigrey.metrics.measures import Timings
from multigrey.model import Attempt, Command, Ignored, Reply, Signal
from multigrey.seldom import Seldom

__all__ = ["REQUEST_TIME", "Server"]

logger = logging.getLogger(__name__)

REQUEST_TIME = 30.0
"""Seconds a peer has to bring its first request, or to finish one it has begun."""

_CHUNK = 16384
_BURST = 64
"""Connections looked at before everybody else has a turn."""
_SWEEP_EVERY = 0.25
_REQUESTS_BEFORE_GIVING_WAY = 16


class Server:
    """All connections of the daemon."""

    def __init__(self, engine: Engine, commands: Commands, limits: ConnectionLimits) -> None:
        """`limits` may be replaced while running (reload)."""
        self.limits = limits
        self.internal_errors = 0
        """Bugs of ours that ended a connection: alert on it."""
        self.timings: Timings | None = None
        """Where to add up how long answers take; None: nowhere."""
        self._engine = engine
        self._commands = commands
        self.open: set[Connection] = set()
        self._poll = select.epoll()
        self._parked: dict[int, Connection] = {}
        self._shared: dict[Durability, list[tuple[Connection, Waiting]]] = {}
        """Who waits for the same commit."""
        self._nursery: trio.Nursery | None = None
        self._departure: trio.Event | None = None
        """Set when a connection ends, if somebody waits for that."""
        self._draining = False
        self._tick = 0.0
        self._seldom = Seldom()
        self._hints: set[tuple[str, str]] = set()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self.open)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Attend to connections until cancelled; `accept` brings them."""
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
                connections.append(Connection(sock, peer, listening, self._tick))
            except Exception:
                self.internal_errors += 1
                logger.exception("%s: %s: no dialogue can be made", listening.name, peer)
                sock.close()
        self.open.update(connections)
        self._serve(connections)

    async def drain(self, seconds: float) -> None:
        """Let decisions under way be answered, end everybody else, wait at most `seconds`."""
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
        """Hear whoever of the parked has something to say, for ever."""
        while True:
            ready = self._poll.poll(0, _BURST)
            if ready:
                self._serve([self._parked[descriptor] for descriptor, _ in ready])
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(self._poll.fileno())

    def _serve(self, connections: Sequence[Connection]) -> None:
        """Read from all, then decide for all, then answer all.

        In this order because a system call costs the interpreter what it has in the processor's
        caches: taking turns between the kernel and Python makes every decision half as slow again.
        """
        heard = [(connection, self._step(connection, self._receive)) for connection in connections]
        needs = [
            (connection, self._step(connection, self._advance) if need is Need.TURN else need)
            for connection, need in heard
            if connection.pending is None
        ]
        for connection, need in needs:
            self._settle(connection, self._step(connection, self._send, need))
        self._engine.report()

    def _settle(self, connection: Connection, need: Need) -> None:
        """See to it that a connection goes on when it has what it needs."""
        if need is Need.READ:
            if not connection.parked and self._step(connection, self._park) is Need.NOTHING:
                self._close(connection)
        elif need is Need.NOTHING:
            self._close(connection)
        elif isinstance(connection.pending, Waiting):
            self._wait_for_disk(connection, connection.pending)
        else:
            self._unpark(connection)
            assert self._nursery is not None
            connection.scope = trio.CancelScope()
            self._nursery.start_soon(self._connection, connection, need)

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
        self._unpark(connection)
        connection.sock.close()
        connection.pending = None
        self.open.discard(connection)
        if self._departure is not None:
            self._departure.set()
            self._departure = None

    def _end(self, connection: Connection) -> None:
        """Close a connection, whatever it is doing."""
        if connection.scope is not None:
            connection.scope.cancel()
        else:
            self._close(connection)

    def _wait_for_disk(self, connection: Connection, waiting: Waiting) -> None:
        """Answer when what was decided is on disk, together with whoever waits for the same commit."""
        group = self._shared.get(waiting.durability)
        if group is None:
            assert self._nursery is not None
            group = self._shared[waiting.durability] = []
            self._nursery.start_soon(self._answer_together, waiting.durability)
        group.append((connection, waiting))

    async def _answer_together(self, durability: Durability) -> None:
        began = perf_counter()
        error = await failure_of(durability)
        group = self._shared.pop(durability)
        if self.timings is not None:
            self.timings.commits.observe(perf_counter() - began)
            self.timings.batches.observe(len(group))
        for start in range(0, len(group), _BURST):
            needs = [
                (connection, self._step(connection, self._answer_waiting, waiting, error))
                for connection, waiting in group[start : start + _BURST]
                if connection.pending is waiting  # or it was overdue, or is gone
            ]
            for connection, need in needs:
                self._settle(connection, self._step(connection, self._send, need))
            self._engine.report()
            await trio.lowlevel.checkpoint()

    async def _connection(self, connection: Connection, need: Need) -> None:
        """The task of a connection that needs something of its own; ends when it may be parked."""
        try:
            need = await self._attend(connection, need)
        except Exception as error:  # noqa: BLE001  (reported, and it ends here)
            self._report(connection, error)
            need = Need.NOTHING
        connection.scope = None
        self._settle(connection, need)
        self._engine.report()

    async def _attend(self, connection: Connection, need: Need) -> Need:
        assert connection.scope is not None
        with connection.scope:
            while need in OWN_TASK and not isinstance(connection.pending, Waiting):
                await self._get(connection, need)
                need = self._send(connection, self._advance(connection))
            return need
        pending, connection.pending = connection.pending, None
        if not connection.overdue or pending is None:
            return Need.NOTHING
        connection.overdue = False
        assert isinstance(pending, Pending)
        return self._send(connection, self._answer_overdue(connection, pending))

    async def _get(self, connection: Connection, need: Need) -> None:
        """Wait for what is needed."""
        if need is Need.DECISION:
            pending = connection.pending
            assert isinstance(pending, Pending)
            reply = await self._engine.finish(pending, connection.listening.on_error)
            self._take_answer(connection, pending.attempt, reply)
        elif need is Need.WRITE:
            connection.since = self._tick
            await trio.lowlevel.wait_writable(connection.sock)
        elif need is Need.COMMAND:
            await self._command(connection)
        else:
            await trio.lowlevel.checkpoint()

    async def _command(self, connection: Connection) -> None:
        command, connection.command = connection.command, None
        assert command is not None
        connection.since = self._tick
        try:
            connection.dialogue.answer(command, await self._commands.run(command))
        except MultigreyError as error:
            connection.dialogue.answer(command, str(error))

    # Doing what can be done at once

    def _step(self, connection: Connection, do: Callable[..., Need], *arguments: object) -> Need:
        """The error boundary of everything that happens without a task."""
        try:
            return do(connection, *arguments)
        except Exception as error:  # noqa: BLE001  (reported, and it ends here)
            self._report(connection, error)
            return Need.NOTHING

    def _receive(self, connection: Connection) -> Need:
        """Read what the peer has sent; TURN: there is something to do with it."""
        if connection.pending is not None:
            # It does not wait for its answer: not listened to again before it has that.
            self._unpark(connection)
            return Need.DECISION
        try:
            data = connection.sock.recv(_CHUNK)
        except BlockingIOError:
            return Need.READ
        if not connection.partial:
            connection.partial = True
            connection.since = self._tick
        if self.timings is not None:
            connection.began = perf_counter()
        connection.dialogue.receive(data)
        return Need.TURN

    def _advance(self, connection: Connection) -> Need:
        """Decide and answer what can be without waiting; what has to be waited for then."""
        if connection.silent:
            return Need.NOTHING
        dialogue = connection.dialogue
        for _ in range(_REQUESTS_BEFORE_GIVING_WAY):
            request = dialogue.next_request()
            if request is Signal.NEED_DATA:
                return Need.READ
            if isinstance(request, Attempt):
                reply = self._engine.begin(request, connection.listening.on_error)
                if isinstance(reply, (Waiting, Pending)):
                    connection.pending = reply
                    connection.since = self._tick
                    return Need.DECISION
                self._take_answer(connection, request, reply)
                if reply is None:
                    return Need.NOTHING
            elif request is Signal.CLOSED:
                return Need.NOTHING
            elif isinstance(request, Command):
                connection.command = request
                return Need.COMMAND
            elif isinstance(request, Ignored):
                connection.answered = True
                self._hint(connection, request)
        return Need.TURN

    def _send(self, connection: Connection, need: Need) -> Need:
        """Send what is queued; what is needed then: `need`, or room for the rest of it."""
        data = connection.dialogue.data_to_send()
        if connection.rest:
            data = connection.rest + data
        elif not data:
            return need
        try:
            sent = connection.sock.send(data)
        except BlockingIOError:
            sent = 0
        connection.since = self._tick
        if self.timings is not None and connection.began:
            self.timings.answers.observe(perf_counter() - connection.began)
            connection.began = 0.0
        if sent == len(data):
            connection.rest = b""
            connection.partial = False
            return need
        connection.rest = data[sent:]
        connection.partial = True
        return need if need is Need.DECISION else Need.WRITE

    def _take_answer(self, connection: Connection, attempt: Attempt, reply: Reply | None) -> None:
        """Queue the engine's answer; None: the connection is to be closed without one."""
        connection.pending = None
        connection.answered = True
        if reply is None:
            connection.silent = True
        else:
            connection.dialogue.answer(attempt, reply)

    def _answer_waiting(self, connection: Connection, waiting: Waiting, error: str) -> Need:
        reply = self._engine.end(waiting, connection.listening.on_error, error)
        self._take_answer(connection, waiting.pending.attempt, reply)
        return self._advance(connection)

    def _answer_overdue(self, connection: Connection, pending: Pending) -> Need:
        reply = self._engine.overdue(pending, connection.listening.on_error, self.limits.answer_within)
        self._take_answer(connection, pending.attempt, reply)
        return self._advance(connection)

    # Ends

    async def _sweep(self) -> None:
        """End silent and slow peers, and decisions that take too long, for ever."""
        start = trio.current_time()
        while True:
            self._tick = trio.current_time() - start
            for connection in list(self.open):
                age = self._tick - connection.since
                if connection.pending is not None:
                    if age > self.limits.answer_within:
                        self._give_up(connection)
                        self._engine.report()
                elif age > self._patience(connection):
                    self._end(connection)
                elif connection.parked and connection.partial:
                    need = self._step(connection, self._lose_patience, age)
                    if need is not Need.READ:
                        self._settle(connection, self._step(connection, self._send, need))
                        self._engine.report()
            await trio.sleep(_SWEEP_EVERY)

    def _patience(self, connection: Connection) -> float:
        """Seconds a peer may go on as it does."""
        return self.limits.idle if connection.answered and not connection.partial else REQUEST_TIME

    def _lose_patience(self, connection: Connection, age: float) -> Need:
        """A peer that never ends its request (see `Dialogue.patience`): take what it has sent as all."""
        patience = connection.dialogue.patience
        if patience is None or age < patience:
            return Need.READ
        connection.dialogue.receive(b"")
        return self._advance(connection)

    def _give_up(self, connection: Connection) -> None:
        """Answer by on_error for a decision that takes too long."""
        pending = connection.pending
        if isinstance(pending, Waiting):
            need = self._step(connection, self._answer_overdue, pending.pending)
            self._settle(connection, self._step(connection, self._send, need))
        else:
            connection.overdue = True
            self._end(connection)

    async def one_to_leave(self) -> None:
        """Wait until a connection ends."""
        if self._departure is None:
            self._departure = trio.Event()
        await self._departure.wait()

    def _report(self, connection: Connection, error: Exception) -> None:
        """What ended a connection: the peer's fault, the network's, or ours."""
        if isinstance(error, ProtocolError):
            self._protocol_error(connection, error)
        elif isinstance(error, OSError):
            logger.debug("%s: %s: %s", connection.listening.name, connection.peer, error)
        else:
            self.internal_errors += 1
            logger.error("%s: %s: internal error", connection.listening.name, connection.peer, exc_info=error)

    def _hint(self, connection: Connection, ignored: Ignored) -> None:
        """Say once per endpoint what an administrator should know."""
        if ignored.hint and (connection.listening.name, ignored.hint) not in self._hints:
            self._hints.add((connection.listening.name, ignored.hint))
            logger.warning("%s: %s", connection.listening.name, ignored.hint)

    def _protocol_error(self, connection: Connection, error: ProtocolError) -> None:
        host = connection.peer.partition(" ")[0]
        if self._seldom.due((connection.listening.name, host), self._tick):
            logger.warning("%s: %s: %s", connection.listening.name, connection.peer, error)
        try:
            connection.sock.send(connection.dialogue.data_to_send() + (error.reply or b""))
        except OSError as failure:
            logger.debug("%s: %s: %s", connection.listening.name, connection.peer, failure)
        except Exception:
            self.internal_errors += 1
            logger.exception("%s: %s: internal error", connection.listening.name, connection.peer)
