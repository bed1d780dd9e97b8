"""Checkpoints: move entries from the journal into LMDB, many at once.

In LMDB a new key changes a page of its own, and every commit writes each changed page: fifty new keys are
fifty pages.  So entries that are in the journal, and thereby safe, collect here.  Decisions see them through
the overlay until LMDB has all of them.  A checkpoint is made after `ENTRIES` entries, after some seconds, and
when a caller needs the file itself to be complete.

Nothing is lost when LMDB cannot write: the entries stay in memory and in the journal, and are tried again
together with those that came meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from time import thread_time

import trio

from multigrey.stores.lmdb.batches import Batch, Failures, Puts, attempt

__all__ = ["Checkpoints"]

ENTRIES = 3_000
"""Entries that are collected, unless `AFTER` is over first.  With more, fewer pages are written in all, and
fewer batches meet a checkpoint's sync, which makes their own sync take several times as long."""
AFTER = 5.0
"""Seconds after which a checkpoint is made with fewer entries."""
_REST = 4
_LONGEST_REST = 0.05
"""Seconds."""


class Checkpoints:
    """The entries in the journal that LMDB does not have yet, and the task that writes them there."""

    def __init__(self, cut: Callable[[], Awaitable[None]], write: Callable[[Puts], Awaitable[None]]) -> None:
        """`cut` is called before the collected entries are closed; it returns with no append under way.

        The entries collected when it returns are given to `write`.  That puts all or none of them into LMDB,
        and drops them from the journal.
        """
        self.failures = Failures(
            "entries that stay in the journal", "the file of the store can be written again"
        )
        self._cut = cut
        self._write = write
        self.changed: Callable[[], None] = lambda: None
        """Called when `layers` has changed."""
        self._waiting = 0
        """How many callers wait for a checkpoint."""
        self._hurry = threading.Event()
        """Set while a caller waits."""
        self._closed: Batch | None = None
        self._next = Batch()

    @property
    def count(self) -> int:
        """How many entries are here (one in both batches counts twice)."""
        closed = 0 if self._closed is None else len(self._closed.puts)
        return closed + len(self._next.puts)

    def layers(self) -> list[Puts]:
        """The entries here, the latest last."""
        return [self._next.puts] if self._closed is None else [self._closed.puts, self._next.puts]

    def collect(self, puts: Puts) -> None:
        """Take over entries that are in the journal now."""
        batch = self._next
        batch.puts.update(puts)
        batch.filled.set()
        if len(batch.puts) >= ENTRIES:
            batch.urgent.set()

    def probe(self) -> None:
        """Have a checkpoint tried soon, even if there is nothing to write."""
        self._next.ask()

    async def done(self) -> None:
        """Have everything that is here now put into LMDB.  Raises StoreError when that fails."""
        # The next batch is written after the closed one, and takes its entries along if that one fails.
        with self._in_a_hurry():
            if self._next.puts:
                await self._next.committed()
            elif self._closed is not None:
                await self._closed.committed()

    async def progress(self) -> None:
        """Wait until the next checkpoint has succeeded or failed."""
        with self._in_a_hurry():
            await (self._closed or self._next).settled()

    def breather(self) -> Callable[[], None]:
        """A function for the thread that writes a checkpoint, to be called now and then.

        While no caller waits for the checkpoint, each call leaves the processor to the event loop, for some
        times what the thread has used since the last call.  So answers hardly take longer meanwhile.
        """
        began = thread_time()

        def breathe() -> None:
            nonlocal began
            self._hurry.wait(min(_REST * (thread_time() - began), _LONGEST_REST))
            began = thread_time()

        return breathe

    @contextmanager
    def _in_a_hurry(self) -> Iterator[None]:
        self._waiting += 1
        self._hurry.set()
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._hurry.clear()

    async def run(self) -> None:
        """Make checkpoints until cancelled."""
        while True:
            await self._next.filled.wait()
            with trio.move_on_after(AFTER):
                await self._next.urgent.wait()
            if pause := await self._checkpoint():
                await trio.sleep(pause)

    async def _checkpoint(self) -> float:
        """Make one; returns the seconds to wait before the next."""
        await self._cut()
        # No await since the cut: the batch holds exactly what is in the journal up to there.
        closed, self._next = self._next, Batch()
        self._closed = closed
        self.changed()
        error = await attempt(self._write, closed.puts)
        self._closed = None
        pause = 0.0
        if error is None:
            self.failures.over()
        else:
            pause = self.failures.note(error, len(closed.puts))
            self._put_back(closed.puts)
        self.changed()
        closed.settle(error)
        return pause

    def _put_back(self, puts: Puts) -> None:
        """Let the next checkpoint write these entries too."""
        later = self._next.puts
        self._next.puts = {**puts, **later}  # in this order: later values replace earlier ones
        if self._next.puts:
            self._next.ask()
