"""The one place that reads the time, and whether it may be believed.

Ages of records are wall-clock seconds, because they outlive the process; the monotonic clock tells
whether the wall clock was set.  Tests inject their own clock.

A wrong time must not do harm that a right one cannot undo: forgetting what is due would empty the store,
and writing a wrong time over a good one makes strangers of known senders.  So the wall clock is doubted
(`ClockGuard`) when it was set by more than an hour, and at start when what the store has seen does not go
together with it.  While it is doubted nothing is forgotten or overwritten, and time goes on as it did: a
clock set back, or far ahead, is followed only when it has run steadily for an hour.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Clock", "ClockGuard", "GuardedClock", "Since", "SystemClock"]

JUMP = 3600
"""Seconds the wall clock may differ from the monotonic one before it is doubted."""
TRUST_AFTER = 3600
"""Seconds of normal running after which a clock that was set is believed."""

_BEHIND = 30 * 86_400
"""Seconds by which a clock at start lies behind what the store has seen before it is doubted: the time for
which things are kept may have been made shorter since."""
_ASLEEP = 7 * 86_400
"""Seconds by which the wall clock may go ahead at once and be followed: machines are put to sleep."""

_LONG_AGO = 978_307_200
"""The second before which (2001) no clock is right: one without a battery begins in 1970 or 2000."""

_STEADY = 2
"""Seconds by which the two clocks may differ without the wall clock having been set."""


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


class Since:
    """A moment of this run: how long ago it is, whatever is done to the wall clock meanwhile."""

    def __init__(self, clock: Clock) -> None:
        """The present moment."""
        self._clock = clock
        self._began = clock.monotonic()
        self._time = clock.now()

    @property
    def seconds(self) -> int:
        """How long ago it is."""
        return int(self._clock.monotonic() - self._began)

    @property
    def time(self) -> int:
        """Which wall-clock second it was, as the wall clock has it now: one that was wrong may be right."""
        time = self._clock.now() - self.seconds
        if abs(time - self._time) > _STEADY:
            self._time = time
        return self._time


@dataclass
class ClockGuard:
    """Whether the wall clock may be believed, and what time it is meanwhile.  Others read the clocks."""

    wall: int
    """Wall-clock second it was at `monotonic`, as far as is believed."""
    monotonic: float
    paused_at: float | None = None
    """Monotonic time since which the wall clock is doubted; None: it is not."""
    likely: range = range(0)
    """Seconds of which one is likely to be the present, by what the store has seen; empty: any."""
    shown: int = 0
    """What a doubted wall clock showed at `shown_at`."""
    shown_at: float = 0.0

    @classmethod
    def at_start(cls, wall: int, monotonic: float, newest: int, longest: int = 0) -> ClockGuard:
        """A guard that knows what the store says (see `compare`)."""
        guard = cls(wall, monotonic)
        guard.compare(wall, monotonic, newest, longest)
        return guard

    def compare(self, wall: int, monotonic: float, newest: int, longest: int = 0) -> None:
        """Doubt the clocks at start if they do not go together with what the store has seen.

        `newest` is the latest keep_until in the store, 0 for an empty one; `longest` for how many seconds
        anything is kept after it was seen last, 0: not known.
        """
        self.wall, self.monotonic, self.paused_at, self.likely = wall, monotonic, None, range(0)
        seen = newest - longest
        if 0 < newest < wall:
            self.paused_at, self.likely = monotonic, range(seen, newest)
        elif longest and wall < seen - _BEHIND:
            self.wall, self.paused_at, self.likely = seen, monotonic, range(seen, newest)
            self.shown, self.shown_at = wall, monotonic

    def look(self, wall: int, monotonic: float) -> bool:
        """Note the clocks; returns whether the wall clock is believed."""
        self.time(wall, monotonic)
        return self.paused_at is None

    def time(self, wall: int, monotonic: float) -> int:
        """Note the clocks; returns the wall-clock second to go by."""
        going = self.wall + monotonic - self.monotonic
        if self.paused_at is None and abs(wall - going) <= JUMP:
            self.wall, self.monotonic = wall, monotonic
            return wall
        return self._doubted(wall, monotonic, going)

    def _doubted(self, wall: int, monotonic: float, going: float) -> int:
        """The same while the wall clock is doubted, or has just been set."""
        ahead = wall - going
        since = monotonic if self.paused_at is None else self.paused_at
        if wall in self.likely:
            self.paused_at = None  # it was wrong at the start, and has been set right
        elif -JUMP <= ahead <= JUMP:
            self.paused_at = since if monotonic - since < TRUST_AFTER else None
        elif 0 < ahead <= _ASLEEP:
            self.paused_at = monotonic
        elif self.paused_at is None or abs(wall - self.shown - (monotonic - self.shown_at)) > JUMP:
            self.paused_at, self.shown, self.shown_at = monotonic, wall, monotonic
            return int(going)
        elif monotonic - since < TRUST_AFTER:
            self.shown, self.shown_at = wall, monotonic
            return int(going)
        else:
            self.paused_at = None
        if self.paused_at is None:
            self.likely = range(0)
        self.wall, self.monotonic = wall, monotonic
        return wall


class GuardedClock:
    """A clock that does not follow the wall clock where that is doubted."""

    def __init__(self, clock: Clock) -> None:
        """Doubted at once if it shows a time long gone by, else when `compare` finds a reason."""
        self._clock = clock
        wall, monotonic = clock.now(), clock.monotonic()
        self.guard = ClockGuard(wall, monotonic, monotonic if wall < _LONG_AGO else None)

    def now(self) -> int:
        """See `Clock.now`."""
        return self.guard.time(self._clock.now(), self._clock.monotonic())

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return self._clock.monotonic()

    def compare(self, newest: int, longest: int) -> None:
        """See `ClockGuard.compare`."""
        self.guard.compare(self._clock.now(), self._clock.monotonic(), newest, longest)

    def believed(self) -> bool:
        """Whether the wall clock is believed at the moment."""
        return self.guard.paused_at is None
