"""Expiry: forgets what is due, in small slices.

A store deletes what is due at the time it is given.  A wrong time would empty it.  So expiry pauses while the
wall clock is in doubt (see `clock.ClockGuard`).
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


async def keep_forgetting(clock: GuardedClock, store: Store, longest: int, compared: trio.Event) -> None:
    """Forget what is due, for ever, in slices that leave the event loop to others.

    `longest`: most seconds for which a record is kept after it was seen last ([greylist] max_age).
    `compared` is set when the clock was compared with the store's times, and may be believed.
    """
    clock.compare(await store.newest(), longest)
    compared.set()
    if not clock.believed():
        logger.warning(
            "the clock does not fit the times in the store: check the clock; until it is set, or for a day, "
            "nothing is forgotten and no known sender is overwritten"
        )
    while True:
        was_believed = clock.believed()
        await _forget_due(clock, store)
        if was_believed and not clock.believed():
            logger.warning(
                "the clock was set by more than an hour: nothing is forgotten for an hour, "
                "or for a day if it was set by more than a week"
            )
        await trio.sleep(_EVERY)


async def _forget_due(clock: GuardedClock, store: Store) -> None:
    """Forget everything that is due now."""
    while True:
        # Before every slice, not once: a round can take a while, and the clock may be set meanwhile.
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
