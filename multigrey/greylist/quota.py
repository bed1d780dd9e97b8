"""The quota of new records: counts how many each origin makes in an hour, in fixed memory.

Greylisting stores a record for each unknown sender, so one sender must not be able to fill the store.
Attempts over the limit get a mark instead of a record (see `greylist.marks`): their own retry still passes,
and the store stays bounded.

A named origin is counted by itself, without networks.  An unnamed client counts for its network and for the
networks around that one, because adjacent addresses are free for their owner: 10,000 networks of /64 may be
one customer.  A wider network may make a multiple of the limit of a single one:

    IPv4  /24 once   /16 ten times                                  all together fifty times
    IPv6  /64 once   /56 twice   /48 four times   /32 ten times     all together fifty times

These networks do not depend on ipv4_prefix and ipv6_prefix.

The counters are a count-min sketch (Cormode and Muthukrishnan, 2005) with conservative update.  The count of
an origin is never too low, so a sender cannot hide a heavy origin by cycling through millions of others.  It
may be too high by about the new records of the hour divided by a third of the row's size: with a million
unknown senders and the default size about forty, which is negligible beside the limits.  The cells are chosen
by a hash with a secret (Python's own: SipHash with 64 bits, sixteen for each row), so a sender cannot aim at
the cells of another.

The hour slides: the counts of the previous hour are weighted by the part of it that lies within the last 3600
seconds.  If the clock is set back, the present hour begins again (with its counts); if it is set forward, the
hour ends.  Either error lasts at most an hour.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from multigrey.identity.addresses import network_of
from multigrey.model import HOUR, Address, Origin

__all__ = ["Network", "NewRecordLimits", "NewRecordQuota", "networks_of"]


Network = tuple[int, int, int]
"""IP version, length of the prefix, and the bits of the prefix."""

_TIMES = {4: ((16, 10), (24, 1)), 6: ((32, 10), (48, 4), (56, 2), (64, 1))}
"""The prefixes of each IP version, the widest first, and the multiple of the limit for each."""
_TOGETHER = 50
"""The multiple of the limit for all unnamed clients of one IP version together."""
_ALONE = ((0, 1),)
"""A named origin has no networks."""
_PREFIXES = {version: tuple(prefix for prefix, _ in levels) for version, levels in _TIMES.items()}
_BITS = {4: 32, 6: 128}
_LEVELS = {
    version: tuple((b"u%d/%d:" % (version, prefix), _BITS[version] - prefix) for prefix, _ in levels)
    for version, levels in _TIMES.items()
}
"""The text that is hashed before the number of a network, and the number of address bits not in it."""
_ROWS = 4
_MOST_CELLS = 1 << 16
"""Largest number of cells of a row: sixteen bits of the hash select the cell."""


def networks_of(address: Address) -> tuple[Network, ...]:
    """The networks in which an address lies, the widest first."""
    number, version, bits = int(address), address.version, address.max_prefixlen
    return tuple([(version, prefix, number >> bits - prefix) for prefix in _PREFIXES[version]])


@dataclass(frozen=True, slots=True)
class NewRecordLimits:
    """Largest numbers of new records in an hour; 0: no limit."""

    unnamed: int = 1_000
    """For an unnamed client's network (/24, /64); for the wider ones see the table above."""
    named: int = 100_000
    """For a named origin."""


class NewRecordQuota:
    """The counts of new records.  `limits` may be replaced at any time."""

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
        """`size`: cells of a row, rounded up to a power of two; each takes 32 bytes (2 MiB by default).

        `key`: secret bytes for the hash.
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
        """The counts of the previous hour; None: nothing was counted in it."""
        self._all = dict.fromkeys(_BITS, 0)
        """New records of all unnamed clients in this hour, by IP version; `_all_before`: the hour before."""
        self._all_before = dict.fromkeys(_BITS, 0)
        self._start: int | None = None
        self._last: tuple[object, object, tuple[int, ...]] = (None, None, ())
        """Origin, address and hashes of the last call: `note` follows `over` for the same attempt."""

    def over(self, origin: Origin, client_address: Address | None, now: int) -> Origin | None:
        """None while this origin may make another new record, else the origin that is over the limit.

        That is a named origin itself, or the widest network of an unnamed one that is over the limit, so that
        cycling through narrower networks gains nothing.  Takes a few microseconds.
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
            # The least of the cells is the count, so one cell below the limit shows that it is not reached.
            first = mark & mask
            least = present[first] if before is None else present[first] + before[first]
            if least >= limit * factor and self._count(mark, now) >= limit * factor:
                if origin.named:
                    return origin
                assert client_address is not None
                return Origin(network_of(client_address, prefix, prefix), named=False)
        return None

    def note(self, origin: Origin, client_address: Address | None, now: int) -> None:
        """Count a new record of this origin (not a mark)."""
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
        """Number of new records in the last hour: of a named origin, or of the client's /24 or /64."""
        marks = self._marks_of(origin, client_address)
        return int(self._count(marks[-1], now)) if marks else 0

    def _together(self, version: int, now: int) -> float:
        """Number of new records of all unnamed clients of an IP version in the last hour."""
        before = self._all_before[version]
        if not before:
            return self._all[version]
        return self._all[version] + (1 - (now - self._turned(now)) / HOUR) * before

    def _marks_of(self, origin: Origin, client_address: Address | None) -> tuple[int, ...]:
        """The hash of a named origin, or the hashes of an unnamed one's networks, the widest first."""
        # Compared by identity, which is quicker: `note` gets the same objects as `over` just before.
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
        """Begin a new hour if the present one is over; return when the present one began."""
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
