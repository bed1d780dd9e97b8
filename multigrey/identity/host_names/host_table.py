"""Finds the entry of a host name in a table of suffixes and patterns, such as the table of providers.

A key without wildcards is a *suffix*: it stands for the name itself and every name below it.  A key with
wildcards is a *pattern* of a whole name: `*` stands for any number of characters of one label, also none,
and `#` for one or more digits; names below it do not match.  Patterns are for providers whose servers share
a domain with their customers: `mailout#.isp.example` is the provider, its customers' `dsl-7.isp.example` is
not.

If several keys match, the one with the longest literal end counts: the search goes from the name itself to
its parents and stops at the first one that has a pattern for the name or is a suffix.  A pattern counts
before the suffix in which it ends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Generic, TypeVar

__all__ = ["HostTable", "is_pattern", "tail_of"]

Found = TypeVar("Found")

_WILD = re.compile(r"[*#]")
_ANY = "[a-z0-9_-]*"
_DIGITS = "[0-9]++"  # no backtracking (possessive): a sender may craft a name that would make it slow
_PART = re.compile(r"#|[^#]+")


def is_pattern(key: str) -> bool:
    """Whether a key has wildcards."""
    return _WILD.search(key) is not None


def tail_of(key: str) -> str:
    """The labels at the end of a pattern that have no wildcard; "" if there are none."""
    labels = key.split(".")
    wild = max(index for index, label in enumerate(labels) if _WILD.search(label))
    return ".".join(labels[wild + 1 :])


class HostTable(Generic[Found]):
    """Entries by suffix or pattern; names and keys are in the form `identity.addresses.host_name` returns."""

    __slots__ = ("_below",)

    def __init__(self, entries: Mapping[str, Found]) -> None:
        """A pattern without a tail matches nothing.  A digit or `#` must not follow a `#`."""
        patterns: dict[str, list[tuple[re.Pattern[str], str, Found]]] = {}
        suffixes: dict[str, Found] = {}
        for key, entry in entries.items():
            if is_pattern(key):
                patterns.setdefault(tail_of(key), []).append((_compiled(key), key, entry))
            else:
                suffixes[key] = entry
        self._below = {
            tail: (tuple(patterns.get(tail, ())), suffixes.get(tail)) for tail in patterns.keys() | suffixes
        }

    def find(self, name: str) -> tuple[Found | None, str]:
        """The entry that counts for a name, and its key; (None, "") if there is none."""
        parent = name
        while parent:
            below = self._below.get(parent)
            if below is not None:
                for pattern, key, entry in below[0]:
                    if pattern.fullmatch(name):
                        return entry, key
                if below[1] is not None:
                    return below[1], parent
            parent = parent.partition(".")[2]
        return None, ""


def _compiled(key: str) -> re.Pattern[str]:
    """A regular expression without backtracking from one wildcard into an earlier one.

    The text between two `*` can always be matched at its first position: a later one leaves less for the
    rest, and `*` takes what is left over.  So each such match is final (an atomic group).
    """
    *texts, last = key.split("*")
    if not texts:
        return re.compile(_literal(last))
    first, *middle = texts
    found = "".join(f"(?>{_ANY}?{_before_any(text)})" for text in middle if text)
    return re.compile(f"{_before_any(first)}{found}{_ANY}{_literal(last)}")


def _literal(text: str) -> str:
    return "".join(_DIGITS if part == "#" else re.escape(part) for part in _PART.findall(text))


def _before_any(text: str) -> str:
    """The expression for the text before a `*`, which takes all digits but the first of a `#` at the end."""
    return f"{_literal(text[:-1])}[0-9]" if text.endswith("#") else _literal(text)
