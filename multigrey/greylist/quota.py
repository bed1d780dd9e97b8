"""How many new records each origin makes in an hour, counted in fixed memory.

Greylisting remembers what strangers ask for, so a stranger must not be able to ask for all of it.
Attempts over the limit get a mark instead of a record (see `greylist.marks`): their own retry still passes,
and the store stays bounded.

A named origin counts by itself, and nothing nests in it.  An unnamed client counts for its network
and the networks around that one, because addresses next to each other cost nothing: 10,000 networks
of /64 are one customer.  The wider ones may have a multiple of what a single one may:

    IPv4  /24 once   /16 ten times                                  all together fifty times
    IPv6  /64 once   /56 twice   /48 four times   /32 ten times     all together fifty times

These networks are the same whatever ipv4_prefix and ipv6_prefix say.

The counters are a count-min sketch (Cormode and Muthukrishnan, 2005) with conservative update: an
origin is never counted for less than it did, whoever else comes along, so nobody can push a heavy
one out by cycling through millions of others.  What it may count too much is about the notes of an
hour divided by a third of the row's size, whatever they were for: with a million strangers and the
default size some forty, which the limits make nothing of.  The cells are chosen by a hash with a secret
in it (Python's own: SipHash with 64 bits, sixteen for each row), so nobody can aim at a neighbour's.

An hour slides: what the hour before counted weighs as much as of it lies within the last 3600
seconds.  A clock set back makes the present hour begin again (with its counts), a clock set forward
ends it; neither stays wrong for longer than an hour.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from multigrey.identity.addresses import network_of
from multigrey.model import HOUR, Address, Origin

__all__ = ["Network", "NewRecordLimits", "NewRecordQuota", "networks_of"]


Network = tuple[int, int, int]
"""IP version, prefix, and the bits of the prefix."""

_TIMES = {4: ((16, 10), (24, 1)), 6: ((32, 10), (48, 4), (56, 2), (64, 1))}
"""The prefixes of each IP version, the widest first, and how many times the limit each may have."""
_TOGETHER = 50
"""How many times the limit all unnamed clients of one IP version may have."""
_ALONE = ((0, 1),)
"""A named origin has no networks."""
_PREFIXES = {version: tuple(prefix for prefix, _ in levels) for version, levels in _TIMES.items()}
_BITS = {4: 32, 6: 128}
_LEVELS = {
    version: tuple((b"u%d/%d:" % (version, prefix), _BITS[version] - prefix) for prefix, _ in levels)
    for version, levels in _TIMES.items()
}
"""What stands before the number of a network, and how many bits of an address are not in it."""
_ROWS = 4
_MOST_CELLS = 1 << 16
"""Cells of a row at most: sixteen bits of the hash say which."""


def networks_of(address: Address) -> tuple[Network, ...]:
    """The networks an address lies in, the widest first."""
    number, version, bits = int(address), address.version, address.max_prefixlen
    return tuple([(version, prefix, number >> bits - prefix) for prefix in _PREFIXES[version]])


@dataclass(frozen=True, slots=True)
class NewRecordLimits:
    """New records in an hour; 0: no limit."""

    unnamed: int = 1_000
    """For an unnamed client's network (/24, /64); the wider ones as told above."""
    named: int = 100_000
    """For a named origin."""


