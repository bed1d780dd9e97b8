"""How many marks every network and address holds, counted in fixed memory.

A bucket of `greylist.marks` holds too few marks to tell who fills the table.  So everybody who may make
only marks is counted, at the three parts of his place: each is a hash of sixteen bits, which says
where in an array of 65,536 numbers.  A number is what all who share it made together: with a million
marks from a million addresses some fifteen too many, and nothing beside one address that made thousands.

Counted is what was made within one to two retry windows, whether there was room for it or not.  A clock
set back makes the present window begin again (with its counts), a clock set forward ends it.  After a
restart, `add` counts what the store holds.
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
    """Counts them; 1.5 MiB."""

    __slots__ = ("_before", "_now", "_start")

    def __init__(self) -> None:
        """Nobody has made any."""
        self._now = _zeros()
        self._before = _zeros()
        """What was counted in the window before."""
        self._start: int | None = None

    def note(self, place: bytes, now: int, window: int) -> None:
        """Somebody makes a mark, whether there is room for it or not.  `window`: the retry window."""
        self._turn(now, window)
        self._note(place)

    def add(self, bucket: bytes) -> None:
        """Count what a bucket in the store holds.  Raises CodecError."""
        for place in places(bucket):
            self._note(place)

    def of(self, place: bytes) -> Sizes:
        """How many marks the three networks of a place made; a `marks.Weigh`."""
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
        """Begin a new window if it is time."""
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
