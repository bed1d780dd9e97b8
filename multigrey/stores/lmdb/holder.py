"""Holds the store's open file, and opens it again while the store runs.

That happens when a compact copy replaces the file, and when LMDB could not write its meta page.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import lmdb
import trio

from multigrey.errors import StoreError
from multigrey.stores.lmdb.damage.child import NoProcessError, run_aside
from multigrey.stores.lmdb.damage.starts import note_damage
from multigrey.stores.lmdb.environment import Opened, Used, open_store
from multigrey.stores.lmdb.state_files import DamagedStoreError, StateFiles, stands_for, trouble
from multigrey.stores.work_thread import WorkThread
from multigrey.threads import in_thread

__all__ = ["Holder"]

T = TypeVar("T")

_COMING = 512
"""Bytes that an entry hardly exceeds in the file."""
_CHECK_READERS_EVERY = 3600.0

logger = logging.getLogger(__name__)


class Holder:
    """The open file.  All reading, writing and closing of it goes through here."""

    def __init__(self, files: StateFiles, map_size: int, retry: Callable[[], None]) -> None:
        """Holds nothing until `hold`.  `retry` has to bring about a `write` soon."""
        self.opened: Opened | None = None
        self.writing = trio.Lock()
        """Held while a task writes to the file or replaces it."""
        self.free = 0
        """Bytes that may still be used, as of the last write; may be negative."""
        self.records = 0
        """Number of records, as of the last write."""
        self.page_size = 0
        self.damage = ""
        """Damage that was met since the start; "" when there was none."""
        self._retry = retry
        self._files = files
        self._map_size = map_size
        self._closed = "the store is not open"
        """Why `opened` is None; empty while the file is being opened again."""
        self._usable = trio.Event()
        self._readers = 0
        self._quiet = trio.lowlevel.ParkingLot()

    def hold(self, opened: Opened) -> None:
        """Hold this file from now on."""
        self.opened = opened
        self.page_size = opened.page_size
        self.note(opened.used())

    def note(self, used: Used) -> None:
        """Take note of what is in use."""
        self.free = self._map_size - used.pages * self.page_size
        self.records = used.records

    def free_after(self, entries: int) -> int:
        """Bytes that will still be free when so many entries on their way to the file are in it."""
        return self.free - entries * _COMING

    def let_go(self) -> Opened | None:
        """Hold nothing any more; returns the file, to be closed."""
        opened, self.opened, self._closed = self.opened, None, "the store is closed"
        return opened

    async def available(self) -> Opened:
        """The file, as soon as it is open.  Raises StoreError when it is closed."""
        while self.opened is None:
            if self._closed:
                self._retry()
                raise StoreError(self._closed)
            await self._usable.wait()
        return self.opened

    async def aside(self, work: Callable[[Opened], T], about: Path | None = None) -> T:
        """Call `work` in a thread, because it takes longer or may have to read from the disk."""
        opened = self.opened or await self.available()
        self._readers += 1
        try:
            return await in_thread(work, opened)
        except (lmdb.Error, OSError) as error:
            raise self.trouble(error, about) from error
        finally:
            self._readers -= 1
            if not self._readers:
                self._quiet.unpark_all()

    def trouble(self, error: OSError | lmdb.Error, about: Path | None = None) -> StoreError:
        """The error to raise.  Damage of the store is noted, so that the next start saves what it can."""
        found = trouble(about or self._files.data, error)
        if isinstance(found, DamagedStoreError):
            found = DamagedStoreError(self._files.data, found.what)  # which may not be what it was about
            self._met(found)
        return found

    async def walk(self) -> None:
        """Have every row read in a process of its own, which damage may end.  Raises StoreError."""
        opened = await self.available()
        if not await in_thread(stands_for, opened.path, opened.file):
            return  # its directory was removed or mounted over: no other process can open it any more
        try:
            await run_aside(("walk-beside", str(opened.path)), opened.path)
        except NoProcessError as error:
            logger.warning("%s: it is read in this one", error)
        except DamagedStoreError as error:
            self._met(error)
            await self.aside(lambda opened: opened.env.reader_check())  # it may have left its place taken
            raise

    def _met(self, damage: DamagedStoreError) -> None:
        if not self.damage:
            self.damage = str(damage)
            note_damage(self._files, damage.what)

    async def nobody_reads(self) -> None:
        """Wait until no call of `aside` is under way."""
        while self._readers:
            await self._quiet.park()

    async def write(self, thread: WorkThread, work: Callable[[Opened], None]) -> None:
        """Call `work`, which writes, in that thread.  Raises StoreError."""
        async with self.writing:
            if self.opened is None:
                await self.reopen()
            opened = await self.available()
            try:
                await thread.run(lambda: work(opened))
                self.note(opened.used())
            except lmdb.PanicError as error:
                # LMDB could not write its meta page, and goes on only after it was opened again.
                await self.reopen()
                raise self.trouble(error) from error
            except (lmdb.Error, OSError) as error:
                raise self.trouble(error) from error

    async def reopen(self, between: Callable[[StateFiles], None] = lambda _: None) -> StoreError | None:
        """Close the file and open it again; `between` may change it.

        `writing` must be held.  Returns what `between` failed with.  Raises StoreError when the file cannot
        be opened: then every call fails until a `write` opens it, and each call asks for one (`retry`).
        """
        # Shielded: a cancellation in between would leave the store closed.
        with trio.CancelScope(shield=True):
            await self.nobody_reads()  # their transactions must not outlive the environment
            if self.opened is not None:
                self.opened.env.close()
            self.opened, self._closed, self._usable = None, "", trio.Event()
            try:
                opened, problem = await in_thread(self._open_again, between)
                self.hold(opened)
            except StoreError as error:
                self._closed = str(error)
                raise
            finally:
                self._usable.set()
        return problem

    async def check_readers(self) -> None:
        """Free the slots of processes that were killed while they read the store (mdb_stat, …)."""
        while True:
            await trio.sleep(_CHECK_READERS_EVERY)
            try:
                await self.aside(lambda opened: opened.env.reader_check())
            except StoreError as error:
                logger.warning("%s", error)

    def _open_again(self, between: Callable[[StateFiles], None]) -> tuple[Opened, StoreError | None]:
        problem = None
        try:
            between(self._files)
        except OSError as error:
            problem = trouble(self._files.data, error)
        return open_store(self._files, self._map_size), problem
