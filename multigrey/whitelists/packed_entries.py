"""The entries of one list file, packed into one block of octets.

A list may have a hundred thousand entries.  As objects they would take ten times the memory, and the garbage
collector would look at each of them.  So an entry is unpacked each time it is asked for, which takes some
microseconds.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import overload

from multigrey.whitelists.entry import Condition, ListedEntry

__all__ = ["PackedEntries"]

_BETWEEN = "\0"
"""Between two values: no value contains it, because all are printable."""
_FIXED = 9
"""Values before the conditions, which have three each."""


class PackedEntries(Sequence[ListedEntry]):
    """Entries of one file in the order of their lines; a sequence that can only grow."""

    def __init__(self, path: Path, entries: Iterable[ListedEntry] = ()) -> None:
        self.path = path
        self._octets = bytearray()
        self._ends = array("Q")
        for entry in entries:
            self.append(entry)

    def append(self, entry: ListedEntry) -> None:
        """Take one more entry of this file."""
        values = [
            "" if entry.line is None else str(entry.line),
            "1" if entry.enabled else "",
            entry.owner,
            entry.reason,
            entry.ticket,
            _written(entry.added),
            _written(entry.review_by),
            _written(entry.expires),
            entry.written,
        ]
        for condition in entry.conditions:
            values += (condition.subject, condition.how, condition.text)
        self._octets += _BETWEEN.join(values).encode("utf-8", "surrogatepass")
        self._ends.append(len(self._octets))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> ListedEntry: ...
    @overload
    def __getitem__(self, index: slice) -> list[ListedEntry]: ...
    def __getitem__(self, index: int | slice) -> ListedEntry | list[ListedEntry]:
        if isinstance(index, slice):
            return [self._at(position) for position in range(*index.indices(len(self)))]
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(index)
        return self._at(position)

    def __iter__(self) -> Iterator[ListedEntry]:
        return map(self._at, range(len(self)))

    def _at(self, position: int) -> ListedEntry:
        begin = self._ends[position - 1] if position else 0
        values = self._octets[begin : self._ends[position]].decode("utf-8", "surrogatepass").split(_BETWEEN)
        line, enabled, owner, reason, ticket, added, review, expires, written = values[:_FIXED]
        parts = iter(values[_FIXED:])
        return ListedEntry(
            self.path,
            int(line) if line else None,
            tuple(_condition(*each) for each in zip(parts, parts, parts, strict=True)),
            owner,
            reason,
            ticket,
            date.fromisoformat(added) if added else None,
            date.fromisoformat(review) if review else None,
            _moment(expires) if expires else None,
            bool(enabled),
            written,
        )


def _written(moment: date | datetime | None) -> str:
    return "" if moment is None else moment.isoformat()


def _moment(text: str) -> date | datetime:
    return datetime.fromisoformat(text) if "T" in text else date.fromisoformat(text)


def _condition(subject: str, how: str, text: str) -> Condition:
    if how != "network":
        return Condition(subject, how, text)
    return Condition(subject, how, text, IPv6Network(text) if ":" in text else IPv4Network(text))
