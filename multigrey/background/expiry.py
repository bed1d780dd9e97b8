"""When to forget, and forgetting in small slices.

A store deletes what is due when it is told the time.  Telling it a wrong time would empty it, so
forgetting pauses while the wall clock is doubted (see `clock.ClockGuard`).
"""

from __future__ import annotations

import logging

import trio

from multigrey.clock import GuardedClock
from multigrey.contracts import Store
from multigrey.errors import StoreError

__all__ = ["keep_forgetting"]

_EVERY = 30
_SLICE = 500
_BREATH = 0.02

logger = logging.getLogger(__name__)


async def keep_forgetting(clock: GuardedClock, store: Store, longest: int) -> None:
    """Forget what is due, for ever, in slices that leave the event loop to others.

    `longest`: seconds for which anything is kept after it was seen last ([greylist] max_age).
    """
    clock.compare(await store.newest(), longest)
    if not clock.believed():
        logger.warning(
            "the clock and what the store has seen do not go together: is the clock right?  "
            "Nothing is forgotten, and nobody known is overwritten, for an hour or until it is set"
        )
    while True:
        was_believed = clock.believed()
        await _forget_due(clock, store)
        if was_believed and not clock.believed():
            logger.warning("the clock was set by more than an hour: nothing is forgotten for an hour")
        await trio.sleep(_EVERY)


async def _forget_due(clock: GuardedClock, store: Store) -> None:
    """One round; the clocks are looked at before every slice, for a round can take a while."""
    while True:
        now = clock.now()
        if not clock.believed():
            return
        try:
            gone = await store.forget(now, _SLICE)
        except StoreError as error:
            logger.warning("cannot forget what is due: %s", error)
            return
        if gone < _SLICE:
            return
        await trio.sleep(_BREATH)
