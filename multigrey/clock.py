"""The one place that reads the time.

Ages of records are wall-clock seconds, because they outlive the process; the monotonic clock only
tells whether the wall clock was set (then forgetting pauses).  Tests inject their own clock.
"""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """What the rest of the program knows about time."""

    def now(self) -> int:
        """Wall-clock time in whole seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds that never go back; the zero is arbitrary."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> int:
        """See `Clock.now`."""
        return int(time.time())  # noqa: TID251  (this is the one place)

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()  # noqa: TID251  (this is the one place)
