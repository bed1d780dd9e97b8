"""How many entries of whitelists are in which state, told from the lists as they were loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from multigrey.config.settings import Settings
from multigrey.errors import ConfigError
from multigrey.whitelists.entry import ListedEntry, end_of
from multigrey.whitelists.list_source import SOURCE
from multigrey.whitelists.toml_file import read_lists

__all__ = ["STATES", "Lists"]

STATES = ("active", "review", "expired", "disabled")


class Lists:
    """The dates of every entry of one configuration's lists."""

    def __init__(self, counts: Mapping[str, int], dated: Mapping[str, Iterable[ListedEntry]]) -> None:
        """`counts` of every list by its name; the entries of those whose format has dates."""
        self._counts = dict(counts)
        self._dated = {
            name: [(entry.enabled, entry.until, _review(entry)) for entry in entries]
            for name, entries in dated.items()
        }

    @classmethod
    def of(cls, settings: Settings, counts: Mapping[str, int]) -> Lists:
        """Read the lists of a configuration again; `counts` are those it was loaded with.

        A list that cannot be read any more has no dates.  To be called aside: it reads files.
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
        """By list and state: how many entries, at this second."""
        found = {}
        for name, count in self._counts.items():
            dated = self._dated.get(name)
            if dated is None:
                found[name] = {"active": count}
                continue
            counts = Counter(_state(*entry, now) for entry in dated)
            found[name] = {state: counts[state] for state in STATES}
        return found


def _review(entry: ListedEntry) -> int | None:
    return None if entry.review_by is None else end_of(entry.review_by)


def _state(enabled: bool, until: int, review: int | None, now: int) -> str:
    if not enabled:
        return "disabled"
    if now >= until:
        return "expired"
    return "active" if review is None or now < review else "review"
