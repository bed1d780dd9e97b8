"""A trio server that only answers: the ceiling for anything built the way multigrey is.

One task per connection over a non-blocking socket and `trio.lowlevel.wait_readable`, the first read
at once after accept; no parsing beyond finding the end of a request, no store, no log.

    python -m benchmarks.echo unix:/path/policy.sock unix:/path/oneshot.sock
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Awaitable, Callable

import trio

POLICY_ANSWER = b"action=DUNNO\n\n"
ONE_SHOT_ANSWER = b'action=pass reason=known id=0000000 message=""\n'

_CHUNK = 16384
_ACCEPT_BURST = 64


async def policy(sock: socket.socket) -> None:
    """Postfix's way: one request after the other until the peer closes."""
    rest = b""
    while True:
        try:
            data = sock.recv(_CHUNK)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(sock)
            continue
        if not data:
            return
        rest += data
        complete = rest.count(b"\n\n")
        if complete:
            rest = rest[rest.rindex(b"\n\n") + 2 :]
            sock.send(POLICY_ANSWER * complete)
            await trio.lowlevel.wait_readable(sock)


async def one_shot(sock: socket.socket) -> None:
    """Exim's way: one request, ended by an empty line or end of file, one answer, close."""
    request = b""
    while not request.endswith(b"\n\n"):
        try:
            data = sock.recv(_CHUNK)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(sock)
            continue
        if not data:
            break
        request += data
    sock.send(ONE_SHOT_ANSWER)


async def serve(address: str, converse: Callable[[socket.socket], Awaitable[None]]) -> None:
    """Accept on a unix socket (`unix:PATH`) until cancelled."""

    async def connection(sock: socket.socket) -> None:
        with sock:
            try:
                await converse(sock)
            except ConnectionError:
                return

    with socket.socket(socket.AF_UNIX) as listener:
        listener.setblocking(False)
        listener.bind(address.removeprefix("unix:"))
        listener.listen(1024)
        async with trio.open_nursery() as nursery:
            while True:
                await trio.lowlevel.wait_readable(listener)
                for _ in range(_ACCEPT_BURST):
                    try:
                        sock, _address = listener.accept()
                    except BlockingIOError:
                        break
                    sock.setblocking(False)
                    nursery.start_soon(connection, sock)


async def main(policy_address: str, one_shot_address: str) -> None:
    """Serve both endpoints."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, policy_address, policy)
        nursery.start_soon(serve, one_shot_address, one_shot)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
