"""Figures of whole hours: kept for 400 days, read with those of the present, and lost by no failed write."""

from __future__ import annotations

import pytest

from multigrey.analysis.hours import decisions_in
from multigrey.background.flow import Flow
from multigrey.background.hours import DAYS_KEPT, Hours, hours_since
from multigrey.codec import encode_text
from multigrey.errors import StoreError
from multigrey.model import DAY, HOUR, Action, Entry, Reason
from multigrey.stores.meta import HOURS
from tests.support.clocks import START
from tests.support.decisions import decision
from tests.support.engines import harness

FIRST = START - START % HOUR
DEFER = (Action.DEFER, Reason.NEW)


async def seen(house, hours=None, since=0):
    now = house.clock.now()
    return await hours_since(house.store, since, now, {} if hours is None else hours.pending(now))


async def test_hours_add_up_and_survive_a_restart():
    counts = {DEFER: 3}
    async with harness() as house:
        hours = Hours(house.store, lambda: counts)
        hours.add(START, {"all first": 3, "all longest": 500})
        now = await seen(house, hours)
        await hours.note(START)
        assert await seen(house) == await seen(house, hours) == now
        assert now == {FIRST: {"all first": 3, "all longest": 500, "reason count new": 3}}
        counts[DEFER] = 5
        house.clock.advance(HOUR)
        hours.add(START, {"all back": 1, "all longest": 400})
        await hours.note(START + HOUR)
        again = Hours(house.store, lambda: {DEFER: 1})  # a new daemon counts from 0
        again.add(START + HOUR, {"all first": 1})
        found = await seen(house, again)
        assert found[FIRST] == {"all first": 3, "all longest": 500, "all back": 1, "reason count new": 3}
        assert found[FIRST + HOUR] == {"all first": 1, "reason count new": 3}
        assert decisions_in(found) == 6
        assert list(await seen(house, again, since=FIRST + 1)) == [FIRST + HOUR]


async def test_what_cannot_be_written_is_added_the_next_time(monkeypatch):
    async with harness() as house:
        hours = Hours(house.store, lambda: {DEFER: 2})

        async def fails(*_):
            hours.add(START, {"all first": 1})
            raise StoreError("full")

        hours.add(START, {"all first": 1})
        with monkeypatch.context() as patch:
            patch.setattr(house.store, "apply", fails)
            with pytest.raises(StoreError):
                await hours.note(START)
        await hours.note(START)
        assert await seen(house) == {FIRST: {"all first": 2, "reason count new": 2}}


async def test_days_too_long_ago_and_of_a_wrong_clock_are_forgotten():
    async with harness() as house:
        today = START // DAY
        days = [today - DAYS_KEPT - 1, today - DAYS_KEPT, today, today + 1, today + 2]
        for day in days:
            value = HOURS.coder.encode({str(day * DAY): {"all first": 1}})
            await house.store.load({HOURS.key(b"%08d" % day): Entry(value, None)}, lambda _, new: new)
        await Hours(house.store).tidy(today)
        kept = [int(day) async for rows in HOURS.walk(house.store) for day, _ in rows]
        assert kept == days[1:4]
        assert [hour // DAY for hour in await seen(house)] == [today - DAYS_KEPT, today]


async def test_a_row_that_cannot_be_read_is_replaced():
    async with harness() as house:
        key = HOURS.key(b"%08d" % (START // DAY))
        await house.store.load({key: Entry(encode_text('{"x": 1}'), None)}, lambda _, new: new)
        assert await seen(house) == {}
        hours = Hours(house.store)
        hours.add(START, {"all first": 1})
        await hours.note(START)
        assert await seen(house) == {FIRST: {"all first": 1}}


async def test_flow_hands_over_what_it_has_written():
    """Each decision once, also while some are in the store and some are not."""
    async with harness() as house:
        flow = Flow(house.store, house.clock, lambda _: "named", target_of={"codes": 60}.get)
        flow(decision(class_="codes"))
        flow(decision(recipient="c@example.net"))
        await flow.note()
        house.clock.advance(HOUR)
        late = decision(Reason.RETRY, START + HOUR, class_="codes", verdict={"age": HOUR, "attempts": 2})
        flow(late)
        now = house.clock.now()
        before = await hours_since(house.store, 0, now, flow.pending_hours())
        await flow.note()
        assert before == await hours_since(house.store, 0, now, {})
        assert before[FIRST] == {
            "all deferred": 2, "all first": 2, "all back": 1, "origin first named": 2, "origin back named": 1,
            "class first codes": 1, "class back codes": 1,
        }  # fmt: skip
        assert before[FIRST + HOUR] == {
            "all passed": 1, "all returned": 1, "all d3600": 1, "all longest": HOUR, "class over codes": 1,
            "origin returned named": 1, "origin d3600 named": 1, "class returned codes": 1,
            "class d3600 codes": 1,
        }  # fmt: skip
