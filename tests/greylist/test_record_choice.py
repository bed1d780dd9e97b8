"""Which record speaks for an attempt, and how long one is kept."""

from __future__ import annotations

import pytest

from multigrey.greylist.policy import Policy
from multigrey.greylist.record_choice import choose_record, is_from_future, keep_until, speaking_record
from multigrey.model import Record

T = 1_000_000_000
DAY = 86_400
POLICY = Policy(120, 2 * DAY, 36 * DAY, 5)
OLD = Record(T - 100, T - 100, 120)
NEW = Record(T - 50, T - 50, 120)
PASSED = Record(T - 10, T - 5, 120, passed_at=T - 5)
LATER = Record(T - 10, T - 1, 120, passed_at=T - 1)
GONE = Record(T - 3 * DAY, T - 3 * DAY, 120)


@pytest.mark.parametrize(
    ("records", "chosen"),
    [
        ([], None),
        ([None, None], None),
        ([NEW, OLD], OLD),
        ([OLD, PASSED, NEW], PASSED),
        ([PASSED, LATER], LATER),
    ],
)
def test_one_that_has_passed_speaks_else_the_oldest(records, chosen):
    assert choose_record(records, T) == chosen


def test_times_ahead_count_as_now():
    ahead = Record(T + 100, T + 200, 120)
    assert is_from_future(ahead, T)
    assert choose_record([ahead], T) == Record(T, T, 120)
    assert not is_from_future(OLD, T)


def test_what_is_due_never_hides_what_counts():
    assert speaking_record(POLICY, T, [GONE, NEW]) == NEW
    assert speaking_record(POLICY, T, [GONE, None]) == GONE


@pytest.mark.parametrize(("record", "until"), [(OLD, T - 100 + 2 * DAY), (PASSED, T - 5 + 36 * DAY)])
def test_kept_for_the_retry_window_or_max_age(record, until):
    assert keep_until(POLICY, record) == until
