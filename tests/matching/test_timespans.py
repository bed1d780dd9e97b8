"""Times of day and days of the week."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.matching.timespans import DAYS, MINUTES, minutes_of, parse_days, parse_times

CLOCK = st.integers(0, MINUTES - 1)


@pytest.mark.parametrize(
    ("text", "span", "inside", "outside"),
    [
        ("09:00-17:00", (540, 1020), (540, 1019), (539, 1020)),
        ("9:00 - 17:30", (540, 1050), (1049,), (1050,)),
        ("22:00-06:00", (1320, 360), (1320, 1439, 0, 359), (360, 1319)),
        ("00:00-24:00", (0, 1440), (0, 1439), ()),
        ("18:00-24:00", (1080, 1440), (1439,), (0, 1079)),
        ("18:00-00:00", (1080, 0), (1439,), (0, 1079)),
        ("23:59-00:01", (1439, 1), (1439, 0), (1, 1438)),
    ],
)
def test_times(text, span, inside, outside):
    assert parse_times(text) == span
    minutes = minutes_of([parse_times(text)])
    assert minutes.issuperset(inside)
    assert minutes.isdisjoint(outside)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9-17",
        "09:00",
        "24:00-06:00",
        "09:60-10:00",
        "09:00-25:00",
        "06:00-06:00",
        "00:00-00:00",
        "a:b-c:d",
    ],
)
def test_what_is_no_span_of_times(text):
    with pytest.raises(ValueError, match=r"not a (time of day|span of times)|begins and ends at the same"):
        parse_times(text)


@given(CLOCK, CLOCK)
def test_a_span_and_its_reverse_share_nothing_and_leave_nothing_out(begin, end):
    if begin != end:
        there, back = minutes_of([(begin, end)]), minutes_of([(end, begin)])
        assert not there & back
        assert there | back == frozenset(range(MINUTES))


@given(CLOCK, CLOCK)
def test_what_is_written_is_read(begin, end):
    if begin != end:
        text = f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}"
        assert parse_times(text) == (begin, end)


def test_several_spans_are_one_set():
    assert minutes_of([(0, 2), (1, 3), (1439, 1)]) == {0, 1, 2, 1439}
    assert minutes_of([]) == frozenset()


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("mon", {0}),
        ("Sunday", {6}),
        ("mon-fri", {0, 1, 2, 3, 4}),
        ("FRI - mon", {4, 5, 6, 0}),
        ("sat-sun", {5, 6}),
        ("tue-tue", {1}),
        ("tue-mon", {0, 1, 2, 3, 4, 5, 6}),
        ("wednesday-thu", {2, 3}),
    ],
)
def test_days(text, days):
    assert parse_days(text) == days


@pytest.mark.parametrize("text", ["", "mo", "mon-", "-fri", "mon,tue", "mon-tue-wed", "montag"])
def test_what_is_no_day(text):
    with pytest.raises(ValueError, match="not a day of the week"):
        parse_days(text)


def test_there_are_seven_days():
    assert [parse_days(day) for day in DAYS] == [{number} for number in range(7)]
