"""The steps of connections that need no waiting: read, decide, answer, send.

Each step is taken for all connections that are ready before the next step: first all are read, then all are
decided, then all are answered.  Do not merge these loops into one.  A system call drives the interpreter out
of the processor's caches, and so does other code: with mixed steps, every decision took half as long again.

The steps of one turn of the loop take bounded time, however long the requests and the rules are: the clock is
looked at between the connections, and those for which no time is left have another turn.

`RoundRunner.all` is the error boundary: an error in a step ends that connection and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from time import perf_counter
from typing import Any

from multigrey.engine.engine import Begun, Engine
from multigrey.engine.progress import OnError, Progress
from multigrey.listeners.connection import Connection, Need
from multigrey.listeners.faults import Faults
from multigrey.listeners.timings import Timings
from multigrey.model import Attempt, Command, Ignored, Reply, Signal

__all__ = ["RoundRunner"]

_CHUNK = 16384
_REQUESTS_BEFORE_GIVING_WAY = 16
_BEGIN_WITHIN = 0.005
"""Seconds of a turn in which connections are read and requests begun.  What is begun is finished, which takes
about as long again: so others wait for 10 ms."""
_PIECE = 8
"""Connections that are read, or whose requests are parsed, between two looks at the clock."""


class RoundRunner:
    """The steps of all connections.  Each returns what its connection needs next."""

    def __init__(self, engine: Engine, now: Callable[[], float] = perf_counter) -> None:
        """`now`: seconds, from any start, by which turns are measured."""
        self.tick = 0.0
        """The sweep's clock, in seconds."""
        self.timings: Timings | None = None
        """Where to add up how long answers take; None: nowhere."""
        self.troubles = Faults()
        self._engine = engine
        self._now = now
        self._until = now()

    def begin_turn(self) -> None:
        """Begin a turn of the event loop: until its time is over, connections are served together."""
        self._until = self._now() + _BEGIN_WITHIN

    @property
    def late(self) -> bool:
        """Whether this turn is over, so that others are to have theirs."""
        return self._now() > self._until

    def _in_time(
        self, do: Callable[..., Need], connections: Sequence[Connection]
    ) -> list[tuple[Connection, Need]]:
        """`all` for the first connections, as many as there is time for; some at least."""
        if len(connections) <= _PIECE:
            return self.all(do, zip(connections))
        done = self.all(do, zip(connections[:_PIECE]))
        for start in range(_PIECE, len(connections), _PIECE):
            if self._now() > self._until:
                break
            done += self.all(do, zip(connections[start : start + _PIECE]))
        return done

    def all(
        self, do: Callable[..., Need], all_arguments: Iterable[tuple[Any, ...]]
    ) -> list[tuple[Connection, Need]]:
        """The error boundary of everything that happens without a task.

        `all_arguments` are the arguments of each call, the connection first.
        """
        done = []
        for arguments in all_arguments:
            try:
                need = do(*arguments)
            except Exception as error:  # noqa: BLE001  (reported, and it ends here)
                self.troubles.report(arguments[0], error, self.tick)
                need = Need.NOTHING
            done.append((arguments[0], need))
        return done

    def one(self, connection: Connection, do: Callable[..., Need], *arguments: object) -> Need:
        """The same for one call."""
        return self.all(do, [(connection, *arguments)])[0][1]

    def receive_all(self, connections: Sequence[Connection]) -> list[tuple[Connection, Need]]:
        """Read from those for which there is time; the others keep what they have to say."""
        heard = self._in_time(self._receive, connections)
        if len(heard) == len(connections):
            return heard
        return [*heard, *[(connection, Need.READ) for connection in connections[len(heard) :]]]

    def _receive(self, connection: Connection) -> Need:
        """Read what the peer has sent.  TURN: there is data to work on."""
        if connection.pending is not None:
            return Need.DECISION  # the peer does not wait for its answer
        try:
            data = connection.sock.recv(_CHUNK)
        except BlockingIOError:
            return Need.READ
        if not connection.partial:
            connection.partial = True
            connection.since = self.tick
        if self.timings is not None:
            connection.began = perf_counter()
        connection.dialogue.receive(data)
        return Need.TURN

    def advance(self, connection: Connection) -> Need:
        """Decide and answer what can be without waiting; returns what is needed next."""
        ((_, need),) = self.advance_all([connection])
        return need

    def advance_all(self, connections: Sequence[Connection]) -> list[tuple[Connection, Need]]:
        """The same for many: one request of each, then the next one of those that have more.

        TURN: there was no time for more.
        """
        needs: list[tuple[Connection, Need]] = []
        for _ in range(_REQUESTS_BEFORE_GIVING_WAY):
            asked: list[Connection] = []
            going_on: list[Connection] = []
            taken = self._in_time(self._next, connections)
            waiting = connections[len(taken) :]
            for connection, need in taken:
                if need is Need.DECISION:
                    asked.append(connection)
                elif need is Need.TURN:
                    going_on.append(connection)
                else:
                    needs.append((connection, need))
            if asked:
                for connection, need in self._begin(asked):
                    if need is Need.TURN:
                        going_on.append(connection)
                    else:
                        needs.append((connection, need))
            if not waiting and not going_on:
                return needs
            connections = [*waiting, *going_on]
            if self._now() > self._until:
                break
        return [*needs, *[(connection, Need.TURN) for connection in connections]]

    def _begin(self, asked: Sequence[Connection]) -> list[tuple[Connection, Need]]:
        """Hand attempts to the engine while there is time.  TURN: it is answered, or put off."""
        try:
            begun = self._engine.begin_all(self._attempts(asked))
        except Exception as error:  # noqa: BLE001  (a bug that met all of them: reported for each)
            begun = [error] * len(asked)
        needs = self.all(self._take_begun, zip(asked, begun, strict=False))
        for connection in asked[len(begun) :]:
            connection.put_off = True
            needs.append((connection, Need.TURN))
        return needs

    def _attempts(self, asked: Iterable[Connection]) -> Iterator[tuple[Attempt, OnError]]:
        """The attempts for which there is time; one at least."""
        now, until = self._now, self._until
        for connection in asked:
            yield connection.attempt, connection.listening.on_error
            if now() > until:
                return

    def _next(self, connection: Connection) -> Need:
        """Take the next request.  DECISION: it is an attempt, to be begun; TURN: it is dealt with."""
        if connection.silent:
            return Need.NOTHING
        if connection.put_off:
            connection.put_off = False
            return Need.DECISION
        request = connection.dialogue.next_request()
        if isinstance(request, Attempt):
            connection.attempt = request
            return Need.DECISION
        if isinstance(request, Ignored):
            connection.answered = True
            self.troubles.hint(connection, request)
            return Need.TURN
        if isinstance(request, Command):
            connection.command = request
            return Need.COMMAND
        return Need.READ if request is Signal.NEED_DATA else Need.NOTHING

    def _take_begun(self, connection: Connection, begun: Begun | Exception) -> Need:
        """Take the engine's result for an attempt.  TURN: it is answered."""
        if isinstance(begun, Progress):
            connection.pending = begun
            connection.since = self.tick
            return Need.DECISION
        if isinstance(begun, Exception):
            raise begun
        self.take_answer(connection, connection.attempt, begun)
        return Need.TURN if begun is not None else Need.NOTHING

    def send(self, connection: Connection, need: Need) -> Need:
        """Send what is queued; returns what is needed next: `need`, or room for the rest."""
        data = connection.dialogue.data_to_send()
        if connection.rest:
            data = connection.rest + data
        elif not data:
            return need
        try:
            sent = connection.sock.send(data)
        except BlockingIOError:
            sent = 0
        connection.since = self.tick
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

    def take_answer(self, connection: Connection, attempt: Attempt, reply: Reply | None) -> None:
        """Queue the engine's answer; None: close the connection without one."""
        connection.pending = None
        connection.answered = True
        if reply is None:
            connection.silent = True
        else:
            connection.dialogue.answer(attempt, reply)

    def answer_waiting(self, connection: Connection, progress: Progress, error: str) -> Need:
        """Answer an attempt whose decision is on disk, or cannot be written (`error`: why)."""
        self.take_answer(connection, progress.attempt, self._engine.end(progress, error))
        return Need.TURN

    def answer_overdue(self, connection: Connection, progress: Progress, answer_within: float) -> Need:
        """Answer by on_error, and go on."""
        self.take_answer(connection, progress.attempt, self._engine.overdue(progress, answer_within))
        return self.advance(connection)
