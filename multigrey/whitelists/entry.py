"""Entries of whitelists as plain data, from whatever kind of list: what they ask for, whose they are.

Compared with one another by `coverage` and with attempts by `table`.
"""

from __future__ import annotations

import re
from calendar import timegm
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple

from multigrey.matching.matchers import Network
from multigrey.model import DAY

__all__ = [
    "NEVER",
    "Condition",
    "ListedEntry",
    "day_begin",
    "end_of",
    "network_condition",
    "place_name",
]

NEVER = 1 << 62
"""Later than any time."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing an attempt must have; `text` is normalised like what it is compared with."""

    subject: str
    """`client`, `origin`, `sender` or `recipient`."""
    how: str
    """`network`, or what `Pattern` has; of the domain of an address also `domain regex`."""
    text: str
    network: Network | None = None

    def __str__(self) -> str:
        return f"{self.subject}={_FORMS.get(self.how, '{}').format(self.text) or '<>'}"


_FORMS = {
    "below": ".{}",
    "regex": "/{}/",
    "user": "{}@",
    "domain": "@{}",
    "domain below": "@.{}",
    "domain regex": "@/{}/",
}


def network_condition(network: Network) -> Condition:
    """The condition that the client's address lies in this network."""
    single = network.prefixlen == network.max_prefixlen
    return Condition("client", "network", str(network.network_address if single else network), network)


class ListedEntry(NamedTuple):
    """One entry, from whatever kind of list."""

    path: Path
    line: int | None
    conditions: tuple[Condition, ...]
    owner: str = ""
    reason: str = ""
    ticket: str = ""
    added: date | None = None
    review_by: date | None = None
    expires: date | datetime | None = None
    enabled: bool = True
    written: str = ""
    """The line it stands on, in formats with an entry on each."""

    @property
    def text(self) -> str:
        """Its conditions; the same text, the same meaning, wherever it stands."""
        return " ".join(map(str, self.conditions))

    @property
    def until(self) -> int:
        """The first second at which it matches no more; NEVER if it does not expire."""
        return NEVER if self.expires is None else end_of(self.expires)


def day_begin(day: date) -> int:
    """The second at which a day begins in UTC."""
    return timegm(day.timetuple())


def end_of(moment: date | datetime) -> int:
    """The first second after a day in UTC, or the second of a moment."""
    if isinstance(moment, datetime):
        offset = moment.utcoffset()
        return timegm(moment.timetuple()) - (0 if offset is None else int(offset.total_seconds()))
    return day_begin(moment) + DAY


def place_name(path: Path) -> str:
    """The name of a list file as a log line shows it: nothing in it looks like the end of it."""
    return re.sub(r"[^!-9;-~]", "?", path.name)
