"""Frees and builds long lists without stopping the event loop.

A reload may replace a million whitelist entries.  Three things would stop every thread of the process for up
to a second: freeing that many objects in one go, a full garbage collection while as many are being made, and
the first collection afterwards.  So

  - a replaced list is freed by a thread, entry by entry (`Disposal`);
  - no collection runs while lists are built (`without_collections`), and many new objects are left out of all
    later ones: they stay until the next reload, and are freed then without the collector.

Do not build lists in a child process instead: the tables would have to be read from it and freed here all the
same, at the cost of the memory of another interpreter.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any

import trio

from multigrey.contracts import LongList
from multigrey.threads import in_thread

__all__ = ["Disposal", "without_collections"]

_EVERY = 1.0
"""Seconds between two looks for lists that nothing uses any more."""
_MANY = 50_000
"""New objects that the collector looks at within 10 ms."""

_Parts = list[dict[Any, Any]]


class Disposal:
    """Frees the mappings of lists that nothing uses any more.

    Only a list itself shows when the last attempt, explanation or command that uses it has ended: then its
    mappings come here.
    """

    def __init__(self) -> None:
        # Its `put` may be called at any moment, also from within a garbage collection.
        self._unused: SimpleQueue[_Parts] = SimpleQueue()

    def watch(self, lists: Iterable[LongList]) -> None:
        """Take over the mappings of these lists when they end."""
        for each in lists:
            weakref.finalize(each, self._unused.put, each.parts()).atexit = False

    async def run(self) -> None:
        """Free what comes, for ever."""
        while True:
            await self.free()
            await trio.sleep(_EVERY)

    async def free(self) -> None:
        """Free what has come."""
        while True:
            try:
                parts = self._unused.get_nowait()
            except Empty:
                return
            await in_thread(_empty, parts)


def _empty(parts: _Parts) -> None:
    """Remove entry by entry: after each, the interpreter can let another thread run."""
    for part in parts:
        while part:
            part.popitem()


@contextmanager
def without_collections() -> Iterator[None]:
    """No garbage collection meanwhile; if many objects were made, none looks at these later."""
    gc.collect(0)  # counting begins at zero
    gc.disable()
    try:
        yield
    finally:
        if gc.get_count()[0] > _MANY:
            gc.freeze()
        gc.enable()
