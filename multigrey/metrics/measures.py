"""Adding up times and numbers where they happen, for a few tenths of a microsecond each."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import trio

__all__ = ["Histogram", "LoopLag", "Timings"]

_LAG_EVERY = 0.25
_LAG_REMEMBERED = 240
"""Looks at the lag: one minute."""

ANSWER_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
COMMIT_BOUNDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
BATCH_BOUNDS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
LAG_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class Histogram:
    """How many of the values seen lie below each bound, how many there were, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` ascend; a value equal to one lies below it, as Prometheus wants."""
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        """By the bound they lie below; the last is of those above all."""
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
        """Each bound, infinity last, and how many values do not lie above it."""
        return list(zip((*self.bounds, float("inf")), accumulate(self.counts), strict=True))


@dataclass(slots=True)
class Timings:
    """What connections measure."""

    answers: Histogram = field(default_factory=lambda: Histogram(ANSWER_BOUNDS))
    """Seconds from reading a request to handing its answer to the kernel."""
    commits: Histogram = field(default_factory=lambda: Histogram(COMMIT_BOUNDS))
    """Seconds for which the first of the answers that waited for the same commit waited."""
    batches: Histogram = field(default_factory=lambda: Histogram(BATCH_BOUNDS))
    """How many answers waited for the same commit."""


class LoopLag:
    """How late the event loop is: everybody waits as long for whoever holds it."""

    def __init__(self) -> None:
        """Nothing measured yet; a look is due four times a second."""
        self.seen = Histogram(LAG_BOUNDS)
        """Seconds, of every look since the start."""
        self._lately: deque[float] = deque(maxlen=_LAG_REMEMBERED)

    @property
    def latest(self) -> float:
        """Seconds, at the last look."""
        return self._lately[-1] if self._lately else 0.0

    @property
    def worst(self) -> float:
        """The most seconds within the last minute."""
        return max(self._lately, default=0.0)

    async def run(self, now: Callable[[], float] = trio.current_time) -> None:
        """Look for ever."""
        while True:
            due = now() + _LAG_EVERY
            await trio.sleep(_LAG_EVERY)
            late = max(0.0, now() - due)
            self._lately.append(late)
            self.seen.observe(late)
