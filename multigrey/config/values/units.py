"""Reads and writes durations and sizes: numbers with a unit."""

# ruff: noqa: TRY004  (pydantic collects ValueError; a TypeError would end the whole check)

from __future__ import annotations

import re
from decimal import Decimal

from multigrey.config.values.kind import Kind, shown

__all__ = [
    "duration",
    "format_duration",
    "format_size",
    "fractional_duration",
    "parse_duration",
    "parse_size",
    "size",
]

_LONGEST_MS = 10 * 365 * 86_400_000
_MS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_DURATION = re.compile(r"(?:([0-9]{1,15})\s*(w|d|h|ms|m|s)\s*)+")
_DURATION_PART = re.compile(r"([0-9]+)\s*(w|d|h|ms|m|s)")
_DURATION_EXAMPLES = 'expected a duration such as "90s", "2m", "1h30m" or "36d"'

_SIZES = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_SIZE = re.compile(r"([0-9]{1,15})\s*([A-Za-z]*)")
_SIZE_EXAMPLES = 'expected a size such as "64KiB", "10MB" or "4GiB"'

# --- durations -------------------------------------------------------------------------------------


def parse_duration(value: object) -> float:
    """Return the seconds of a text like "90s", "1h30m" or "500ms".  Raises ValueError.

    Units are w, d, h, m, s, ms: each at most once, the largest first.  A number without a unit is
    refused, because many readers would take it for minutes.
    """
    return _milliseconds(value) / 1000


def _milliseconds(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"{_DURATION_EXAMPLES}, got {shown(value)}")
    text = str(value).strip()
    if _is_number(text):
        raise ValueError(f"{text} has no unit; {_unit_hint(text)}")
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{shown(value)} is not a duration; {_DURATION_EXAMPLES}")
    parts = [(int(number), unit) for number, unit in _DURATION_PART.findall(text)]
    units = [unit for _, unit in parts]
    if units != [unit for unit in _MS if unit in units]:
        raise ValueError(f'{shown(value)}: write each unit once and the largest first, as in "1d12h"')
    total = sum(number * _MS[unit] for number, unit in parts)
    if total > _LONGEST_MS:
        raise ValueError(f"{shown(value)} is more than ten years")
    return total


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"[+-]?[0-9]+(?:\.[0-9]+)?", text))


def _unit_hint(text: str) -> str:
    number = Decimal(text)
    if number <= 0 or number * 1000 > _LONGEST_MS:
        return _DURATION_EXAMPLES
    return f'write "{format_duration(float(number))}" for {text} seconds'


def format_duration(seconds: float) -> str:
    """Return the text that `parse_duration` reads back, like "2m", "1h30m", "36d" or "500ms"."""
    rest = round(seconds * 1000)
    parts = []
    for unit, worth in _MS.items():
        if unit == "w":
            continue  # "2w1d" is harder to read than "15d"
        count, rest = divmod(rest, worth)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def duration(low: str, high: str = "3650d") -> Kind:
    """A Kind for a field of whole seconds between `low` and `high`, both included."""

    def read(value: object) -> int:
        milliseconds = _milliseconds(value)
        if milliseconds % 1000:
            raise ValueError(f"{shown(value)}: whole seconds are expected here")
        return round(_within(milliseconds / 1000, low, high))

    return Kind("duration", read, format_duration)


def fractional_duration(low: str, high: str) -> Kind:
    """A Kind for a field of seconds with fractions between `low` and `high`, both included."""

    def read(value: object) -> float:
        return _within(parse_duration(value), low, high)

    return Kind("duration", read, format_duration)


def _within(seconds: float, low: str, high: str) -> float:
    if seconds < parse_duration(low):
        raise ValueError(f"{format_duration(seconds)} is too short; at least {low} is needed")
    if seconds > parse_duration(high):
        raise ValueError(f"{format_duration(seconds)} is too long; at most {high} is allowed")
    return seconds


# --- sizes -----------------------------------------------------------------------------------------


def parse_size(value: object) -> int:
    """Return the octets of a text like "64KiB" (powers of 1024) or "10MB" (powers of 1000).

    An integer is a number of octets.  "64K" is refused, because programs disagree about its meaning.
    Raises ValueError.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(f"{_SIZE_EXAMPLES}, got {shown(value)}")
    if isinstance(value, int):
        return value
    matched = _SIZE.fullmatch(value.strip())
    if not matched:
        raise ValueError(f"{shown(value)} is not a size; {_SIZE_EXAMPLES}")
    number, unit = matched.groups()
    if not unit:
        return int(number)
    worth = _SIZES.get(unit) or _SIZES.get({"kB": "KB"}.get(unit, ""))
    if worth is None:
        raise ValueError(f"{shown(value)}: {_size_hint(number, unit)}")
    return int(number) * worth


def _size_hint(number: str, unit: str) -> str:
    letter = unit[0].upper()
    if f"{letter}iB" in _SIZES and unit.lower() in {letter.lower() + rest for rest in ("", "b", "i", "ib")}:
        return f'write "{number}{letter}iB" (units of 1024) or "{number}{letter}B" (units of 1000)'
    return f"{unit!r} is not a unit of size; known are {', '.join(_SIZES)}"


def format_size(octets: int) -> str:
    """Return the shortest exact text, like "4GiB", "10MB" or "1500B"."""
    exact = [(octets // worth, unit) for unit, worth in _SIZES.items() if octets and octets % worth == 0]
    count, unit = min(exact, default=(octets, "B"))
    return f"{count}{unit}"


def size(low: str, high: str) -> Kind:
    """A Kind for a field of octets between `low` and `high`, both included."""

    def read(value: object) -> int:
        octets = parse_size(value)
        if octets < parse_size(low):
            raise ValueError(f"{format_size(octets)} is too small; at least {low} is needed")
        if octets > parse_size(high):
            raise ValueError(f"{format_size(octets)} is too large; at most {high} is allowed")
        return octets

    return Kind("size", read, format_size)
