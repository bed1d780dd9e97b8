"""Group commit: what is decided on the event loop, until it is on disk.

At most two batches exist: the one being committed, and the one that collects what arrives meanwhile.
Together they are the overlay through which every decision looks at the store.  A batch that cannot be
committed takes the collecting one with it, because that was decided on a state that never was: both
are dropped, whoever waits gets StoreError, and the next batch is the probe, after a pause that grows.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

import trio

from multigrey.errors import StoreError
from multigrey.model import Entry, Key
from multigrey.stores.entries import check_keys

__all__ = ["Batch", "Commits"]

LAZY = 1.0
"""Seconds after which a change that nobody waits for is committed, if no other one took it along."""
MOST_PENDING = 20_000
"""Entries that may wait for the disk before further changes are refused: a disk may hang for long."""

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0
_WARN_EVERY = 1.0

logger = logging.getLogger(__name__)


class Batch:
    """Changes that are committed together: the last value of every key."""

    __slots__ = ("_done", "_error", "filled", "puts", "urgent")

    def __init__(self) -> None:
        self.puts: dict[Key, Entry | None] = {}
        self.filled = trio.Event()
        """There is something in it."""
        self.urgent = trio.Event()
        """Somebody waits for it."""
        self._done = trio.Event()
        self._error: str | None = None

    async def committed(self) -> None:
        """Wait until it is on disk.  Raises StoreError when it never will be."""
        self.ask()
        await self._done.wait()
        if self._error is not None:
            raise StoreError(self._error)

    async def settled(self) -> None:
        """Wait until it is on disk, or dropped."""
        self.ask()
        await self._done.wait()

    def ask(self) -> None:
        """Have it committed without delay, even if it is empty."""
        self.filled.set()
        self.urgent.set()

    def settle(self, error: str | None) -> None:
        """Let go whoever waits."""
        self._error = error
        self._done.set()


class Commits:
    """The overlay and the task that empties it onto the disk."""

    def __init__(self, write: Callable[[Mapping[Key, Entry | None]], Awaitable[None]]) -> None:
        """`write` puts all of a mapping on disk, or nothing of it and raises StoreError."""
        self.writing = trio.Lock()
        """Held while a batch is written; whoever else writes to the same file holds it too."""
        self.failures = 0
        self._write = write
        self._running: Batch | None = None
        self._next = Batch()
        self._closed = ""
        self._failures_in_a_row = 0
        self._warned = -_WARN_EVERY

    @property
    def idle(self) -> bool:
        """Whether everything is on disk."""
        return self._running is None and not self._next.puts

    @property
    def pending(self) -> int:
        """How many entries are not on disk yet."""
        running = 0 if self._running is None else len(self._running.puts)
        return running + len(self._next.puts)

    def overlay(self, keys: Sequence[Key]) -> Iterator[tuple[int, Entry | None]]:
        """Which of `keys` are going to be changed, by their index, and to what; the latest comes last."""
        for batch in (self._running, self._next):
            if batch is not None and (puts := batch.puts):
                for index, key in enumerate(keys):
                    if key in puts:
                        yield index, puts[key]

    def add(self, puts: Mapping[Key, Entry | None]) -> Batch:
        """Take over changes; returns the batch they ride in.  Raises StoreError, then nothing is taken."""
        if self._closed:
            raise StoreError(self._closed)
        batch = self._next
        if len(batch.puts) > MOST_PENDING:
            raise StoreError(f"{len(batch.puts)} changes wait for the disk already")
        check_keys(puts)
        batch.puts.update(puts)
        batch.filled.set()
        return batch

    def latest(self, keys: Iterable[Key]) -> Batch | None:
        """The batch that must be on disk before all of `keys` are; None: they are."""
        running = None
        for key in keys:
            if key in self._next.puts:
                return self._next
            if self._running is not None and key in self._running.puts:
                running = self._running
        return running

    def probe(self) -> None:
        """Have a commit tried soon, though there may be nothing to commit."""
        self._next.ask()

    async def settle(self) -> None:
        """Wait until everything pending now is on disk or dropped."""
        if self._next.puts:
            await self._next.settled()
        elif self._running is not None:
            await self._running.settled()

    def close(self, why: str) -> None:
        """Refuse further changes with this text."""
        self._closed = why

    async def run(self) -> None:
        """Commit until cancelled; what is pending then is dropped (see `settle`)."""
        pause = 0.0
        try:
            while True:
                batch = self._next
                await batch.filled.wait()
                with trio.move_on_after(LAZY):
                    await batch.urgent.wait()
                if await self._commit():
                    pause = 0.0
                else:
                    pause = min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)
                    await trio.sleep(pause)
        finally:
            self.close("the store is closed")
            self._settle(self._closed)

    async def _commit(self) -> bool:
        async with self.writing:
            batch = self._running = self._next
            self._next = Batch()
            error = await self._try(batch)
            if error is None:
                self._running = None
                batch.settle(None)
                self._note_success()
                return True
            dropped = self.pending
            self._settle(error)
            self._note_failure(error, dropped)
            return False

    async def _try(self, batch: Batch) -> str | None:
        """Write a batch; returns what went wrong."""
        try:
            await self._write(batch.puts)
        except StoreError as error:
            return str(error)
        except Exception as error:  # a fault of ours must not stop all later commits
            logger.exception("commit failed in an unexpected way")
            return f"commit failed: {error!r}"
        return None

    def _settle(self, error: str) -> None:
        """Drop everything pending: the one being written, and what was decided on top of it."""
        dropped = (self._running, self._next)
        self._running, self._next = None, Batch()
        for batch in dropped:
            if batch is not None:
                batch.settle(error)

    def _note_failure(self, error: str, dropped: int) -> None:
        self.failures += 1
        self._failures_in_a_row += 1
        now = trio.current_time()
        if now - self._warned >= _WARN_EVERY:
            self._warned = now
            logger.warning("%s (entries not written: %d)", error, dropped)

    def _note_success(self) -> None:
        if self._failures_in_a_row:
            logger.warning("the store can be written again, after %d failures", self._failures_in_a_row)
            self._failures_in_a_row = 0
