"""Opens, makes and copies the LMDB environment.

It is opened with `lib_version=0`: py-lmdb contains two engines, and neither can read the other's files.  This
one is the engine of Debian's mdb_* tools.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import lmdb

from multigrey.errors import StoreError
from multigrey.model import Key, Table
from multigrey.stores.lmdb.batches import Puts
from multigrey.stores.lmdb.damage.starts import note_damage
from multigrey.stores.lmdb.journal import JournalRest, read_journal
from multigrey.stores.lmdb.rows import HEAD, LAYOUT, Rows, upgrade
from multigrey.stores.lmdb.state_files import (
    DamagedStoreError,
    StateFiles,
    check_file,
    prepare_directory,
    remove,
    reserve_readers,
    spare_file,
    sync_directory,
    take_lock,
    trouble,
)

__all__ = ["Opened", "Used", "draft_store", "open_all", "open_store", "replace_store"]

_ENGINE = 0
_LEAST_SPARE = 32 << 20
_AT_ONCE = 1_250
"""Entries in one transaction of a checkpoint; each may change a page of its own."""


class Used(NamedTuple):
    """What is in use of a store."""

    pages: int
    """Pages that hold entries; the rest of the file is free."""
    records: int


@dataclass(frozen=True, slots=True)
class Opened:
    """An open environment and its tables."""

    env: lmdb.Environment
    rows: Rows
    path: Path
    map_size: int
    """What the administrator allows.  A little more is mapped, see `write`."""
    file: os.stat_result
    """The file at `path` when it was opened."""

    def checkpoint(
        self,
        puts: Puts,
        number: int,
        hook: Callable[[], None] | None = None,
        breathe: Callable[[], None] = lambda: None,
    ) -> None:
        """Write the journal's entries, up to batch `number`.  Raises lmdb.Error.

        Uses several transactions, because LMDB holds every page it changes in memory, and keeps that memory.
        `hook` is called before the last one is committed, `breathe` every few milliseconds.  The map size is
        not checked: that was done before the entries went into the journal.
        """
        keys = sorted(puts, key=_place)
        begins = range(0, len(keys), _AT_ONCE)[:-1]
        for begin in begins:
            with self.env.begin(write=True) as txn:
                self.rows.write(txn, {key: puts[key] for key in keys[begin : begin + _AT_ONCE]}, breathe)
        with self.env.begin(write=True) as txn:
            self.rows.write(txn, {key: puts[key] for key in keys[len(begins) * _AT_ONCE :]}, breathe)
            # Only in the last transaction: until then the journal counts, which holds the same entries.
            self.rows.note_applied(txn, number)
            if hook is not None:
                hook()

    def write(self, txn: Any, puts: Puts) -> None:
        """Put or delete entries.  Raises lmdb.MapFullError when that would exceed the map size.

        LMDB copies every page it changes, so deleting needs room too.  That room lies beyond the map size:
        the pages in use are counted here, not the length of the file.
        """
        before = self.rows.pages(txn)
        self.rows.write(txn, puts)
        after = self.rows.pages(txn)
        if after > before and after * self.page_size > self.map_size:
            raise lmdb.MapFullError("map size reached")

    def applied(self) -> int:
        """Number of the last batch of the journal that LMDB has."""
        with self.env.begin() as txn:
            return self.rows.applied(txn)

    def used(self) -> Used:
        """What is in use now."""
        with self.env.begin() as txn:
            return self.used_in(txn)

    def used_in(self, txn: Any) -> Used:
        """What is in use, as this transaction sees it."""
        return Used(self.rows.pages(txn), self.rows.counts(txn)[Table.RECORD])

    def figures(self) -> tuple[dict[Table, int], int, int]:
        """Rows of each table, and octets in use and in the file.  Raises lmdb.Error."""
        with self.env.begin() as txn:
            counts, used = self.rows.counts(txn), self.rows.pages(txn) * self.page_size
        return counts, used, (self.env.info()["last_pgno"] + 1) * self.page_size

    def get(self, key: Key) -> bytes | None:
        """The value under a key.  Raises lmdb.Error."""
        table, digest = key
        with self.env.begin() as txn:
            row = txn.get(digest, db=self.rows.databases[table])
        return None if row is None else row[HEAD:]

    def scan(self, table: Table, cursor: bytes, limit: int) -> tuple[Sequence[tuple[bytes, bytes]], bytes]:
        """See `Rows.scan`.  Raises lmdb.Error."""
        with self.env.begin() as txn:
            return self.rows.scan(txn, table, cursor, limit)

    def newest(self, table: Table, cursor: bytes, limit: int) -> tuple[int, bytes]:
        """See `Rows.newest`.  Raises lmdb.Error."""
        with self.env.begin() as txn:
            return self.rows.newest(txn, table, cursor, limit)

    def forget(self, before: int, limit: int) -> tuple[int, int, Used]:
        """See `Rows.forget`; also returns what is in use afterwards.  Raises lmdb.Error."""
        with self.env.begin(write=True) as txn:
            due, gone = self.rows.forget(txn, before, limit)
            return due, gone, self.used_in(txn)

    @property
    def page_size(self) -> int:
        """Bytes of a page."""
        return self.env.stat()["psize"]

    def copy(self, path: Path) -> None:
        """Write a consistent, compact copy (0600) to a new file at `path`, which is removed if that fails.

        Raises OSError, lmdb.Error.
        """
        remove(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            try:
                self.env.copyfd(descriptor, compact=True)
                os.fsync(descriptor)  # before a rename: the name must never stand for a part of the copy
            finally:
                os.close(descriptor)
        except BaseException:
            remove(path)
            raise

    def spare_copy(self, directory: Path) -> BinaryIO:
        """The same, in a file without a name.  Raises OSError, lmdb.Error."""
        file = spare_file(directory)
        try:
            self.env.copyfd(file.fileno(), compact=True)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return file


def open_store(files: StateFiles, map_size: int) -> Opened:
    """Open the store; make it if it is missing.  The lock must be held.  Raises StoreError."""
    path = files.data
    try:
        remove(files.draft, files.draft.with_name(files.draft.name + "-lock"))
        if not os.path.lexists(path):
            _make(files, map_size)
        # Both before LMDB maps the files: a short one, or a full disk, would kill the process.
        check_file(path)
        reserve_readers(files.readers)
        env = _open(path, map_size)
    except (OSError, lmdb.Error) as error:
        raise trouble(path, error) from error
    try:
        env.reader_check()
        upgrade(env)
        rows = Rows(env)
        _check_layout(path, rows.layout)
        with env.begin() as txn:
            rows.check_counts(txn, env.info()["last_pgno"] + 1)
    except StoreError:
        env.close()
        raise
    except lmdb.Error as error:
        env.close()
        if isinstance(error, lmdb.NotFoundError):
            raise StoreError(
                f"{path}: an LMDB file, but not multigrey's: move it away to start empty"
            ) from error
        raise trouble(path, error) from error
    return Opened(env, rows, path, map_size, path.stat())


def open_all(files: StateFiles, map_size: int) -> tuple[int, Opened, JournalRest]:
    """Lock the directory (a descriptor) and open the store; returns also what LMDB has not from the journal.

    Raises StoreError; then nothing is left open.
    """
    prepare_directory(files.directory)
    lock = take_lock(files.lock)
    try:
        with ExitStack() as undo:
            undo.callback(os.close, lock)
            opened = open_store(files, map_size)
            undo.callback(opened.env.close)
            found = read_journal(files, opened.applied())
            undo.pop_all()
    except DamagedStoreError as error:
        note_damage(files, error.what)
        raise
    return lock, opened, found


def replace_store(files: StateFiles) -> None:
    """Let the complete draft replace the (closed) store.  Raises OSError.

    LMDB's lock file goes too: it describes transactions of the old file.
    """
    files.draft.rename(files.data)
    remove(files.readers)
    sync_directory(files.directory)


def _check_layout(path: Path, layout: int) -> None:
    if layout > LAYOUT:
        raise StoreError(
            f"{path}: written by a later multigrey (layout {layout}, this one knows {LAYOUT}): "
            "run that version, or put a backup in its place"
        )


def _place(key: Key) -> tuple[bytes, bytes]:
    """A sort key that brings neighbours in the file together."""
    return key[0]._value_, key[1]


def _make(files: StateFiles, map_size: int) -> None:
    """Make an empty store under another name; it gets its own when it is complete and on disk."""
    with draft_store(files, map_size):
        pass
    replace_store(files)


@contextmanager
def draft_store(files: StateFiles, map_size: int) -> Iterator[Opened]:
    """An empty store under another name, to be filled.  It is on disk when the body has ended.

    The lock must be held.  Raises OSError, lmdb.Error.
    """
    lock = files.draft.with_name(files.draft.name + "-lock")
    remove(files.draft, lock)
    env = _open(files.draft, map_size, sync=False)
    try:
        yield Opened(env, Rows(env, create=True), files.draft, map_size, files.draft.stat())
        env.sync(True)
    finally:
        env.close()
        remove(lock)


def _open(path: Path, map_size: int, *, sync: bool = True) -> lmdb.Environment:
    return lmdb.open(
        str(path),
        map_size=map_size + max(_LEAST_SPARE, map_size // 8),
        subdir=False,
        mode=0o600,
        sync=sync,
        max_dbs=8,
        max_spare_txns=2,
        lib_version=_ENGINE,
    )
