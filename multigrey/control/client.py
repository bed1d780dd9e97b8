"""A client of the control socket, for a trio program such as a plugin's service."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import trio

from multigrey.control.endpoint import load_as_daemon, socket_of
from multigrey.control.protocol import Code, ControlError, question, read_answer_line

__all__ = ["ControlError", "ask", "items", "load_as_daemon", "socket_of"]

_READ_SIZE = 65_536
_MOST_OCTETS = 64 * 1024 * 1024
"""Most octets of the whole answer to one request."""


async def ask(path: Path, name: str, options: Mapping[str, Any], *, patience: float) -> Mapping[str, Any]:
    """The answer of the daemon at a socket to one request.

    `patience`: seconds to wait for it.  Raises ControlError.
    """
    async with aclosing(items(path, name, options, patience=patience)) as told:
        async for value in told:
            return value
    raise ControlError("the daemon did not answer", Code.NO_DAEMON)


async def items(
    path: Path, name: str, options: Mapping[str, Any], *, patience: float
) -> AsyncGenerator[Mapping[str, Any], None]:
    """The items of a streaming operation.

    `patience`: seconds to wait for each item.  Raises ControlError.
    """
    try:
        with trio.fail_after(patience):
            stream = await trio.open_unix_socket(path)
    except trio.TooSlowError:
        raise ControlError(f"unix:{path}: does not answer", Code.NO_DAEMON) from None
    except PermissionError as error:
        raise ControlError(f"unix:{path}: {error.strerror}", Code.NOT_ALLOWED) from None
    except OSError as error:
        text = f"no daemon answers at unix:{path}: {error.strerror or error}"
        raise ControlError(text, Code.NO_DAEMON) from None
    async with stream:
        lines = _Lines(stream, patience)
        await lines.send(question(name, options))
        while True:
            told = read_answer_line(await lines.next())
            if told.value is not None:
                yield told.value
            if told.is_last:
                return


class _Lines:
    """The lines that a connection receives."""

    def __init__(self, stream: trio.SocketStream, patience: float) -> None:
        self._stream = stream
        self._patience = patience
        self._buffer = bytearray()
        self._read = 0

    async def send(self, data: bytes) -> None:
        """Send a request.  Raises ControlError when the daemon does not read it in time."""
        try:
            with trio.fail_after(self._patience):
                await self._stream.send_all(data)
        except trio.BrokenResourceError:
            # A daemon that refuses a client answers without reading its request, and closes: the error
            # that says why can still be received.
            return
        except trio.TooSlowError:
            raise self._too_slow() from None

    async def next(self) -> bytes:
        """The next line, without its line end.  Raises ControlError."""
        try:
            with trio.fail_after(self._patience):
                while (end := self._buffer.find(b"\n")) < 0:
                    await self._more()
        except trio.TooSlowError:
            raise self._too_slow() from None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    async def _more(self) -> None:
        try:
            data = await self._stream.receive_some(_READ_SIZE)
        except trio.BrokenResourceError:
            data = b""
        self._read += len(data)
        if not data:
            raise ControlError("the daemon closed the connection too early: see its log", Code.NO_DAEMON)
        if self._read > _MOST_OCTETS:
            most = f"{_MOST_OCTETS} octets"
            raise ControlError(f"the daemon sent more than {most}: request less", Code.NO_DAEMON)
        self._buffer += data

    def _too_slow(self) -> ControlError:
        return ControlError(f"the daemon did not answer within {self._patience:g} s", Code.NO_DAEMON)
