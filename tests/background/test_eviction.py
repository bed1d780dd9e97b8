"""Forgetting early: what goes when the store holds too much, what never does, and what it costs."""

from __future__ import annotations

import logging
import random
from dataclasses import replace
from hashlib import blake2b

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from multigrey.background import eviction
from multigrey.background.eviction import PATIENCE, Candidate, Eviction, make_plan, pending_of
from multigrey.codec import decode_record, encode_record
from multigrey.errors import StoreError
from multigrey.model import Change, Entry, Record, Table
from tests.support.clocks import START, FakeClock
from tests.support.stores import FAR, MAKERS, everything, options, running


@pytest.fixture(params=sorted(MAKERS))
async def store(request, tmp_path):
    async with running(MAKERS[request.param](options(tmp_path / "state"))) as opened:
        yield opened


@pytest.fixture
async def memory(tmp_path):
    async with running(MAKERS["memory"](options(tmp_path))) as opened:
        yield opened


def record(client, number=0, **values):
    return Record(
        **{
            "first_seen": START - 60,
            "last_seen": START - 60,
            "delay": 120,
            "client": client,
            "sender": f"joe{number}@example.org",
            "recipient": "ann@example.net",
            **values,
        }
    )


def passed(client, number=0, **values):
    return record(client, number, passed_at=START - 10, passes=1, **values)


def digest_of(value, twin=0):
    return blake2b(value + bytes([twin]), digest_size=16).digest()


async def fill(store, records, twins=1):
    values = map(encode_record, records)
    items = {
        (Table.RECORD, digest_of(value, twin)): Entry(value, FAR) for value in values for twin in range(twins)
    }
    assert await store.load(items, lambda _, new: new) == len(items)


async def clients(store):
    return [decode_record(value).client for value in (await everything(store, limit=1000)).values()]


def worker(store, most, clock=None):
    return Eviction(clock or FakeClock(), store, most, interval=0, breath=0)


# --- the plan ---


def row(client, first_seen=START, **values):
    value = encode_record(record(client, first_seen=first_seen, **values))
    found = pending_of(digest_of(value), value, START)
    assert found is not None
    return found


def removed(sample, remove, **keywords):
    plan = make_plan(sample, remove, **keywords)
    return [pending for pending in sample if plan.takes(pending)]


@pytest.mark.parametrize(
    ("sizes", "remove", "left"),
    [
        ({"192.0.2.1": 9, "198.51.100.1": 3}, 4, [5, 3]),
        ({"192.0.2.1": 9, "198.51.100.1": 3}, 8, [2, 2]),
        ({"192.0.2.1": 9, "198.51.100.1": 3}, 9, [2, 1]),
        ({"192.0.2.1": 9, "198.51.100.1": 3}, 12, [0, 0]),
        ({"192.0.2.1": 9, "198.51.100.1": 3}, 0, [9, 3]),
        # within one /16: the wide network gives, then the narrow one that holds most
        ({"192.0.2.1": 6, "192.0.3.1": 2, "198.51.100.1": 7}, 2, [5, 2, 6]),
        ({"192.0.2.1": 6, "192.0.3.1": 2, "198.51.100.1": 4}, 4, [2, 2, 4]),
        # a /16 spread over its /24s against one /24 that holds more than any of them
        ({**{f"192.0.{n}.1": 3 for n in range(8)}, "198.51.100.1": 6}, 16, [1] * 8 + [6]),
        # a /32 spread over its /64s
        ({**{f"2001:db8:{n:x}::1": 1 for n in range(12)}, "2001:db9::1": 4}, 8, [0] * 8 + [1] * 4 + [4]),
        # what cannot be read counts for what it says
        ({"hidden1": 5, "hidden2": 2}, 3, [2, 2]),
    ],
)
def test_the_network_that_holds_most_gives_first(sizes, remove, left):
    sample = [row(client, sender=f"{n}@example.org") for client, size in sizes.items() for n in range(size)]
    gone = removed(sample, remove)
    assert len(gone) == remove
    paths = [row(client).path for client in sizes]
    kept = [sum(pending.path == path for pending in sample if pending not in gone) for path in paths]
    assert kept[: len(left)] == left or sorted(kept) == sorted(left)


def test_the_order_within_a_network():
    waiting = [
        row("192.0.2.1", START - PATIENCE - 1),
        row("192.0.2.1", START - PATIENCE - 500),
        row("192.0.2.1", START + 10),
        row("192.0.2.1", START),
        row("192.0.2.1", START - PATIENCE),
        row("192.0.2.1", START + 10, attempts=2, early=1),
        row("192.0.2.1", START - PATIENCE - 1, attempts=2, early=1),
    ]
    shuffled = random.Random(1).sample(waiting, len(waiting))
    for remove in range(len(waiting) + 1):
        assert sorted(removed(shuffled, remove), key=waiting.index) == waiting[:remove]


