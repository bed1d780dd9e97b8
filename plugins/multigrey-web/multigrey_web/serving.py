"""Serves connections of browsers on hypercorn's trio worker, with additional limits.

hypercorn limits what a connection may send and how long it may be idle.  This module limits the number of
connections, how long each may last, and how long a client may take to read, so that a client cannot keep
the daemon from stopping.  A bug in one connection does not affect others.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app

from multigrey.api import TcpEndpoint, UnixEndpoint
from multigrey_web.guard import App
from multigrey_web.settings import WebSettings

__all__ = ["Server", "config_of", "open_socket"]

logger = logging.getLogger(__name__)

_LASTS = 120.0
"""Most seconds that a connection may last; an open page makes new ones."""
_READING = 10.0
"""Most seconds that a client may take to read what was sent."""
_GONE = 5.0
"""Most seconds for an answer after the client has closed its side."""
_PAUSE = 1.0
_BACKLOG = 64
_LISTENER_GONE = 5
"""Failures of accept in a row after which the service is restarted with a new socket."""


def config_of() -> Config:
    """The configuration of hypercorn."""
    config = Config()
    config.accesslog = None
    config.errorlog = logger
    config.include_server_header = False
    config.h11_max_incomplete_size = 8 * 1024
    config.h2_max_concurrent_streams = 4
    config.h2_max_header_list_size = 8 * 1024
    config.keep_alive_timeout = 15
    config.read_timeout = 30
    config.graceful_timeout = 1
    config.max_app_queue_size = 4
    return config


def open_socket(settings: WebSettings) -> socket.socket:
    """Return a listening socket at the configured address.  Raises OSError."""
    address = settings.address
    if isinstance(address, UnixEndpoint):
        return _open_unix(address.path, settings.mode)
    assert isinstance(address, TcpEndpoint)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    return socket.create_server((address.host, address.port), family=family, backlog=_BACKLOG)


def _open_unix(path: Path, mode: int) -> socket.socket:
    """Open a unix socket, replacing one that an earlier run left; other files are never removed."""
    if path.is_socket():
        path.unlink()
    sock = socket.socket(socket.AF_UNIX)
    before = os.umask(0o777 & ~mode)
    try:
        sock.bind(str(path))
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(before)
    return sock


class Server:
    """Serves `app` on a listening socket, which it owns from then on."""

    def __init__(self, app: App, config: Config, most: int) -> None:
        self._app = wrap_app(app, config.wsgi_max_body_size, "asgi")  # type: ignore[arg-type]  # (ours is one)
        self._config = config
        self._room = trio.Semaphore(most)
        self._open: set[_Stream] = set()

    async def run(self, sock: socket.socket, *, task_status: trio.TaskStatus[None]) -> None:
        """Serve until cancelled; then every connection is closed at once."""
        context = WorkerContext(None)
        sock.setblocking(False)
        listening = trio.socket.from_stdlib_socket(sock)
        async with trio.open_nursery() as nursery:
            try:
                nursery.start_soon(self._accept, listening, context, nursery)
                task_status.started()
                await trio.sleep_forever()
            finally:
                for stream in [*self._open]:
                    stream.socket.close()
                listening.close()

    async def _accept(
        self, listening: trio.socket.SocketType, context: WorkerContext, nursery: trio.Nursery
    ) -> None:
        failures = 0
        while True:
            await self._room.acquire()
            try:
                sock, _ = await listening.accept()
            except OSError as error:
                self._room.release()
                failures += 1
                if failures >= _LISTENER_GONE:
                    raise
                logger.warning("cannot accept: %s", error.strerror)
                await trio.sleep(_PAUSE)
                continue
            except BaseException:
                self._room.release()
                raise
            failures = 0
            nursery.start_soon(self._connection, sock, context)

    async def _connection(self, sock: trio.socket.SocketType, context: WorkerContext) -> None:
        """Serve one connection; an exception in it ends here."""
        scope = trio.CancelScope(deadline=trio.current_time() + _LASTS)
        stream = _Stream(sock, scope)

        async def app(*arguments: Any) -> None:
            with stream.answering():
                await self._app(*arguments)

        self._open.add(stream)
        try:
            with scope:
                server = TCPServer(app, self._config, context, ConnectionState({}), stream)  # type: ignore[arg-type]  # (a stream is all it needs)
                await server.run()
        except Exception:
            logger.exception("a connection failed because of a bug")
        finally:
            self._open.discard(stream)
            self._room.release()
            stream.socket.close()


class _Stream(trio.abc.HalfCloseableStream):
    """A connection that ends when its client is gone or does not read.

    hypercorn shields its writes from cancellation, and keeps a connection whose browser is gone until the
    idle time is over.  So this class closes the socket itself: at once when the client has gone, or has ended
    its side and no request of it is left to be answered.
    """

    def __init__(self, sock: trio.socket.SocketType, scope: trio.CancelScope) -> None:
        """`scope`: the cancel scope of the task that serves the connection."""
        self._stream = trio.SocketStream(sock)
        self._scope = scope
        self._answers = 0
        """Requests that are being answered."""
        self._ended = False
        """Whether the client has ended its side."""
        self.socket = sock

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Held while a request of this connection is being answered."""
        self._answers += 1
        try:
            yield
        finally:
            self._answers -= 1
            if self._ended and not self._answers:
                self._scope.cancel()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with trio.move_on_after(_READING) as reading:
            try:
                await self._stream.send_all(data)
            except trio.BusyResourceError:  # it is being closed
                raise trio.BrokenResourceError from None
        if reading.cancelled_caught:
            self._scope.cancel()
            self.socket.close()
            raise trio.BrokenResourceError

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        with suppress(OSError):
            await self._stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        try:
            data = bytes(await self._stream.receive_some(max_bytes))
        except trio.BrokenResourceError:
            self._scope.cancel()
            raise
        if not data:
            # The request before the end may only just have been taken up.  Its answer begins in the next turn
            # of the event loop; this task may be the first one there, and so waits for the turn after it.
            await trio.lowlevel.checkpoint()
            self._ended = True
            self._scope.deadline = min(self._scope.deadline, trio.current_time() + _GONE)
            if not self._answers:
                self._scope.cancel()
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()
