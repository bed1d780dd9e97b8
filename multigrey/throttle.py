"""Limits how often the same message is logged."""

from __future__ import annotations

from collections.abc import Hashable

__all__ = ["Throttle"]


class Throttle:
    """Decides whether a message may be logged again.  Its memory is bounded; the caller gives the time."""

    def __init__(self, seconds: float = 60.0, size: int = 1000) -> None:
        """`seconds`: shortest time between two equal messages; `size`: how many messages are remembered."""
        self._seconds = seconds
        self._size = size
        self._said: dict[Hashable, float] = {}
        self._held: dict[Hashable, int] = {}

    def due(self, what: Hashable, monotonic: float) -> bool:
        """Whether `what` may be logged now; if so it counts as logged."""
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
        """How often `what` was suppressed since it was last logged; resets the count to 0."""
        return self._held.pop(what, 0)
