"""Counting decisions by five minutes, keeping the figures, and reading them with the present ones."""

from __future__ import annotations

import pytest
import trio

from multigrey.analysis.flow import COUNTS, STEP, Span
from multigrey.background.flow import KEPT, MOST_ORIGINS, WRITE_EVERY, Flow, view_of
from multigrey.codec import encode_text
from multigrey.errors import StoreError
from multigrey.identity.redaction import Redactor
from multigrey.model import DAY, HOUR, Action, Change, Entry, Reason
from multigrey.stores.meta import FLOW, FLOW_ORIGINS
from tests.support.clocks import START
from tests.support.decisions import decision
from tests.support.engines import harness

HOUR_OF_START = START - START % HOUR


def made(house, **changes):
    return Flow(house.store, house.clock, lambda event: "named", **changes)


async def seen(house, flow, **changes):
    now = house.clock.now()
    span = Span(**{"now": now, "since": now - DAY, "retry_window": 2 * DAY, **changes})
    return await view_of(house.store, flow, span)


def back(age, **changes):
    return decision(Reason.RETRY, verdict={"age": age, "attempts": 2}, **changes)


# fmt: off
COUNTED = [
    (decision(), {"deferred": 1, "first": 1}),
    (decision(Reason.EARLY), {"deferred": 1}),
    (decision(Reason.EXPIRED), {"deferred": 1, "first": 1}),
    (decision(Reason.OVER_LIMIT), {"deferred": 1, "first": 1}),
    (decision(Reason.OVER_LIMIT, verdict={"attempts": 2}), {"deferred": 1}),
    (decision(Reason.KNOWN), {"passed": 1, "at_once": 1}),
    (decision(Reason.WHITELISTED), {"passed": 1, "at_once": 1}),
    (back(130), {"passed": 1, "returned": 1, "back": 1}),
    (decision(Reason.SAME_MESSAGE, verdict={"attempts": 1}), {"passed": 1, "at_once": 1}),
    (decision(Reason.RULE, verdict={"action": Action.REJECT}), {"refused": 1}),
    (decision(verdict={"action": Action.PASS, "observed": True}), {"passed": 1, "observed": 1}),
    (decision(Reason.NULL_SENDER), {}),
    (decision(Reason.PROBE), {}),
]
# fmt: on


@pytest.mark.parametrize(("event", "counts"), COUNTED, ids=[each.verdict.reason.value for each, _ in COUNTED])
async def test_what_a_decision_counts_as(event, counts):
    async with harness() as house:
        flow = made(house)
        flow(event)
        found = (await seen(house, flow)).totals
    assert {name: found[name] for name in COUNTS if found[name]} == counts


async def test_the_present_is_told_at_once_and_once_only():
    async with harness() as house:
        flow = made(house)
        flow(decision())
        assert (await seen(house, flow)).totals["first"] == 1
        await flow.note()
        assert (await seen(house, flow)).totals["first"] == 1
        assert (await seen(house, None)).totals["first"] == 1
        flow(decision())
        await flow.note()
        await made(house).note()
        assert (await seen(house, None)).totals["first"] == 2


async def test_a_return_is_counted_where_its_first_attempt_was():
    async with harness() as house:
        flow = made(house)
        flow(decision(time=START))
        await flow.note()
        house.clock.advance(3 * HOUR)
        flow(back(3 * HOUR, time=START + 3 * HOUR))
        await flow.note()
        house.clock.advance(2 * DAY + HOUR)
        found = await seen(house, flow, since=START - HOUR)
    assert (found.totals["settled"], found.totals["never"]) == (1, 0)
    assert found.totals["p50"] == 3 * HOUR
    (row,) = found.origins
    assert (row["deferred"], row["returned"], row["never"]) == (1, 1, 0)


async def test_time_without_mail_was_counted_and_time_without_a_daemon_was_not():
    async with harness() as house:
        flow = made(house)
        for _ in range(3):
            await flow.note()
            house.clock.advance(STEP)
        house.clock.advance(2 * STEP)
        await flow.note()
        counts = [counts for _, _, counts in (await seen(house, flow)).slots]
    assert [each is not None for each in counts] == [True, True, True, False, False, True]


async def test_only_the_busiest_origins_are_kept():
    async with harness() as house:
        flow = made(house)
        for number in range(MOST_ORIGINS + 20):
            for _ in range(number + 1):
                flow(decision(origin=f"o{number}.example"))
        await flow.note()
        found = (await seen(house, flow)).origins
    assert len(found) == MOST_ORIGINS
    assert found[0]["name"] == f"o{MOST_ORIGINS + 19}.example"
    assert {row["kind"] for row in found} == {"named"}


async def test_a_return_alone_makes_no_origin_of_an_earlier_hour():
    async with harness() as house:
        flow = made(house)
        flow(back(3 * HOUR, time=START))
        await flow.note()
        (rows,) = await house.store.read([FLOW_ORIGINS.key(b"%08d" % (START // HOUR - 3))])
    assert FLOW_ORIGINS.coder.decode(rows) == []


async def test_with_redact_a_network_is_a_token_and_a_name_is_not():
    async with harness() as house:
        redactor = Redactor(b"k" * 16)
        flow = made(house, redactor=lambda: redactor)
        flow(decision(origin="192.0.2.0/24"))
        flow(decision(origin="example.org"))
        now = {row["name"] for row in (await seen(house, flow)).origins}
        await flow.note()
        stored = {row["name"] for row in (await seen(house, None)).origins}
    assert now == stored == {"example.org", redactor.token("192.0.2.0/24")}


async def test_what_cannot_be_written_is_added_the_next_time(monkeypatch):
    async with harness() as house:
        flow = made(house)
        flow(decision())

        async def fails(*_):
            flow(decision())
            raise StoreError("full")

        with monkeypatch.context() as patch:
            patch.setattr(house.store, "apply", fails)
            with pytest.raises(StoreError):
                await flow.note()
        await flow.note()
        found = await seen(house, None)
    assert found.totals["first"] == 2
    assert found.origins[0]["attempts"] == 2


async def test_a_row_that_cannot_be_read_is_replaced():
    async with harness() as house:
        puts = {
            kind.key(b"%08d" % (START // HOUR)): Entry(encode_text("[[1, 2]]"), None)
            for kind in (FLOW, FLOW_ORIGINS)
        }
        await house.store.apply(tuple(puts), lambda _: Change(None, puts, durable=True))
        assert (await seen(house, None)).recorded_since is None
        flow = made(house)
        flow(decision())
        await flow.note()
        assert (await seen(house, None)).totals["first"] == 1


async def test_it_writes_and_forgets_by_itself(autojump_clock, monkeypatch):
    async with harness() as house, trio.open_nursery() as nursery:
        flow = made(house)
        flow(decision())
        nursery.start_soon(flow.run)
        await trio.sleep(1)
        assert await rows_of(house, FLOW) == 1
        house.clock.advance(KEPT + DAY)
        await trio.sleep(WRITE_EVERY)
        assert (await rows_of(house, FLOW), await rows_of(house, FLOW_ORIGINS)) == (1, 0)
        nursery.cancel_scope.cancel()


async def rows_of(house, kind):
    return sum([len(rows) async for rows in kind.walk(house.store)])
