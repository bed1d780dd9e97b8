"""The embedded store: one LMDB file, no server, no set-up.

Decisions are made on the event loop, against the committed file and the overlay of what is not
committed yet; one thread commits whatever arrived meanwhile as one batch (see `commits`).  A read
transaction begins and ends within one function that never waits.

The traps are told where they are stepped around: `files` (what kills a process that maps a file),
`environment` (two LMDB engines, room for forgetting), `rows` (the time index).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import lmdb
import trio

from multigrey.contracts import StoreOptions, Submitted
from multigrey.errors import StoreError
from multigrey.model import Change, Entry, Key, Table
from multigrey.stores.commits import Batch, Commits
from multigrey.stores.entries import merged, slices
from multigrey.stores.environment import Opened, open_store, replace_store
from multigrey.stores.files import StateFiles, prepare_directory, take_lock, trouble
from multigrey.stores.rows import HEAD
from multigrey.stores.thread import WorkThread

__all__ = ["LmdbStore"]

T = TypeVar("T")

FLUSH_TIME = 20.0
"""Seconds the disk gets at the end to take what is pending."""

_CHECK_READERS_EVERY = 3600.0
_FORGET_SLICE = 250
"""Entries looked at in one transaction: some milliseconds, then waiting answers have their turn."""
_WALK_SLICE = 20_000
_LOAD_AHEAD = 1_000

logger = logging.getLogger(__name__)


class LmdbStore:
    """See `contracts.LocalStore`."""

    def __init__(self, options: StoreOptions, *, commit_hook: Callable[[], None] | None = None) -> None:
        """`commit_hook` is called in the commit thread before each commit, to try slow and full disks.

        What it raises (lmdb.Error, OSError) makes that commit fail.
        """
        self._files = StateFiles(options.state_dir)
        self._map_size = options.map_size
        self._commit_hook = commit_hook
        self._commits = Commits(self._commit)
        self._thread: WorkThread | None = None
        self._opened: Opened | None = None
        self._closed = "the store is not open"
        """Why `_opened` is None; empty while it is being opened anew."""
        self._usable = trio.Event()
        self._readers = 0
        self._quiet = trio.lowlevel.ParkingLot()
        self._last_commit = 0.0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See `Store.run`.  Raises StoreError when the store cannot be opened.  To be run once."""
        lock, self._opened = await trio.to_thread.run_sync(self._lock_and_open)
        self._thread = WorkThread("multigrey-commit")
        clean = False
        try:
            async with trio.open_nursery() as nursery:
                committing = trio.CancelScope(shield=True)
                nursery.start_soon(self._commit_all, committing)
                nursery.start_soon(self._check_readers)
                task_status.started()
                try:
                    await trio.sleep_forever()
                finally:
                    clean = await self._flush()
                    committing.cancel()
        finally:
            self._close(lock, clean=clean)

    def submit(
        self, keys: Sequence[Key], decide: Callable[[Sequence[bytes | None]], Change[T]]
    ) -> Submitted[T] | None:
        """See `Store.submit`."""
        return None if self._opened is None else self._submitted(self._opened, keys, decide)

    async def apply(self, keys: Sequence[Key], decide: Callable[[Sequence[bytes | None]], Change[T]]) -> T:
        """See `Store.apply`.  Without anything to wait for it returns without a checkpoint."""
        opened = self._opened or await self._reopened()
        value, batch = self._submitted(opened, keys, decide)
        if batch is not None:
            await batch.committed()
        return value

    def peek(self, keys: Sequence[Key]) -> Sequence[bytes | None] | None:
        """See `Store.peek`.  A page that is not in memory is waited for, as in `read`."""
        return None if self._opened is None else self._values(self._opened, keys)

    async def read(self, keys: Sequence[Key]) -> Sequence[bytes | None]:
        """See `Store.read`."""
        return self._values(self._opened or await self._reopened(), keys)

    async def scan(
        self, table: Table, cursor: bytes, limit: int
    ) -> tuple[Sequence[tuple[bytes, bytes]], bytes]:
        """See `Store.scan`."""

        def scan(opened: Opened) -> tuple[Sequence[tuple[bytes, bytes]], bytes]:
            with opened.env.begin() as txn:
                return opened.rows.scan(txn, table, cursor, max(limit, 1))

        return await self._aside(scan)

    async def load(self, items: Mapping[Key, Entry], merge: Callable[[bytes | None, bytes], bytes]) -> int:
        """See `Store.load`.  After StoreError a part may have been loaded."""
        batches: dict[int, Batch] = {}
        changed = 0
        for piece in slices(items):
            found = self._entries(self._opened or await self._reopened(), list(piece))
            if puts := merged(piece, found, merge):
                batch = self._commits.add(puts)
                batches[id(batch)] = batch
                changed += len(puts)
                if self._commits.pending > _LOAD_AHEAD:
                    await batch.committed()
            await trio.lowlevel.checkpoint()
        for batch in batches.values():
            await batch.committed()
        return changed

    async def forget(self, before: int, limit: int) -> int:
        """See `Store.forget`.

        What is pending is written first, so an entry that was just refreshed stays.
        """
        gone = 0
        await self._commits.settle()
        while gone < limit:
            size = min(limit - gone, _FORGET_SLICE)
            async with self._commits.writing:
                due, deleted = await self._aside(partial(_forget, before=before, limit=size))
            gone += deleted
            if due < size:
                break
        return gone

    async def newest(self) -> int:
        """See `Store.newest`.  Walks through everything, aside: a second for a million entries."""
        await self._commits.settle()
        newest = 0
        for table in Table:
            cursor = b""
            while True:
                latest, cursor = await self._aside(partial(_newest, table=table, cursor=cursor))
                newest = max(newest, latest)
                if not cursor:
                    break
        return newest

    async def health(self) -> Mapping[str, int | float | str]:
        """See `Store.health`.

        Besides: `meta` (entries), `map_size`, `used` and `file` (bytes: allowed, in use, with free
        pages), `last_commit_us`, `commit_failures`.
        """
        opened = self._opened or await self._reopened()
        try:
            with opened.env.begin() as txn:
                counts = opened.rows.counts(txn)
                used = opened.rows.pages(txn) * opened.page_size
            last_page = opened.env.info()["last_pgno"]
        except lmdb.Error as error:
            raise trouble(self._files.data, error) from error
        return {
            "backend": "lmdb",
            "records": counts[Table.RECORD],
            "origins": counts[Table.ORIGIN],
            "meta": counts[Table.META],
            "pending": self._commits.pending,
            "map_size": self._map_size,
            "used": used,
            "file": (last_page + 1) * opened.page_size,
            "last_commit_us": round(self._last_commit * 1e6),
            "commit_failures": self._commits.failures,
        }

    async def backup(self, path: str) -> None:
        """See `LocalStore.backup`: a compact copy, 0600, that appears when it is complete.

        It replaces a file of that name.  It is of no use without the site key.
        """
        await self._commits.settle()
        await self._aside(partial(_backup, files=self._files, target=Path(path)), about=Path(path))

    async def compact(self) -> None:
        """See `LocalStore.compact`.

        A compact copy takes the place of the file.  While it is written reading goes on, but whatever
        has to be on disk before it is answered waits: some seconds per GB.
        """
        async with self._commits.writing:
            await self._aside(lambda opened: opened.copy(self._files.draft), about=self._files.draft)
            problem = await self._reopen(replace_store)
        if problem is not None:
            raise problem

    # Inside

    def _lock_and_open(self) -> tuple[int, Opened]:
        prepare_directory(self._files.directory)
        lock = take_lock(self._files.lock)
        try:
            return lock, open_store(self._files, self._map_size)
        except BaseException:
            os.close(lock)
            raise

    def _submitted(
        self, opened: Opened, keys: Sequence[Key], decide: Callable[[Sequence[bytes | None]], Change[T]]
    ) -> Submitted[T]:
        change = decide(self._values(opened, keys))
        batch: Batch | None = None
        if change.puts:
            batch = self._commits.add(change.puts)
        elif change.durable and not self._commits.idle:
            batch = self._commits.latest(keys)
        return Submitted(change.value, batch if change.durable else None)

    def _values(self, opened: Opened, keys: Sequence[Key]) -> list[bytes | None]:
        """What a decision sees.  The hot path: two keys take some 3 µs."""
        values = [None if row is None else row[HEAD:] for row in self._stored(opened, keys)]
        if not self._commits.idle:
            for index, entry in self._commits.overlay(keys):
                values[index] = None if entry is None else entry.value
        return values

    def _entries(self, opened: Opened, keys: Sequence[Key]) -> list[Entry | None]:
        """The same with times."""
        rows = self._stored(opened, keys)
        entries = [None if row is None else opened.rows.entry(row) for row in rows]
        for index, entry in self._commits.overlay(keys):
            entries[index] = entry
        return entries

    def _stored(self, opened: Opened, keys: Sequence[Key]) -> list[bytes | None]:
        databases = opened.rows.databases
        try:
            txn = opened.env.begin()
            try:
                return [txn.get(digest, None, databases[table]) for table, digest in keys]
            finally:
                txn.abort()
        except lmdb.Error as error:
            raise trouble(self._files.data, error) from error

    async def _commit(self, puts: Mapping[Key, Entry | None]) -> None:
        assert self._thread is not None
        if self._opened is None:
            await self._reopen()
        try:
            await self._thread.run(partial(self._write, puts))
        except lmdb.PanicError as error:
            # LMDB could not write its meta page, and goes on only after it was opened anew.
            await self._reopen()
            raise trouble(self._files.data, error) from error
        except (lmdb.Error, OSError) as error:
            raise trouble(self._files.data, error) from error

    def _write(self, puts: Mapping[Key, Entry | None]) -> None:
        """In the thread."""
        opened = self._opened
        assert opened is not None
        began = perf_counter()
        with opened.env.begin(write=True) as txn:
            opened.write(txn, puts)
            if self._commit_hook is not None:
                self._commit_hook()
        self._last_commit = perf_counter() - began

    async def _aside(self, work: Callable[[Opened], T], about: Path | None = None) -> T:
        """Do in a thread what takes longer or may have to read from the disk."""
        opened = self._opened or await self._reopened()
        self._readers += 1
        try:
            return await trio.to_thread.run_sync(work, opened)
        except (lmdb.Error, OSError) as error:
            raise trouble(about or self._files.data, error) from error
        finally:
            self._readers -= 1
            if not self._readers:
                self._quiet.unpark_all()

    async def _nobody_reads(self) -> None:
        while self._readers:
            await self._quiet.park()

    async def _reopened(self) -> Opened:
        """The environment as soon as there is one again.  Raises StoreError when there is none."""
        while self._opened is None:
            if self._closed:
                self._commits.probe()
                raise StoreError(self._closed)
            await self._usable.wait()
        return self._opened

    async def _reopen(self, between: Callable[[StateFiles], None] = lambda _: None) -> StoreError | None:
        """Close the environment and open it again; `between` may change the file.

        `commits.writing` is held.  Returns what `between` failed with.  Raises StoreError when it
        cannot be opened; then every call fails until a later try, which each of them asks for.
        """
        with trio.CancelScope(shield=True):
            await self._nobody_reads()
            if self._opened is not None:
                self._opened.env.close()
            self._opened, self._closed, self._usable = None, "", trio.Event()
            try:
                self._opened, problem = await trio.to_thread.run_sync(self._open_again, between)
            except StoreError as error:
                self._closed = str(error)
                raise
            finally:
                self._usable.set()
        return problem

    def _open_again(self, between: Callable[[StateFiles], None]) -> tuple[Opened, StoreError | None]:
        problem = None
        try:
            between(self._files)
        except OSError as error:
            problem = trouble(self._files.data, error)
        return open_store(self._files, self._map_size), problem

    async def _commit_all(self, scope: trio.CancelScope) -> None:
        with scope:
            await self._commits.run()

    async def _check_readers(self) -> None:
        """Free the slots of processes that were killed while they looked at the store (mdb_stat, …)."""
        while True:
            await trio.sleep(_CHECK_READERS_EVERY)
            try:
                await self._aside(lambda opened: opened.env.reader_check())
            except StoreError as error:
                logger.warning("%s", error)

    async def _flush(self) -> bool:
        """Let the disk take what is pending; returns whether everybody was ready in time."""
        self._commits.close("the store is closing")
        with trio.move_on_after(FLUSH_TIME, shield=True) as scope:
            await self._commits.settle()
            async with self._commits.writing:
                await self._nobody_reads()
        if scope.cancelled_caught:
            logger.error("%s: the disk did not take everything within %g s", self._files.data, FLUSH_TIME)
        return not scope.cancelled_caught

    def _close(self, lock: int, *, clean: bool) -> None:
        assert self._thread is not None
        opened, self._opened, self._closed = self._opened, None, "the store is closed"
        self._thread.stop()
        # With a commit that hangs, file and lock stay open until the process ends.
        if clean and self._thread.join(1.0):
            if opened is not None:
                opened.env.close()
            os.close(lock)


def _backup(opened: Opened, files: StateFiles, target: Path) -> None:
    if target.resolve() in {file.resolve() for file in files.all()}:
        raise StoreError(f"{target}: is the store itself")
    opened.copy(target)


def _forget(opened: Opened, before: int, limit: int) -> tuple[int, int]:
    with opened.env.begin(write=True) as txn:
        return opened.rows.forget(txn, before, limit)


def _newest(opened: Opened, table: Table, cursor: bytes) -> tuple[int, bytes]:
    with opened.env.begin() as txn:
        return opened.rows.newest(txn, table, cursor, _WALK_SLICE)
