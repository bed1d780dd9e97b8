"""The embedded store: one LMDB file, no server, no set-up.

Decisions are made on the event loop, from the file and the overlay of entries that are not in it yet.  One
thread appends what has arrived meanwhile to the journal, as one batch, and then callers may answer (see
`commits`).  Another thread moves what has collected there into the file (see `checkpoints`).  A read
transaction begins and ends within one function that never waits.  Only checkpoints, forgetting and compaction
write to the file, one at a time.

Dangers are described where they are avoided: `state_files` (what kills a process that maps a file),
`environment` (two LMDB engines, room for deleting), `rows` (the time index), `journal` (failed syncs).
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import lmdb
import trio

from multigrey.contracts import BackupPart, StoreOptions, Submitted
from multigrey.errors import StoreError
from multigrey.model import Change, Entry, Key, Table
from multigrey.stores.entries import merged, slices
from multigrey.stores.lmdb.batches import Batch, Puts
from multigrey.stores.lmdb.checkpoints import Checkpoints
from multigrey.stores.lmdb.commits import LAGGING, Commits
from multigrey.stores.lmdb.environment import Opened, open_all, replace_store
from multigrey.stores.lmdb.frames import pack
from multigrey.stores.lmdb.holder import Holder
from multigrey.stores.lmdb.journal import Journal, Position
from multigrey.stores.lmdb.rows import HEAD
from multigrey.stores.lmdb.state_files import StateFiles, stands_for
from multigrey.stores.work_thread import WorkThread
from multigrey.threads import in_thread

__all__ = ["LmdbStore"]

T = TypeVar("T")
Values = Sequence[bytes | None]

FLUSH_TIME = 20.0
"""Seconds that the disk has at the end to write what is pending."""

_FORGET_SLICE = 250
"""Entries looked at in one transaction: some milliseconds, then answers have their turn."""
_WALK_SLICE = 20_000
_LOAD_AHEAD = 1_000
_LOAD_COLLECTED = 8_000
"""Entries in the journal beyond which loading waits for a checkpoint: other callers need the room."""
_PAGES = 3
"""Most pages of an entry, besides what its value fills: it splits one of its table and one of the time index,
and sometimes one above."""
_HEALTH_WAITS = 0.5

logger = logging.getLogger(__name__)


class LmdbStore:
    """See `contracts.LocalStore`."""

    def __init__(
        self,
        options: StoreOptions,
        *,
        commit_hook: Callable[[], None] | None = None,
        checkpoint_hook: Callable[[], None] | None = None,
    ) -> None:
        """The hooks test slow and full disks; what they raise (lmdb.Error, OSError) makes the write fail.

        `commit_hook` is called in the commit thread before a batch becomes durable, `checkpoint_hook`
        in the checkpoint thread before LMDB commits a checkpoint.
        """
        self._files = StateFiles(options.state_dir)
        self._map_size, self._capacity = options.map_size, options.capacity
        self._commit_hook = commit_hook
        self._checkpoint_hook = checkpoint_hook
        self._checkpoints = Checkpoints(self._cut_journal, self._checkpoint)
        self._commits = Commits(self._commit, self._checkpoints)
        self._holder = Holder(self._files, options.map_size, self._checkpoints.probe)
        self._journal: Journal
        self._lock: int
        self._appending = trio.Lock()
        """Held while a batch is appended to the journal."""
        self._taken = self._closing = Position(0, 0)
        """How far LMDB has the journal, and how far it will have it after the next checkpoint."""
        self._threads: tuple[WorkThread, WorkThread]
        """For the journal, and for checkpoints."""
        self._last_commit = self._last_checkpoint = 0.0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See `Store.run`.  Raises StoreError when the store cannot be opened.  To be run once."""
        self._lock, opened, found = await in_thread(open_all, self._files, self._map_size)
        self._holder.hold(opened)
        self._threads = WorkThread("multigrey-commit"), WorkThread("multigrey-checkpoint")
        self._journal = Journal(self._files, found, self._commit_hook)
        if found.puts:
            self._checkpoints.collect(found.puts)
            self._checkpoints.probe()
            logger.info("%s; entries read from the journal: %d", self._files.data, len(found.puts))
        clean = False
        try:
            async with trio.open_nursery() as nursery:
                writing = trio.CancelScope(shield=True)  # the writers outlive a cancellation until `_flush`
                nursery.start_soon(self._write_all, writing)
                nursery.start_soon(self._holder.check_readers)
                task_status.started()
                try:
                    await trio.sleep_forever()
                finally:
                    clean = await self._flush()
                    writing.cancel()
        finally:
            self._close(clean=clean)

    def submit(
        self, keys: Sequence[Key], decide: Callable[[Values], Change[T]], seen: Values = ()
    ) -> Submitted[T] | None:
        """See `Store.submit`."""
        opened = self._holder.opened
        return None if opened is None else self._submitted(opened, keys, decide, seen)

    async def apply(self, keys: Sequence[Key], decide: Callable[[Sequence[bytes | None]], Change[T]]) -> T:
        """See `Store.apply`.  With nothing to wait for, it returns without a checkpoint of trio."""
        opened = self._holder.opened or await self._holder.available()
        value, batch = self._submitted(opened, keys, decide)
        if batch is not None:
            await batch.committed()
        return value

    def peek(self, keys: Sequence[Key]) -> Sequence[bytes | None] | None:
        """See `Store.peek`.  Blocks while a page is read that is not in memory, as `read` does."""
        opened = self._holder.opened
        return None if opened is None else self._values(opened, keys)

    async def read(self, keys: Sequence[Key]) -> Sequence[bytes | None]:
        """See `Store.read`."""
        return self._values(self._holder.opened or await self._holder.available(), keys)

    async def scan(
        self, table: Table, cursor: bytes, limit: int
    ) -> tuple[Sequence[tuple[bytes, bytes]], bytes]:
        """See `Store.scan`.  A walk shows what was committed when it began, and some of what came later."""
        if not cursor:
            await self._checkpoints.done()

        return await self._holder.aside(partial(Opened.scan, table=table, cursor=cursor, limit=max(limit, 1)))

    async def load(self, items: Mapping[Key, Entry], merge: Callable[[bytes | None, bytes], bytes]) -> int:
        """See `Store.load`.  After StoreError a part may have been loaded."""
        batches: dict[int, Batch] = {}
        changed = 0
        for piece in slices(items):
            found = self._entries(self._holder.opened or await self._holder.available(), list(piece))
            if puts := merged(piece, found, merge):
                batch = self._commits.add(puts)
                batches[id(batch)] = batch
                changed += len(puts)
                if self._commits.pending > _LOAD_AHEAD:
                    await batch.committed()
                if self._checkpoints.count > _LOAD_COLLECTED:
                    await self._checkpoints.done()
            await trio.lowlevel.checkpoint()
        for batch in batches.values():
            await batch.committed()
        return changed

    async def forget(self, before: int, limit: int) -> int:
        """See `Store.forget`.

        Pending entries are written first, so that one that was just refreshed does not count as due.  When
        that fails, forgetting goes on, because it makes room; a refreshed entry is in the overlay then, and
        is written again.
        """
        gone = 0
        await self._all_in_file()
        while gone < limit:
            size = min(limit - gone, _FORGET_SLICE)
            async with self._holder.writing:
                work = partial(Opened.forget, before=before, limit=size)
                due, deleted, used = await self._holder.aside(work)
                self._holder.note(used)
            gone += deleted
            if due < size:
                break
        return gone

    async def newest(self) -> int:
        """See `Store.newest`.  Walks through everything, in a thread: a second for a million entries."""
        await self._all_in_file()
        waiting = [entry for puts in self._commits.layers for entry in puts.values()]
        newest = max((entry.keep_until or 0 for entry in waiting if entry is not None), default=0)
        for table in Table:
            cursor = b""
            while True:
                work = partial(Opened.newest, table=table, cursor=cursor, limit=_WALK_SLICE)
                latest, cursor = await self._holder.aside(work)
                newest = max(newest, latest)
                if not cursor:
                    break
        return newest

    @property
    def records(self) -> int:
        """See `Store.records`."""
        return self._holder.records + self._checkpoints.count + self._commits.pending

    @property
    def lags(self) -> bool:
        """See `Store.lags`."""
        return self._commits.pending + self._checkpoints.count > LAGGING

    def has_room(self, *, for_marks: bool = False) -> bool:
        """See `Store.has_room`.  What is not in the file yet counts as well."""
        reserve = self._map_size - self._capacity
        coming = self._checkpoints.count + self._commits.pending
        return self._holder.free_after(coming) > (reserve // 2 if for_marks else reserve)

    async def health(self) -> Mapping[str, int | float | str]:
        """See `Store.health`.

        Adds: `meta` (entries), `map_size`, `capacity`, `used` and `file` (bytes: allowed, allowed before new
        entries are refused, in use, with free pages),
        `last_commit_us`, `commit_failures`, `failing` (seconds without a success), `journaled` (entries not
        in the file yet), `journal` (bytes), `last_checkpoint_us`, `checkpoint_failures`, `damaged` (what has
        to be looked at, or "").
        """
        with trio.move_on_after(_HEALTH_WAITS), suppress(StoreError):
            await self._checkpoints.done()
        opened = self._holder.opened or await self._holder.available()
        try:
            counts, used, size = opened.figures()
        except lmdb.Error as error:
            raise self._holder.trouble(error) from error
        return {
            "backend": "lmdb",
            "records": counts[Table.RECORD],
            "origins": counts[Table.ORIGIN],
            "marks": counts[Table.MARK],
            "meta": counts[Table.META],
            "pending": self._commits.pending,
            "map_size": self._map_size,
            "capacity": self._capacity,
            "used": used,
            "file": size,
            "last_commit_us": round(self._last_commit * 1e6),
            "commit_failures": self._commits.failures.total,
            "failing": round(max(self._commits.failures.seconds, self._checkpoints.failures.seconds), 1),
            "journaled": self._checkpoints.count,
            "journal": self._journal.position.size - self._taken.size,
            "last_checkpoint_us": round(self._last_checkpoint * 1e6),
            "checkpoint_failures": self._checkpoints.failures.total,
            "damaged": self._holder.damage or self._files.kept_text(),
        }

    async def backup(self) -> AsyncIterator[BackupPart]:
        """See `LocalStore.backup`: a compact copy of the file, into which the journal was put before."""
        await self.walk()
        directory = self._files.directory
        copy = await self._holder.aside(lambda opened: opened.spare_copy(directory), about=directory)
        yield BackupPart(self._files.data.name, copy)

    async def compact(self) -> None:
        """See `LocalStore.compact`.

        A compact copy replaces the file.  Meanwhile reading and the journal go on, and only checkpoints
        wait: some seconds per GB.
        """
        await self.walk()
        self._journal.end_segment()  # what was deleted can still be read in it
        self._checkpoints.probe()
        await self._checkpoints.progress()
        async with self._holder.writing:
            await self._holder.aside(lambda opened: opened.copy(self._files.draft), about=self._files.draft)
            problem = await self._holder.reopen(replace_store)
        if problem is not None:
            raise problem

    async def walk(self) -> None:
        """See `LocalStore.walk`."""
        await self._commits.settle()
        await self._checkpoints.done()
        await self._holder.walk()

    def astray(self) -> Sequence[Path]:
        """See `contracts.FileStore`."""
        opened = self._holder.opened
        files = {} if opened is None else {self._files.lock: os.fstat(self._lock), opened.path: opened.file}
        files |= self._journal.open_files()
        return [path for path, file in files.items() if not stands_for(path, file)]

    # Internal

    def _submitted(
        self, opened: Opened, keys: Sequence[Key], decide: Callable[[Values], Change[T]], seen: Values = ()
    ) -> Submitted[T]:
        if seen and self._commits.changes(keys[: len(seen)]):
            seen = ()  # a decision made since has changed them: read again
        further = keys[len(seen) :] if seen else keys
        change = decide([*seen, *self._values(opened, further)] if further else seen)
        batch: Batch | None = None
        if change.puts:
            batch = self._commits.add(change.puts)
        elif change.durable and not self._commits.idle:
            batch = self._commits.latest(keys)
        return Submitted(change.value, batch if change.durable else None)

    def _values(self, opened: Opened, keys: Sequence[Key]) -> list[bytes | None]:
        """The values a decision sees.  The hot path: two keys take some 3 µs."""
        values = [None if row is None else row[HEAD:] for row in self._stored(opened, keys)]
        for puts in self._commits.layers:
            if puts:
                for index, key in enumerate(keys):
                    if key in puts:
                        entry = puts[key]
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
            raise self._holder.trouble(error) from error

    async def _commit(self, puts: Puts) -> None:
        """Make a batch safe: in the journal, if LMDB will certainly have room for it.

        Near the map size it goes into LMDB at once, after everything else.  So only what does not fit is
        refused, and its callers get the error.
        """
        for _ in range(2):  # first as things are, then when LMDB has everything else
            async with self._appending:  # for both steps: a checkpoint must not cut between them
                if await self._at(0, partial(self._append, puts)):
                    self._checkpoints.collect(puts)
                    return
            await self._checkpoints.done()
        await self._holder.write(self._threads[1], partial(self._write_through, puts=puts))

    def _append(self, puts: Puts) -> bool:
        """In the commit thread.  Returns whether LMDB will have room for it."""
        body = pack(puts)
        entries = self._checkpoints.count + len(puts)
        size = self._journal.position.size - self._taken.size + len(body)
        if self._holder.free < _PAGES * entries * self._holder.page_size + size:
            return False
        began = perf_counter()
        self._journal.append(body)
        self._last_commit = perf_counter() - began
        return True

    def _write_through(self, opened: Opened, puts: Puts) -> None:
        """In the checkpoint thread."""
        began = perf_counter()
        with opened.env.begin(write=True) as txn:
            opened.write(txn, puts)
            if self._commit_hook is not None:
                self._commit_hook()
        self._last_commit = perf_counter() - began

    async def _cut_journal(self) -> None:
        """Let the journal go on in another segment; a checkpoint takes what it holds now."""
        with suppress(StoreError):  # without a spare segment, the old one is used for longer
            await self._at(1, self._journal.prepare)
        async with self._appending:
            self._journal.rotate()
            self._closing = self._journal.position

    async def _checkpoint(self, puts: Puts) -> None:
        closing = self._closing
        write = partial(self._write_checkpoint, puts=puts, number=closing.number)
        await self._holder.write(self._threads[1], write)
        self._taken = closing
        with suppress(StoreError):  # a segment that cannot be deleted is harmless, and tried again
            await self._at(1, partial(self._journal.drop, closing.number))

    def _write_checkpoint(self, opened: Opened, puts: Puts, number: int) -> None:
        """In the checkpoint thread."""
        began = perf_counter()
        opened.checkpoint(puts, number, self._checkpoint_hook, self._checkpoints.breather())
        self._last_checkpoint = perf_counter() - began

    async def _at(self, thread: int, work: Callable[[], T]) -> T:
        """Call `work`, which uses the journal, in one of the threads."""
        try:
            return await self._threads[thread].run(work)
        except OSError as error:
            if self._checkpoints.count:  # into LMDB soon: the disk may not keep the journal
                self._checkpoints.probe()
            raise self._holder.trouble(error, self._files.journal()) from error
        except lmdb.Error as error:  # (a hook's)
            raise self._holder.trouble(error) from error

    async def _all_in_file(self) -> None:
        """Have everything that is pending put into LMDB, if possible."""
        await self._commits.settle()
        with suppress(StoreError):
            await self._checkpoints.done()

    async def _write_all(self, scope: trio.CancelScope) -> None:
        with scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._commits.run)
                nursery.start_soon(self._checkpoints.run)

    async def _flush(self) -> bool:
        """Let the disk take what is pending; returns whether everything ended in time."""
        self._commits.close("the store is closing")
        with trio.move_on_after(FLUSH_TIME, shield=True) as scope:
            await self._commits.settle()
            try:
                await self._checkpoints.done()
                await self._at(1, self._journal.remove)
            except StoreError as error:
                logger.warning("%s: the next start reads from the journal what is not in the file", error)
            async with self._holder.writing:
                await self._holder.nobody_reads()
        if scope.cancelled_caught:
            logger.error("%s: the disk did not take everything within %g s", self._files.data, FLUSH_TIME)
        return not scope.cancelled_caught

    def _close(self, *, clean: bool) -> None:
        opened = self._holder.let_go()
        for thread in self._threads:
            thread.stop()
        # If a commit hangs, file and lock stay open until the process ends: no other may use them before.
        if clean and self._threads[0].join(1.0) and self._threads[1].join(1.0):
            self._journal.close()
            if opened is not None:
                opened.env.close()
            os.close(self._lock)
