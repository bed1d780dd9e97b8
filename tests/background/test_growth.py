"""Samples of how the store grows: taken, added up, bounded, and read again."""

from __future__ import annotations

import pytest
import trio

from multigrey.background.growth import (
    DAYS_KEPT,
    WRITE_EVERY,
    Growth,
    Sample,
    samples_since,
)
from multigrey.codec import encode_text
from multigrey.errors import CodecError, StoreError
from multigrey.model import DAY, HOUR, Action, Change, Entry, Table
from multigrey.stores.meta import GROWTH
from tests.support.clocks import START
from tests.support.engines import harness

HOUR_OF_START = START - START % HOUR


def key_of(time):
    return GROWTH.key(b"%08d" % (time // DAY))


async def put(store, rows):
    puts = {key: Entry(value, None) for key, value in rows.items()}
    await store.apply(tuple(puts), lambda _: Change(None, puts, durable=True))


def made(house, counts):
    return Growth(house.store, house.clock.now, lambda: counts)


async def test_an_hour_adds_up_over_a_restart():
    async with harness() as house:
        counts = {Action.DEFER: 2}
        growth = made(house, counts)
        await growth.note()
        counts.update({Action.DEFER: 5, Action.PASS: 1})
        await growth.note()
        await made(house, {Action.REJECT: 4}).note()
        found = await samples_since(house.store, 0, house.clock.now())
    assert found == [Sample(HOUR_OF_START, 0, 0, 0, 5, 1, 4)]


async def test_each_hour_has_a_sample_of_its_own_and_each_day_a_row():
    async with harness() as house:
        counts = {Action.PASS: 0}
        growth = made(house, counts)
        for _ in range(30):
            counts[Action.PASS] += 1
            await growth.note()
            house.clock.advance(HOUR)
        now = house.clock.now()
        every = await samples_since(house.store, 0, now)
        late = await samples_since(house.store, START + 5 * HOUR, now)
        rows, _ = await house.store.scan(Table.META, b"", 100)
    assert [sample.hour for sample in every] == [HOUR_OF_START + hour * HOUR for hour in range(30)]
    assert {sample.passed for sample in every} == {1}
    assert late == every[5:]
    assert len(rows) == len({sample.hour // DAY for sample in every})


async def test_the_records_of_the_store_are_told():
    async with harness() as house:
        await put(house.store, {(Table.RECORD, b"x" * 16): b"", (Table.ORIGIN, b"y" * 16): b""})
        await made(house, {}).note()
        (found,) = await samples_since(house.store, 0, house.clock.now())
    assert (found.records, found.origins, found.octets) == (1, 1, 0)


async def test_what_cannot_be_written_is_added_the_next_time(monkeypatch):
    async with harness() as house:
        growth = made(house, {Action.DEFER: 3})

        async def fails(*_):
            raise StoreError("full")

        with monkeypatch.context() as patch:
            patch.setattr(house.store, "apply", fails)
            with pytest.raises(StoreError):
                await growth.note()
        await growth.note()
        (found,) = await samples_since(house.store, 0, house.clock.now())
    assert found.deferred == 3


async def test_it_goes_on_when_the_store_fails(autojump_clock, monkeypatch, caplog):
    async with harness() as house, trio.open_nursery() as nursery:
        health, calls = house.store.health, []

        async def sometimes():
            calls.append(1)
            if len(calls) == 1:
                raise StoreError("not now")
            return await health()

        monkeypatch.setattr(house.store, "health", sometimes)
        nursery.start_soon(made(house, {}).run)
        await trio.sleep(WRITE_EVERY + 1)
        nursery.cancel_scope.cancel()
        assert len(await samples_since(house.store, 0, house.clock.now())) == 1
    assert "cannot note the growth of the store: not now" in caplog.text


async def test_old_days_are_forgotten_once_the_clock_has_run_for_a_day(autojump_clock):
    old, kept = START - DAYS_KEPT * DAY, START - (DAYS_KEPT - 2) * DAY
    value = encode_text("[]")
    other = (Table.META, b"override/mode")
    async with harness() as house, trio.open_nursery() as nursery:
        await put(house.store, {key_of(old): value, key_of(kept): value, other: value})
        nursery.start_soon(made(house, {}).run)
        await trio.sleep(1)
        assert (await house.store.read([key_of(old)]))[0] is not None
        house.clock.advance(DAY)
        await trio.sleep(WRITE_EVERY)
        found = await house.store.read([key_of(old), key_of(kept), other])
        nursery.cancel_scope.cancel()
    assert found == [None, value, value]


async def test_the_time_that_can_be_asked_for_is_bounded():
    async with harness() as house:
        long_ago = START - (DAYS_KEPT + 1) * DAY
        sample = [long_ago - long_ago % HOUR, 1, 1, 1, 1, 1, 1]
        await put(house.store, {key_of(long_ago): encode_text(f"[{sample}]")})
        assert await samples_since(house.store, 0, START) == []
        assert len(await samples_since(house.store, 0, long_ago)) == 1


WRONG = ["", "{", "7", "[7]", "[[1]]", '[["1", 1, 1, 1, 1, 1, 1]]', "[" * 5000, f"{[[1] * 7] * 25}"]


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
async def test_a_row_that_cannot_be_read_is_begun_anew(text):
    with pytest.raises(CodecError):
        GROWTH.coder.decode(encode_text(text))
    async with harness() as house:
        await put(house.store, {key_of(START): encode_text(text)})
        assert await samples_since(house.store, 0, START) == []
        await made(house, {Action.PASS: 1}).note()
        (found,) = await samples_since(house.store, 0, START)
    assert found.passed == 1
