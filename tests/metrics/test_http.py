"""A small HTTP server among strangers."""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
from contextlib import asynccontextmanager
from http import HTTPStatus
from ipaddress import ip_network

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from multigrey.metrics import http
from multigrey.metrics.http import LONGEST_HEAD, HttpRequest, RequestError, Response, parse_head, serve

DEADLINE = 20
GET = b"GET /x HTTP/1.1\r\nHost: mx\r\n\r\n"


async def echo(request: HttpRequest) -> Response:
    if request.path == "/bug":
        raise RuntimeError("a bug")
    if request.path == "/slow":
        await trio.sleep_forever()
    return Response(HTTPStatus.OK, f"{request.method} {request.path} {request.fields.get('a', '')}".encode())


@asynccontextmanager
async def serving(allow_from=()):
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    with sock:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, sock, lambda: allow_from, echo)
            yield sock.getsockname()[1]
            nursery.cancel_scope.cancel()


async def fetched(port: int, data: bytes, *, half_close: bool = False) -> bytes:
    with trio.fail_after(DEADLINE):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all(data)
            if half_close:
                await stream.send_eof()
            answer = b""
            while piece := await stream.receive_some():
                answer += piece
    return answer


@pytest.mark.parametrize(
    ("data", "status", "body"),
    [
        (GET, 200, b"GET /x "),
        (b"GET /x?y=z HTTP/1.0\r\n\r\n", 200, b"GET /x "),
        (b"GET / HTTP/1.1\r\nA: 1\r\nb:2\r\na:  3 \r\n\r\n", 200, b"GET / 1, 3"),
        (b"HEAD /x HTTP/1.1\r\n\r\n", 200, b""),
        (b"GET /x HTTP/1.1\nA: 1\n\n", 200, b"GET /x 1"),  # RFC 9112 section 2.2
        (b"GET /x HTTP/1.1\r\nA: 1\n\r\n", 200, b"GET /x 1"),
        (b"GET /x HTTP/1.1\nA: 1\r\n\n", 200, b"GET /x 1"),
        (b"GET /x HTTP/1.1\rA: 1\r\r\n\n", 400, b"Bad Request\n"),
        (b"POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405, b"Method Not Allowed\n"),
        (b"GET /x\r\n\r\n", 400, b"Bad Request\n"),
        (b"GET http://mx/x HTTP/1.1\r\n\r\n", 400, b"Bad Request\n"),
        (b"GET /x HTTP/2.0\r\n\r\n", 400, b"Bad Request\n"),
        (b"GET /x HTTP/1.1\r\n folded\r\n\r\n", 400, b"Bad Request\n"),
        (b"GET /x HTTP/1.1\r\na : b\r\n\r\n", 400, b"Bad Request\n"),
        (b"GET /x HTTP/1.1\r\na: \x00\r\n\r\n", 400, b"Bad Request\n"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400, b"Bad Request\n"),
        (b"GET /x HTTP/1.1\r\na: " + b"b" * LONGEST_HEAD, 431, b"Request Header Fields Too Large\n"),
    ],
)
async def test_answers(data, status, body):
    async with serving() as port:
        head, _, said = (await fetched(port, data)).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert said == body
    length = 8 if data.startswith(b"HEAD") else len(body)
    assert f"\r\nContent-Length: {length}\r\n".encode() in head
    assert b"\r\nConnection: close" in head
    assert (b"\r\nAllow: GET, HEAD" in head) is (status == 405)


def reset(stream):
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


@pytest.mark.parametrize("leave", [lambda stream: stream.socket.close(), reset], ids=["close", "reset"])
@pytest.mark.parametrize("part", [b"", b"GET / HT", GET[:-2]], ids=range(3))
async def test_who_leaves_before_the_request_is_whole_takes_no_place(monkeypatch, leave, part):
    monkeypatch.setattr(http, "SECONDS", 3600)
    monkeypatch.setattr(http, "AT_A_TIME", 4)
    async with serving() as port:
        for _ in range(100):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.send_all(part)
            leave(stream)
        assert (await fetched(port, GET)).startswith(b"HTTP/1.1 200 ")


async def test_a_request_that_ends_early():
    async with serving() as port:
        assert (await fetched(port, GET[:-2], half_close=True)).startswith(b"HTTP/1.1 400 ")


async def test_a_bug_harms_one_connection(caplog):
    async with serving() as port:
        assert await fetched(port, GET.replace(b"/x", b"/bug")) == b""
        assert (await fetched(port, GET)).startswith(b"HTTP/1.1 200 ")
    assert "a bug" in caplog.text


async def test_whoever_is_not_allowed_is_disconnected(caplog):
    caplog.set_level(logging.WARNING)
    async with serving([ip_network("192.0.2.0/24")]) as port:
        with trio.fail_after(DEADLINE):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            async with stream:
                assert await stream.receive_some() == b""
    assert "127.0.0.1 is not in allow_from" in caplog.text


async def test_so_many_at_a_time(monkeypatch):
    monkeypatch.setattr(http, "AT_A_TIME", 2)
    async with serving() as port:
        slow = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(2)]
        for stream in slow:
            await stream.send_all(GET.replace(b"/x", b"/slow"))
        with trio.move_on_after(0.2) as waiting:
            await fetched(port, GET)
        assert waiting.cancelled_caught
        await slow[0].aclose()
        await slow[1].aclose()


async def test_the_slow_are_let_go(monkeypatch):
    monkeypatch.setattr(http, "SECONDS", 0.05)
    async with serving() as port:
        assert await fetched(port, b"GET /x HT") == b""
        assert await fetched(port, GET.replace(b"/x", b"/slow")) == b""


@given(st.binary(max_size=200))
def test_only_its_own_error_leaves_the_parser(data):
    path = "/"
    with contextlib.suppress(RequestError):
        path = parse_head(data).path
    assert path.startswith("/")


@given(st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=40))
def test_fields_are_read_as_sent(said):
    head = b"GET / HTTP/1.1\r\nAccept: " + said.encode("latin-1")
    assert parse_head(head).fields == {"accept": said.strip(" \t")}
