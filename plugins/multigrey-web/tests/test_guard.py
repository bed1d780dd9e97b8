"""Who is answered: ASGI conversations."""

from __future__ import annotations

import pytest
import trio
from multigrey_web.guard import HEADERS, Guard

from multigrey.api import LOOPBACK


class Conversation:
    """One request, and what was sent in answer to it."""

    def __init__(self, method="GET", path="/", headers=(("host", "localhost"),), kind="http"):
        pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        self.scope = {"type": kind, "method": method, "path": path, "headers": pairs}
        self.sent = []

    async def receive(self):
        await trio.sleep_forever()

    async def send(self, message):
        self.sent.append(message)

    async def with_(self, app, hosts=LOOPBACK):
        await Guard(app, hosts)(self.scope, self.receive, self.send)
        return self

    @property
    def status(self):
        return self.sent[0]["status"]

    @property
    def headers(self):
        return dict(self.sent[0]["headers"])


async def page(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def broken(scope, receive, send):
    raise RuntimeError("a bug")


async def broken_late(scope, receive, send):
    await page(scope, receive, send)
    raise RuntimeError("a bug")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:10030", "[::1]:10030"])
async def test_who_is_answered(method, host):
    told = await Conversation(method, headers=[("host", host)]).with_(page)
    assert told.status == 200


HOST = ("host", "localhost")


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", [HOST], 405),
        ("PUT", [HOST], 405),
        ("OPTIONS", [HOST], 405),
        ("TRACE", [HOST], 405),
        ("GET", [HOST, ("content-length", "5")], 413),
        ("GET", [HOST, ("transfer-encoding", "chunked")], 413),
        ("GET", [("host", "rebound.example")], 421),
        ("GET", [("host", "localhost.evil.example")], 421),
        ("GET", [("host", "localhost@evil.example")], 421),
        ("GET", [("host", "127.0.0.1.nip.example:10030")], 421),
        ("GET", [HOST, HOST], 421),
        ("GET", [], 421),
    ],
)
async def test_who_is_not(method, headers, status):
    async def never(*_):
        raise AssertionError("this got through")

    told = await Conversation(method, headers=headers).with_(never)
    assert told.status == status
    assert told.headers[b"connection"] == b"close"
    assert set(HEADERS) <= set(told.sent[0]["headers"])
    assert (b"allow" in told.headers) is (status == 405)


async def test_a_page_behind_a_proxy_may_have_every_name():
    assert (await Conversation(headers=[("host", "x.example")]).with_(page, None)).status == 200
    assert (await Conversation(headers=[]).with_(page, None)).status == 421


async def test_every_answer_has_its_headers():
    told = await Conversation().with_(page)
    policy = told.headers[b"content-security-policy"].decode()
    assert policy.split("; ") == [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self'",
    ]
    assert told.headers[b"x-content-type-options"] == b"nosniff"
    assert told.headers[b"referrer-policy"] == b"no-referrer"
    assert told.headers[b"cross-origin-opener-policy"] == b"same-origin"
    assert told.headers[b"cache-control"] == b"no-store"
    assert b"set-cookie" not in told.headers


async def test_a_bug_is_an_answer_and_ends_nothing(caplog):
    told = await Conversation(path="/x").with_(broken)
    assert told.status == 500
    assert "the page '/x' failed because of a bug" in caplog.text
    caplog.clear()
    assert [each["type"] for each in (await Conversation().with_(broken_late)).sent] == [
        "http.response.start", "http.response.body",
    ]  # fmt: skip
    assert "failed because of a bug" in caplog.text


async def test_what_takes_too_long_is_given_up(autojump_clock):
    async def slow(scope, receive, send):
        await trio.sleep_forever()

    assert (await Conversation().with_(slow)).status == 503


async def test_a_few_at_a_time_and_no_endless_queue(autojump_clock):
    most = active = 0

    async def slow(scope, receive, send):
        nonlocal most, active
        active += 1
        most = max(most, active)
        await trio.sleep(1)
        active -= 1
        await page(scope, receive, send)

    guard, told = Guard(slow, LOOPBACK), [Conversation() for _ in range(30)]
    async with trio.open_nursery() as nursery:
        for each in told:
            nursery.start_soon(guard, each.scope, each.receive, each.send)
    assert most == 4
    assert sorted(each.status for each in told) == [200] * 20 + [503] * 10


async def test_websockets_are_closed():
    told = await Conversation(kind="websocket").with_(page)
    assert told.sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]


async def test_a_lifespan_is_left_alone():
    assert (await Conversation(kind="lifespan").with_(page)).sent == []
