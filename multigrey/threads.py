"""Runs blocking functions in threads, so that the event loop goes on.

The threads of the daemon and those of each plugin are limited apart: a plugin whose calls hang takes no
thread from a reload or a backup.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple, Unpack

import trio

__all__ = ["Threads", "in_thread"]

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")

_OWN = trio.CapacityLimiter(40)


async def in_thread(function: Callable[[Unpack[Arguments]], Result], *arguments: *Arguments) -> Result:
    """Run `function` in a thread of the daemon, to its end: it is not left when the caller is cancelled."""
    return await trio.to_thread.run_sync(function, *arguments, limiter=_OWN)


class Threads:
    """Threads for the blocking calls of a plugin (LDAP, SQL, files on a network)."""

    def __init__(self, limit: int = 8) -> None:
        """At most `limit` calls run at once; the next one waits for its turn."""
        self._limiter = trio.CapacityLimiter(limit)

    async def run(self, function: Callable[[Unpack[Arguments]], Result], *arguments: *Arguments) -> Result:
        """Run `function` in a thread, and return what it returns or raise what it raises.

        When the caller is cancelled, it goes on at once.  The call keeps its place among the `limit` until it
        ends, and what it returns then is dropped.
        """
        return await trio.to_thread.run_sync(
            function, *arguments, limiter=self._limiter, abandon_on_cancel=True
        )
