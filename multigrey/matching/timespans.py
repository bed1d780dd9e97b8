"""Parses the times of day and days of the week in rules.

Times are minutes after midnight, days are 0 (Monday) to 6 (Sunday), in the time zone of the caller.  A span
that ends before it begins crosses midnight: "22:00-06:00" holds at 23:00 and at 05:59.  The first minute
belongs to a span and the last does not, so "09:00-17:00" and "17:00-09:00" do not overlap.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["DAYS", "MINUTES", "minutes_of", "parse_days", "parse_times"]

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES = 24 * 60
"""Minutes in a day."""

_TIMES = re.compile(r"([0-9]{1,2}):([0-9]{2})\s*-\s*([0-9]{1,2}):([0-9]{2})")


def parse_times(text: str) -> tuple[int, int]:
    """The first minute of a span such as "22:00-06:00", and the minute before which it ends.

    "24:00" ends a span at midnight.  An empty span is refused, because it could mean never or always.  Raises
    ValueError.
    """
    matched = _TIMES.fullmatch(text.strip())
    if not matched:
        raise ValueError("not a span of times")
    from_hour, from_minute, to_hour, to_minute = map(int, matched.groups())
    begin, end = from_hour * 60 + from_minute, to_hour * 60 + to_minute
    if from_minute > 59 or to_minute > 59 or begin >= MINUTES or end > MINUTES:
        raise ValueError("not a time of day")
    if begin == end % MINUTES and (begin, end) != (0, MINUTES):
        raise ValueError("begins and ends at the same time")
    return begin, end


def parse_days(text: str) -> frozenset[int]:
    """The days of "sat", "mon-fri" or "fri-mon" (which contains the weekend).  Raises ValueError.

    Names are English, with three letters or in full, in any case.
    """
    first, dash, last = (part.strip() for part in text.partition("-"))
    begin = _day(first)
    length = (_day(last) - begin) % 7 + 1 if dash else 1
    return frozenset((begin + ahead) % 7 for ahead in range(length))


_LONG = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _day(word: str) -> int:
    word = word.lower()
    for names in (DAYS, _LONG):
        if word in names:
            return names.index(word)
    raise ValueError("not a day of the week")


def minutes_of(spans: Iterable[tuple[int, int]]) -> frozenset[int]:
    """All minutes of a day that lie in one of the spans."""
    found: set[int] = set()
    for begin, end in spans:
        if begin < end:
            found.update(range(begin, end))
        else:
            found.update(range(begin, MINUTES), range(end))
    return frozenset(found)
