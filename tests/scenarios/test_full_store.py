"""A real LMDB file that strangers fill: what a record takes, and what happens when no more fits."""

from __future__ import annotations

import random
from ipaddress import ip_address

import pytest
import trio

from multigrey.background.eviction import Eviction
from multigrey.codec import LARGEST_RECORD, RECORD_OCTETS
from multigrey.model import Action, Attempt, Origin, Reason
from multigrey.stores.lmdb.store import LmdbStore
from tests.support.engines import DELAY, harness
from tests.support.stores import options

SMALL = 4 << 20
LABEL = "d" * 60
LONG = f"{LABEL}.{LABEL}.{LABEL}.example"


def origin_of(attempt, network):
    return Origin(attempt.client_name, named=True) if attempt.client_name else Origin(network, named=False)


def usual(number, client):
    site = f"mail{number % 500}.example"
    name = site if number % 2 else None
    return Attempt("x", client, name, "h", f"first.last{number}@{site}", f"user{number % 50}@example.org")


def longest(number, client):
    name = f"{number}.{LONG}" if number % 2 else None
    return Attempt("x", client, name, "h", f"{number}{LABEL}@{LONG}", f"{number}{LABEL}@{LONG}")


async def strangers(house, numbers, make, seed=1):
    """Everybody asks once, five hundred at a time; returns the verdicts."""
    rng, verdicts = random.Random(seed), []

    async def ask(attempt):
        verdicts.append(await house.engine.judge(attempt, "pass"))

    for begin in range(0, len(numbers), 500):
        house.clock.advance(1)
        async with trio.open_nursery() as nursery:
            for number in numbers[begin : begin + 500]:
                nursery.start_soon(ask, make(number, ip_address(rng.randrange(1 << 32))))
    return verdicts


@pytest.mark.parametrize(("make", "most"), [(usual, RECORD_OCTETS), (longest, LARGEST_RECORD)])
async def test_what_a_record_takes_of_the_file(tmp_path, make, most):
    async with harness(LmdbStore(options(tmp_path)), origin_of=origin_of) as house:
        await strangers(house, range(5_000), make)
        health = await house.store.health()
        assert health["records"] >= 7_000
        assert most * 0.6 < health["used"] / health["records"] <= most


def flooder(number, client):
    del client
    name = f"mx.{LONG}"
    return Attempt(
        "x", ip_address("192.0.2.1"), name, "h", f"{number}{LABEL}@{LONG}", f"{number}@example.org"
    )


async def test_a_full_file_costs_records_but_never_the_test_itself(tmp_path):
    """One host with a name fills the file: everybody is still deferred once and passes with the retry."""
    store = LmdbStore(options(tmp_path, SMALL))
    async with harness(store, origin_of=origin_of) as house:
        eviction = Eviction(house.clock, store, 0, interval=0, breath=0)
        house.engine.shared._is_full = lambda: eviction.full
        honest = Attempt("x", ip_address("198.51.100.1"), None, "h", "a@example.com", "b@example.org")
        assert (await house.engine.judge(honest, "pass")).reason is Reason.NEW
        verdicts = await strangers(house, range(8_000), flooder)
        assert {verdict.action for verdict in verdicts} == {Action.DEFER}
        assert {verdict.reason for verdict in verdicts} == {Reason.NEW, Reason.OVER_LIMIT}
        assert not store.has_room()
        assert (await store.health())["used"] < SMALL
        # Strangers of another network, while there is no room: marks, and whoever comes back passes by them.
        others = await strangers(house, range(100), usual, seed=2)
        assert {verdict.reason for verdict in others} == {Reason.OVER_LIMIT}
        house.clock.advance(DELAY)
        again = await strangers(house, range(100), usual, seed=2)
        assert {verdict.reason for verdict in again} == {Reason.RETRY}
        assert {verdict.reason for verdict in await strangers(house, range(100), usual, seed=2)} == {
            Reason.RETRY
        }
        # What exists is rewritten in the room that was kept for it.
        assert (await house.engine.judge(honest, "pass")).reason is Reason.RETRY
        assert (await house.engine.judge(honest, "pass")).reason is Reason.KNOWN
        before = (await store.health())["records"]
        assert await eviction.bound() > 0
        assert eviction.fits is not None
        assert (await store.health())["records"] <= eviction.fits < before
        assert (await house.engine.judge(honest, "pass")).reason is Reason.KNOWN


async def test_without_the_reserve_the_file_does_fill_up(tmp_path):
    """What the test above would see if new records were made as long as anything fits."""
    store = LmdbStore(options(tmp_path, SMALL))
    async with harness(store, origin_of=origin_of) as house:
        for begin in range(0, 10_000, 500):
            verdicts = await strangers(house, range(begin, begin + 500), flooder)
            if Reason.ERROR in {verdict.reason for verdict in verdicts}:
                return
    pytest.fail("10,000 attempts did not fill it")


async def test_eviction_keeps_room_while_the_flood_goes_on(tmp_path):
    store = LmdbStore(options(tmp_path, SMALL))
    async with harness(store, origin_of=origin_of) as house:
        eviction = Eviction(house.clock, store, 0, interval=0, breath=0)
        house.engine.shared._is_full = lambda: eviction.full
        kept, used = [], []
        for begin in range(0, 14_000, 200):
            verdicts = await strangers(house, range(begin, begin + 200), flooder)
            assert {verdict.action for verdict in verdicts} == {Action.DEFER}
            await eviction.bound()
            health = await store.health()
            kept.append(health["records"])
            used.append(health["used"])
        assert max(used) < (SMALL + options(tmp_path, SMALL).capacity) / 2, (
            "what exists can still be rewritten"
        )
        assert eviction.forgotten > 8_000
        assert min(kept[40:]) > max(kept) * 0.75, "the growth of the file alone decides how many go"
        assert not eviction.full
