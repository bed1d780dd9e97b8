"""A histogram for metrics: counts values by upper bound, in a few tenths of a microsecond each."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

__all__ = ["Histogram"]


class Histogram:
    """Counts how many observed values lie below each bound, how many there were, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` ascend; a value equal to a bound counts as below it, as Prometheus requires."""
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        """Number of values by the bound below which they lie; the last is of values above all bounds."""
        self.sum = 0.0

    def observe(self, seen: float) -> None:
        """Add one value."""
        self.counts[bisect_left(self.bounds, seen)] += 1
        self.sum += seen

    @property
    def total(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def buckets(self) -> list[tuple[float, int]]:
        """Each bound, infinity last, and the number of values that do not lie above it."""
        return list(zip((*self.bounds, float("inf")), accumulate(self.counts), strict=True))
