"""Connections over real sockets: their bounds, and that none of them costs another."""

from __future__ import annotations

import socket
import struct
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing
from multigrey_web import serving
from multigrey_web.guard import Guard
from multigrey_web.serving import Server, config_of, open_socket
from multigrey_web.settings import WebSettings

from multigrey.api import LOOPBACK
from tests.mta.harness import free_port

BODY = b"x" * 2_000_000
UPGRADE = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: "
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def page(scope, receive, send):
    body = BODY if scope["path"] == "/large" else b"hello"
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def site(most=8, address=None):
    """Gives a function that connects."""
    address = f"tcp:127.0.0.1:{free_port()}" if address is None else address
    sock = open_socket(WebSettings.model_validate({"address": address}))
    place = sock.getsockname()
    server = Server(Guard(page, LOOPBACK), config_of(), most)

    streams = []

    async def connect():
        is_tcp = isinstance(place, tuple)
        streams.append(await trio.open_tcp_stream(*place) if is_tcp else await trio.open_unix_socket(place))
        return streams[-1]

    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(server.run, sock))
            yield connect
            nursery.cancel_scope.cancel()
    finally:
        for stream in streams:
            stream.socket.close()


async def said(stream, data=GET, *, until=b"hello"):
    """What comes in answer, up to `until` or the end."""
    await stream.send_all(data)
    found = b""
    with trio.fail_after(10):
        while until not in found:
            piece = await stream.receive_some()
            if not piece:
                break
            found += piece
    return found


async def test_a_page_over_a_connection_that_stays():
    async with site() as connect:
        stream = await connect()
        for _ in range(2):
            found = await said(stream)
            assert found.startswith(b"HTTP/1.1 200")
            assert b"content-security-policy: default-src 'none'" in found
            assert b"hypercorn" not in found.lower()


async def test_a_unix_socket_has_its_mode(short_directory):
    path = short_directory / "page.sock"
    async with site(address=f"unix:{path}") as connect:
        assert path.stat().st_mode & 0o777 == 0o660
        assert b"hello" in await said(await connect())
    async with site(address=f"unix:{path}") as connect:  # in place of what the last one left
        assert b"hello" in await said(await connect())


def test_nothing_but_a_socket_is_replaced(short_directory):
    path = short_directory / "page.sock"
    path.write_text("precious")
    with pytest.raises(OSError, match="Address already in use"):
        open_socket(WebSettings.model_validate({"address": f"unix:{path}"}))
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", b"405"),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"421"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", b"413"),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", b"431"),
        (b"\x16\x03\x01\x02\x00", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"EHLO mx.example.org\r\n\r\n", b"400"),
    ],
    ids=range(8),
)
async def test_what_is_refused(data, status):
    async with site() as connect:
        found = await said(await connect(), data, until=b"\r\n\r\n")
        assert found.split(b" ")[1] == status
        assert b"hello" in await said(await connect())


@pytest.mark.parametrize(
    "data",
    [
        UPGRADE
        + b"websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
        UPGRADE + b"h2c\r\nHTTP2-Settings: AAAA\r\n\r\n",
        b"\0" * 70_000,
        b"",
    ],
    ids=["websocket", "http/2", "http/2 nonsense", "h2c", "zeros", "nothing"],
)
async def test_whatever_somebody_sends_others_are_served(data):
    async with site() as connect:
        stream = await connect()
        await stream.send_all(data)
        with trio.move_on_after(0.05):
            await stream.receive_some()
        await stream.aclose()
        assert b"hello" in await said(await connect())


async def test_no_more_connections_than_allowed(monkeypatch):
    monkeypatch.setattr(serving, "_GONE", 0.05)
    async with site(most=2) as connect:
        first, second, third = [await connect() for _ in range(3)]
        assert b"hello" in await said(first)
        assert b"hello" in await said(second)
        await third.send_all(GET)
        with trio.move_on_after(0.05) as waiting:
            await third.receive_some()
        assert waiting.cancelled_caught
        await first.aclose()
        assert b"hello" in await said(third, b"")


def reset(stream):
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


@pytest.mark.parametrize("leave", [lambda stream: stream.socket.close(), reset], ids=["close", "reset"])
@pytest.mark.parametrize("part", [b"", b"GET / HT", GET[:-2], UPGRADE + b"h2c\r\n"], ids=range(4))
async def test_a_browser_that_leaves_before_its_request_is_whole_takes_no_place(monkeypatch, leave, part):
    monkeypatch.setattr(serving, "_GONE", 3600)
    async with site(most=4) as connect:
        for _ in range(100):
            stream = await connect()
            await stream.send_all(part)
            leave(stream)
        assert b"hello" in await said(await connect())


async def test_a_browser_that_resets_during_an_answer_takes_no_place(monkeypatch):
    monkeypatch.setattr(serving, "_READING", 3600)
    async with site(most=1) as connect:
        for _ in range(20):
            stream = await connect()
            await stream.send_all(GET.replace(b"/ ", b"/large "))
            assert await stream.receive_some(10)
            reset(stream)
        assert b"hello" in await said(await connect())


@pytest.mark.parametrize("together", [True, False])
async def test_who_only_stops_sending_is_answered_and_then_takes_no_place(monkeypatch, together):
    monkeypatch.setattr(serving, "_GONE", 3600)
    async with site(most=1) as connect:
        for _ in range(20):
            stream = await connect()
            await stream.send_all(GET)
            if not together:
                await trio.testing.wait_all_tasks_blocked()
            await stream.send_eof()
            with trio.fail_after(10):
                assert b"hello" in b"".join([piece async for piece in stream])


async def test_a_bug_in_a_connection_costs_only_that_one(monkeypatch, caplog):
    async with site() as connect:
        with monkeypatch.context() as patch:

            async def fails(self):
                raise RuntimeError("a bug")

            patch.setattr(serving.TCPServer, "run", fails)
            stream = await connect()
            assert await stream.receive_some() == b""
        assert "a connection failed because of a bug" in caplog.text
        assert b"hello" in await said(await connect())


async def test_whoever_does_not_read_is_dropped(monkeypatch):
    monkeypatch.setattr(serving, "_READING", 0.05)
    async with site(most=1) as connect:
        stream = await connect()
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await stream.send_all(GET.replace(b"/ ", b"/large "))
        assert b"hello" in await said(await connect())  # in the only place there is


async def test_whoever_does_not_read_keeps_nobody_from_ending():
    async with site() as connect:
        stream = await connect()
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await stream.send_all(GET.replace(b"/ ", b"/large "))
        assert await stream.receive_some(10)
        began = trio.current_time()
    assert trio.current_time() - began < 5


async def test_a_connection_lasts_only_so_long(monkeypatch):
    monkeypatch.setattr(serving, "_LASTS", 0.05)
    async with site() as connect:
        stream = await connect()
        with trio.fail_after(10):
            assert await stream.receive_some() == b""


async def test_one_that_cannot_be_accepted_is_waited_for(monkeypatch, caplog, autojump_clock):
    server = Server(page, config_of(), 1)

    class Broken:
        async def accept(self):
            raise OSError(24, "Too many open files")

    with pytest.raises(OSError, match="Too many open files"):
        await server._accept(Broken(), None, None)
    assert caplog.text.count("cannot accept: Too many open files") == 4
