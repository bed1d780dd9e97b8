"""Measures how late the event loop is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

from multigrey.histogram import Histogram

__all__ = ["LAG_BOUNDS", "LoopLag"]

_LAG_EVERY = 0.25
_LAG_REMEMBERED = 240
"""Measurements kept: one minute."""
LAG_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class LoopLag:
    """How late the event loop is: every connection waits as long for the task that holds the loop."""

    def __init__(self) -> None:
        """Has no measurement until `run`, which measures four times a second."""
        self.seen = Histogram(LAG_BOUNDS)
        """Seconds, of every measurement since the start."""
        self._lately: deque[float] = deque(maxlen=_LAG_REMEMBERED)

    @property
    def latest(self) -> float:
        """Seconds, at the last measurement."""
        return self._lately[-1] if self._lately else 0.0

    @property
    def worst(self) -> float:
        """The most seconds within the last minute."""
        return max(self._lately, default=0.0)

    async def run(self, now: Callable[[], float] = trio.current_time) -> None:
        """Measure for ever."""
        while True:
            due = now() + _LAG_EVERY
            await trio.sleep(_LAG_EVERY)
            late = max(0.0, now() - due)
            self._lately.append(late)
            self.seen.observe(late)
