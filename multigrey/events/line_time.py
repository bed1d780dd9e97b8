"""Reads the time of a line of a mail log, in the forms that syslog, Exim and mail headers have."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

__all__ = ["line_time"]

_LONGEST = 16_384
_ISO = re.compile(
    r"\b(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,]\d{1,9})?(Z|\s?[+-]\d\d:?\d\d)?(?![\d-])", re.ASCII
)
_SYSLOG = re.compile(
    r"\b(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) {1,2}(\d{1,2}) (\d\d:\d\d:\d\d)\b", re.ASCII
)
_HEADER = re.compile(r"(?:[A-Z][a-z]{2}, )?\d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", re.ASCII)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def line_time(text: str, now: datetime) -> datetime | None:
    """The first time in a text; None if it has none.

    `now` gives the year that syslog leaves out, and the time zone of a line that names none.
    """
    text = text[:_LONGEST]
    found = [(match.start(), read(match, now)) for pattern, read in _FORMS if (match := pattern.search(text))]
    times = [(start, time) for start, time in found if time is not None]
    return min(times, key=lambda each: each[0])[1] if times else None


def _iso(match: re.Match[str], now: datetime) -> datetime | None:
    day, time, zone = match.groups()
    return _time(f"{day}T{time}{(zone or '').strip()}", now)


def _syslog(match: re.Match[str], now: datetime) -> datetime | None:
    month, day, time = match.groups()
    for year in (now.year, now.year - 1):
        found = _time(f"{year}-{_MONTHS.index(month) + 1:02}-{int(day):02}T{time}", now)
        if found is not None and found <= now + timedelta(days=1):
            return found
    return None


def _time(text: str, now: datetime) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=now.tzinfo)


def _header(match: re.Match[str], now: datetime) -> datetime | None:
    del now
    try:
        return parsedate_to_datetime(match[0])
    except ValueError:
        return None


_FORMS = ((_ISO, _iso), (_SYSLOG, _syslog), (_HEADER, _header))
