"""Marks: what is remembered of an attempt whose origin may make no more records, in bounded space.

A mark says when its attempt came first, how long it waits, and how often it came too early: all that its
own retry needs, and nothing that another attempt could match.  Marks lie in 32,768 buckets of at most 40,
so the table ends at 1.3 million of them, and at some 50 MB of the store, however much is asked for.

    bucket := version (1 octet), mark*                          the oldest first
    mark   := fingerprint (8), first time (4), delay (4), early (1), place (6)    big end first

Fingerprint and bucket come from the keyed digest of the attempt's record key, so nobody outside can aim
at a bucket.  The place is who made the mark, three keyed hashes of two octets:

    IPv4 client     /16       /24       address
    IPv6 client     /32       /48       /64
    named origin    origin    origin    IPv4 address or IPv6 /64

Whose mark goes when a bucket is full is the contract that a flood is up against.  The new mark is one of
the candidates.

  1. Space is divided by network first, then by address: of the networks of the first column lose only
     those that hold at least half as much as the one here that holds most; within these the same goes
     for the second column, and then for the third.  So a network is as heavy as all its addresses
     together, and an address with few marks keeps them, also in the middle of a network that floods.
  2. Of what is left, the network with most marks in this bucket, within it the same of the second column,
     and of that the address that holds most marks, loses one.  All being equal, it is the one that has
     the newest: then the newcomer has no room, and who waits waits on.
  3. Of that address's marks go first those older than six hours, the oldest first: hardly any mail server
     makes its first retry later.  Then those that wait still, the newest first, because a flood is what
     came last.  Those that a retry would pass now go last.

How much a network or address holds in all is told by `Weights` (see `greylist.weights`), because the 40
marks of one bucket don't tell an address with 20 marks from one with 4,000.  Without it, what lies in the
bucket is all that counts: enough against one flooding address, but a hundred of one network would leave
no room for their neighbours.

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
"""Most marks in a bucket: four full ones fill a page of the store."""
BUCKETS = 1 << 15
PATIENCE = 6 * 3600
"""Seconds after which hardly any mail server makes its first retry (the slowest known: 4 hours)."""

Sizes = tuple[int, int, int]
"""How many marks the three networks of a place hold."""
Weigh = Callable[[bytes], Sizes]
"""The same in the whole table, as far as is known."""

_VERSION = 1
_HEAD = bytes([_VERSION])
_CELL = struct.Struct(">8sIIB6s")
_SIZE = _CELL.size
_FINGERPRINT, _FIRST = slice(8), slice(8, 12)
_PLACE = 6
"""Octets at the end of a mark that say who made it."""
_LARGEST = (1 << 32) - 1
_MOST_EARLY = 255
_HASH = 2
"""Octets of each part of a place."""
_PREFIXES = {4: (16, 24, 32), 6: (32, 48, 64)}
_MASK = (BUCKETS - 1) << 1
"""The first fifteen bits of sixteen."""


@value
class Mark:
    """What is known of an attempt: first time, seconds it waits, early retries."""

    first_seen: int
    delay: int
    early: int = 0


def place_of(origin: Origin, client: Address | None, key: bytes) -> bytes:
    """Who makes a mark, for `put`; the same after a restart.

    `key`: 1 to 64 secret octets of this site.  A name that is only claimed counts for nothing.
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
    """Where the bucket of an attempt lies; `digest` is that of its record key."""
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
    """The bucket with this mark in it; None: there is no room for it.  Raises CodecError.

    A mark of the same attempt is replaced, and always can be.  Marks older than the retry window are
    gone afterwards.  `weigh`: see above.
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
            del cells[index]  # it begins again, as the newest
            break
    cells.append(new)
    if len(cells) > CELLS:
        loser = _loser(cells, now, weigh)
        if loser == CELLS:
            return None
        del cells[loser]
    return _HEAD + b"".join(cells)


def remove(bucket: bytes | None, digest: bytes) -> bytes | None:
    """The bucket without the mark of this attempt; None: nothing is left.  Raises CodecError."""
    if bucket is None:
        return None
    fingerprint = digest[2:10]
    kept = b"".join([cell for cell in _cells(bucket) if cell[_FINGERPRINT] != fingerprint])
    return _HEAD + kept if kept else None


def newest(bucket: bytes) -> int:
    """First time of the mark that was made last: with it the bucket comes due.  Raises CodecError."""
    return int.from_bytes(max([cell[_FIRST] for cell in _cells(bucket)]))


def count(bucket: bytes) -> int:
    """How many marks are in it, of whatever age.  Raises CodecError (NewerFormatError: a later version)."""
    _check(bucket)
    return len(bucket) // _SIZE


def places(bucket: bytes) -> list[bytes]:
    """Who made the marks in it, one each.  Raises CodecError."""
    return [cell[-_PLACE:] for cell in _cells(bucket)]


def _check(bucket: bytes) -> None:
    if not bucket or bucket[0] == 0:
        raise CodecError("stored bucket of marks does not begin with a version")
    if bucket[0] > _VERSION:
        raise NewerFormatError(
            f"stored bucket of marks has version {bucket[0]}, this multigrey knows up to {_VERSION}: "
            "use the newer one"
        )
    number, rest = divmod(len(bucket) - 1, _SIZE)
    if rest or not 0 < number <= CELLS:
        raise CodecError(f"stored bucket of marks has {len(bucket)} octets: not 1 to {CELLS} whole marks")


def _cells(bucket: bytes) -> list[bytes]:
    _check(bucket)
    return [bucket[begin : begin + _SIZE] for begin in range(1, len(bucket), _SIZE)]


def _fitting(mark: Mark) -> tuple[int, int, int]:
    """The numbers of a mark, those that are too large or small as the nearest that fit."""
    early = min(max(mark.early, 0), _MOST_EARLY)
    return min(max(mark.first_seen, 0), _LARGEST), min(max(mark.delay, 0), _LARGEST), early


def _time(seconds: int) -> bytes:
    """A time as in a mark: later ones are greater."""
    return min(max(seconds, 0), _LARGEST).to_bytes(4)


# --- whose mark goes ---------------------------------------------------------------------------------


def _loser(cells: Sequence[bytes], now: int, weigh: Weigh | None) -> int:
    """Index of the mark that has to go; the last one is the newcomer."""
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
    """By place, how many of these marks its three networks have."""
    tops = Counter([place[:_HASH] for place in places])
    middles = Counter([place[: 2 * _HASH] for place in places])
    return {
        place: (tops[place[:_HASH]], middles[place[: 2 * _HASH]], number)
        for place, number in Counter(places).items()
    }


def _at_least(here: Sizes, in_all: Sizes) -> Sizes:
    return max(here[0], in_all[0]), max(here[1], in_all[1]), max(here[2], in_all[2])


def _rank(cell: bytes, index: int, now: int) -> tuple[int, int, int]:
    """Smaller goes first."""
    _, first_seen, delay, _, _ = _CELL.unpack(cell)
    age = now - first_seen
    if age > max(PATIENCE, delay):
        return 0, index, index
    return (1 if age < delay else 2), -index, index
