"""The clocks, and the check that the wall clock is right.  The only module that reads the time.

Times of records are wall-clock seconds, because they outlive the process.  The monotonic clock shows
whether the wall clock was set.  Tests inject their own clock.

A wrong time must not do lasting harm: expiry would empty the store, and a wrong time written over a good
one would make known senders unknown.  So `ClockGuard` doubts the wall clock when it was set by more than
an hour, and at start when it does not fit the times in the store.  While the wall clock is doubted,
nothing is forgotten or overwritten, and time continues as before.  A clock that was set back, or far
ahead, is believed only after it has run steadily for an hour.  If it was set by more than a week, or did not
fit at the start, it has to do so for a day: so much is seldom right, and would make every sender unknown.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Clock", "ClockGuard", "GuardedClock", "Since", "SystemClock"]

JUMP = 3600
"""Seconds by which the wall clock may differ from the monotonic one before it is doubted."""
TRUST_AFTER = 3600
"""Seconds of normal running after which a clock that was set is believed."""
TRUST_FAR_AFTER = 86_400
"""The same for a clock that was set by more than `_FAR`."""

_FAR = 7 * 86_400
"""Seconds."""

_BEHIND = 30 * 86_400
"""Seconds by which the clock at start may lie behind the times in the store before it is doubted.  The
margin is needed because a shorter maximum age may have been configured since."""
_ASLEEP = _FAR
"""Seconds by which the wall clock may jump ahead and still be followed: a machine may have been suspended."""

_STEADY = 2
"""Seconds by which the two clocks may differ without the wall clock having been set."""


class Clock(Protocol):
    """The interface through which the rest of the program reads the time."""

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
    """A moment in this run.  Its age is right even if the wall clock is set meanwhile."""

    def __init__(self, clock: Clock) -> None:
        """The moment is now."""
        self._clock = clock
        self._began = clock.monotonic()
        self._time = clock.now()

    @property
    def seconds(self) -> int:
        """How many seconds ago it was."""
        return int(self._clock.monotonic() - self._began)

    @property
    def time(self) -> int:
        """Its wall-clock second, by the wall clock as it is now, which may have been corrected since."""
        time = self._clock.now() - self.seconds
        if abs(time - self._time) > _STEADY:
            self._time = time
        return self._time


@dataclass
class ClockGuard:
    """Decides whether the wall clock is believed, and which time to use.  The caller reads the clocks."""

    wall: int
    """The believed wall-clock second at `monotonic`."""
    monotonic: float
    paused_at: float | None = None
    """Monotonic time since which the wall clock is doubted; None: it is believed."""
    likely: range = range(0)
    """Wall-clock seconds in which the present probably lies, by the times in the store; empty: unknown."""
    shown: int = 0
    """What a doubted wall clock showed at `shown_at`."""
    shown_at: float = 0.0
    trust_after: int = TRUST_AFTER
    """Seconds for which the clock has to run steadily."""
    set_back: int = 0
    """Seconds by which the time to use went back last; what was stored before is too late by as much."""

    @classmethod
    def at_start(cls, wall: int, monotonic: float, newest: int, longest: int = 0) -> ClockGuard:
        """A guard that has compared the clocks with the store (see `compare`)."""
        guard = cls(wall, monotonic)
        guard.compare(wall, monotonic, newest, longest)
        return guard

    def compare(self, wall: int, monotonic: float, newest: int, longest: int = 0) -> None:
        """Doubt the wall clock at start if it does not fit the times in the store.

        `newest` is the latest keep_until in the store, 0 for an empty one.  `longest` is for how many seconds
        an entry is kept after it was last seen, 0 if not known.
        """
        self.wall, self.monotonic, self.paused_at, self.likely = wall, monotonic, None, range(0)
        self.shown = 0
        seen = newest - longest
        if 0 < newest < wall:
            self.paused_at, self.likely = monotonic, range(seen, newest)
            self.trust_after = TRUST_FAR_AFTER
        elif longest and wall < seen - _BEHIND:
            self.wall, self.paused_at, self.likely = seen, monotonic, range(seen, newest)
            self.shown, self.shown_at = wall, monotonic
            self.trust_after = TRUST_FAR_AFTER

    def look(self, wall: int, monotonic: float) -> bool:
        """Note the readings of both clocks; return whether the wall clock is believed."""
        self.time(wall, monotonic)
        return self.paused_at is None

    def time(self, wall: int, monotonic: float) -> int:
        """Note the readings of both clocks; return the wall-clock second to use."""
        going = self.wall + monotonic - self.monotonic
        if self.paused_at is None and abs(wall - going) <= JUMP:
            if wall < going - _STEADY:
                self.set_back = int(going - wall)
            self.wall, self.monotonic = wall, monotonic
            return wall
        return self._doubted(wall, monotonic, going)

    def _doubted(self, wall: int, monotonic: float, going: float) -> int:
        """What `time` returns while the wall clock is doubted, or has just been set.

        `going` is the time that continues from the last believed reading.
        """
        ahead = wall - going
        since = monotonic if self.paused_at is None else self.paused_at
        if wall in self.likely:
            self.paused_at = None  # it was wrong at the start and has been corrected
        elif -JUMP <= ahead <= JUMP:
            # It shows again what it showed before; or it has been far from the store's times since the start.
            after = TRUST_AFTER if self.shown else self.trust_after
            self.paused_at = since if monotonic - since < after else None
        elif 0 < ahead <= _ASLEEP:
            self.paused_at, self.trust_after = monotonic, TRUST_AFTER
        elif self.paused_at is None or abs(wall - self.shown - (monotonic - self.shown_at)) > JUMP:
            self.paused_at, self.shown, self.shown_at = monotonic, wall, monotonic
            self.trust_after = _trust_after(ahead)
            return int(going)
        elif monotonic - since < self.trust_after:
            self.shown, self.shown_at = wall, monotonic
            return int(going)
        else:
            self.paused_at = None
        if self.paused_at is None:
            self.likely = range(0)
        if ahead < -_STEADY:
            self.set_back = int(-ahead)
        self.wall, self.monotonic = wall, monotonic
        return wall


def _trust_after(step: float) -> int:
    """Seconds for which a clock that was set by `step` seconds has to run steadily."""
    return TRUST_FAR_AFTER if abs(step) > _FAR else TRUST_AFTER


class GuardedClock:
    """A clock that does not follow the wall clock while that is doubted."""

    def __init__(self, clock: Clock) -> None:
        """The wall clock is doubted until `compare`."""
        self._clock = clock
        wall, monotonic = clock.now(), clock.monotonic()
        self.guard = ClockGuard(wall, monotonic, monotonic)

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
        """Whether the wall clock is believed now."""
        return self.guard.paused_at is None

    def set_back(self) -> int:
        """See `ClockGuard.set_back`."""
        return self.guard.set_back
