"""Turns of the event loop: however long requests take, the rest of the daemon has its turn soon.

Seconds are those of a clock that only the work under test advances, so the figures are exact.
"""

from __future__ import annotations

import socket

import pytest
import trio

from multigrey.listeners import round as round_module
from multigrey.listeners.connection import ConnectionLimits
from tests.listeners.test_server import DEFERRED, DUNNO, QUESTION, Bench, bench, hanging, read_answers

PEERS = 40
COST = 0.001
LONGEST = 0.005 + COST
"""Requests are begun within five milliseconds; the one that ends them may take its time."""


class Work(trio.abc.Instrument):
    """The seconds that work took, and the longest time for which the loop did not look for anything else."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.longest = 0.0
        self.turns = 0
        self._since = 0.0

    def __call__(self, _attempt: object = None) -> None:
        """A piece of work; also a whitelist source that matches nothing."""
        self.seconds += COST

    def now(self) -> float:
        return self.seconds

    def before_io_wait(self, timeout: float) -> None:
        spent = self.seconds - self._since
        self.longest = max(self.longest, spent)
        self.turns += spent > 0
        self._since = self.seconds


def peers(b: Bench, number: int) -> list[socket.socket]:
    """Connections of peers that speak only when the test lets them."""
    return [socket.create_connection(("127.0.0.1", b._ports["postfix"])) for _ in range(number)]


async def answers(sock: socket.socket, number: int = 1) -> bytes:
    async with trio.SocketStream(trio.socket.from_stdlib_socket(sock)) as stream:
        return await read_answers(stream, number)


@pytest.mark.parametrize("bounded", [True, False])
async def test_a_burst_gives_way_between_connections(monkeypatch: pytest.MonkeyPatch, bounded: bool):
    """`bounded` False shows that the test notices a burst that does not give way."""
    if not bounded:
        monkeypatch.setattr(round_module, "_BEGIN_WITHIN", 1e9)
    work = Work()
    async with bench(now=work.now, sources=(work,)) as b:
        socks = peers(b, PEERS)
        while b.server.connections < PEERS:
            await trio.lowlevel.checkpoint()
        for number, sock in enumerate(socks):
            sock.sendall(QUESTION % number)
        trio.lowlevel.add_instrument(work)
        assert [await answers(sock) for sock in socks] == [DEFERRED] * PEERS
        assert len(b.events) == PEERS
    assert work.seconds == pytest.approx(PEERS * COST)
    assert (work.longest <= LONGEST + 1e-9) is bounded
    assert (work.turns >= PEERS * COST / LONGEST) is bounded


async def test_new_connections_give_way_too():
    work = Work()
    async with bench(now=work.now, sources=(work,)) as b:
        socks = peers(b, PEERS)  # in the backlog: the loop has not seen them
        for number, sock in enumerate(socks):
            sock.sendall(QUESTION % number)
        trio.lowlevel.add_instrument(work)
        assert [await answers(sock) for sock in socks] == [DEFERRED] * PEERS
    assert work.longest <= LONGEST + 1e-9


async def test_requests_that_had_no_time_are_answered_in_order_and_once():
    work = Work()
    async with bench(now=work.now, sources=(work,)) as b:
        socks = peers(b, 8)
        for number, sock in enumerate(socks):
            sock.sendall(QUESTION % number + QUESTION % number + QUESTION % (number + 100))
        assert [await answers(sock, 3) for sock in socks] == [DEFERRED * 3] * 8
        assert len(b.events) == 24
        assert work.seconds == pytest.approx(24 * COST)  # none was begun twice


async def test_a_peer_that_leaves_while_it_has_no_time_harms_nobody():
    work = Work()
    async with bench(now=work.now, sources=(work,)) as b:
        staying, *leaving = peers(b, 20)
        for sock in leaving:
            sock.sendall(QUESTION % 1)
        staying.sendall(QUESTION % 2)
        while not b.events:
            await trio.lowlevel.checkpoint()
        for sock in leaving:
            sock.close()
        assert await answers(staying) == DEFERRED
        while b.server.connections:
            await trio.lowlevel.checkpoint()
        assert b.server.internal_errors == 0


async def test_the_daemon_drains_while_connections_have_no_time():
    work = Work()
    async with bench(now=work.now, sources=(work,)) as b:
        socks = peers(b, 20)
        for sock in socks:
            sock.sendall(QUESTION % 1 * 50)
        while not b.events:
            await trio.lowlevel.checkpoint()
        await b.server.drain(5)
        assert b.server.connections == 0
        assert b.server.internal_errors == 0
        for sock in socks:
            sock.close()


@pytest.mark.parametrize("bounded", [True, False])
async def test_the_sweep_gives_way(autojump_clock, monkeypatch: pytest.MonkeyPatch, bounded: bool):
    if not bounded:
        monkeypatch.setattr(round_module, "_BEGIN_WITHIN", 1e9)
    work = Work()
    limits = ConnectionLimits(100, 3600, 3)
    async with bench(now=work.now, limits=limits) as b:
        b.engine.store.submit = lambda *_: hanging(b.engine.store, durable=True)
        overdue = b.engine.overdue

        def slowly(*arguments):
            work()
            return overdue(*arguments)

        b.engine.overdue = slowly
        socks = peers(b, PEERS)
        for number, sock in enumerate(socks):
            sock.sendall(QUESTION % number)
        trio.lowlevel.add_instrument(work)
        assert [await answers(sock) for sock in socks] == [DUNNO] * PEERS
    assert (work.longest <= LONGEST + COST + 1e-9) is bounded


@pytest.fixture
def autojump_clock() -> trio.testing.MockClock:
    """Time jumps when nothing has happened for a while: real sockets need a moment."""
    return trio.testing.MockClock(autojump_threshold=0.002)
