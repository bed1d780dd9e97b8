"""Whitelist entries of every kind of list as plain data: conditions, owner, reason and dates.

`coverage` compares entries with each other, `entry_table` compares them with attempts.
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
"""A time later than any other."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition on an attempt; `text` is normalised like the text it is compared with."""

    subject: str
    """`client`, `origin`, `sender` or `recipient`."""
    how: str
    """`network`, or a value of `Pattern.how`; for the domain of an address also `domain regex`."""
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
    """The condition that the client's address is in this network."""
    single = network.prefixlen == network.max_prefixlen
    return Condition("client", "network", str(network.network_address if single else network), network)


class ListedEntry(NamedTuple):
    """One entry of any kind of list."""

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
    """The text of its line, in formats with one entry on each line."""

    @property
    def text(self) -> str:
        """Its conditions as text; entries with the same text match the same attempts."""
        return " ".join(map(str, self.conditions))

    @property
    def until(self) -> int:
        """The first second at which it is expired; NEVER if it does not expire."""
        return NEVER if self.expires is None else end_of(self.expires)


def day_begin(day: date) -> int:
    """The second at which a day begins in UTC."""
    return timegm(day.timetuple())


def end_of(moment: date | datetime) -> int:
    """The first second after a day (in UTC), or the second of a moment."""
    if isinstance(moment, datetime):
        offset = moment.utcoffset()
        return timegm(moment.timetuple()) - (0 if offset is None else int(offset.total_seconds()))
    return day_begin(moment) + DAY


def place_name(path: Path) -> str:
    """The name of a list file for a log line: no character in it could be taken for the end of the name."""
    return re.sub(r"[^!-9;-~]", "?", path.name)
