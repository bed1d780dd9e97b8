"""Group commit: takes what is decided on the event loop, until it is safe.

    add  ->  batch  ->  journal (fdatasync: callers may answer)  ->  checkpoint: LMDB
             `--------------- the overlay: what decisions see ------------'

At most two batches exist: one is being appended to the journal, the other collects what arrives meanwhile.
Together with the entries that wait for a checkpoint they are the overlay, through which every decision looks
at LMDB.  If a batch cannot be written, the collecting one is dropped with it, because its decisions saw a
state that was never stored.  Every caller that waits for them gets StoreError.  The next batch is tried after
a pause that grows.  What is in the journal is never dropped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

import trio

from multigrey.errors import StoreError
from multigrey.model import Entry, Key
from multigrey.stores.entries import check_keys
from multigrey.stores.lmdb.batches import Batch, Failures, Puts, attempt
from multigrey.stores.lmdb.checkpoints import Checkpoints

__all__ = ["LAGGING", "Commits"]

LAZY = 1.0
"""Seconds after which a change that no caller waits for is committed, if no other took it along."""
LAGGING = 20_000
"""Entries in the overlay beyond which the disk does not keep up, and new senders should get marks.  All marks
together have at most 32,768 entries, so that is where a flood ends that is faster than the disk."""
MOST_PENDING = 80_000
"""Entries in the overlay beyond which further changes are refused, as a disk may hang for long."""


class Commits:
    """The overlay, and the task that empties it into the journal."""

    def __init__(self, write: Callable[[Puts], Awaitable[None]], checkpoints: Checkpoints) -> None:
        """`write` makes all entries of a mapping safe, and hands them to `checkpoints`.

        Or it raises StoreError, and keeps none of them.
        """
        self.failures = Failures("entries not written", "the store can be written again")
        self._write = write
        self._checkpoints = checkpoints
        self._running: Batch | None = None
        self._next = Batch()
        self.layers: tuple[Puts, ...] = ()
        """The overlay: entries that LMDB does not have yet, the latest last."""
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
        """The pending entries of `keys`, each with the index of its key; the latest comes last."""
        for puts in self.layers:
            for index, key in enumerate(keys):
                if key in puts:
                    yield index, puts[key]

    def changes(self, keys: Iterable[Key]) -> bool:
        """Whether a decision since the last batch was closed changes one of `keys`."""
        puts = self._next.puts
        return bool(puts) and any(key in puts for key in keys)

    def add(self, puts: Puts) -> Batch:
        """Take over changes; returns the batch they are part of.  Raises StoreError, then takes nothing."""
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
                return self._next  # it is written after the running one
            if self._running is not None and key in self._running.puts:
                running = self._running
        return running

    async def settle(self) -> None:
        """Wait until everything that is pending now is on disk or dropped."""
        if self._next.puts:
            await self._next.settled()
        elif self._running is not None:
            await self._running.settled()

    def close(self, why: str) -> None:
        """Refuse further changes with this text."""
        self._closed = why

    async def run(self) -> None:
        """Commit until cancelled.  What is pending then is dropped (see `settle`)."""
        try:
            while True:
                batch = self._next
                await batch.filled.wait()
                # Not at once: a change that no caller waits for is written together with later ones.
                with trio.move_on_after(LAZY):
                    await batch.urgent.wait()
                # Callers wait here, before `add` has to refuse their changes.
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
            # `write` has handed the entries to the checkpoints or to LMDB: decisions go on seeing them.
            self._running = None
            self._arrange()
            batch.settle(None)
            self.failures.over()
            return 0.0
        dropped = self.pending
        self._settle(error)
        return self.failures.note(error, dropped)

    def _settle(self, error: str) -> None:
        """Drop everything pending: the batch being written, and the one decided on top of it."""
        dropped = (self._running, self._next)
        self._running, self._next = None, Batch()
        self._arrange()
        for batch in dropped:
            if batch is not None:
                batch.settle(error)

    def _arrange(self) -> None:
        """Set `layers`, in order: a later layer hides an earlier one."""
        running = () if self._running is None else (self._running.puts,)
        self.layers = (*self._checkpoints.layers(), *running, self._next.puts)
