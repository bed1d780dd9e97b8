"""Formats numbers, times and untrusted texts for pages.

Times are seconds since 1970, and are shown in the local time of this host, as the commands show them.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

__all__ = [
    "FILTERS",
    "counted",
    "cut",
    "day",
    "duration",
    "in_link",
    "machine_time",
    "minute",
    "moment",
    "number",
    "octets",
    "offset",
    "visible",
    "zone",
]

_LONGEST = 80
_LONGEST_TITLE = 400
_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
"""Categories of characters that are invisible, look like a space, or change the direction of the text."""
_LATEST = 253_402_300_799 - 86_400
"""Of the year 9999, in any time zone."""


def number(value: float | None) -> str:
    """`1,234,567`; a dash for None."""
    return "–" if value is None else f"{value:,}"  # noqa: RUF001  (a dash, as typed for "none")


def counted(value: int, noun: str, nouns: str = "") -> str:
    """`1 attempt`, `1,234 attempts`; `nouns`: the plural, by default with an s."""
    return f"{number(value)} {noun if value == 1 else nouns or noun + 's'}"


def duration(seconds: int | None) -> str:
    """The two largest units: `2m 5s`, `3h`, `12d 4h`; a dash for None."""
    if seconds is None:
        return number(None)
    rest, parts = abs(int(seconds)), list[str]()
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
        if parts and (len(parts) == 2 or not count):
            break
    text = " ".join(parts) or "0s"
    return f"−{text}" if seconds < 0 else text  # noqa: RUF001  (a minus sign)


def octets(value: int) -> str:
    """`271.7 MiB`."""
    size = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def moment(seconds: int) -> str:
    """`2026-11-29 20:25:07`."""
    return _local(seconds).strftime("%Y-%m-%d %H:%M:%S")


def day(seconds: int) -> str:
    """`2026-11-29`."""
    return _local(seconds).strftime("%Y-%m-%d")


def minute(seconds: int) -> str:
    """`2026-11-29 20:25`, for what begins with a whole minute."""
    return _local(seconds).strftime("%Y-%m-%d %H:%M")


def zone(seconds: int) -> str:
    """The time zone at a time: `CET (UTC+01:00)`."""
    local = _local(seconds)
    hours, minutes = divmod(abs(offset(seconds)) // 60, 60)
    sign = "-" if offset(seconds) < 0 else "+"
    return f"{local.tzname()} (UTC{sign}{hours:02}:{minutes:02})" if offset(seconds) else "UTC"


def offset(seconds: int) -> int:
    """The seconds by which local time is ahead of UTC at a time."""
    ahead = _local(seconds).utcoffset()
    return 0 if ahead is None else round(ahead.total_seconds())


def machine_time(seconds: int) -> str:
    """For the attribute `datetime`."""
    return datetime.fromtimestamp(_possible(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _local(seconds: int) -> datetime:
    return datetime.fromtimestamp(_possible(seconds)).astimezone()


def _possible(seconds: int) -> int:
    return min(max(int(seconds), 0), _LATEST)


def visible(text: object) -> str:
    """A text with invisible characters written in hexadecimal; the template escapes the rest."""
    return "".join(_seen(character) for character in str(text)[:_LONGEST_TITLE])


def _seen(character: str) -> str:
    if character == " " or unicodedata.category(character) not in _HIDDEN:
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # an octet that was not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def cut(text: object) -> str:
    """The text of `visible`, cut to at most 80 characters."""
    seen = visible(text)
    return seen if len(seen) <= _LONGEST else seen[: _LONGEST - 1] + "…"


def in_link(text: object) -> str:
    """Any text as the value of a query in a link."""
    return quote(str(text), safe="", errors="surrogatepass")


FILTERS: Final = {
    "counted": counted,
    "cut": cut,
    "day": day,
    "duration": duration,
    "in_link": in_link,
    "machine_time": machine_time,
    "minute": minute,
    "moment": moment,
    "number": number,
    "octets": octets,
    "visible": visible,
    "zone": zone,
}
