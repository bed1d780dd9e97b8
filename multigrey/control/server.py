"""The server of the control socket: admits clients and answers their requests within limits.

Nothing here may delay the daemon.  Every request has a task of its own.  Each connection and each request
has an error boundary, so a bug in an operation makes only that request fail.  Limited are: the connections
(clients that may only read cannot take them all), the requests of each connection, the length of a line,
and the time a client may take to read an answer.  A stream waits for its reader; a client that does not
read at all is dropped.
"""

from __future__ import annotations

import logging
import os
import select
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import trio

from multigrey.control.operations.operation import (
    BY,
    Level,
    Operation,
    Operations,
    Options,
    Result,
    code_of,
)
from multigrey.control.peers import Groups, Peer, level_of, peer_of, uid_of
from multigrey.control.protocol import Code, ControlDialogue, Request, encoded
from multigrey.errors import MultigreyError
from multigrey.text import printable
from multigrey.throttle import Throttle

__all__ = ["ControlLimits", "ControlServer"]

logger = logging.getLogger(__name__)

_READ_SIZE = 65_536
_PAUSE = 1.0
"""Seconds to wait after a failed accept, and between two checks whether a client is still connected."""
_PATIENCE = 5.0
"""Seconds for looking up a client's user, for sending a refusal, and for closing a stream."""
_MOST_STRANGERS = 1_000
_SHOWN = 300
"""Most characters of a request that the log shows."""


@dataclass(frozen=True, slots=True)
class ControlLimits:
    """Limits of the control socket; times are in seconds."""

    connections: int = 64
    readers: int = 48
    """Most connections of clients that may not do everything."""
    arriving: int = 16
    """Most connections whose user is not looked up yet; more wait to be accepted."""
    strangers: float = 1.0
    """How long a user who may not use the socket is refused without another look-up."""
    idle: float = 600.0
    """How long a connection without a request under way stays open."""
    reading: float = 120.0
    """How long a client may take to read the answers that wait for it."""


