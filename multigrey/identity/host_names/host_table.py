"""What is known of host names, by suffix or by pattern: the form of the tables of providers.

A key without wildcards is a *suffix*: it stands for the name itself and every name below it.  A key
with wildcards is a *pattern* of a whole name: `*` stands for any characters of one label, none too,
and `#` for one digit or more; names below do not match.  Patterns are for providers whose servers
share a domain with their customers: `mailout#.isp.example` is the provider, its customers'
`dsl-7.isp.example` is not.

The more of its end a key tells, the more it counts: from the name itself upwards, the first parent
decides that has a pattern for the name or is a suffix, a pattern before the suffix it ends in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Generic, TypeVar

__all__ = ["HostTable", "is_pattern", "tail_of"]

Found = TypeVar("Found")

_WILD = re.compile(r"[*#]")
_ANY = "[a-z0-9_-]*"
_DIGITS = "[0-9]++"  # possessive, as the rest: a name may be made up by whoever wants us to be slow
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
    """Entries by suffix or pattern; names and keys in the form `identity.addresses.host_name` gives."""

    __slots__ = ("_below",)

    def __init__(self, entries: Mapping[str, Found]) -> None:
        """A pattern without a tail matches nothing; neither a digit nor `#` may follow a `#`."""
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

    What stands between two `*` may be found where it comes first: a later place leaves less to the
    rest, and `*` takes what is left over.  So each finding is final (an atomic group).
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
    """What stands before a `*`, which takes all digits but the first of a `#` at the end."""
    return f"{_literal(text[:-1])}[0-9]" if text.endswith("#") else _literal(text)