@pytest.mark.parametrize(
    "value",
    [
        encode_record(passed("192.0.2.1")),
        encode_record(record("192.0.2.1", passed_at=START)),
        b"",
        b"\xc1",
        b"\x91\xcd\x03\xe8",  # of a later version
    ],
)
def test_what_has_passed_or_cannot_be_read_is_not_pending(value):
    assert pending_of(bytes(16), value, START) is None


def test_the_same_record_under_two_keys_has_one_rank():
    home, away = encode_record(record("192.0.2.1")), encode_record(record("192.0.2.1", home=b"h" * 16))
    at_home = pending_of(b"h" * 16, home, START)
    assert pending_of(b"a" * 16, away, START) == at_home != pending_of(b"b" * 16, home, START)


def test_where_a_record_counts():
    assert row("192.0.2.1").path == ((4, 16, 0xC000), (4, 24, 0xC00002))
    assert row("keyed-digest", origin="keyed-origin").path == ("keyed-origin",)
    assert row("", origin="").path == ("",)


def test_a_sample_speaks_for_the_networks_that_are_not_in_it():
    """One /32 with millions of /64s: hardly any of those that are to go is in the sample."""
    sample = [row(f"2001:db8:{n:x}:{n:x}::1", START + n) for n in range(100)]
    sample += [row(f"198.51.{n}.1", START + n) for n in range(20)]
    plan = make_plan(sample, 60, resolved=8)
    assert sum(plan.takes(pending) for pending in sample) == 60
    assert plan.takes(row("2001:db8:ffff:1::1", START + 99))
    assert not plan.takes(row("2001:db8:ffff:1::1", START + 1))
    assert not plan.takes(row("198.51.200.1", START + 99))
    assert not plan.takes(row("203.0.113.1", START + 99))


def test_many_small_networks_give_together_when_nobody_is_large():
    sample = [row(f"10.{n}.0.1", START + n) for n in range(100)]
    plan = make_plan(sample, 25, resolved=8)
    assert sum(plan.takes(pending) for pending in sample) == 25
    assert plan.takes(row("203.0.113.1", START + 99))
    assert not plan.takes(row("203.0.113.1", START + 1))


addresses = st.one_of(
    st.integers(0, 7).map(lambda n: f"192.0.{n}.1"),
    st.integers(0, 7).map(lambda n: f"198.{n}.0.1"),
    st.integers(0, 7).map(lambda n: f"2001:db8:0:{n << 6:x}::1"),
    st.sampled_from(["", "hidden"]),
)


@given(st.lists(st.tuples(addresses, st.integers(0, 3)), min_size=1, max_size=80), st.data())
def test_any_plan_removes_what_was_asked_and_levels_the_networks(told, data):
    sample = [
        row(client, START - age, sender=f"{number}@example.org") for number, (client, age) in enumerate(told)
    ]
    remove = data.draw(st.integers(0, len(sample)))
    gone = removed(sample, remove)
    assert len(gone) == remove
    before, after = _by_network(sample), _by_network([pending for pending in sample if pending not in gone])
    for network, size in before.items():
        left = after.get(network, 0)
        if left < size:  # who gave holds no less than one below the others
            assert left >= max(after.values(), default=0) - 1


def _by_network(rows: list[Candidate]):
    counts: dict = {}
    for pending in rows:
        counts[pending.path[0]] = counts.get(pending.path[0], 0) + 1
    return counts


# --- the worker ---


async def test_below_max_records_nothing_happens(store):
    await fill(store, [record("192.0.2.1", n) for n in range(100)])
    for most in (0, 100, 1000):
        assert await worker(store, most).bound() == 0
    assert len(await clients(store)) == 100


async def test_above_it_the_heaviest_gives_down_to_a_margin(store):
    await fill(store, [record("192.0.2.1", n) for n in range(80)])
    await fill(store, [record("198.51.100.1", n) for n in range(40)])
    eviction = worker(store, 100)
    assert await eviction.bound() == 25
    found = await clients(store)
    assert (found.count("192.0.2.1"), found.count("198.51.100.1")) == (55, 40)
    assert eviction.forgotten == 25
    assert not eviction.full
    assert await eviction.bound() == 0


