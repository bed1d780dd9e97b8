"""Marks of attempts that may have no record, in bounded space.

A mark holds the time of the first attempt, the delay, and the number of early retries.  That is all that its
own retry needs, and no other attempt can match it.  Marks lie in 32,768 buckets of at most 40, so the table
never exceeds 1.3 million marks and about 50 MB of the store.

    bucket := version (1 octet), mark*                          the oldest first
    mark   := fingerprint (8), first time (4), delay (4), early (1), place (6)    big end first

Fingerprint and bucket come from the keyed digest of the attempt's record key, so a sender cannot aim at a
bucket.  The place says who made the mark; it consists of three keyed hashes of two octets:

    IPv4 client     /16       /24       address
    IPv6 client     /32       /48       /64
    named origin    origin    origin    IPv4 address or IPv6 /64

When a bucket is full, one mark is evicted.  The new mark is one of the candidates.  The eviction rules
protect other senders' marks in a flood:

  1. Space is divided by network first, then by address.  In the first column only those networks can lose a
     mark that hold at least half as many as the network in this bucket that holds most.  Within these the
     same applies to the second column, and then to the third.  So a network counts with all its addresses
     together, and an address with few marks keeps them, even inside a flooding network.
  2. Of the remaining ones, the network with most marks in this bucket is chosen, within it the one with most
     in the second column, and within that the address that holds most marks.  If several are equal, the one
     with the newest mark is chosen; then there is not enough room for the new mark, and waiting ones stay.
  3. Of the marks of that address, those older than six hours are evicted first, the oldest first, because
     hardly any mail server makes its first retry later.  Then those whose delay is not over, the newest
     first, because a flood comes last.  Those whose retry would pass now are evicted last.

`Weights` (see `greylist.weights`) counts how many marks a network or address holds in all, because the 40
marks of one bucket cannot distinguish an address with 20 marks from one with 4,000.  Without it only the
marks in the bucket count.  That is enough against one flooding address, but a hundred addresses of one
network would leave no room for their neighbours.

Pure; times are wall-clock seconds.  Stored bytes that are not a bucket raise CodecError.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import blake2b

from multigrey.errors import CodecError, NewerFormatError
from multigrey.model import Address, Key, Origin, Table, value

__all__ = [
    "BUCKETS",
    "CELLS",
    "PATIENCE",
    "Mark",
    "Sizes",
    "Weigh",
    "bucket_key",
    "count",
    "find",
    "newest",
    "place_of",
    "places",
    "put",
    "remove",
]

CELLS = 40
"""Largest number of marks in a bucket: four full buckets fill a page of the store."""
BUCKETS = 1 << 15
PATIENCE = 6 * 3600
"""Seconds after which hardly any mail server makes its first retry (the slowest known: 4 hours)."""

Sizes = tuple[int, int, int]
"""How many marks each of the three networks of a place holds."""
Weigh = Callable[[bytes], Sizes]
"""Returns these numbers for a place in the whole table, as far as they are known."""

_VERSION = 1
_HEAD = bytes([_VERSION])
_CELL = struct.Struct(">8sIIB6s")
_SIZE = _CELL.size
_FINGERPRINT, _FIRST = slice(8), slice(8, 12)
_PLACE = 6
"""Octets of the place at the end of a mark."""
_LARGEST = (1 << 32) - 1
_MOST_EARLY = 255
_HASH = 2
"""Octets of each part of a place."""
_PREFIXES = {4: (16, 24, 32), 6: (32, 48, 64)}
_MASK = (BUCKETS - 1) << 1
"""Selects the first fifteen of sixteen bits."""


@value
class Mark:
    """The stored data of an attempt: time of the first attempt, delay in seconds, number of early retries."""

    first_seen: int
    delay: int
    early: int = 0


def place_of(origin: Origin, client: Address | None, key: bytes) -> bytes:
    """The place of an attempt, for `put`; the same after a restart.

    `key`: 1 to 64 secret octets of this site.  A claimed origin counts as unnamed.
    """
    if client is None:
        names = [origin.text.encode("utf-8", "surrogateescape")] * 3
    else:
        number, bits = int(client), client.max_prefixlen
        names = [b"%d/%d" % (number >> bits - prefix, prefix) for prefix in _PREFIXES[client.version]]
    if origin.named and not origin.claimed:
        names[:2] = [b"n" + origin.text.encode("utf-8", "surrogateescape")] * 2
    return b"".join([blake2b(name, digest_size=_HASH, key=key).digest() for name in names])


def bucket_key(digest: bytes) -> Key:
    """The key of the bucket of an attempt; `digest` is that of its record key."""
    number = int.from_bytes(digest[:2]) & _MASK
    return Table.MARK, number.to_bytes(2) + bytes(14)


def find(bucket: bytes | None, digest: bytes, now: int, window: int) -> Mark | None:
    """The mark of this attempt, unless it is older than the retry window.  Raises CodecError."""
    if bucket is None:
        return None
    _check(bucket)
    fingerprint = digest[2:10]
    at = bucket.find(fingerprint, 1)
    while at >= 0 and (at - 1) % _SIZE:
        at = bucket.find(fingerprint, at + 1)
    if at < 0:
        return None
    _, first_seen, delay, early, _ = _CELL.unpack_from(bucket, at)
    return Mark(first_seen, delay, early) if now - first_seen <= window else None


def put(
    bucket: bytes | None,
    digest: bytes,
    mark: Mark,
    place: bytes,
    now: int,
    window: int,
    weigh: Weigh | None = None,
) -> bytes | None:
    """The bucket with this mark in it; None: there is not enough room for it.  Raises CodecError.

    A mark of the same attempt is always replaced.  Marks older than the retry window (`window` seconds) are
    dropped.  `weigh`: see `Weights` above.
    """
    fingerprint = digest[2:10]
    new = _CELL.pack(fingerprint, *_fitting(mark), place)
    if bucket is None:
        return _HEAD + new
    oldest = _time(now - window)
    cells = [cell for cell in _cells(bucket) if cell[_FIRST] >= oldest]
    for index, old in enumerate(cells):
        if old[_FINGERPRINT] == fingerprint:
            if old[_FIRST] == new[_FIRST]:
                cells[index] = new[:-_PLACE] + old[-_PLACE:]
                return _HEAD + b"".join(cells)
            del cells[index]  # greylisting of this attempt starts again: its mark becomes the newest
            break
    cells.append(new)
    if len(cells) > CELLS:
        loser = _loser(cells, now, weigh)
        if loser == CELLS:
            return None
        del cells[loser]
    return _HEAD + b"".join(cells)


def remove(bucket: bytes | None, digest: bytes) -> bytes | None:
    """The bucket without the mark of this attempt; None: the bucket is empty.  Raises CodecError."""
    if bucket is None:
        return None
    fingerprint = digest[2:10]
    kept = b"".join([cell for cell in _cells(bucket) if cell[_FINGERPRINT] != fingerprint])
    return _HEAD + kept if kept else None


def newest(bucket: bytes) -> int:
    """First time of the newest mark; the bucket expires one retry window after it.  Raises CodecError."""
    return int.from_bytes(max([cell[_FIRST] for cell in _cells(bucket)]))


def count(bucket: bytes) -> int:
    """Number of marks in the bucket, of any age.  Raises CodecError (NewerFormatError: a later version)."""
    _check(bucket)
    return len(bucket) // _SIZE


def places(bucket: bytes) -> list[bytes]:
    """The place of each mark in the bucket.  Raises CodecError."""
    return [cell[-_PLACE:] for cell in _cells(bucket)]


def _check(bucket: bytes) -> None:
    if not bucket or bucket[0] == 0:
        raise CodecError("stored bucket of marks does not begin with a version")
    if bucket[0] > _VERSION:
        raise NewerFormatError(
            f"stored bucket of marks has version {bucket[0]}, this multigrey reads up to {_VERSION}: "
            "use the newer multigrey"
        )
    number, rest = divmod(len(bucket) - 1, _SIZE)
    if rest or not 0 < number <= CELLS:
        raise CodecError(f"stored bucket of marks has {len(bucket)} octets: not 1 to {CELLS} whole marks")


def _cells(bucket: bytes) -> list[bytes]:
    _check(bucket)
    return [bucket[begin : begin + _SIZE] for begin in range(1, len(bucket), _SIZE)]


def _fitting(mark: Mark) -> tuple[int, int, int]:
    """The numbers of a mark, limited to the range that can be stored."""
    early = min(max(mark.early, 0), _MOST_EARLY)
    return min(max(mark.first_seen, 0), _LARGEST), min(max(mark.delay, 0), _LARGEST), early


def _time(seconds: int) -> bytes:
    """A time in the form of a mark: the bytes of a later time are greater."""
    return min(max(seconds, 0), _LARGEST).to_bytes(4)


# --- eviction ----------------------------------------------------------------------------------------


def _loser(cells: Sequence[bytes], now: int, weigh: Weigh | None) -> int:
    """Index of the mark that is evicted; the last one is the new mark."""
    places = [cell[-_PLACE:] for cell in cells]
    newest = {place: index for index, place in enumerate(places)}
    here = _counted(places)
    held = here if weigh is None else {place: _at_least(here[place], weigh(place)) for place in here}
    candidates = list(here)
    for level in range(3):
        most = max([held[place][level] for place in candidates])
        candidates = [place for place in candidates if 2 * held[place][level] >= most]
    candidates.sort(key=newest.__getitem__, reverse=True)  # of equal ones the first is chosen
    for level, sizes in enumerate((here, here, held)):
        end = _HASH * (level + 1)
        network = max(candidates, key=lambda place: sizes[place][level])[:end]
        candidates = [place for place in candidates if place[:end] == network]
    (loser,) = candidates
    return min(_rank(cell, index, now) for index, cell in enumerate(cells) if places[index] == loser)[-1]


def _counted(places: Sequence[bytes]) -> dict[bytes, Sizes]:
    """For each place, how many of these marks each of its three networks has."""
    tops = Counter([place[:_HASH] for place in places])
    middles = Counter([place[: 2 * _HASH] for place in places])
    return {
        place: (tops[place[:_HASH]], middles[place[: 2 * _HASH]], number)
        for place, number in Counter(places).items()
    }


def _at_least(here: Sizes, in_all: Sizes) -> Sizes:
    return max(here[0], in_all[0]), max(here[1], in_all[1]), max(here[2], in_all[2])


def _rank(cell: bytes, index: int, now: int) -> tuple[int, int, int]:
    """The order of eviction among the marks of one place: the smallest is evicted first."""
    _, first_seen, delay, _, _ = _CELL.unpack(cell)
    age = now - first_seen
    if age > max(PATIENCE, delay):
        return 0, index, index
    return (1 if age < delay else 2), -index, index
