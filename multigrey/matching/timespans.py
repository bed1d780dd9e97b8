"""Times of day and days of the week, as rules name them.

Times are minutes after midnight, days are 0 (Monday) to 6 (Sunday); both are those of the wall clock
in whatever time zone the caller looks at.  A span of times that ends before it begins goes over
midnight: "22:00-06:00" holds at 23:00 and at 05:59.  The first minute belongs to a span and the last
does not, so "09:00-17:00" and "17:00-09:00" share nothing.
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
    """The first minute of a span like "22:00-06:00", and the one it ends before.  Raises ValueError.

    "24:00" ends a span at midnight.  A span of no length is refused: it could mean never or always.
    """
    matched = _TIMES.fullmatch(text.strip())
    if not matched:
        raise ValueError("no span of times")
    from_hour, from_minute, to_hour, to_minute = map(int, matched.groups())
    begin, end = from_hour * 60 + from_minute, to_hour * 60 + to_minute
    if from_minute > 59 or to_minute > 59 or begin >= MINUTES or end > MINUTES:
        raise ValueError("no times of day")
    if begin == end % MINUTES and (begin, end) != (0, MINUTES):
        raise ValueError("begins when it ends")
    return begin, end


def parse_days(text: str) -> frozenset[int]:
    """The days of "sat", "mon-fri" or "fri-mon" (over the weekend).  Raises ValueError.

    English names, three letters or whole, in any case.
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
    raise ValueError("no day of the week")


def minutes_of(spans: Iterable[tuple[int, int]]) -> frozenset[int]:
    """Every minute of a day that lies in one of the spans."""
    found: set[int] = set()
    for begin, end in spans:
        if begin < end:
            found.update(range(begin, end))
        else:
            found.update(range(begin, MINUTES), range(end))
    return frozenset(found)