async def test_an_attack_from_one_network_costs_nobody_else_his_record(store):
    """20,000 over the /24s of one /16, among those who wait and those who have passed."""
    rng = random.Random(7)
    attack = [
        record(f"203.0.{n % 256}.{n % 250}", n, attempts=1 + (n % 50 == 0), first_seen=START - n % 200)
        for n in range(20_000)
    ]
    waiting = [
        record(f"{rng.randrange(1, 200)}.{rng.randrange(256)}.{n % 256}.1", n, first_seen=START - n * 20)
        for n in range(990)
    ] + [record(f"203.0.{n}.251", 90_000 + n, first_seen=START - 600) for n in range(10)]
    known = [passed(f"203.0.{n % 256}.{n % 250}", 80_000 + n) for n in range(1000)]
    await fill(store, attack + waiting + known)
    eviction = worker(store, 5_000)
    while await eviction.bound():
        pass
    left = {
        (found.client, found.sender)
        for found in map(decode_record, (await everything(store, limit=1000)).values())
    }
    assert len(left) <= 5_000
    assert not eviction.full
    assert all((one.client, one.sender) in left for one in known)
    assert sum((one.client, one.sender) in left for one in waiting) >= 990


async def test_samples_and_several_walks_come_to_the_same(store, monkeypatch):
    monkeypatch.setattr(eviction, "_SAMPLE", 500)
    await fill(store, [record(f"203.0.{n % 256}.1", n, first_seen=START - n % 200) for n in range(6000)])
    waiting = [record(f"{n % 200 + 1}.{n % 250}.0.1", n, first_seen=START - n) for n in range(300)]
    known = [passed("203.0.113.1", 10_000 + n) for n in range(300)]
    await fill(store, waiting + known)
    work = worker(store, 2000)
    rounds = 0
    while await work.bound():
        rounds += 1
        await fill(store, [record(f"203.0.{n % 256}.2", 20_000 * rounds + n) for n in range(300)])
        if rounds == 8:
            break
    while await work.bound():
        pass
    found = [decode_record(value) for value in (await everything(store, limit=1000)).values()]
    assert len(found) <= 2000
    assert sum(one.passed_at > 0 for one in found) == 300
    assert sum(not one.client.startswith("203.0.") for one in found) >= 297


async def test_a_record_under_two_keys_goes_or_stays_whole(store):
    await fill(store, [record("192.0.2.1", n, first_seen=START - n) for n in range(100)], twins=2)
    await worker(store, 150).bound()
    found = [decode_record(value).sender for value in (await everything(store)).values()]
    assert sum(found.count(sender) == 1 for sender in found) <= 1


async def test_what_has_passed_is_never_forgotten(store):
    await fill(store, [passed("192.0.2.1", n) for n in range(150)])
    work = worker(store, 100)
    assert await work.bound() == 0
    assert work.full
    assert len(await clients(store)) == 150


async def test_the_margin_stays_for_those_who_wait(store):
    """Else nobody new would ever pass."""
    await fill(store, [passed("192.0.2.1", n) for n in range(150)])
    await fill(store, [record("198.51.100.1", n) for n in range(30)])
    work = worker(store, 100)
    assert await work.bound() == 25
    assert work.full
    assert (await clients(store)).count("198.51.100.1") == 5
    assert await work.bound() == 0


async def test_full_ends_when_there_is_room(memory, caplog):
    caplog.set_level(logging.INFO)
    known = [passed("192.0.2.1", n) for n in range(120)]
    await fill(memory, known)
    work = worker(memory, 100)
    await work.bound()
    await work.bound()
    assert work.full
    for keep, full in ((95, True), (91, True), (90, False)):
        keys = [(Table.RECORD, digest_of(encode_record(one))) for one in known[keep:]]
        puts = dict.fromkeys(keys)
        await memory.apply(keys, lambda _, puts=puts: Change(None, puts, durable=True))
        await work.bound()
        assert work.full is full
    assert [entry.levelname for entry in caplog.records] == ["WARNING", "INFO"]


async def test_room_can_be_made_by_a_reload(memory):
    await fill(memory, [passed("192.0.2.1", n) for n in range(120)])
    work = worker(memory, 100)
    await work.bound()
    assert work.full
    work.max_records = 0
    assert await work.bound() == 0
    assert not work.full


async def test_one_who_passes_meanwhile_stays(memory):
    """Between the look and the forgetting a record may pass, or go."""
    await fill(memory, [record("192.0.2.1", n) for n in range(100)])
    apply = memory.apply

    async def apply_late(keys, decide):
        for index, key in enumerate(keys):
            if index % 2:
                (value,) = await memory.read([key])
                entry = Entry(encode_record(replace(decode_record(value), passed_at=START)), FAR)
                await apply([key], lambda _, key=key, entry=entry: Change(None, {key: entry}, durable=True))
        await apply(keys[:1], lambda _: Change(None, {keys[0]: None}, durable=True))
        return await apply(keys, decide)

    memory.apply = apply_late
    gone = await worker(memory, 90).bound()
    found = [decode_record(value) for value in (await everything(memory)).values()]
    assert sum(one.passed_at > 0 for one in found) > 0
    assert gone + len(found) < 100  # somebody else took the first of each piece


