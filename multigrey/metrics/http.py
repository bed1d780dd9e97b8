"""A minimal HTTP/1.1 server: GET and HEAD, a request head of bounded size, one answer per connection.

A request head may have 8 KiB, a connection may last ten seconds, and sixteen connections are served at
a time; further ones wait to be accepted.  An error affects only the connection it occurs on.
"""

from __future__ import annotations

import errno
import logging
import re
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Network
from types import MappingProxyType

import trio

from multigrey.listeners.connection import admits
from multigrey.throttle import Throttle

__all__ = ["HttpRequest", "RequestError", "Response", "parse_head", "serve"]

logger = logging.getLogger(__name__)

LONGEST_HEAD = 8192
SECONDS = 10.0
AT_A_TIME = 16
_LINGER = 1.0
_PAUSE = 0.25
_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) (/[!-~]*) HTTP/1\.[0-9]")
_LINE_END = re.compile(rb"\r?\n")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t -~\x80-\xff]*)")
"""The value with the blanks around it: to leave them out here would take quadratic time."""
TEXT = "text/plain; charset=utf-8"


class RequestError(Exception):
    """A request that is refused, with the status of the answer."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """The head of a request."""

    method: str
    path: str
    """Without the query."""
    fields: Mapping[str, str]
    """Header fields by lower-case name; the values of several with one name are joined with commas."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer."""

    status: HTTPStatus
    body: bytes
    content_type: str = TEXT
    fields: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def encoded(self, *, head_only: bool = False) -> bytes:
        """The answer as octets.  `head_only`: without the body, but with its length, as HEAD requires."""
        fields = {
            "Content-Type": self.content_type,
            "Content-Length": str(len(self.body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Connection": "close",
            **self.fields,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        first = f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\n{head}\r\n".encode("ascii")
        return first if head_only else first + self.body


Answer = Callable[[HttpRequest], Awaitable[Response]]


def parse_head(head: bytes) -> HttpRequest:
    """Parse a request head without the empty line that ends it (RFC 9112).  Raises RequestError.

    A line may end with LF alone (section 2.2).
    """
    first, *lines = _LINE_END.split(head)
    found = _REQUEST_LINE.fullmatch(first)
    if found is None:
        raise RequestError(HTTPStatus.BAD_REQUEST)
    fields: dict[str, str] = {}
    for line in lines:
        told = _FIELD.fullmatch(line)
        if told is None:
            raise RequestError(HTTPStatus.BAD_REQUEST)
        name, said = told[1].decode().lower(), told[2].strip(b" \t").decode("latin-1")
        fields[name] = f"{fields[name]}, {said}" if name in fields else said
    path = found[2].decode().partition("?")[0]
    return HttpRequest(found[1].decode(), path, fields)


async def serve(
    sock: socket.socket,
    allow_from: Callable[[], Sequence[IPv4Network | IPv6Network]],
    answer: Answer,
) -> None:
    """Answer clients of a listening, non-blocking socket until cancelled.

    Clients that `allow_from` does not allow are disconnected at once.
    """
    seldom = Throttle()
    listening = trio.socket.from_stdlib_socket(sock)
    room = trio.CapacityLimiter(AT_A_TIME)
    async with trio.open_nursery() as nursery:
        while True:
            place = object()
            await room.acquire_on_behalf_of(place)
            try:
                peer, address = await listening.accept()
            except OSError as error:
                room.release_on_behalf_of(place)
                await _pause(error, seldom)
                continue
            if admits(address[0], allow_from()):
                nursery.start_soon(_attend, trio.SocketStream(peer), answer, room, place)
                continue
            peer.close()
            room.release_on_behalf_of(place)
            if seldom.due(address[0], trio.current_time()):
                logger.warning("metrics: %s is not in allow_from", address[0])


async def _pause(error: OSError, seldom: Throttle) -> None:
    """After a failed accept, wait only if resources ran out, until connections have been closed."""
    if error.errno not in _OUT_OF_RESOURCES:
        return
    if seldom.due("accept", trio.current_time()):
        logger.error("metrics: cannot accept: %s", error.strerror)
    await trio.sleep(_PAUSE)


async def _attend(
    stream: trio.SocketStream, answer: Answer, room: trio.CapacityLimiter, place: object
) -> None:
    """Serve one connection; an exception in it ends here."""
    try:
        with trio.move_on_after(SECONDS):
            async with stream:
                await _converse(stream, answer)
    except trio.BrokenResourceError:
        pass  # the peer is gone
    except Exception:
        logger.exception("metrics: internal error")
    finally:
        room.release_on_behalf_of(place)


async def _converse(stream: trio.SocketStream, answer: Answer) -> None:
    head_only = False
    try:
        request = parse_head(await _read_head(stream))
        head_only = request.method == "HEAD"
        response = await _answered(request, answer)
    except RequestError as error:
        text = f"{error.status.phrase}\n".encode()
        response = Response(error.status, text)
    await stream.send_all(response.encoded(head_only=head_only))
    await stream.send_eof()
    # Read the rest of the request: closing with unread octets makes the kernel send a reset, which can
    # destroy the answer before the client has read it.
    with trio.move_on_after(_LINGER):
        while await stream.receive_some(LONGEST_HEAD):
            pass


async def _answered(request: HttpRequest, answer: Answer) -> Response:
    if request.method not in {"GET", "HEAD"}:
        status = HTTPStatus.METHOD_NOT_ALLOWED
        return Response(status, f"{status.phrase}\n".encode(), fields={"Allow": "GET, HEAD"})
    return await answer(request)


async def _read_head(stream: trio.SocketStream) -> bytes:
    """Read everything before the first empty line.  Raises RequestError if it is too long or ends early."""
    data = bytearray()
    while (end := _HEAD_END.search(data)) is None:
        if len(data) > LONGEST_HEAD:
            raise RequestError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        piece = await stream.receive_some(4096)
        if not piece:
            raise RequestError(HTTPStatus.BAD_REQUEST)
        data += piece
    return bytes(data[: end.start()])
