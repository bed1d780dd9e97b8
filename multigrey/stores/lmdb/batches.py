"""What the two stages on the way to the disk share: a batch, one write, and failures logged seldom."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

import trio

from multigrey.errors import StoreError
from multigrey.model import Entry, Key
from multigrey.text import counted

__all__ = ["Batch", "Failures", "Puts", "attempt"]

Puts = Mapping[Key, Entry | None]
"""Changes: the last value of every key; None deletes."""

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0
_WARN_EVERY = 1.0

logger = logging.getLogger(__name__)


class Batch:
    """Changes that are written together: the last value of every key."""

    __slots__ = ("_done", "_error", "filled", "puts", "urgent")

    def __init__(self) -> None:
        self.puts: dict[Key, Entry | None] = {}
        self.filled = trio.Event()
        """Set when it holds something."""
        self.urgent = trio.Event()
        """Set when a caller waits for it."""
        self._done = trio.Event()
        self._error: str | None = None

    async def committed(self) -> None:
        """Wait until it is written.  Raises StoreError when it is not."""
        await self.settled()
        if self._error is not None:
            raise StoreError(self._error)

    async def settled(self) -> None:
        """Wait until it is written, or until writing it has failed."""
        self.ask()
        await self._done.wait()

    def ask(self) -> None:
        """Have it written without delay, even if it is empty."""
        self.filled.set()
        self.urgent.set()

    def settle(self, error: str | None) -> None:
        """Release all callers that wait; `error`: why it was not written."""
        self._error = error
        self._done.set()


async def attempt(write: Callable[[Puts], Awaitable[None]], puts: Puts) -> str | None:
    """Write once; returns what went wrong, or None."""
    try:
        await write(puts)
    except StoreError as error:
        return str(error)
    except Exception as error:  # a bug of ours must not stop all later batches
        logger.exception("commit failed in an unexpected way")
        return f"commit failed: {error!r}"
    return None


class Failures:
    """Failures of one stage: counted, logged at most once a second, followed by a pause that grows."""

    def __init__(self, entries: str, recovered: str) -> None:
        """Words for the log: what becomes of entries that failed, and that writing works again."""
        self.total = 0
        self.last: str | None = None
        """What went wrong the last time; None: writing works."""
        self._entries = entries
        self._recovered = recovered
        self._in_a_row = 0
        self._since = 0.0
        """When the first failure in a row was."""
        self._warned = -_WARN_EVERY
        self._pause = 0.0

    @property
    def seconds(self) -> float:
        """For how long no write has succeeded; 0: writing works."""
        return trio.current_time() - self._since if self._in_a_row else 0.0

    def note(self, error: str, entries: int) -> float:
        """Take note of a failure; returns the seconds to wait before the next try."""
        now = trio.current_time()
        if not self._in_a_row:
            self._since = now
        self.total += 1
        self._in_a_row += 1
        self.last = error
        if now - self._warned >= _WARN_EVERY:
            self._warned = now
            logger.warning("%s (%s: %d)", error, self._entries, entries)
        self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE)
        return self._pause

    def over(self) -> None:
        """Take note of a success."""
        if self._in_a_row:
            logger.warning("%s, after %s", self._recovered, counted(self._in_a_row, "failure"))
        self._in_a_row, self._pause, self.last = 0, 0.0, None
