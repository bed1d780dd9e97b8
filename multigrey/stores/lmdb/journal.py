"""The journal: makes a batch safe with one short write and one fdatasync.

    STATE_DIR/store.journal.N   segments, in the order of the first batch in them
    STATE_DIR/store.damaged.N   segments whose head cannot be read, kept to be examined

Batches are appended to the newest segment.  A checkpoint writes them to LMDB, and with them, in the same
transaction, the number of the last one.  Up to that number nothing in the journal counts any more, so reading
it twice, or beside a store that has more, changes nothing.  At a checkpoint, a segment that is half full is
followed by a new one, and deleted afterwards.  An orderly end deletes all segments.

A segment is filled with zeros before it is used, away from the commit thread: fdatasync after overwriting
them takes half as long as after appending, because the file's size and blocks stay.

After a failed fdatasync it is not known which pages the disk has, and the next fdatasync may report success.
So such a segment gets nothing more: the batch is cut off, the batches before it go into LMDB soon, and the
next batch begins a new segment with the same number.  That voids what may have reached the disk nevertheless.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import NamedTuple

from multigrey.model import Entry, Key
from multigrey.stores.lmdb.frames import Head, frame, frames, read_head
from multigrey.stores.lmdb.state_files import StateFiles, remove, sync_directory, trouble

__all__ = ["Journal", "JournalRest", "Position", "read_journal"]

SEGMENT = 1 << 20
"""Bytes written in advance, about what is collected until a checkpoint.  A segment may grow larger."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Segment:
    """An open segment."""

    path: Path
    number: int
    descriptor: int
    salt: int
    end: int = 0
    """Bytes that are safe."""
    last: int = 0
    """Number of the last batch in it."""


class Position(NamedTuple):
    """A place in the journal, between two batches."""

    number: int
    """Of the batch before it."""
    size: int
    """Bytes of all batches so far."""


class JournalRest(NamedTuple):
    """What a journal holds that LMDB does not have."""

    puts: dict[Key, Entry | None]
    position: Position
    """Its end."""
    paths: tuple[Path, ...]
    """The segments, to be deleted after a checkpoint."""


def read_journal(files: StateFiles, applied: int) -> JournalRest:
    """Read all segments; skip batches up to number `applied`, and delete the segments if that is all.

    A segment whose head is damaged is moved aside: it may hold batches that the store does not have.
    Raises StoreError for a file that cannot be read, or of a later version.
    """
    try:
        known = sorted(_headed(files), key=lambda segment: segment[0].first)
        paths = files.journals()
        puts: dict[Key, Entry | None] = {}
        last = applied
        for index, (head, path, data) in enumerate(known):
            void = known[index + 1][0].first if index + 1 < len(known) else None
            if 0 < last < head.first - 1:
                logger.warning(
                    "%s: begins with batch %d after batch %d: batches are lost", path, head.first, last
                )
            for number, changes in frames(path, data, head):
                # The next segment begins with this number again: here its write was never acknowledged.
                if void is not None and number >= void:
                    break
                if number > applied:
                    puts.update(changes)
                    last = number
        if not puts:
            remove(*paths)
            paths, known = [], []
    except OSError as error:
        raise trouble(files.journal(), error) from error
    return JournalRest(puts, Position(last, sum(len(data) for _, _, data in known)), tuple(paths))


def _set_aside(files: StateFiles, path: Path) -> None:
    """Rename a segment from which nothing can be read, out of the journal.  Raises OSError."""
    last = max((int(other.suffix[1:]) for other in files.all_damaged()), default=0)
    kept = files.damaged(last + 1)
    path.chmod(0o600)
    path.rename(kept)
    sync_directory(files.directory)
    logger.warning("%s: moved to %s, which may be deleted", path, kept)


def _headed(files: StateFiles) -> Iterator[tuple[Head, Path, bytes]]:
    """The segments that were used.  Those whose head is damaged are moved aside."""
    for path in files.journals():
        data = path.read_bytes()
        head = read_head(path, data)
        if head is not None:
            yield head, path, data
        elif data.strip(b"\0"):
            _set_aside(files, path)


