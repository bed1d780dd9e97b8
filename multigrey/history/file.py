"""The history file: decisions in pieces, each with marks by which a search finds it.

    STATE_DIR/history.mdb        LMDB, data format 1
    STATE_DIR/history.mdb-lock   LMDB's own table of readers
    STATE_DIR/history.mdb.bad    a file that could not be read, moved aside (one; the latest)

The database `pieces`:  number -> entries (length, bytes), compressed
The database `marks`:   number -> oldest and latest time, number of entries, then marks of 4 bytes
The database `layout`:  "version" -> number of this layout

A piece holds decisions of one hour, at most `MOST`, and is written again each second until it is full.  So
writing only changes the end of the file, and forgetting only its beginning.  A search walks through the
marks: some milliseconds for a hundred thousand entries.

A commit syncs all but the meta page: after a power cut the last commit may be missing, the rest is whole.
Everything here blocks and belongs in one thread.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import lmdb

from multigrey.errors import StoreError
from multigrey.stores.lmdb.state_files import check_file, remove, reserve_readers, sync_directory, trouble

__all__ = [
    "LAYOUT",
    "MOST",
    "NAME",
    "HistoryEntry",
    "HistoryFile",
    "Summary",
    "move_aside",
    "open_history",
    "put_in_place",
]

NAME = "history.mdb"
LAYOUT = 1
MOST = 128
"""Most entries of a piece."""

_SPAN = 3600
"""Most seconds between the oldest and the latest entry of a piece."""
_HEAD = struct.Struct(">qqI")
_LENGTH = struct.Struct(">I")
_VERSION = b"version"
_LEAST_SPARE = 16 << 20
_LARGEST_PIECE = 4 << 20
"""Most bytes of a piece that are unpacked: a piece that claims to be longer is damaged."""
_AT_ONCE = 200
_ROOMY = 0.9
"""The share of the map size down to which `trim` forgets when the size is exceeded."""
_DAMAGE = (
    lmdb.CorruptedError,
    lmdb.InvalidError,
    lmdb.NotFoundError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
    lmdb.IncompatibleError,
)

T = TypeVar("T")


class DamagedHistoryError(StoreError):
    """A file that is damaged, another program's or another version's: trying again does not help."""


class HistoryEntry(NamedTuple):
    """One stored decision."""

    time: int
    marks: frozenset[int]
    data: bytes


class Summary(NamedTuple):
    """What is known of a piece without unpacking it."""

    number: int
    oldest: int
    latest: int
    entries: int


class HistoryFile:
    """An open history.  Every method raises StoreError."""

    def __init__(self, env: Any, path: Path, map_size: int, *, create: bool = False) -> None:
        """See `open_history`.  Raises lmdb.Error."""
        self.path = path
        self._env = env
        self.map_size = map_size
        self._layout = env.open_db(b"layout", create=create)
        if create:
            with env.begin(write=True) as txn:
                txn.put(_VERSION, b"%d" % LAYOUT, db=self._layout)
        with env.begin() as txn:
            version = txn.get(_VERSION, db=self._layout) or b""
        if version != b"%d" % LAYOUT:
            raise DamagedHistoryError(f"{path}: has layout {version.decode(errors='replace')}, not {LAYOUT}")
        self._pieces = env.open_db(b"pieces", create=create)
        self._marks = env.open_db(b"marks", create=create)
        self._open: list[HistoryEntry] = []
        """The entries of the last piece, which grows."""
        self._last = self._last_number()
        self.count = sum(summary.entries for summary in self._summaries())

    def close(self) -> None:
        """Close the file."""
        self._env.close()

    def append(self, entries: Sequence[HistoryEntry]) -> None:
        """Add entries, in this order."""
        number, growing = self._last, list(self._open)
        pieces: dict[int, list[HistoryEntry]] = {}
        for entry in entries:
            if not growing or len(growing) >= MOST or abs(entry.time - growing[0].time) > _SPAN:
                number, growing = number + 1, []
            growing.append(entry)
            pieces[number] = growing
        rows = [(_key(number), _packed(piece), _head(piece)) for number, piece in pieces.items()]

        def write(txn: Any) -> None:
            for key, piece, marks in rows:
                txn.put(key, piece, db=self._pieces)
                txn.put(key, marks, db=self._marks)

        self._write(write)
        # Only after the commit: when it fails, these must still describe the file.
        self._last, self._open = number, growing
        self.count += len(entries)

    def trim(self, most: int, due: Callable[[Sequence[Summary]], Iterable[int]]) -> int:
        """Forget pieces: those that `due` names, then the oldest until at most `most` entries are left.

        If the map size is exceeded, also the oldest until it is kept.  Returns how many entries went.
        """
        summaries = list(self._summaries())
        doomed = set(due(summaries))
        kept = [summary for summary in summaries if summary.number not in doomed]
        left = sum(summary.entries for summary in kept)
        share = _ROOMY * self.map_size / self.used() if self.full else 1.0
        allowed = min(most, int(left * share))
        for summary in kept:
            if left <= allowed:
                break
            doomed.add(summary.number)
            left -= summary.entries
        self._delete(sorted(doomed))
        gone, self.count = self.count - left, left
        return gone

    def walk(
        self, marks: Sequence[Iterable[int]], before: int | None, pieces: int
    ) -> tuple[list[Summary], int | None]:
        """Summaries of pieces that (probably) have one mark of each of these groups, the latest first.

        Looks at `pieces` of them, before number `before` (None: from the last one).  Also returns `before`
        for the next call; None: the first piece was reached.
        """
        wanted = [[_LENGTH.pack(mark) for mark in group] for group in marks]
        found: list[Summary] = []

        def look(txn: Any) -> int | None:
            cursor = txn.cursor(db=self._marks)
            for index, (key, value) in enumerate(_backwards(cursor, before)):
                if index == pieces:
                    return _number(key) + 1
                if all(any(_holds(value, mark) for mark in group) for group in wanted):
                    found.append(Summary(_number(key), *_HEAD.unpack_from(value)))
            return None

        following = self._read(look)
        return found, following

    def read(self, number: int) -> list[bytes]:
        """The entries of a piece, in order; none if it is gone by now."""
        packed = self._read(lambda txn: txn.get(_key(number), db=self._pieces))
        return [] if packed is None else list(self._unpacked(packed))

    def rewrite(self, number: int, entries: Sequence[HistoryEntry]) -> None:
        """Replace the entries of a piece by these; without any, delete it."""
        before = len(self.read(number))

        def write(txn: Any) -> None:
            for database, value in ((self._pieces, _packed(entries)), (self._marks, _head(entries))):
                if entries:
                    txn.put(_key(number), value, db=database)
                else:
                    txn.delete(_key(number), db=database)

        self._write(write)
        self.count -= before - len(entries)
        if number == self._last:
            self._open = list(entries)

    def used(self) -> int:
        """Bytes in use."""

        def pages(txn: Any) -> int:
            stats = [txn.stat(db) for db in (self._pieces, self._marks)]
            kinds = ("branch_pages", "leaf_pages", "overflow_pages")
            return sum(int(stat[kind]) * int(stat["psize"]) for stat in stats for kind in kinds)

        return self._read(pages)

    @property
    def full(self) -> bool:
        """Whether the map size is exceeded, and `trim` is due."""
        return self.used() > self.map_size

    def times(self) -> tuple[int, int]:
        """The oldest and the latest time in the file; 0 if it is empty."""
        summaries = list(self._summaries())
        oldest = min((summary.oldest for summary in summaries), default=0)
        return oldest, max((summary.latest for summary in summaries), default=0)

    def compact(self, draft: Path) -> None:
        """Write a copy to `draft` that holds nothing of what was deleted (see `put_in_place`)."""
        try:
            remove(draft)
            self._env.copy(str(draft), compact=True)
            draft.chmod(0o600)
        except (OSError, lmdb.Error) as error:
            remove(draft)
            raise trouble(draft, error) from error

    def _summaries(self) -> Iterator[Summary]:
        def heads(txn: Any) -> list[Summary]:
            cursor = txn.cursor(db=self._marks)
            return [Summary(_number(key), *_HEAD.unpack_from(value)) for key, value in cursor]

        return iter(self._read(heads))

    def _last_number(self) -> int:
        def last(txn: Any) -> int:
            cursor = txn.cursor(db=self._marks)
            return _number(cursor.key()) if cursor.last() else 0

        return self._read(last)

    def _delete(self, numbers: Sequence[int]) -> None:
        for start in range(0, len(numbers), _AT_ONCE):
            keys = [_key(number) for number in numbers[start : start + _AT_ONCE]]

            def write(txn: Any, keys: Sequence[bytes] = keys) -> None:
                for key in keys:
                    txn.delete(key, db=self._pieces)
                    txn.delete(key, db=self._marks)

            self._write(write)
        if numbers and numbers[-1] == self._last:
            self._open = []

    def _write(self, work: Callable[[Any], None]) -> None:
        try:
            with self._env.begin(write=True) as txn:
                work(txn)
        except lmdb.Error as error:
            raise _trouble(self.path, error) from error

    def _read(self, work: Callable[[Any], T]) -> T:
        try:
            with self._env.begin() as txn:
                return work(txn)
        except lmdb.Error as error:
            raise _trouble(self.path, error) from error
        except (struct.error, ValueError) as error:
            raise self._damaged(error) from error

    def _unpacked(self, packed: bytes) -> Iterator[bytes]:
        unpacker = zlib.decompressobj()
        try:
            data = unpacker.decompress(packed, _LARGEST_PIECE)
        except zlib.error as error:
            raise self._damaged(error) from error
        if not unpacker.eof:
            raise self._damaged("a piece is too long or cut short")
        position = 0
        while position < len(data):
            start = position + _LENGTH.size
            if start > len(data):
                raise self._damaged("a piece is cut short")
            (length,) = _LENGTH.unpack_from(data, position)
            position = start + length
            if position > len(data):
                raise self._damaged("a piece is cut short")
            yield data[start:position]

    def _damaged(self, error: Exception | str) -> StoreError:
        return DamagedHistoryError(f"{self.path}: damaged ({error})")


def open_history(path: Path, map_size: int, *, read_only: bool = False) -> HistoryFile:
    """Open the history; make it if it is missing (unless `read_only`).

    Read-only works beside a running daemon and without one, and makes no file.  Raises StoreError;
    DamagedHistoryError for a file that is damaged, or not a history of this version.
    """
    try:
        if not read_only and not os.path.lexists(path):
            _make(path, map_size)
        _check(path)
        return _opened(path, map_size, read_only=read_only)
    except lmdb.Error as error:
        raise _trouble(path, error) from error
    except OSError as error:
        raise trouble(path, error) from error


def _check(path: Path) -> None:
    try:
        check_file(path)
    except StoreError as error:
        if isinstance(error.__cause__, OSError):
            raise
        raise DamagedHistoryError(str(error)) from error


def _opened(path: Path, map_size: int, *, read_only: bool) -> HistoryFile:
    """Raises OSError, lmdb.Error, StoreError."""
    readers = _readers(path)
    if not read_only:
        reserve_readers(readers)
    # No table of readers: no process has the file open.  Do not make one, it would belong to our user.
    env = _environment(path, map_size, read_only=read_only, lock=not read_only or readers.exists())
    try:
        if not read_only:
            env.reader_check()
        return HistoryFile(env, path, map_size)
    except BaseException:
        env.close()
        raise


def _trouble(path: Path, error: lmdb.Error) -> StoreError:
    if isinstance(error, _DAMAGE):
        return DamagedHistoryError(f"{path}: damaged, or not multigrey's ({error})")
    return trouble(path, error)


def _readers(path: Path) -> Path:
    return path.with_name(path.name + "-lock")


def put_in_place(path: Path, draft: Path) -> None:
    """Let a complete copy replace the (closed) file.  Raises StoreError."""
    try:
        draft.rename(path)
        # LMDB's lock file describes transactions of the old file.
        remove(_readers(path))
        sync_directory(path.parent)
    except OSError as error:
        raise trouble(path, error) from error


def move_aside(path: Path) -> Path:
    """Rename a file that cannot be read, so that a new one can be made.  Raises StoreError."""
    aside = path.with_name(path.name + ".bad")
    try:
        path.rename(aside)
        remove(_readers(path))
    except OSError as error:
        raise trouble(path, error) from error
    return aside


def _make(path: Path, map_size: int) -> None:
    """Make an empty file, which gets its name when it is complete."""
    draft = path.with_name(path.name + ".new")
    lock = _readers(draft)
    remove(draft, lock)
    env = _environment(draft, map_size, read_only=False, lock=True)
    try:
        HistoryFile(env, draft, map_size, create=True)
        env.sync(True)
    finally:
        env.close()
    remove(lock, _readers(path))
    draft.rename(path)
    sync_directory(path.parent)


def _environment(path: Path, map_size: int, *, read_only: bool, lock: bool) -> Any:
    return lmdb.open(
        str(path),
        # LMDB copies pages to delete from them too: that room lies beyond the size that `trim` keeps to.
        map_size=map_size + max(_LEAST_SPARE, map_size // 8),
        subdir=False,
        readonly=read_only,
        create=not read_only,
        mode=0o600,
        metasync=False,
        lock=lock,
        max_dbs=4,
        lib_version=0,
    )


def _key(number: int) -> bytes:
    return number.to_bytes(8, "big")


def _number(key: bytes) -> int:
    if len(key) != 8:
        raise ValueError("a piece has no number")
    return int.from_bytes(key, "big")


def _packed(entries: Sequence[HistoryEntry]) -> bytes:
    return zlib.compress(b"".join(_LENGTH.pack(len(entry.data)) + entry.data for entry in entries), 1)


def _head(entries: Sequence[HistoryEntry]) -> bytes:
    if not entries:
        return b""
    times = [entry.time for entry in entries]
    marks = sorted(frozenset[int]().union(*(entry.marks for entry in entries)))
    return _HEAD.pack(min(times), max(times), len(entries)) + struct.pack(f">{len(marks)}I", *marks)


def _holds(head: bytes, mark: bytes) -> bool:
    """Whether the marks behind a head contain this one, at the beginning of a mark."""
    position = head.find(mark, _HEAD.size)
    while position >= 0 and (position - _HEAD.size) % _LENGTH.size:
        position = head.find(mark, position + 1)
    return position >= 0


def _backwards(cursor: Any, before: int | None) -> Iterator[tuple[bytes, bytes]]:
    if before is None or not cursor.set_range(_key(before)):
        if not cursor.last():
            return iter(())
    elif not cursor.prev():
        return iter(())
    return cursor.iterprev()  # type: ignore[no-any-return]  # (lmdb has no types)
