"""The figures of a report from whole hours: they agree with those from decisions, and say when they begin."""

from __future__ import annotations

from dataclasses import replace

import pytest

from multigrey.analysis.figures import Outlook, Target
from multigrey.analysis.hours import add_to, counts_of_slot, decisions_in
from multigrey.analysis.report import make_report
from multigrey.background.flow import Flow
from multigrey.model import DAY, HOUR, Reason
from tests.support.clocks import START
from tests.support.decisions import decision
from tests.support.engines import harness

WINDOW = 2 * DAY
FIRST = START - START % HOUR


def mails(number=60):
    """Every third mail comes back, half of these in a class; some pass at once."""
    events = []
    for index in range(number):
        who = {"recipient": f"r{index}@example.net", "origin": ("example.org", "192.0.2.0/24")[index % 2]}
        class_ = "codes" if index % 6 == 0 else ""
        time = START + index * 600
        events.append(decision(time=time, class_=class_, verdict={"attempts": 1}, **who))
        if index % 3 == 0:
            age = 300 + 60 * index
            verdict = {"age": age, "attempts": 2}
            events.append(decision(Reason.RETRY, time + age, class_=class_, verdict=verdict, **who))
        events.append(decision(Reason.KNOWN, time, recipient="known@example.net"))
    return sorted(events, key=lambda event: event.time)


async def hours_of(events):
    """What a daemon would have counted."""
    async with harness() as house:
        flow = Flow(house.store, house.clock, _kind, target_of={"codes": 900}.get)
        for event in events:
            flow(event)
            flow.hours.add(event.time, {f"reason count {event.verdict.reason.value}": 1})
        return flow.pending_hours()


def _kind(event):
    return "unnamed" if "/" in event.origin else "named"


@pytest.mark.parametrize("later", [0, HOUR, DAY, WINDOW, 2 * WINDOW])
async def test_hours_agree_with_decisions(later):
    events = mails()
    now = events[-1].time + later
    outlook = Outlook(now, FIRST, WINDOW, {"codes": Target(900, "shop")})
    hours = await hours_of(events)
    one, other = make_report(events, outlook), make_report(events[-5:], outlook, hours)
    assert other.counted_since == FIRST
    assert (other.listed, other.listed_since) == (5, events[-5].time)
    assert decisions_in(hours) == other.traffic.decisions == len(events)
    assert other.traffic == replace(one.traffic, first=FIRST)
    for name in ("deferred", "returned"):
        assert getattr(other.delays, name) == getattr(one.delays, name), name
    if later in {0, HOUR, 2 * WINDOW}:  # between, hours know only of whole hours
        assert (other.delays.waiting, other.delays.never) == (one.delays.waiting, one.delays.never)
    assert other.delays.longest == one.delays.longest
    assert other.histogram == one.histogram
    assert [(row.name, row.delays.deferred, row.delays.returned) for row in other.origins] == [
        (row.name, row.delays.deferred, row.delays.returned) for row in one.origins
    ]
    ((mine,), (theirs,)) = (report.classes for report in (other, one))
    assert (mine.name, mine.owner, mine.target, mine.delays.returned, mine.over_target) == (
        theirs.name, theirs.owner, theirs.target, theirs.delays.returned,
        sum(event.verdict.age > 900 for event in events if event.class_),
    )  # fmt: skip
    assert [(slot.begin, slot.deferred, slot.returned) for slot in other.slots if slot.deferred] == [
        (slot.begin, slot.deferred, slot.returned) for slot in one.slots if slot.deferred
    ]
    assert other.first_figures == one.first_figures
    assert [text[:40] for text in other.advice][-1:] == [text[:40] for text in one.advice][-1:]


async def test_percentiles_lie_between_the_bounds():
    events = mails()
    outlook = Outlook(events[-1].time, FIRST, WINDOW)
    hours = await hours_of(events)
    one, other = make_report(events, outlook), make_report([], outlook, hours)
    assert one.delays.p50 * 0.8 < other.delays.p50 < one.delays.p50 * 1.2
    assert one.delays.p95 * 0.8 < other.delays.p95 < one.delays.p95 * 1.2


@pytest.mark.parametrize(("owner", "shown"), [("", ["codes"]), ("shop", ["codes"]), ("desk", [])])
async def test_classes_are_those_of_the_owner_who_asks(owner, shown):
    outlook = Outlook(START, FIRST, WINDOW, {"codes": Target(900, "shop")}, owner=owner)
    report = make_report([], outlook, await hours_of(mails(3)))
    assert [row.name for row in report.classes] == shown


async def test_the_busiest_origins_are_those_given():
    row = {"name": "example.org", "kind": "named", "attempts": 9, "deferred": 4, "returned": 1, "never": None,
           "p50": 60, "p95": 90}  # fmt: skip
    outlook = Outlook(START, FIRST, WINDOW, most=1)
    hours = await hours_of(mails(3))
    (found,) = make_report([], outlook, hours, [row, row]).top_origins
    assert (found.attempts, found.delays.waiting, found.delays.never) == (9, 3, 0)


def test_the_longest_delay_is_no_sum():
    sums: dict[str, int] = {}
    for number in (5, 9, 2):
        add_to(sums, {"all longest": number, "class longest my own class": number, "all first": 1})
    assert sums == {"all longest": 9, "class longest my own class": 9, "all first": 3}
    assert counts_of_slot([0] * 4 + [7] + [0] * 21) == {"all first": 7}
