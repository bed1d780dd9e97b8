"""Counts the attempts of networks and origins that are over the limit of new records.

It counts attempts that were answered `over-limit`: of a client without a name by its /24 or /64, of a named
origin by its name.  If many networks of one /16 or /32 are over the limit at a time, the wider network is
shown for them, because one owner can use adjacent networks at no cost.

A flood begins with its first attempt over the limit and ends after an hour without any.  Attempts are counted
by the minute, in fixed memory.  Of each width the networks that were over the limit last are kept, so others
never evict a flood that continues.  Times are seconds of a monotonic clock.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict

from multigrey.identity.addresses import widened
from multigrey.model import HOUR, value

__all__ = ["MOST_NETWORKS", "Flood", "Floods"]

MOST_NETWORKS = 256
"""Largest number of networks of each width that are counted at a time."""

_MINUTE, _MINUTES = 60, 60


@value
class Flood:
    """A network or named origin that is over the limit."""

    network: str
    """Text of the network, or the name."""
    began: float
    """Time of its first attempt over the limit."""
    latest: float
    """Time of its latest attempt, to the second."""
    attempts: int
    """Number of attempts in the last hour."""


class _Counted:
    """The counts of one network."""

    __slots__ = ("_minutes", "began", "latest", "wider")

    def __init__(self, now: float, wider: str) -> None:
        self.began = now
        self.latest = now
        self.wider = wider
        self._minutes = array("I", bytes(4 * _MINUTES))

    def note(self, now: float) -> None:
        """Count one attempt."""
        if now - self.latest >= 1:
            self._turn(now)
        self._minutes[int(self.latest) // _MINUTE % _MINUTES] += 1

    def within_the_hour(self, now: float) -> int:
        """Number of attempts in this minute and the 59 before it."""
        first = int(now) // _MINUTE - _MINUTES + 1
        last = int(self.latest) // _MINUTE
        return sum(
            self._minutes[minute % _MINUTES] for minute in range(max(first, last - _MINUTES + 1), last + 1)
        )

    def _turn(self, now: float) -> None:
        """Clear the minutes that are an hour old at `now`."""
        last, this = int(self.latest) // _MINUTE, int(now) // _MINUTE
        for minute in range(max(last, this - _MINUTES) + 1, this + 1):
            self._minutes[minute % _MINUTES] = 0
        self.latest = max(self.latest, now)


class Floods:
    """The counts of all networks and named origins over the limit."""

    def __init__(self, most: int = MOST_NETWORKS) -> None:
        """`most`: networks of each width that are kept; the least recent one is dropped first."""
        self.attempts = 0
        """Attempts over the limit since the start."""
        self._most = most
        self._networks: OrderedDict[str, _Counted] = OrderedDict()
        self._wider: OrderedDict[str, _Counted] = OrderedDict()

    def note(self, now: float, network: str, wider: str = "") -> None:
        """Count an attempt over the limit; for the texts see `network_and_wider`.  Takes 1 or 2 µs."""
        self.attempts += 1
        self._count(self._networks, now, network, wider)
        if wider:
            self._count(self._wider, now, wider, "")

    def _count(self, table: OrderedDict[str, _Counted], now: float, network: str, wider: str) -> None:
        counted = table.get(network)
        if counted is None or now - counted.latest >= HOUR:
            counted = table[network] = _Counted(now, wider)
            if len(table) > self._most:
                table.popitem(last=False)
        table.move_to_end(network)
        counted.note(now)

    def floods(self, now: float) -> list[Flood]:
        """The networks and origins over the limit within the last hour, those with most attempts first."""
        networks, wider = _within_the_hour(self._networks, now), _within_the_hour(self._wider, now)
        shown = set(widened({network: counted.wider for network, counted in networks.items()}).values())
        found = [
            Flood(network, counted.began, counted.latest, counted.within_the_hour(now))
            for network, counted in {**networks, **wider}.items()
            if network in shown
        ]
        return sorted(found, key=lambda each: (-each.attempts, each.network))


def _within_the_hour(table: OrderedDict[str, _Counted], now: float) -> dict[str, _Counted]:
    return {network: counted for network, counted in table.items() if now - counted.latest < HOUR}
