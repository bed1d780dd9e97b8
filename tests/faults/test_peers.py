"""Mail servers that never read, reset, stop half-way or trickle: others are served, and nothing is left."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemon.test_daemon import eventually
from tests.faults.figures import figures
from tests.faults.strangers import question as postfix_question
from tests.faults.witness import CONFIG, LONG, Witness
from tests.support.daemon import Daemon

PEERS = 600 if LONG else 60
MOST_MEMORY = 12 << 20
"""Octets by which anonymous memory may grow while all of them do their worst."""
TCP = """
[[listen]]
protocol = "postfix"
address = "tcp:127.0.0.1:{port}"
"""

Peer = Callable[[socket.socket, int], None]


def never_reads(sock: socket.socket, number: int) -> None:
    """Asks until the daemon takes no more of it."""
    sock.settimeout(0)
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.sendall(postfix_question(number, named=False) * 50)


def resets(sock: socket.socket, number: int) -> None:
    """Asks, and is gone without a word at any moment."""
    data = postfix_question(number, named=False) * 3
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.sendall(data[: random.Random(number).randrange(len(data))])
    sock.close()


def asks_by_half(sock: socket.socket, number: int) -> None:
    data = postfix_question(number, named=False)
    sock.sendall(data[: len(data) // 2])


def trickles(sock: socket.socket, number: int) -> None:
    for octet in postfix_question(number, named=False):
        sock.sendall(bytes([octet]))


def never_ends_a_line(sock: socket.socket, number: int) -> None:
    with contextlib.suppress(ConnectionError):
        for _ in range(40):
            sock.sendall(b"x" * 4096)


def goes_on_after_its_end(sock: socket.socket, number: int) -> None:
    sock.sendall(postfix_question(number, named=False))
    sock.shutdown(socket.SHUT_WR)


KINDS: list[Peer] = [
    *(never_reads, resets, asks_by_half, trickles, never_ends_a_line, goes_on_after_its_end),
]


@pytest.fixture
def port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture
def witness(short_directory: Path, port: int) -> Iterator[Witness]:
    with Daemon(short_directory, CONFIG + TCP.format(port=port), user="nobody") as daemon:
        yield Witness(daemon)


def test_others_are_served(witness: Witness, port: int):
    assert witness.daemon.process is not None
    pid, state = witness.daemon.process.pid, witness.daemon.directory / "state"
    witness.attempts(50)
    before = figures(pid, state)
    with contextlib.ExitStack() as peers:
        for number in range(PEERS):
            sock = peers.enter_context(socket.create_connection(("127.0.0.1", port)))
            KINDS[number % len(KINDS)](sock, 1_000_000 + number)
        assert "error" not in witness.attempts(100)
        assert figures(pid, state).anonymous - before.anonymous < MOST_MEMORY
    eventually(lambda: figures(pid, state).descriptors <= before.descriptors + 2, "their end")
    assert witness.odd_lines() == []
    witness.daemon.kill()
    witness.daemon.start()
    assert witness.lost() == []


def test_a_peer_that_is_kept_is_found(witness: Witness, port: int):
    """The negative control: this one is still there, and so is its descriptor."""
    assert witness.daemon.process is not None
    pid, state = witness.daemon.process.pid, witness.daemon.directory / "state"
    before = figures(pid, state)
    with contextlib.ExitStack() as peers:
        for number in range(5):
            asks_by_half(peers.enter_context(socket.create_connection(("127.0.0.1", port))), number)
        eventually(lambda: figures(pid, state).descriptors > before.descriptors + 2, "the peers")


def test_rude_clients_of_the_control_socket(witness: Witness):
    """Commands whose client has gone, never reads or says half of it."""
    path = witness.sockets / "control.sock"
    lines = [
        json.dumps({"multigrey": 1, "id": number, "ask": name}).encode() + b"\n"
        for number, name in enumerate(["status", "records.list", "verify", "watch", "report", "waiting"])
    ]
    witness.attempts(30)
    with contextlib.ExitStack() as clients:
        for number in range(PEERS):
            sock = clients.enter_context(socket.socket(socket.AF_UNIX))
            sock.settimeout(0)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                sock.connect(str(path))
                sock.sendall([b"".join(lines), lines[number % 6][:20], lines[number % 6] * 10][number % 3])
            if number % 2:
                sock.close()
        assert "error" not in witness.attempts(30)
    eventually(lambda: [line for line in witness.control("status") if "answer" in line], "an answer")
    assert witness.odd_lines() == []
