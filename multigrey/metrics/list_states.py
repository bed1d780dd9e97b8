"""Counts whitelist entries by state (active, review, expired, disabled), for metrics."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping

from multigrey.config.settings import Settings
from multigrey.errors import ConfigError
from multigrey.whitelists.entry import ListedEntry, end_of
from multigrey.whitelists.list_source import SOURCE
from multigrey.whitelists.toml_file import read_lists

__all__ = ["STATES", "Lists", "readable"]

STATES = ("active", "review", "expired", "disabled")


class Lists:
    """The dates of all entries in the lists of one configuration."""

    def __init__(self, counts: Mapping[str, int], dated: Mapping[str, Iterable[ListedEntry]]) -> None:
        """`counts`: the number of entries of each list; `dated`: the entries of lists with dates."""
        self._counts = dict(counts)
        # Entries with the same dates together: a list may have very many entries, but few days.
        self._dated = {
            name: Counter((entry.enabled, entry.until, _review(entry)) for entry in entries)
            for name, entries in dated.items()
        }

    @classmethod
    def of(cls, settings: Settings, counts: Mapping[str, int]) -> Lists:
        """Read the lists of a configuration again; `counts` are the numbers it was loaded with.

        A list that cannot be read any more has no dates.  Reads files, so call it in a thread.
        """
        dated = {}
        for index, table in enumerate(settings.whitelist):
            name = f"{table.source} {table.path or index}"
            if table.source == SOURCE and table.path is not None and name in counts:
                try:
                    lists = read_lists(table.path, table.owner or "")
                except (ConfigError, OSError):
                    continue
                dated[name] = [entry for each in lists for entry in each.entries]
        return cls(counts, dated)

    def states(self, now: int) -> dict[str, dict[str, int]]:
        """Return the number of entries at this second, by list and state."""
        found = {}
        for name, count in self._counts.items():
            dated = self._dated.get(name)
            if dated is None:
                found[name] = {"active": count}
                continue
            counts = Counter[str]()
            for dates, number in dated.items():
                counts[_state(*dates, now)] += number
            found[name] = {state: counts[state] for state in STATES}
        return found


def readable(settings: Settings) -> dict[str, bool]:
    """Whether the file or directory of each list is there and can be read.  Looks at files."""
    return {
        f"{table.source} {table.path}": os.access(table.path, os.R_OK)
        for table in settings.whitelist
        if table.path is not None
    }


def _review(entry: ListedEntry) -> int | None:
    return None if entry.review_by is None else end_of(entry.review_by)


def _state(enabled: bool, until: int, review: int | None, now: int) -> str:
    if not enabled:
        return "disabled"
    if now >= until:
        return "expired"
    return "active" if review is None or now < review else "review"
