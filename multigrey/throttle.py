"""Saying the same thing at most once in a while."""

from __future__ import annotations

from collections.abc import Hashable

__all__ = ["Throttle"]


class Throttle:
    """Decides whether it is time to say something again.  Bounded; the caller brings the time."""

    def __init__(self, seconds: float = 60.0, size: int = 1000) -> None:
        """`seconds` between two times of the same thing; `size` things are remembered."""
        self._seconds = seconds
        self._size = size
        self._said: dict[Hashable, float] = {}
        self._held: dict[Hashable, int] = {}

    def due(self, what: Hashable, monotonic: float) -> bool:
        """Whether `what` may be said now; if so it counts as said."""
        last = self._said.get(what)
        if last is not None and monotonic - last < self._seconds:
            self._held[what] = self._held.get(what, 0) + 1
            return False
        self._said.pop(what, None)
        self._said[what] = monotonic
        if len(self._said) > self._size:
            oldest = next(iter(self._said))
            del self._said[oldest]
            self._held.pop(oldest, None)
        return True

    def held_back(self, what: Hashable) -> int:
        """How often `what` was not said since the last time it was; starts again at nought."""
        return self._held.pop(what, 0)
