"""Group commit: what is decided on the event loop, until it is safe.

    add  ->  batch  ->  journal (fdatasync: whoever waits is told)  ->  checkpoint: LMDB
             `----------------- the overlay: what decisions see -----------'

At most two batches exist: the one being appended to the journal, and the one that collects what
arrives meanwhile.  With what waits for a checkpoint they are the overlay through which every decision
looks at LMDB.  A batch that cannot be written takes the collecting one with it, because that was
decided on a state that never was: both are dropped, whoever waits gets StoreError, and the next batch
is the probe, after a pause that grows.  What is in the journal is never dropped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

import trio

from multigrey.errors import StoreError
from multigrey.model import Entry, Key
from multigrey.stores.entries import check_keys
from multigrey.stores.lmdb.batches import Batch, Failures, Puts, attempt
from multigrey.stores.lmdb.checkpoints import Checkpoints

__all__ = ["Commits"]

LAZY = 1.0
"""Seconds after which a change that nobody waits for is committed, if no other one took it along."""
MOST_PENDING = 20_000
"""Entries in the overlay beyond which further changes are refused: a disk may hang for long."""


class Commits:
    """The overlay, and the task that empties it into the journal."""

    def __init__(self, write: Callable[[Puts], Awaitable[None]], checkpoints: Checkpoints) -> None:
        """`write` makes all of a mapping safe and hands it to `checkpoints`.

        Or it raises StoreError, and nothing of it is kept.
        """
        self.failures = Failures("entries not written", "the store can be written again")
        self._write = write
        self._checkpoints = checkpoints
        self._running: Batch | None = None
        self._next = Batch()
        self.layers: tuple[Puts, ...] = ()
        """The overlay: what LMDB does not have yet, the latest last."""
        self._closed = ""
        checkpoints.changed = self._arrange
        self._arrange()

    @property
    def idle(self) -> bool:
        """Whether LMDB has everything."""
        return not self._next.puts and self._running is None and not self._checkpoints.count

    @property
    def pending(self) -> int:
        """How many entries are not on disk yet."""
        running = 0 if self._running is None else len(self._running.puts)
        return running + len(self._next.puts)

    def overlay(self, keys: Sequence[Key]) -> Iterator[tuple[int, Entry | None]]:
        """Which of `keys` are going to be changed, by their index, and to what; the latest comes last."""
        for puts in self.layers:
            for index, key in enumerate(keys):
                if key in puts:
                    yield index, puts[key]

    def changes(self, keys: Iterable[Key]) -> bool:
        """Whether what was decided since the last batch was closed changes one of `keys`."""
        puts = self._next.puts
        return bool(puts) and any(key in puts for key in keys)

    def add(self, puts: Puts) -> Batch:
        """Take over changes; returns the batch they ride in.  Raises StoreError, then nothing is taken."""
        if self._closed:
            raise StoreError(self._closed)
        batch = self._next
        if (waiting := self.pending + self._checkpoints.count) > MOST_PENDING:
            self._checkpoints.probe()
            raise StoreError(
                self._checkpoints.failures.last or f"{waiting} changes wait for the disk already"
            )
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
        try:
            while True:
                batch = self._next
                await batch.filled.wait()
                with trio.move_on_after(LAZY):
                    await batch.urgent.wait()
                if self._checkpoints.count > MOST_PENDING * 3 // 4:
                    await self._checkpoints.progress()
                if pause := await self._commit():
                    await trio.sleep(pause)
        finally:
            self.close("the store is closed")
            self._settle(self._closed)

    async def _commit(self) -> float:
        """Write what was collected; returns the seconds to wait before the next try."""
        batch = self._running = self._next
        self._next = Batch()
        self._arrange()
        error = await attempt(self._write, batch.puts)
        if error is None:
            self._running = None
            self._arrange()
            batch.settle(None)
            self.failures.over()
            return 0.0
        dropped = self.pending
        self._settle(error)
        return self.failures.note(error, dropped)

    def _settle(self, error: str) -> None:
        """Drop everything pending: the one being written, and what was decided on top of it."""
        dropped = (self._running, self._next)
        self._running, self._next = None, Batch()
        self._arrange()
        for batch in dropped:
            if batch is not None:
                batch.settle(error)

    def _arrange(self) -> None:
        running = () if self._running is None else (self._running.puts,)
        self.layers = (*self._checkpoints.layers(), *running, self._next.puts)
