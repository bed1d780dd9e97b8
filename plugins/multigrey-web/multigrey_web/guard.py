"""Guards the pages: refuses unwanted requests, and adds security headers to every answer.

It allows only GET and HEAD without a body, short forms where users may act, only the configured host names
(against DNS rebinding), only the proxy if that has a secret, and a few requests at a time.  An error in a
page becomes an error answer; the server continues.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, MutableMapping
from typing import Any

import trio

from multigrey.api import host_of

__all__ = ["HEADERS", "Guard", "refusal"]

logger = logging.getLogger(__name__)

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
"""Most octets of a request's address and headers."""
_LARGEST_FORM = 4 * 1024
_FORM = b"application/x-www-form-urlencoded"
_AT_A_TIME = 4
_WAITING = 16
_PATIENCE = 20.0
"""Most seconds for one answer."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]


def refusal(
    scope: Scope, hosts: Collection[str] | None, forms: Collection[str] = ()
) -> tuple[int, str] | None:
    """Return the status and text of a refusal, or None; `hosts`: the allowed host names (None: all).

    `forms`: the paths to which a form may be sent.
    """
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    if scope["method"] == "POST" and scope["path"] in forms:
        if not length.isdigit() or int(length) > _LARGEST_FORM or b"transfer-encoding" in headers:
            return 413, "The form is too long."
        if headers.get(b"content-type", b"").partition(b";")[0].strip() != _FORM:
            return 415, "A form is expected."
    elif scope["method"] not in {"GET", "HEAD"}:
        return 405, "Only GET and HEAD are allowed."
    elif length != b"0" or b"transfer-encoding" in headers:
        return 413, "A request body is not allowed."
    if len(scope["path"]) + len(scope.get("query_string", b"")) + _size(scope["headers"]) > _LARGEST:
        return 431, "The request is too long."
    host = host_of([value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"host"])
    if host is None or (hosts is not None and host not in hosts):
        return 421, "This host name is not allowed: add it to hosts in [plugins.web]."
    return None


def _size(headers: Headers) -> int:
    return sum(len(name) + len(value) for name, value in headers)


def _texts(headers: Headers) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


class Guard:
    """ASGI middleware before `app`."""

    def __init__(
        self,
        app: App,
        hosts: Collection[str] | None,
        *,
        forms: Collection[str] = (),
        is_from_proxy: Callable[[Mapping[str, str]], bool] = lambda _: True,
    ) -> None:
        """`hosts`: the allowed host names; None: every name.  `forms`: paths to which forms may be sent.

        `is_from_proxy`: whether the headers (lower case) are those of a request that may be answered.
        """
        self._app = app
        self._forms = forms
        self._is_from_proxy = is_from_proxy
        self._hosts = hosts
        self._limiter = trio.CapacityLimiter(_AT_A_TIME)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http":
            await _turn_away(scope, send)
            return
        sender = _Sender(send)
        found = refusal(scope, self._hosts, self._forms)
        if found is None and not self._is_from_proxy(_texts(scope["headers"])):
            found = 403, "Only the proxy may ask: see proxy_secret in multigrey-web(7)."
        if found is None and self._limiter.statistics().tasks_waiting >= _WAITING:
            found = 503, "Too many requests at a time."
        if found is not None:
            await sender.say(*found)
            return
        async with self._limiter:
            await self._answer(scope, receive, sender)

    async def _answer(self, scope: Scope, receive: Receive, sender: _Sender) -> None:
        """Answer one request; an exception or a time-out becomes an error answer."""
        try:
            with trio.move_on_after(_PATIENCE) as patience:
                await self._app(scope, receive, sender)
            if patience.cancelled_caught and not sender.has_begun:
                await sender.say(503, "The answer takes too long.")
        except Exception:
            logger.exception("the page %r failed because of a bug", scope["path"][:200])
            if not sender.has_begun:
                await sender.say(500, "Internal error: see the daemon's log.")


class _Sender:
    """Adds the headers to every answer."""

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
        """Send a short answer in plain text, and close the connection after it."""
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
    """Refuse everything that is not an HTTP request."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
