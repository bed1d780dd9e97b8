"""Cuts the text of a list into its entries, so that they can be read one after the other.

tomllib would hold all of a list at once, as thousands of tables.  Nearly every entry is written plainly: a
header and one short value on each line.  Of such an entry the values are read here; of every other one
tomllib reads the lines of that entry alone.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from datetime import date
from typing import Any, NamedTuple

__all__ = ["Part", "UnusualError", "parts"]

_HEADER = re.compile(r"^[ \t]*\[\[[ \t]*entry[ \t]*\]\]", re.MULTILINE)
_LINE = re.compile(
    r"""[ \t]*(?:
    ([A-Za-z0-9_-]+)[ \t]*=[ \t]*
    (?: "([^"\\\x00-\x1f\x7f]*)" | '([^'\x00-\x1f\x7f]*)' | ([0-9]{4}-[0-9]{2}-[0-9]{2}) | (true|false) )
    [ \t]*)?
    (?:\#[\t\x20-\x7e\x80-\U0010ffff]*)? (?:\r?\n|\Z)""",
    re.VERBOSE,
)


class UnusualError(Exception):
    """The text cannot be cut, or is wrong: it has to be read as a whole."""


class Part(NamedTuple):
    """The text of one entry."""

    line: int
    """Of its header, counted from 1."""
    text: str
    values: dict[str, Any]
    """What tomllib reads from it."""


def parts(text: str) -> tuple[dict[str, Any], Iterator[Part]]:
    """Return what stands before the first entry, and the entries in turn.

    Raises UnusualError, also while the entries are read.
    """
    if '"""' in text or "'''" in text:  # a header may stand in a text of several lines
        raise UnusualError
    first = _HEADER.search(text)
    end = len(text) if first is None else first.start()
    head = _loaded(text[:end])
    if "entry" in head:
        raise UnusualError
    return head, _entries(text, end)


def _entries(text: str, begin: int) -> Iterator[Part]:
    line = text.count("\n", 0, begin) + 1
    while begin < len(text):
        found = _HEADER.match(text, begin)
        assert found is not None
        following = _HEADER.search(text, found.end())
        end = len(text) if following is None else following.start()
        part = text[begin:end]
        yield Part(line, part, entry_values(part, found.end() - begin))
        line += text.count("\n", begin, end)
        begin = end


# Shortcut of tomllib.loads.
def entry_values(part: str, after_header: int) -> dict[str, Any]:
    """Return the values of one entry.  Raises UnusualError."""
    values: dict[str, Any] = {}
    at = after_header
    while at < len(part):
        found = _LINE.match(part, at)
        if found is None:
            return _by_tomllib(part)
        at = found.end()
        key, double, single, day, truth = found.groups()
        if key is None:
            continue
        if key in values or (at == after_header):
            return _by_tomllib(part)
        if day is not None:
            try:
                values[key] = date.fromisoformat(day)
            except ValueError:
                raise UnusualError from None
        else:
            values[key] = truth == "true" if truth else double if double is not None else single
    return values


def _by_tomllib(part: str) -> dict[str, Any]:
    found = _loaded(part)
    if found.keys() != {"entry"} or len(found["entry"]) != 1:
        raise UnusualError
    values: dict[str, Any] = found["entry"][0]
    return values


def _loaded(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        raise UnusualError from None
