"""When to forget, and forgetting in small slices.

A store deletes what is due when it is told the time.  Telling it a wrong time would empty it, so
forgetting pauses while the wall clock looks wrong: after it jumped against the monotonic clock, and
at start when everything in the store seems to be due at once.  After an hour of normal running the
new time is believed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import trio

from multigrey.clock import Clock
from multigrey.contracts import Store
from multigrey.errors import StoreError

__all__ = ["ForgettingGuard", "keep_forgetting"]

JUMP = 3600
"""Seconds the wall clock may differ from the monotonic one before forgetting pauses."""
TRUST_AFTER = 3600
"""Seconds of normal running after which a jumped clock is believed."""

_EVERY = 30
_SLICE = 500
_BREATH = 0.02

logger = logging.getLogger(__name__)


@dataclass
class ForgettingGuard:
    """Whether it is safe to forget.  Pure: the caller reads the clocks."""

    wall: int
    """Wall-clock time at the last look."""
    monotonic: float
    paused_at: float | None = None
    """Monotonic time since which forgetting pauses; None: it does not."""

    @classmethod
    def at_start(cls, wall: int, monotonic: float, newest: int) -> ForgettingGuard:
        """`newest` is the latest keep_until in the store, 0 for an empty one."""
        everything_is_due = 0 < newest < wall
        return cls(wall, monotonic, monotonic if everything_is_due else None)

    def look(self, wall: int, monotonic: float) -> bool:
        """Note the clocks; returns whether forgetting may go on."""
        jumped = abs((wall - self.wall) - (monotonic - self.monotonic)) > JUMP
        self.wall, self.monotonic = wall, monotonic
        if jumped:
            self.paused_at = monotonic
        elif self.paused_at is not None and monotonic - self.paused_at >= TRUST_AFTER:
            self.paused_at = None
        return self.paused_at is None


async def keep_forgetting(clock: Clock, store: Store) -> None:
    """Forget what is due, for ever, in slices that leave the event loop to others."""
    guard = ForgettingGuard.at_start(clock.now(), clock.monotonic(), await store.newest())
    if guard.paused_at is not None:
        logger.warning(
            "the clock says that everything in the store is due: is it right?  "
            "Nothing is forgotten for an hour"
        )
    while True:
        was_paused = guard.paused_at is not None
        await _forget_due(guard, clock, store)
        if guard.paused_at is not None and not was_paused:
            logger.warning("the clock jumped by more than an hour: nothing is forgotten for an hour")
        await trio.sleep(_EVERY)


async def _forget_due(guard: ForgettingGuard, clock: Clock, store: Store) -> None:
    """One round; the clocks are looked at before every slice, for a round can take a while."""
    while True:
        now = clock.now()
        if not guard.look(now, clock.monotonic()):
            return
        try:
            gone = await store.forget(now, _SLICE)
        except StoreError as error:
            logger.warning("cannot forget what is due: %s", error)
            return
        if gone < _SLICE:
            return
        await trio.sleep(_BREATH)