class Journal:
    """The segments of a running store.

    The commit thread calls `append`, the checkpoint thread `prepare` and `drop`, and the event loop
    `rotate`, while nothing is being appended.
    """

    def __init__(self, files: StateFiles, found: JournalRest, before_sync: Callable[[], None] | None) -> None:
        """Goes on after what `read_journal` found."""
        self.position = found.position
        """The end of what is safe."""
        self._files = files
        self._before_sync = before_sync
        self._active: _Segment | None = None
        self._spares: list[_Segment] = []
        numbers = [int(path.suffix[1:]) for path in found.paths]
        self._retired = [
            _Segment(path, number, -1, 0, last=found.position.number)
            for path, number in zip(found.paths, numbers, strict=True)
        ]
        self._numbers = count(max(numbers, default=0) + 1)
        self._highest = 0
        self._is_over = False
        """Whether the active segment ends at the next chance, however much is in it."""

    def append(self, body: bytes) -> None:
        """Make a batch safe.  Raises OSError, and what `before_sync` raises; then it does not count."""
        segment = self._active
        if segment is None:
            segment = self._active = self._begin()
        number = self.position.number + 1
        data = frame(segment.salt, number, body)
        if not segment.end:
            data = Head(segment.salt, number).packed() + data
        try:
            _write(segment.descriptor, data, segment.end)
        except OSError:
            self._cut(segment)  # no sync has failed: the segment can still be used
            raise
        try:
            if self._before_sync is not None:
                self._before_sync()
            os.fdatasync(segment.descriptor)
        except BaseException:
            # No second try on this segment: after a failed sync, the next one may report success wrongly.
            self._give_up(segment)
            raise
        # Only now: `end` is where the next batch is written, and what a cut keeps.
        segment.end += len(data)
        segment.last = number
        self.position = Position(number, self.position.size + len(data))

    def prepare(self) -> None:
        """Make a spare segment if `rotate` will need one.  Raises OSError."""
        if self._is_used_up() and not self._spares:
            self._spares.append(self._make())

    def rotate(self) -> None:
        """Let the next batch begin a new segment, if this one is half full and a spare one is ready."""
        if self._active is not None and self._spares and self._is_used_up():
            self._retired.append(self._active)
            self._active, self._is_over = None, False

    def end_segment(self) -> None:
        """Let the next checkpoint delete the segment that is being written."""
        self._is_over = self._active is not None

    def _is_used_up(self) -> bool:
        segment = self._active
        return segment is not None and (self._is_over or segment.end > SEGMENT // 2)

    def drop(self, applied: int) -> None:
        """Delete segments whose batches LMDB has, which are those up to `applied`.  Raises OSError."""
        for segment in [segment for segment in self._retired if segment.last <= applied]:
            self._delete(segment)
            self._retired.remove(segment)

    def remove(self) -> None:
        """Delete everything, because LMDB has all of it.  Raises OSError."""
        for segment in (self._active, *self._spares, *self._retired):
            if segment is not None:
                self._delete(segment)
        self._active, self._spares, self._retired = None, [], []

    def open_files(self) -> dict[Path, os.stat_result]:
        """The open segments by path.  From any thread."""
        found = {}
        for segment in (self._active, *self._spares, *self._retired):
            if segment is not None and segment.descriptor >= 0:
                with suppress(OSError):  # closed meanwhile
                    found[segment.path] = os.fstat(segment.descriptor)
        return found

    def close(self) -> None:
        """Close the files, and leave them on disk."""
        for segment in (self._active, *self._spares, *self._retired):
            if segment is not None and segment.descriptor >= 0:
                os.close(segment.descriptor)
                segment.descriptor = -1

    def _begin(self) -> _Segment:
        """The segment for the next batch."""
        segment = self._spares.pop() if self._spares else self._make()
        # Numbers must grow: of two segments that begin with the same batch, the one with the higher counts.
        if segment.number < self._highest:
            self._delete(segment)
            segment = self._make()
        self._highest = segment.number
        return segment

    def _make(self) -> _Segment:
        """A new segment.  Without room for the zeros it begins empty, and grows while it is written."""
        number = next(self._numbers)
        path = self._files.journal(number)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        segment = _Segment(path, number, descriptor, secrets.randbits(32))
        try:
            try:
                _write(descriptor, bytes(SEGMENT), 0)
            except OSError:
                os.ftruncate(descriptor, 0)
            # Both before the first batch: `append` only syncs data.
            os.fsync(descriptor)
            sync_directory(self._files.directory)
        except BaseException:
            self._delete(segment)
            raise
        return segment

    def _give_up(self, segment: _Segment) -> None:
        """Write nothing more to a segment whose sync failed."""
        self._cut(segment)
        self._active = None
        if segment.end:
            self._retired.append(segment)
        else:
            with suppress(OSError):
                self._delete(segment)

    @staticmethod
    def _cut(segment: _Segment) -> None:
        """Cut off what is not safe."""
        with suppress(OSError):
            os.ftruncate(segment.descriptor, segment.end)

    @staticmethod
    def _delete(segment: _Segment) -> None:
        if segment.descriptor >= 0:
            os.close(segment.descriptor)
            segment.descriptor = -1
        remove(segment.path)


def _write(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of it.  Raises OSError."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written
