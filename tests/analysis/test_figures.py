"""Percentiles and stretches of time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.analysis.figures import percentile, slot_length, would_have_waited
from multigrey.model import Reason
from tests.support.decisions import decision


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([], 50, None),
        ([7], 50, 7),
        ([7], 95, 7),
        ([3, 1, 2], 50, 2),
        ([1, 2, 3, 4], 50, 2),
        (range(1, 101), 95, 95),
        (range(1, 21), 95, 19),
        ([5, 9], 0, 5),
        ([5, 9], 100, 9),
    ],
)
def test_percentiles(values, percent, expected):
    assert percentile(list(values), percent) == expected


@given(st.lists(st.integers(0, 1000), min_size=1), st.integers(1, 100))
def test_a_percentile_is_the_smallest_that_enough_do_not_exceed(values, percent):
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert sum(value < found for value in values) * 100 < percent * len(values)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, 3600), (60 * 3600, 3600), (60 * 3600 + 1, 3 * 3600), (7 * 86_400, 3 * 3600), (30 * 86_400, 86_400)],
)
def test_slots(seconds, expected):
    assert slot_length(seconds) == expected


@given(st.integers(0, 10**10))
def test_there_are_never_many_slots(seconds):
    assert seconds <= slot_length(seconds) * 60


@pytest.mark.parametrize(
    ("reason", "observed", "expected"),
    [
        (Reason.NEW, True, True),
        (Reason.NEW, False, False),
        (Reason.RETRY, True, False),
        (Reason.KNOWN, True, False),
    ],
)
def test_observed(reason, observed, expected):
    assert would_have_waited(decision(reason, verdict={"observed": observed})) is expected
