"""Counts how many marks each network and address has made, in fixed memory.

A bucket of `greylist.marks` holds too few marks to show who fills the table.  So every attempt that may only
make a mark is counted, once for each of the three parts of its place.  Each part is a hash of sixteen bits,
the index into an array of 65,536 numbers.  All places with the same hash share a number: with a million marks
from a million addresses it is about fifteen too high, which is negligible beside an address that made
thousands.

The counts cover one to two retry windows.  They include marks for which there was no room.  If the clock is
set back, the present window begins again (with its counts); if it is set forward, the window ends.  After a
restart, `add` counts the marks in the store.
"""

from __future__ import annotations

import struct
from array import array

from multigrey.greylist.marks import Sizes, places

__all__ = ["Weights"]

_NUMBERS = 1 << 16
_LARGEST = (1 << 32) - 1
_PLACE = struct.Struct(">HHH")

_Counts = tuple["array[int]", "array[int]", "array[int]"]


class Weights:
    """The counts; they take 1.5 MiB."""

    __slots__ = ("_before", "_now", "_start")

    def __init__(self) -> None:
        """All counts are 0."""
        self._now = _zeros()
        self._before = _zeros()
        """The counts of the previous window."""
        self._start: int | None = None

    def note(self, place: bytes, now: int, window: int) -> None:
        """Count a mark, whether there is room for it or not.  `window`: the retry window in seconds."""
        self._turn(now, window)
        self._note(place)

    def add(self, bucket: bytes) -> None:
        """Count the marks of a stored bucket.  Raises CodecError."""
        for place in places(bucket):
            self._note(place)

    def of(self, place: bytes) -> Sizes:
        """How many marks each of the three networks of a place has made; a `marks.Weigh`."""
        top, middle, leaf = _PLACE.unpack(place)
        now, before = self._now, self._before
        return (
            now[0][top] + before[0][top],
            now[1][middle] + before[1][middle],
            now[2][leaf] + before[2][leaf],
        )

    def _note(self, place: bytes) -> None:
        for counts, number in zip(self._now, _PLACE.unpack(place), strict=True):
            counts[number] = min(counts[number] + 1, _LARGEST)

    def _turn(self, now: int, window: int) -> None:
        """Begin a new window if the present one is over."""
        start = self._start
        if start is None or now < start:
            self._start = now
        elif now - start >= window:
            follows = now - start < 2 * window
            self._before = self._now if follows else _zeros()
            self._now = _zeros()
            self._start = start + window if follows else now


def _zeros() -> _Counts:
    one, two, three = (array("I", bytes(4 * _NUMBERS)) for _ in range(3))
    return one, two, three
