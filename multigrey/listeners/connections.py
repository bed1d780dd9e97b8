"""The hot loop: one trio task per connection over a non-blocking socket.

Everything here is written for the two common cases: a mail server that keeps its connection and asks
one question after the other (Postfix), and one that connects, asks, half-closes and reads to the end
(Exim, greylistd's clients).  Therefore

  - plain sockets and `trio.lowlevel.wait_readable` instead of trio's streams: a stream costs a third
    of a whole decision per read and three times greylistd's whole answer per connection;
  - the first read happens at once: a one-shot question is usually there when we accept;
  - no cancel scope per request (10 microseconds): one per connection, and one sweep over all of
    them a few times a second, which ends silent and slow peers and answers for overdue decisions;
  - a peer that never lets us wait (pipelining) gives way to the others every few requests.

Each connection has exactly one error boundary (`_connection`): whatever goes wrong there ends there.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, ip_address

import trio

from multigrey.commands import Commands
from multigrey.contracts import Dialogue
from multigrey.engine import Engine, Pending
from multigrey.errors import MultigreyError, ProtocolError
from multigrey.model import Attempt, Command, Ignored, Signal
from multigrey.seldom import Seldom

__all__ = ["REQUEST_TIME", "ConnectionLimits", "Listening", "Server"]

logger = logging.getLogger(__name__)

REQUEST_TIME = 30.0
"""Seconds a peer has to bring its first request, or to finish one it has begun."""

_CHUNK = 16384
_ACCEPT_BURST = 64
_SWEEP_EVERY = 0.25
_REQUESTS_BEFORE_GIVING_WAY = 16
_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """`[limits]`, in seconds and numbers."""

    connections: int
    idle: float
    answer_within: float


@dataclass(slots=True)
class Listening:
    """One open endpoint and how to talk to who connects to it."""

    name: str
    socket: socket.socket
    make_dialogue: Callable[[], Dialogue]
    """Replaced by a reload; connections go on with what they began with."""
    on_error: str
    allow_from: Sequence[IPv4Network | IPv6Network] = ()


class _Need(Enum):
    """What a connection has to wait for before it can go on."""

    READ = "bytes from the peer"
    WRITE = "room for our answer"
    DECISION = "the engine"
    COMMAND = "a command"
    TURN = "the others, who want their turn too"
    NOTHING = "nothing any more: it is over"


class _Connection:
    """One peer, and what the sweep has to know of it."""

    __slots__ = (
        "answered",
        "command",
        "dialogue",
        "listening",
        "overdue",
        "partial",
        "peer",
        "pending",
        "rest",
        "scope",
        "since",
        "sock",
    )

    def __init__(self, sock: socket.socket, peer: str, listening: Listening, since: float) -> None:
        self.sock = sock
        self.peer = peer
        self.listening = listening
        self.dialogue = listening.make_dialogue()
        self.since = since
        """Time of the sweep's clock at which the present wait or decision began."""
        self.pending: Pending | None = None
        """The attempt being decided right now."""
        self.command: Command | None = None
        self.rest = b""
        """The part of an answer the peer has not taken yet."""
        self.answered = False
        self.partial = False
        """Whether something has begun (a request, an answer) that must not take long to finish."""
        self.overdue = False
        self.scope: trio.CancelScope | None = None
        """None: the connection has no task (yet)."""

    def cancel(self) -> None:
        """End what its task is waiting for."""
        if self.scope is not None:
            self.scope.cancel()