class NewRecordQuota:
    """Counts them.  `limits` may be replaced at any time."""

    __slots__ = (
        "_all",
        "_all_before",
        "_before",
        "_key",
        "_last",
        "_levels",
        "_mask",
        "_now",
        "_start",
        "_width",
        "limits",
    )

    def __init__(self, limits: NewRecordLimits, size: int = _MOST_CELLS, *, key: bytes = b"") -> None:
        """`size`: cells of a row, made a power of two; each takes 32 bytes in all (2 MiB by default).

        `key`: secret bytes.
        """
        self.limits = limits
        self._width = min(1 << max(size - 1, 1).bit_length(), _MOST_CELLS)
        self._mask = self._width - 1
        self._key = key
        self._levels = {
            version: [(key + kind, spare) for kind, spare in levels] for version, levels in _LEVELS.items()
        }
        self._now = self._zeros()
        self._before: array[int] | None = None
        """None: nothing was counted in the hour before."""
        self._all = dict.fromkeys(_BITS, 0)
        """New records of all unnamed clients in this hour, by IP version; and in the hour before."""
        self._all_before = dict.fromkeys(_BITS, 0)
        self._start: int | None = None
        self._last: tuple[object, object, tuple[int, ...]] = (None, None, ())
        """Whose marks were made last: `note` follows `over` for the same attempt."""

    def over(self, origin: Origin, client_address: Address | None, now: int) -> Origin | None:
        """None while this origin may make another new record.

        Else who is over the limit: itself if it is named, otherwise the widest of its networks, so that
        cycling through the narrower ones gains nothing.  Some microseconds.
        """
        limits = self.limits
        limit = limits.named if origin.named else limits.unnamed
        if not limit:
            return None
        self._turned(now)
        if (
            not origin.named
            and client_address is not None
            and self._together(client_address.version, now) >= limit * _TOGETHER
        ):
            return Origin(network_of(client_address, 0, 0), named=False)
        present, before, mask = self._now, self._before, self._mask
        levels = _ALONE if origin.named or client_address is None else _TIMES[client_address.version]
        for mark, (prefix, factor) in zip(self._marks_of(origin, client_address), levels, strict=False):
            # One look shows nearly always that it is not: the least of its cells is what counts.
            first = mark & mask
            least = present[first] if before is None else present[first] + before[first]
            if least >= limit * factor and self._count(mark, now) >= limit * factor:
                if origin.named:
                    return origin
                assert client_address is not None
                return Origin(network_of(client_address, prefix, prefix), named=False)
        return None

    def note(self, origin: Origin, client_address: Address | None, now: int) -> None:
        """A new record was made for this origin (not a mark)."""
        self._turned(now)
        if not origin.named and client_address is not None:
            self._all[client_address.version] += 1
        present, mask, width = self._now, self._mask, self._width
        for mark in self._marks_of(origin, client_address):
            a = mark & mask
            b = width + (mark >> 16 & mask)
            c = 2 * width + (mark >> 32 & mask)
            d = 3 * width + (mark >> 48 & mask)
            one, two, three, four = present[a], present[b], present[c], present[d]
            least = min(one, two, three, four)
            if one == least:
                present[a] = least + 1
            if two == least:
                present[b] = least + 1
            if three == least:
                present[c] = least + 1
            if four == least:
                present[d] = least + 1

    def count(self, origin: Origin, client_address: Address | None, now: int) -> int:
        """New records of the last hour: of a named origin, or of the client's /24 or /64."""
        marks = self._marks_of(origin, client_address)
        return int(self._count(marks[-1], now)) if marks else 0

    def _together(self, version: int, now: int) -> float:
        """New records of the last hour of all unnamed clients of an IP version, at least."""
        before = self._all_before[version]
        if not before:
            return self._all[version]
        return self._all[version] + (1 - (now - self._turned(now)) / HOUR) * before

    def _marks_of(self, origin: Origin, client_address: Address | None) -> tuple[int, ...]:
        """What stands for a named origin, or for an unnamed one's networks, the widest first."""
        last_origin, last_address, marks = self._last
        if last_origin is origin and last_address is client_address:
            return marks
        if origin.named:
            marks = (hash(b"%bn%b" % (self._key, origin.text.encode("utf-8", "surrogateescape"))),)
        elif client_address is None:
            marks = ()
        else:
            number = int(client_address)
            levels = self._levels[client_address.version]
            marks = tuple([hash(kind + (number >> spare).to_bytes(16, "big")) for kind, spare in levels])
        self._last = (origin, client_address, marks)
        return marks

    def _count(self, mark: int, now: int) -> float:
        start = self._turned(now)
        weight = 1 - (now - start) / HOUR
        present, before, mask = self._now, self._before, self._mask
        cells = [row * self._width + (mark >> 16 * row & mask) for row in range(_ROWS)]
        if before is None:
            return min([present[cell] for cell in cells])
        return min([present[cell] + weight * before[cell] for cell in cells])

    def _turned(self, now: int) -> int:
        """Begin a new hour if it is time; returns when the present one began."""
        start = self._start
        if start is None or now < start:
            start = now
        elif now - start >= HOUR:
            follows = now - start < 2 * HOUR
            self._before = self._now if follows else None
            self._now = self._zeros()
            self._all_before = self._all if follows else dict.fromkeys(_BITS, 0)
            self._all = dict.fromkeys(_BITS, 0)
            start = start + HOUR if follows else now
        self._start = start
        return start

    def _zeros(self) -> array[int]:
        return array("I", bytes(4 * _ROWS * self._width))
