"""What slots of five minutes come to: sums, delays, outcomes, and slots that are not complete."""

from __future__ import annotations

from bisect import bisect_left
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.analysis.flow import BOUNDS, COUNTS, STEP, OriginFlow, Span, flow_view, length_of, quantile
from multigrey.model import DAY, HOUR

NOW = 1_790_000_100  # the beginning of a slot
WINDOW = 2 * DAY
WIDTH = len(COUNTS) + len(BOUNDS) + 1


def slot(delays=(), **counts):
    row = [counts.get(name, 0) for name in COUNTS] + [0] * (len(BOUNDS) + 1)
    for delay in delays:
        row[len(COUNTS) + bisect_left(BOUNDS, delay)] += 1
    return row


def view(samples, origins=(), *, since=NOW - DAY, now=NOW, **changes):
    return flow_view(samples, origins, Span(now, since, WINDOW, **changes))


def test_sums_are_those_of_the_span():
    samples = {
        NOW - 2 * DAY: slot(first=100),
        NOW - 600: slot(first=3, deferred=4, passed=2, at_once=2),
        NOW: slot(first=1, deferred=1, returned=2, delays=[130, 170]),
    }
    found = view(samples)
    assert {name: found.totals[name] for name in COUNTS if found.totals[name]} == {
        "first": 4,
        "deferred": 5,
        "passed": 2,
        "at_once": 2,
        "returned": 2,
    }
    assert found.recorded_since == NOW - 2 * DAY
    assert sum(found.histogram) == 2


def test_what_never_came_back_is_unknown_before_a_retry_window_is_over():
    young = {NOW - DAY: slot(first=5, back=1)}
    assert view(young).totals["never"] is None
    assert view(young).week["first_figures"] == NOW - DAY + WINDOW + STEP
    old = {NOW - 3 * DAY: slot(first=5, back=1), NOW - DAY: slot(first=7)}
    assert (view(old).totals["never"], view(old, since=NOW - 7 * DAY).totals["never"]) == (None, 4)
    week = view(old).week
    assert (week["deferred"], week["never"], week["since"]) == (5, 4, NOW - 3 * DAY)
    assert week["first_figures"] is None


def test_the_week_ends_where_the_outcome_is_known():
    samples = {NOW - WINDOW - number * DAY: slot(first=1) for number in range(12)}
    week = view(samples).week
    assert (week["deferred"], week["never"]) == (7, 7)


@pytest.mark.parametrize(
    ("age", "step"),
    [
        (0, 300),
        (300 * 60, 300),
        (6 * HOUR, 600),
        (DAY, 1800),
        (7 * DAY, 3 * HOUR),
        (30 * DAY, DAY),
        (300 * DAY, DAY),
    ],
)
def test_slots_are_short_at_first(age, step):
    assert length_of(age) == step
    assert view({NOW - age: slot()}, since=0).step == step


def test_the_first_slot_and_the_running_one_are_not_complete():
    samples = {NOW - 900: slot(passed=1), NOW - 600: slot(passed=2), NOW: slot(passed=3)}
    found = view(samples, now=NOW + 60)
    assert [(begin - NOW, complete, counts and counts[1]) for begin, complete, counts in found.slots] == [
        (-900, False, 1),
        (-600, True, 2),
        (-300, True, None),
        (0, False, 3),
    ]


def test_without_samples_there_is_nothing_but_the_present_slot():
    found = view({})
    assert found.recorded_since is None
    assert [(complete, counts) for _, complete, counts in found.slots] == [(False, None)]
    assert (found.totals["p50"], found.days, found.origins) == (None, [], [])


def test_long_slots_begin_with_local_days():
    samples = {NOW - 30 * DAY + number * HOUR: slot(passed=1) for number in range(30 * 24)}
    found = view(samples, since=NOW - 30 * DAY, utc_offset=5 * HOUR + 1800)
    assert {(begin + 5 * HOUR + 1800) % DAY for begin, _, _ in found.slots} == {0}
    assert sum(counts[1] for _, _, counts in found.slots if counts) == 30 * 24


def test_each_day_has_its_median_and_percentile():
    samples = {NOW - DAY: slot(returned=2, delays=[100, 100]), NOW: slot(returned=1, delays=[3000])}
    (first, second) = view(samples, since=NOW - 7 * DAY).days
    assert (first[1], first[2]) == (2, 90)
    assert second[1] == 1
    assert 2700 < second[3] <= 3600


def origin(hour, name, kind="named", attempts=1, first=0, returned=0, back=0, delays=()):
    return OriginFlow(hour, name, kind, [attempts, first, returned, back, *slot(delays)[len(COUNTS) :]])


def test_origins_are_added_up_and_the_busiest_come_first():
    hour = NOW - NOW % HOUR
    rows = [
        origin(hour, "a.example", attempts=3, first=2, returned=1, delays=[130]),
        origin(hour - HOUR, "a.example", attempts=3, first=1),
        origin(hour - 3 * DAY, "a.example", attempts=1, first=4, back=1),
        origin(hour, "192.0.2.0/24", "unnamed", attempts=9),
        origin(hour, "b.example", attempts=2, first=1),
    ]
    found = view({}, rows, most_origins=3).origins
    assert [(row["name"], row["attempts"], row["never"]) for row in found] == [
        ("192.0.2.0/24", 9, 0),
        ("a.example", 7, 3),
        ("b.example", 2, None),
    ]
    assert (found[1]["deferred"], found[1]["returned"], found[1]["kind"]) == (7, 1, "named")
    assert 120 < found[1]["p50"] <= 180


def test_quantiles_lie_within_their_bounds():
    assert quantile([0] * 18, 50) is None
    random = Random(7)
    for _ in range(200):
        delays = sorted(random.randrange(4 * DAY) for _ in range(random.randrange(1, 60)))
        counts = slot(delays)[len(COUNTS) :]
        for percent in (50, 95):
            exact = delays[max(-(-len(delays) * percent // 100), 1) - 1]
            index = bisect_left(BOUNDS, exact)
            low, high = (0, *BOUNDS)[index], BOUNDS[min(index, len(BOUNDS) - 1)]
            assert min(low, BOUNDS[-1]) <= quantile(counts, percent) <= high


@given(
    st.dictionaries(
        st.integers(0, 300).map(lambda number: NOW - number * STEP),
        st.lists(st.integers(0, 9), min_size=WIDTH, max_size=WIDTH),
    ),
    st.integers(0, 30 * DAY),
    st.integers(-12 * HOUR, 14 * HOUR),
)
def test_slots_add_up_to_the_totals(samples, age, offset):
    found = view(samples, since=NOW - age, utc_offset=offset)
    for index, name in enumerate(COUNTS):
        assert sum(counts[index] for _, _, counts in found.slots if counts) == found.totals[name]
    assert len(found.slots) <= 62
