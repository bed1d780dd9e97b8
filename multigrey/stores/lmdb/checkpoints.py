"""Checkpoints: from the journal into LMDB, many entries at once.

A new key costs LMDB a page of its own, and every commit writes each changed page: fifty new keys are
fifty pages.  So what is in the journal, and thereby safe, collects here and stays visible through the
overlay until one transaction has taken all of it.  That happens after `ENTRIES` entries, after some
seconds, and when somebody needs the file itself to be complete.

Nothing is lost here when LMDB cannot write: the entries stay, in memory and in the journal, and are
tried again together with what came meanwhile.
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
"""How many are collected, unless time passes: the more, the fewer pages are written in all, and the
fewer batches meet a checkpoint's sync, which makes theirs take several times as long."""
AFTER = 5.0
"""Seconds after which fewer will do."""
_REST = 4
_LONGEST_REST = 0.05
"""Seconds."""


class Checkpoints:
    """What is in the journal and not in LMDB yet, and the task that takes it there."""

    def __init__(self, cut: Callable[[], Awaitable[None]], write: Callable[[Puts], Awaitable[None]]) -> None:
        """`cut` is called before what was collected is closed; it returns with no append under way.

        What is collected when it returns is what `write` gets then: to be put into LMDB, all of it or
        nothing, and out of the journal.
        """
        self.failures = Failures(
            "entries that stay in the journal", "the file of the store can be written again"
        )
        self._cut = cut
        self._write = write
        self.changed: Callable[[], None] = lambda: None
        """Called when `layers` are others."""
        self._waiting = 0
        """How many wait for a checkpoint."""
        self._hurry = threading.Event()
        """Set while somebody does."""
        self._closed: Batch | None = None
        self._next = Batch()

    @property
    def count(self) -> int:
        """How many entries are here (one that is here twice counts twice)."""
        closed = 0 if self._closed is None else len(self._closed.puts)
        return closed + len(self._next.puts)

    def layers(self) -> list[Puts]:
        """What is here, the latest last."""
        return [self._next.puts] if self._closed is None else [self._closed.puts, self._next.puts]

    def collect(self, puts: Puts) -> None:
        """Take over what is in the journal now."""
        batch = self._next
        batch.puts.update(puts)
        batch.filled.set()
        if len(batch.puts) >= ENTRIES:
            batch.urgent.set()

    def probe(self) -> None:
        """Have a checkpoint tried soon, though there may be nothing to write."""
        self._next.ask()

    async def done(self) -> None:
        """Have everything that is here now put into LMDB.  Raises StoreError when that fails."""
        with self._in_a_hurry():
            if self._next.puts:
                await self._next.committed()
            elif self._closed is not None:
                await self._closed.committed()

    async def progress(self) -> None:
        """Wait until the next checkpoint was made, or failed."""
        with self._in_a_hurry():
            await (self._closed or self._next).settled()

    def breather(self) -> Callable[[], None]:
        """What the thread that writes a checkpoint is to call now and then.

        As long as nobody waits for the checkpoint it then leaves the processor to the event loop for
        some times what it took itself since the last call: so answers hardly take longer meanwhile.
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
        """Let it ride along with the next one."""
        later = self._next.puts
        self._next.puts = {**puts, **later}
        if self._next.puts:
            self._next.ask()