class Server:
    """All connections of the daemon."""

    def __init__(self, engine: Engine, commands: Commands, limits: ConnectionLimits) -> None:
        """`limits` may be replaced while running (reload)."""
        self.limits = limits
        self.internal_errors = 0
        """Bugs of ours that ended a connection: alert on it."""
        self._engine = engine
        self._commands = commands
        self._open: set[_Connection] = set()
        self._departure: trio.Event | None = None
        """Set when a connection ends, if somebody waits for that."""
        self._draining = False
        self._tick = 0.0
        self._seldom = Seldom()
        self._hints: set[tuple[str, str]] = set()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open)

    async def accept(self, listening: Listening, nursery: trio.Nursery) -> None:
        """Accept on one endpoint until cancelled; connections live in `nursery`."""
        while True:
            await trio.lowlevel.wait_readable(listening.socket)
            for _ in range(_ACCEPT_BURST):
                if len(self._open) >= self.limits.connections:
                    await self._wait_for_room()
                try:
                    sock, address = listening.socket.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    await self._accept_failed(listening, error)
                    break
                peer = self._admit(listening, sock, address)
                if peer:
                    connection = _Connection(sock, peer, listening, self._tick)
                    need = self._first(connection)
                    if need is not _Need.NOTHING:
                        connection.scope = trio.CancelScope()
                        self._open.add(connection)
                        nursery.start_soon(self._connection, connection, need)

    async def sweep(self) -> None:
        """End silent and slow peers, and decisions that take too long, for ever."""
        start = trio.current_time()
        while True:
            self._tick = tick = trio.current_time() - start
            for connection in self._open:
                age = tick - connection.since
                if connection.pending is not None:
                    if age > self.limits.answer_within:
                        connection.overdue = True
                        connection.cancel()
                elif age > (
                    self.limits.idle if connection.answered and not connection.partial else REQUEST_TIME
                ):
                    connection.cancel()
            await trio.sleep(_SWEEP_EVERY)

    async def drain(self, seconds: float) -> None:
        """Let decisions under way be answered, end everybody else, wait at most `seconds`."""
        self._draining = True
        for connection in self._open:
            if connection.pending is None:
                connection.cancel()
        with trio.move_on_after(seconds):
            while self._open:
                await self._one_to_leave()
        for connection in self._open:
            connection.cancel()

    def _admit(self, listening: Listening, sock: socket.socket, address: object) -> str:
        """The peer's name for logs; the empty text when it may not talk to us."""
        sock.setblocking(False)
        if not isinstance(address, tuple):
            return listening.name
        peer = f"{address[0]} port {address[1]}"
        if listening.allow_from:
            client = ip_address(address[0].partition("%")[0])
            mapped = getattr(client, "ipv4_mapped", None) or client
            if not any(mapped in network for network in listening.allow_from):
                if self._seldom.due((listening.name, address[0]), self._tick):
                    logger.warning("%s: %s is not in allow_from", listening.name, peer)
                sock.close()
                return ""
        return peer

    async def _one_to_leave(self) -> None:
        if self._departure is None:
            self._departure = trio.Event()
        await self._departure.wait()

    async def _wait_for_room(self) -> None:
        if self._seldom.due("room", self._tick):
            logger.warning("all %d connections are in use; new ones wait", self.limits.connections)
        while len(self._open) >= self.limits.connections:
            await self._one_to_leave()

    async def _accept_failed(self, listening: Listening, error: OSError) -> None:
        """A connection that vanished is nothing; without descriptors, wait for some to be closed."""
        if error.errno not in _OUT_OF_RESOURCES:
            return
        if self._seldom.due("accept", self._tick):
            logger.error("%s: cannot accept: %s", listening.name, error.strerror)
        await trio.sleep(_SWEEP_EVERY)

    def _first(self, connection: _Connection) -> _Need:
        """A one-shot question is usually there when we accept: then it needs no task of its own."""
        try:
            try:
                data = connection.sock.recv(_CHUNK)
            except BlockingIOError:
                return _Need.READ
            connection.partial = True
            connection.dialogue.receive(data)
            need = self._advance(connection)
        except Exception as error:  # noqa: BLE001  (the other half of the boundary in _connection)
            self._report(connection, error)
            need = _Need.NOTHING
        if need is _Need.NOTHING:
            connection.sock.close()
        return need

    async def _connection(self, connection: _Connection, need: _Need) -> None:
        """The error boundary: one connection's trouble never reaches another's."""
        try:
            await self._attend(connection, need)
        except Exception as error:  # noqa: BLE001  (reported, and it ends here)
            self._report(connection, error)
        finally:
            connection.sock.close()
            self._open.discard(connection)
            if self._departure is not None:
                self._departure.set()
                self._departure = None

    def _report(self, connection: _Connection, error: Exception) -> None:
        """What ended a connection: the peer's fault, the network's, or ours."""
        if isinstance(error, ProtocolError):
            self._protocol_error(connection, error)
        elif isinstance(error, OSError):
            logger.debug("%s: %s: %s", connection.listening.name, connection.peer, error)
        else:
            self.internal_errors += 1
            logger.error("%s: %s: internal error", connection.listening.name, connection.peer, exc_info=error)

    async def _attend(self, connection: _Connection, need: _Need) -> None:
        while connection.scope is not None:
            with connection.scope:
                await self._talk(connection, need)
                return
            if not connection.overdue:
                return
            connection.overdue = False
            connection.scope = trio.CancelScope()
            pending, connection.pending = connection.pending, None
            if pending is not None:
                limit = self.limits.answer_within
                reply = self._engine.overdue(pending, connection.listening.on_error, limit)
                if reply is None:
                    return
                connection.dialogue.answer(pending.attempt, reply)
            need = self._go_on(connection)

    async def _talk(self, connection: _Connection, need: _Need) -> None:
        """Wait for what is needed and go on, until it is over."""
        while need is not _Need.NOTHING:
            if need is _Need.READ:
                if self._draining:
                    return
                await self._read(connection)
            elif need is _Need.DECISION:
                if not await self._decide(connection):
                    return
            elif need is _Need.WRITE:
                await self._write(connection)
            elif need is _Need.COMMAND:
                await self._command(connection)
            else:
                await trio.lowlevel.checkpoint()
            need = self._go_on(connection)

    def _go_on(self, connection: _Connection) -> _Need:
        """Send what is queued, then `_advance`."""
        if self._sent(connection):
            return self._advance(connection)
        return _Need.WRITE

    def _advance(self, connection: _Connection) -> _Need:
        """Do everything that can be done without waiting; what has to be waited for then."""
        dialogue, begin = connection.dialogue, self._engine.begin
        for _ in range(_REQUESTS_BEFORE_GIVING_WAY):
            request = dialogue.next_request()
            if request is Signal.NEED_DATA:
                return _Need.READ
            if request is Signal.CLOSED:
                self._sent(connection)
                return _Need.NOTHING
            if isinstance(request, Attempt):
                reply = begin(request, connection.listening.on_error)
                if isinstance(reply, Pending):
                    connection.pending = reply
                    connection.since = self._tick
                    return _Need.DECISION
                if reply is None:
                    return _Need.NOTHING
                dialogue.answer(request, reply)
                connection.answered = True
            elif isinstance(request, Command):
                connection.command = request
                return _Need.COMMAND
            elif isinstance(request, Ignored):
                connection.answered = True
                self._hint(connection, request)
            if not self._sent(connection):
                return _Need.WRITE
        return _Need.TURN

    def _sent(self, connection: _Connection) -> bool:
        """Send what is queued; False when the peer does not take all of it now."""
        data = connection.rest + connection.dialogue.data_to_send()
        if not data:
            return True
        try:
            sent = connection.sock.send(data)
        except BlockingIOError:
            sent = 0
        connection.rest = data[sent:]
        connection.partial = bool(connection.rest)
        return not connection.rest

    async def _decide(self, connection: _Connection) -> bool:
        """Wait for the engine; False when nothing is to be said."""
        pending = connection.pending
        assert pending is not None
        reply = await self._engine.finish(pending, connection.listening.on_error)
        connection.pending = None
        if reply is None:
            return False
        connection.dialogue.answer(pending.attempt, reply)
        connection.answered = True
        return True

    async def _write(self, connection: _Connection) -> None:
        connection.since = self._tick
        await trio.lowlevel.wait_writable(connection.sock)

    async def _read(self, connection: _Connection) -> None:
        """Feed the dialogue with what the peer sends next."""
        sock = connection.sock
        if connection.answered and not connection.partial:
            connection.since = self._tick
            await trio.lowlevel.wait_readable(sock)
        while True:
            try:
                data = sock.recv(_CHUNK)
            except BlockingIOError:
                if await self._wait_for_more(connection):
                    continue
                data = b""
            connection.partial = True
            connection.dialogue.receive(data)
            return

    async def _wait_for_more(self, connection: _Connection) -> bool:
        """Wait for bytes; False when a peer that never ends its request has been silent long enough."""
        patience = connection.dialogue.patience
        if patience is None:
            await trio.lowlevel.wait_readable(connection.sock)
            return True
        with trio.move_on_after(patience):
            await trio.lowlevel.wait_readable(connection.sock)
            return True
        return False

    async def _command(self, connection: _Connection) -> None:
        command, connection.command = connection.command, None
        assert command is not None
        connection.since = self._tick
        try:
            connection.dialogue.answer(command, await self._commands.run(command))
        except MultigreyError as error:
            connection.dialogue.answer(command, str(error))

    def _hint(self, connection: _Connection, ignored: Ignored) -> None:
        """Say once per endpoint what an administrator should know."""
        if ignored.hint and (connection.listening.name, ignored.hint) not in self._hints:
            self._hints.add((connection.listening.name, ignored.hint))
            logger.warning("%s: %s", connection.listening.name, ignored.hint)

    def _protocol_error(self, connection: _Connection, error: ProtocolError) -> None:
        host = connection.peer.partition(" ")[0]
        if self._seldom.due((connection.listening.name, host), self._tick):
            logger.warning("%s: %s: %s", connection.listening.name, connection.peer, error)
        try:
            connection.sock.send(connection.dialogue.data_to_send() + (error.reply or b""))
        except OSError as failure:
            logger.debug("%s: %s: %s", connection.listening.name, connection.peer, failure)
