"""The return codes of DNS lists, and patterns that select some of them.  Pure.

A list answers with addresses of 127.0.0.0/8, which are codes (RFC 5782 section 2.1).  A pattern has
four parts with dots between them.  Each part is one of

    5           this number
    *           any number
    2-7         a range
    [2..7;9]    numbers and ranges, as Postfix writes them (postscreen_dnsbl_sites)
    &8          numbers with this bit set, for lists that add up bits
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

__all__ = ["ANY", "LEVELS", "Code", "CodePattern", "is_code", "level_pattern", "parse_pattern", "picked"]

Code = IPv4Address

LEVELS = ("none", "low", "medium", "high")
"""The levels of trust of dnswl.org: the last part of 127.0.CATEGORY.LEVEL."""

_CODES = IPv4Network("127.0.0.0/8")
_PART = r"\*|&[0-9]{1,3}|[0-9]{1,3}(?:-[0-9]{1,3})?|\[[0-9.;]+\]"
_PATTERN = re.compile(rf"({_PART})\.({_PART})\.({_PART})\.({_PART})")
_RANGE = re.compile(r"([0-9]{1,3})(?:(?:\.\.|-)([0-9]{1,3}))?")
_EVERY = frozenset(range(256))


@dataclass(frozen=True, slots=True)
class CodePattern:
    """A set of codes: the text that the administrator wrote, and the numbers of each part."""

    text: str
    parts: tuple[frozenset[int], ...]

    def covers(self, code: Code) -> bool:
        """Whether a code belongs to the set."""
        return all(number in part for number, part in zip(code.packed, self.parts, strict=True))


def parse_pattern(text: str) -> CodePattern:
    """Parse a pattern.  Raises ValueError."""
    matched = _PATTERN.fullmatch(text)
    if not matched:
        raise ValueError(
            f'{text[:60]!r} is not a pattern of return codes; expected one such as "127.0.0.2", '
            '"127.0.0.2-11", "127.0.*.2-3" or "127.0.0.&8"'
        )
    parts = tuple(_numbers(part) for part in matched.groups())
    if parts[0] != {127}:
        raise ValueError(f"{text!r}: the codes of a DNS list begin with 127 (RFC 5782)")
    return CodePattern(text, parts)


def _numbers(part: str) -> frozenset[int]:
    if part == "*":
        return _EVERY
    if part.startswith("&"):
        return frozenset(number for number in _EVERY if number & _number(part[1:]))
    return frozenset(number for one in part.strip("[]").split(";") for number in _range(one))


def _range(text: str) -> Iterator[int]:
    matched = _RANGE.fullmatch(text)
    if not matched:
        raise ValueError(f"{text!r} is neither a number nor a range; expected 2 or 2..7")
    first = _number(matched[1])
    last = _number(matched[2] or matched[1])
    if last < first:
        raise ValueError(f"{text!r}: write the smaller number first")
    yield from range(first, last + 1)


def _number(text: str) -> int:
    if int(text) > 255:
        raise ValueError(f"{text} is more than 255")
    return int(text)


ANY = CodePattern("127.*.*.*", (frozenset({127}), _EVERY, _EVERY, _EVERY))


def level_pattern(level: str) -> CodePattern:
    """The codes of one level of dnswl.org, in every category (which is never 0)."""
    number = LEVELS.index(level)
    return parse_pattern(f"127.0.1-255.{number}")


def is_code(address: IPv4Address) -> bool:
    """Whether an address in an answer is a code."""
    return address in _CODES


def picked(codes: Iterable[Code], patterns: Iterable[CodePattern]) -> list[Code]:
    """Return the codes that one of the patterns covers, the smallest first."""
    wanted = tuple(patterns)
    return sorted(code for code in codes if any(pattern.covers(code) for pattern in wanted))