async def test_what_cannot_be_read_stays(store):
    await fill(store, [record("192.0.2.1", n) for n in range(100)])
    key = (Table.RECORD, b"\xff" * 16)
    await store.apply([key], lambda _: Change(None, {key: Entry(b"\x91\xcd\x03\xe8", FAR)}, durable=True))
    await worker(store, 50).bound()
    assert await store.read([key]) == [b"\x91\xcd\x03\xe8"]


async def test_a_wrong_clock_only_changes_the_order_within_a_network(memory):
    for step in (-400 * 86_400, 400 * 86_400):
        clock = FakeClock()
        clock.step(step)
        await fill(memory, [record("192.0.2.1", step + n) for n in range(80)])
        await fill(memory, [record("198.51.100.1", step + n) for n in range(40)])
        await worker(memory, 100, clock).bound()
        found = await clients(memory)
        assert found.count("198.51.100.1") == 40
        await worker(memory, 1, clock).bound()


async def test_it_runs_until_cancelled_and_store_trouble_is_waited_out(
    memory, caplog, autojump_clock, monkeypatch
):
    async def at_once(work, *arguments):  # the test's clock does not wait for threads
        return work(*arguments)

    monkeypatch.setattr(eviction, "in_thread", at_once)
    await fill(memory, [record("192.0.2.1", n) for n in range(120)])
    health, calls = memory.health, []

    async def broken():
        calls.append(trio.current_time())
        if len(calls) == 1:
            raise StoreError("no space left")
        return await health()

    memory.health = broken
    work = Eviction(FakeClock(), memory, 100, interval=10)
    async with trio.open_nursery() as nursery:
        await nursery.start(work.run)
        await trio.sleep(35)
        nursery.cancel_scope.cancel()
    assert len(calls) == 4
    assert work.forgotten == 25
    forgot = "forgot 25 that had never passed, most from 192.0.0.0/16"
    assert [entry.getMessage() for entry in caplog.records] == [
        "cannot keep the store within its limits: no space left",
        f"120 records: more than max_records (100): {forgot}",
    ]


@pytest.mark.parametrize(
    ("client", "name"),
    [
        ("203.0.113.9", "203.0.0.0/16"),
        ("2001:db8:1::1", "2001:db8::/32"),
        ("hidden\n", "'hidden\\n'"),
        ("", "''"),
    ],
)
async def test_the_log_names_who_lost_most(memory, caplog, client, name):
    await fill(memory, [record(client, n) for n in range(120)])
    await fill(memory, [record("192.0.2.1", n) for n in range(10)])
    await worker(memory, 100).bound()
    assert caplog.messages[0].endswith(f"most from {name}")


async def test_the_loop_is_left_to_others_between_slices(memory):
    await fill(memory, [record("192.0.2.1", n) for n in range(3000)])
    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        await worker(memory, 1000).bound()
        nursery.cancel_scope.cancel()
    assert turns >= 2 * 3000 // eviction._SLICE


class Figures:
    """A store's figures, and nothing else."""

    lags = False
    records = 0

    def __init__(self, used, records):
        self.told = {"records": records, "used": used, "capacity": 1000}
        self.records = records
        self.room = used < 1000
        self.room_for_marks = used < 1100

    def has_room(self, *, for_marks=False):
        return self.room_for_marks if for_marks else self.room

    async def health(self):
        return self.told


async def test_how_many_records_fit_follows_the_growth_of_the_file(memory):
    eviction = worker(memory, 0)
    told = []
    for used, records in [(800, 80), (901, 90), (899, 85), (950, 85), (860, 85), (849, 85), (990, 99)]:
        eviction._store = Figures(used, records)
        told.append((await eviction._limit())[1])
    no_limit = 1 << 62
    assert told == [no_limit, 89, 89, 84, 84, no_limit, 90]
    eviction.max_records = 50
    assert (await eviction._limit())[1] == 50


@pytest.mark.parametrize(
    ("used", "records", "lags", "full"),
    [
        (950, 95, False, False),
        (950, 95, True, True),
        (1050, 105, False, True),
        (1050, 80, False, False),  # what was evicted has left room within pages
        (1150, 80, False, True),
    ],
)
async def test_when_new_records_have_no_room(memory, used, records, lags, full):
    eviction = worker(memory, 0)
    eviction._store = Figures(1000, 100)
    await eviction._limit()
    assert eviction.fits == 90
    eviction._store = Figures(used, records)
    eviction._store.lags = lags
    assert eviction.full is full
