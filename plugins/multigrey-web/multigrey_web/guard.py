"""Who is answered at all, and what every answer says about itself.

Around the pages: only GET and HEAD, nothing with a body, only names the page is known by (against DNS
rebinding), a few at a time; whatever a page does wrong is an answer of its own, and ends nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from typing import Any

import trio

__all__ = ["HEADERS", "LOOPBACK", "Guard", "host_of", "refusal"]

logger = logging.getLogger(__name__)

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
_LARGEST = 8 * 1024
"""Octets of an address and its headers."""
_AT_A_TIME = 4
_WAITING = 16
_PATIENCE = 20.0
"""Seconds for one answer."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]


def host_of(headers: Headers) -> str | None:
    """The host a browser asks for, without its port; None: it is not said, or not once."""
    hosts = [value for name, value in headers if name.lower() == b"host"]
    if len(hosts) != 1:
        return None
    text = hosts[0].decode("latin-1").lower()
    name, colon, port = text.rpartition(":")
    if colon and port.isdecimal():
        text = name
    return text.removesuffix(".") or None


def refusal(scope: Scope, hosts: Collection[str] | None) -> tuple[int, str] | None:
    """Why something is not answered; `hosts`: the names that are (None: all)."""
    if scope["method"] not in {"GET", "HEAD"}:
        return 405, "This page only shows: GET and HEAD."
    headers = dict(scope["headers"])
    if headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers:
        return 413, "Nothing may be sent along."
    if len(scope["path"]) + len(scope.get("query_string", b"")) + _size(scope["headers"]) > _LARGEST:
        return 431, "Such a long request is none for this page."
    host = host_of(scope["headers"])
    if host is None or (hosts is not None and host not in hosts):
        return 421, "This page is not known by that name: hosts in [plugins.web] has those it is known by."
    return None


def _size(headers: Headers) -> int:
    return sum(len(name) + len(value) for name, value in headers)


class Guard:
    """Stands before `app`."""

    def __init__(self, app: App, hosts: Collection[str] | None) -> None:
        """`hosts`: names that are answered; None: every name."""
        self._app = app
        self._hosts = hosts
        self._limiter = trio.CapacityLimiter(_AT_A_TIME)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http":
            await _turn_away(scope, send)
            return
        sender = _Sender(send)
        found = refusal(scope, self._hosts)
        if found is None and self._limiter.statistics().tasks_waiting >= _WAITING:
            found = 503, "Too many ask at a time."
        if found is not None:
            await sender.say(*found)
            return
        async with self._limiter:
            await self._answer(scope, receive, sender)

    async def _answer(self, scope: Scope, receive: Receive, sender: _Sender) -> None:
        """The error boundary of one answer."""
        try:
            with trio.move_on_after(_PATIENCE) as patience:
                await self._app(scope, receive, sender)
            if patience.cancelled_caught and not sender.has_begun:
                await sender.say(503, "This takes too long.")
        except Exception:
            logger.exception("the page %r failed by a bug", scope["path"][:200])
            if not sender.has_begun:
                await sender.say(500, "An internal error; the daemon's log has more.")


class _Sender:
    """Gives every answer its headers."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            theirs = list(message.get("headers", ()))
            if not any(name == b"cache-control" for name, _ in theirs):
                theirs.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*theirs, *HEADERS]}
        await self._send(message)

    async def say(self, status: int, text: str) -> None:
        """A short answer in plain text; the connection ends with it."""
        body = f"{text}\n".encode()
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        if status == 405:
            headers.append((b"allow", b"GET, HEAD"))
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})


async def _turn_away(scope: Scope, send: Send) -> None:
    """Whoever wants anything but a page."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
