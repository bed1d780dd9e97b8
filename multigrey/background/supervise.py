"""Background work that may fail without ending the daemon."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from multigrey.errors import MultigreyError

__all__ = ["supervise"]

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_CALM = 300.0
"""Seconds of work after which a failure counts as the first one again."""


async def supervise(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` for ever: when it ends or fails, log it and start it again after a growing pause."""
    pause = _FIRST_PAUSE
    while True:
        began = trio.current_time()
        try:
            await work()
            logger.warning("%s ended; starting it again in %g s", name, pause)
        except MultigreyError as error:
            logger.error("%s: %s; trying again in %g s", name, error, pause)  # noqa: TRY400  (not a bug of ours)
        except Exception:
            logger.exception("%s failed; starting it again in %g s", name, pause)
        if trio.current_time() - began > _CALM:
            pause = _FIRST_PAUSE
        await trio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)