class ControlServer:
    """Answers the clients of one listening unix socket, as far as they have the right."""

    def __init__(
        self,
        sock: socket.socket,
        operations: Operations,
        groups: Groups,
        limits: ControlLimits = ControlLimits(),
        hides_people: Callable[[], bool] = lambda: False,
    ) -> None:
        """Takes over `sock`, which is listening.  `hides_people`: whether logs show no address."""
        self._sock = sock
        self.operations = operations
        self.groups = groups
        self.limits = limits
        self._open: dict[_Connection, Level] = {}
        self._arriving = trio.Semaphore(limits.arriving)
        self._strangers: dict[int, tuple[float, str]] = {}
        """By uid: until when the user is refused without another look-up, and the error to send."""
        self._said = Throttle()
        self.hides_people = hides_people
        self.searches = Throttle()
        self._lookups = trio.CapacityLimiter(4)
        self._own_uid = os.geteuid()
        self.counts = {"questions": 0, "errors": 0, "refused": 0, "dropped": 0}
        """Since the start: requests, errors sent as answers, clients refused, clients dropped as too slow."""

    def figures(self) -> Mapping[str, int]:
        """Figures for `status`."""
        return {"connections": len(self._open), **self.counts}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer until cancelled."""
        listening = trio.socket.from_stdlib_socket(self._sock)
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                await self._arriving.acquire()
                try:
                    sock, _ = await listening.accept()
                except OSError as error:
                    self._arriving.release()
                    logger.error("control socket: cannot accept: %s", error.strerror)  # noqa: TRY400  (no bug)
                    await trio.sleep(_PAUSE)
                    continue
                nursery.start_soon(self._connection, sock)

    async def _connection(self, sock: trio.socket.SocketType) -> None:
        """One connection; its error boundary."""
        stream = trio.SocketStream(sock)
        try:
            connection = await self._admitted(stream)
            if connection is not None:
                await self._attend(connection)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except Exception:
            logger.exception("control socket: a connection ended by a bug")
        finally:
            sock.close()

    async def _admitted(self, stream: trio.SocketStream) -> _Connection | None:
        """The connection, if its user may use the socket; None: it was refused with an error."""
        try:
            if (known := self._known_stranger(stream)) is not None:
                self.counts["refused"] += 1
                await _say_error(stream, known, Code.NOT_ALLOWED)
                return None
            peer, level = await self._look_up(stream)
            if (refusal := self._refusal(peer, level)) is not None:
                await self._send_away(stream, peer, *refusal)
                return None
            assert peer is not None
            assert level is not None
            connection = _Connection(stream, peer, level, self)
            self._open[connection] = level
            return connection
        finally:
            self._arriving.release()

    async def _attend(self, connection: _Connection) -> None:
        try:
            await connection.run()
        finally:
            del self._open[connection]

    def _known_stranger(self, stream: trio.SocketStream) -> str | None:
        """The error for a user who was refused a moment ago; None: the rights have to be looked up."""
        try:
            until, text = self._strangers[uid_of(stream.socket)]
        except (OSError, KeyError):
            return None
        return text if trio.current_time() < until else None

    async def _send_away(self, stream: trio.SocketStream, peer: Peer | None, text: str, code: Code) -> None:
        self.counts["refused"] += 1
        now = trio.current_time()
        if peer is not None and code is Code.NOT_ALLOWED:
            if len(self._strangers) >= _MOST_STRANGERS:  # bounds the memory; forgetting only means a look-up
                self._strangers.clear()
            self._strangers[peer.uid] = (now + self.limits.strangers, text)
        if self._said.due((str(peer), code), now):
            logger.warning("control socket: %s is refused: %s", peer or "an unknown user", text)
        await _say_error(stream, text, code)

    async def _look_up(self, stream: trio.SocketStream) -> tuple[Peer | None, Level | None]:
        def look_up() -> tuple[Peer, Level | None]:
            peer = peer_of(plain)
            return peer, level_of(peer, self.groups, self._own_uid)

        plain = socket.socket(fileno=os.dup(stream.socket.fileno()))
        with trio.move_on_after(_PATIENCE), suppress(OSError):
            # The thread may go on after the time limit, when the connection is closed: it needs a
            # descriptor of its own.
            return await trio.to_thread.run_sync(
                _closing(plain, look_up), abandon_on_cancel=True, limiter=self._lookups
            )
        return None, None

    def _refusal(self, peer: Peer | None, level: Level | None) -> tuple[str, Code] | None:
        """The error for a client that is refused; None: it is admitted."""
        if peer is None:
            return "the system does not report the client's user", Code.NOT_ALLOWED
        if level is None:
            allowed = f"root, the daemon's user, and {self.groups.words()}"
            return f"{peer} may not use the control socket; allowed are {allowed}", Code.NOT_ALLOWED
        levels = list(self._open.values())
        if len(levels) >= self.limits.connections:
            return f"too many connections are open: {len(levels)}", Code.BUSY
        others = len(levels) - levels.count(Level.ADMIN)
        if level is not Level.ADMIN and others >= self.limits.readers:
            return f"too many connections that may not do everything are open: {others}", Code.BUSY
        return None


def _closing(sock: socket.socket, work: Any) -> Any:
    def run() -> Any:
        with sock:
            return work()

    return run


class _Connection:
    """The connection of a client that was admitted."""

    def __init__(self, stream: trio.SocketStream, peer: Peer, level: Level, server: ControlServer) -> None:
        self._stream = stream
        self._peer = peer
        self._level = level
        self._server = server
        self._dialogue = ControlDialogue()
        self._sending = trio.Lock()
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Serve until the client has gone, or has every answer and sends no more requests."""
        with self._scope:
            async with trio.open_nursery() as watching:
                async with trio.open_nursery() as answering:
                    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                        await self._hear(answering)
                    # After the client's end of file nothing is received any more: only `_watch` sees that the
                    # client has gone altogether, and ends the answers that are still being made.
                    watching.start_soon(self._watch)
                watching.cancel_scope.cancel()

    async def _watch(self) -> None:
        """Cancel the connection when the client has closed both directions, not only its sending one."""
        poll = select.poll()
        poll.register(self._stream.socket.fileno(), 0)
        while not poll.poll(0):  # noqa: ASYNC110  (the kernel reports it in no other way)
            await trio.sleep(_PAUSE)
        self._scope.cancel()

    async def _hear(self, nursery: trio.Nursery) -> None:
        while not self._dialogue.over:
            data = await self._receive()
            if data is None:
                return
            self._dialogue.receive(data)
            while (question := self._dialogue.next_question()) is not None:
                self._server.counts["questions"] += 1
                nursery.start_soon(self._answer, question)
            await self._send()

    async def _receive(self) -> bytes | None:
        """Bytes from the client; None: it was idle for too long, with no request under way."""
        while True:
            with trio.move_on_after(self._server.limits.idle):
                return bytes(await self._stream.receive_some(_READ_SIZE))
            if not self._dialogue.under_way:
                return None

    async def _answer(self, question: Request) -> None:
        """One request; its error boundary."""
        try:
            await self._carry_out(question)
        except MultigreyError as error:
            await self._fail(question, str(error), code_of(error))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._scope.cancel()
        except Exception:
            logger.exception("control socket: %s failed by a bug", printable(question.name))
            await self._fail(question, "internal error; the daemon's log has more", Code.INTERNAL)

    async def _carry_out(self, question: Request) -> None:
        operation = self._server.operations.get(question.name)
        if (text := self._not_allowed(operation, question)) is not None:
            await self._fail(question, text, Code.NOT_ALLOWED)
            return
        if operation.level is not Level.READ:
            self._log(question.name, question.options)
        elif operation.is_search:
            self._log_search(question)
        options = {**question.options, BY: str(self._peer)}
        if operation.answer is not None:
            self._dialogue.answer(question.id, encoded(await operation.answer(options)))
            await self._send()
        else:
            await self._stream_items(question, operation, options)

    def _not_allowed(self, operation: Operation, question: Request) -> str | None:
        """Why this client may not do this; None: it may."""
        if self._level is Level.ADMIN:
            return None
        needed, only = operation.level, ""
        if self._level.includes(needed):
            if not (only := operation.not_for_operators(question.options)):
                return None
            needed = Level.ADMIN
        allowed = f"root, the daemon's user, and {self._server.groups.words_for(needed)}"
        hint = f" without {only}" if only else ""
        return (
            f"{self._peer} may {self._level.value}, but not use {question.name}{hint}; allowed are {allowed}"
        )

    async def _stream_items(self, question: Request, operation: Operation, options: Options) -> None:
        assert operation.stream is not None
        items = operation.stream(options)
        try:
            async for item in items:
                self._dialogue.item(question.id, encoded(item))
                await self._send()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _PATIENCE):
                await _close(items)
        self._dialogue.end(question.id)
        await self._send()

    async def _fail(self, question: Request, text: str, code: Code) -> None:
        self._server.counts["errors"] += 1
        self._dialogue.error(question.id, text, code)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._send()

    async def _send(self) -> None:
        """Send what the dialogue has queued; drop a client that does not read it in time."""
        async with self._sending:
            data = self._dialogue.data_to_send()
            if not data:
                return
            with trio.move_on_after(self._server.limits.reading) as scope:
                await self._stream.send_all(data)
        if scope.cancelled_caught:
            self._server.counts["dropped"] += 1
            logger.warning("control socket: %s does not read its answers: dropped", self._peer)
            self._scope.cancel()
            await trio.lowlevel.checkpoint_if_cancelled()

    def _log_search(self, question: Request) -> None:
        """Log who asked, once a minute for the same question: a page may ask it again and again."""
        options = question.options
        if self._server.hides_people():
            options = dict.fromkeys(options, "(redacted)")
        if self._server.searches.due((str(self._peer), question.name, repr(options)), trio.current_time()):
            self._log(question.name, options)

    def _log(self, name: str, options: Options) -> None:
        text = " ".join([name, *(f"{option}={value}" for option, value in options.items())])
        logger.info("control socket: %s: %s", self._peer, printable(text[:_SHOWN]))


async def _close(items: AsyncIterator[Result]) -> None:
    close = getattr(items, "aclose", None)
    if close is not None:
        await close()


async def _say_error(stream: trio.SocketStream, text: str, code: Code) -> None:
    dialogue = ControlDialogue()
    dialogue.error(None, text, code)
    with trio.move_on_after(_PATIENCE):
        await stream.send_all(dialogue.data_to_send())
        await stream.send_eof()
