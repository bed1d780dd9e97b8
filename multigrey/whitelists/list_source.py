"""The whitelist source `list`: TOML entries with owner, reason and dates (multigrey-whitelists(5))."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from typing import Any, overload

from multigrey.contracts import SourceOptions
from multigrey.errors import ConfigError, Problem
from multigrey.model import Attempt, Match
from multigrey.whitelists.entry import ListedEntry, place_name
from multigrey.whitelists.entry_table import EntryTable
from multigrey.whitelists.toml_file import list_files, read_lists

__all__ = ["SOURCE", "EntryList", "entry_hit_name", "entry_list", "hit_name", "match_of"]

SOURCE = "list"
"""The word for `[[whitelist]] source`."""
_LONGEST_NAME = 2000


def entry_list(options: SourceOptions) -> EntryList:
    """Return a source of TOML entries, each with an owner, a reason, and dates for review and expiry.

    Raises ConfigError with every problem in the file, or in the files of the directory.
    """
    path = options.path
    if path is None:
        reason = f"source {SOURCE} needs the path of a file or directory"
        raise ConfigError([Problem("", None, "whitelist.path", reason)])
    lists = read_lists(path, options.owner)
    warnings = []
    if not lists and not list_files(path):
        warnings = [Problem(str(path), None, "", "this directory contains no *.toml file")]
    return EntryList([each.entries for each in lists], options, warnings)


class _Chained(Sequence[ListedEntry]):
    """The entries of several files, one file after the other."""

    def __init__(self, lists: Sequence[Sequence[ListedEntry]]) -> None:
        self._lists = lists
        self._ends = [*accumulate(map(len, lists))]

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> ListedEntry: ...
    @overload
    def __getitem__(self, index: slice) -> list[ListedEntry]: ...
    def __getitem__(self, index: int | slice) -> ListedEntry | list[ListedEntry]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        which = bisect_right(self._ends, index)
        return self._lists[which][index - (self._ends[which - 1] if which else 0)]

    def __iter__(self) -> Iterator[ListedEntry]:
        return chain.from_iterable(self._lists)


class EntryList:
    """The entries of one list, compiled for matching."""

    name = SOURCE

    def __init__(
        self,
        lists: Sequence[Sequence[ListedEntry]],
        options: SourceOptions,
        warnings: Sequence[Problem] = (),
    ) -> None:
        """The first matching entry counts; `options` supplies the clock and the origin of an attempt.

        `lists`: the entries of each file.
        """
        self._lists = lists
        self._now = options.now
        self._table = EntryTable(_Chained(lists), match_of, options.now, options.origin_of)
        self.count = self._table.used
        """The number of entries that are in use, or were until they expired."""
        self.warnings = tuple(warnings)

    def parts(self) -> list[dict[Any, Any]]:
        """The mappings with its entries (see `matching.matchers`)."""
        return self._table.parts

    def every(self, attempt: Attempt) -> list[Match]:
        """The matches of all matching entries; the first one counts."""
        return self._table.every(attempt)

    def almost(self, attempt: Attempt) -> list[tuple[str, str]]:
        """Some entries that do not match, but nearly, and why they do not."""
        return [(match.entry, why) for match, why in self._table.almost(attempt)]

    def why(self, match: Match) -> str:
        """The reason, ticket and dates of an entry as text; "" if it has none."""
        name, _, line = match.entry.partition(" ")[0].rpartition(":")
        for each in self._lists:
            if each and place_name(each[0].path) == name:
                for entry in _at_line(each, int(line)):
                    if match_of(entry) == match:
                        return _remark(entry)
        return ""

    def text_at(self, file: str, line: int) -> str | None:
        """The conditions of the entry in this file, at this line, that is in use; None: there is none."""
        for each in self._lists:
            if each and str(each[0].path) == file:
                for entry in _at_line(each, line):
                    if entry.enabled and self._now() < entry.until:
                        return entry.text
        return None

    def match(self, attempt: Attempt) -> Match | None:
        """See `WhitelistSource.match`."""
        return self._table.match(attempt)


def _at_line(entries: Sequence[ListedEntry], line: int) -> Iterator[ListedEntry]:
    """Yield the entries of a file that begin on this line."""
    for position in range(bisect_left(entries, line, key=_line_of), len(entries)):
        entry = entries[position]
        if _line_of(entry) != line:
            return
        yield entry


def _line_of(entry: ListedEntry) -> int:
    return entry.line or 0


def match_of(entry: ListedEntry) -> Match:
    """The Match of an entry: `partners.toml:12 client=.example.org`, and its owner.

    The match of an entry with a recipient holds for that recipient only, not for the other recipients
    of the message.
    """
    carries = all(condition.subject != "recipient" for condition in entry.conditions)
    return Match(SOURCE, f"{place_name(entry.path)}:{entry.line or 0} {entry.text}", entry.owner, carries)


def _remark(entry: ListedEntry) -> str:
    ticket = f"ticket {entry.ticket}" if entry.ticket else ""
    review = f"review by {entry.review_by}" if entry.review_by else ""
    expires = f"expires {entry.expires}" if entry.expires else ""
    return "; ".join(filter(None, (entry.reason, ticket, review, expires)))


def hit_name(match: Match) -> str:
    """The name under which the hits of an entry are counted.

    For an entry of a list it is the name of the file and the conditions, without the line, so that it
    stays the same when lines before the entry are added or removed.
    """
    if match.source != SOURCE:
        return match.entry[:_LONGEST_NAME]
    place, _, text = match.entry.partition(" ")
    return f"{place.rpartition(':')[0]} {text}"[:_LONGEST_NAME]


def entry_hit_name(entry: ListedEntry, source: str) -> str:
    """The same for an entry that was read without a match."""
    return hit_name(match_of(entry) if source == SOURCE else Match(source, entry.written))
