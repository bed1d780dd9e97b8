"""The journal's format: batches of changes one after the other, each with its number and a checksum.

    file   := header frame* zeros
    header := magic, version, salt, number of the first frame, checksum
    frame  := mark, checksum, length, number, put*       (length: of the puts, in bytes)
    put    := table, length of name, keep_until (-1: never, -2: deleted), length of value, name, value

All numbers are little-endian.  Checksums are CRC-32, started with the salt of the file: no sender of mail
knows the salt, so nothing that a sender writes can look like a frame.  Frames are numbered without a gap
through all files.  A file may begin with a number that the one before it has too: then the earlier file's
frames from that number on were never acknowledged, and do not count.

A frame that is not whole ends a file, if no whole frame follows: a crash leaves that behind, and the frame
was never acknowledged.  If a whole one follows, the disk lost something that had been written.  A warning
says where and how much, and the frames that follow count: a put is the whole value of a key, never a
difference, so it means the same without those before it.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from multigrey.errors import StoreError
from multigrey.model import Entry, Key, Table
from multigrey.stores.lmdb.batches import Puts
from multigrey.text import counted

__all__ = ["HEAD_SIZE", "VERSION", "Head", "frame", "frames", "pack", "read_head"]

VERSION = 1

_MAGIC = b"multigrey journa"
_HEAD = struct.Struct("<16sIIQ")
_FRAME = struct.Struct("<4sI")
_COUNTED = struct.Struct("<IQ")
_PUT = struct.Struct("<cBqI")
_SUM = struct.Struct("<I")
_MARK = b"\xf5mg\n"
_NEVER, _DELETED = -1, -2
_LAST = (1 << 63) - 1
_BEFORE_BODY = _FRAME.size + _COUNTED.size

logger = logging.getLogger(__name__)


HEAD_SIZE = _HEAD.size + _SUM.size


class Head(NamedTuple):
    """The beginning of a file."""

    salt: int
    first: int
    """Number of its first frame."""

    def packed(self, version: int = VERSION) -> bytes:
        """The bytes of the head, the same in every version."""
        head = _HEAD.pack(_MAGIC, version, self.salt, self.first)
        return head + _SUM.pack(crc32(head))


def read_head(path: Path, data: bytes) -> Head | None:
    """The head of a file; None if the file was never used, or its head is damaged (which is logged).

    Raises StoreError for a file of a later version.
    """
    if not data.strip(b"\0"):
        return None
    if len(data) >= HEAD_SIZE:
        magic, version, salt, first = _HEAD.unpack_from(data)
        head = Head(salt, first)
        if magic == _MAGIC and data[:HEAD_SIZE] == head.packed(version):
            if version > VERSION:
                raise StoreError(
                    f"{path}: written by a later multigrey (journal {version}, this one knows {VERSION}): "
                    "run that version once more, and stop it"
                )
            return head
    logger.warning("%s: damaged at offset 0: nothing of it (%d bytes) can be used", path, len(data))
    return None


def pack(puts: Puts) -> bytes:
    """The body of a frame."""
    codes = {table: table.value for table in Table}
    parts: list[bytes] = []
    for (table, name), entry in puts.items():
        if entry is None:
            parts += (_PUT.pack(codes[table], len(name), _DELETED, 0), name)
            continue
        value, until = entry
        keep = _NEVER if until is None else min(max(until, 0), _LAST)
        parts += (_PUT.pack(codes[table], len(name), keep, len(value)), name, value)
    return b"".join(parts)


def frame(salt: int, number: int, body: bytes) -> bytes:
    """A whole frame."""
    counted = _COUNTED.pack(len(body), number) + body
    return _FRAME.pack(_MARK, crc32(counted, salt)) + counted


def frames(path: Path, data: bytes, head: Head) -> Iterator[tuple[int, Puts]]:
    """The whole frames of a file, by number."""
    offset, expected = HEAD_SIZE, head.first
    while True:
        found = _frame_at(data, offset, head.salt)
        if found is None or found[0] != expected:
            following = _next_frame(data, offset, head.salt, expected)
            if following is None:
                _log_end(path, data, offset)
                return
            begin, found = following
            logger.warning(
                "%s: damaged at offset %d: %s lost; those from offset %d on are used",
                *(path, offset, counted(found[0] - expected, "batch is", "batches are"), begin),
            )
            offset = begin
        number, puts, size = found
        yield number, puts
        offset, expected = offset + size, number + 1


def _log_end(path: Path, data: bytes, offset: int) -> None:
    if data.count(0, offset) != len(data) - offset:
        logger.info("%s: ends at offset %d with a batch that was being written", path, offset)


def _next_frame(
    data: bytes, offset: int, salt: int, expected: int
) -> tuple[int, tuple[int, Puts, int]] | None:
    """The first whole frame after `offset` that is later than the expected one, and where it is."""
    while (offset := data.find(_MARK, offset + 1)) >= 0:
        found = _frame_at(data, offset, salt)
        if found is not None and found[0] > expected:
            return offset, found
    return None


def _frame_at(data: bytes, offset: int, salt: int) -> tuple[int, Puts, int] | None:
    """Number, content and length of the frame at an offset; None if no whole frame is there."""
    begin = offset + _BEFORE_BODY
    if len(data) < begin:
        return None
    mark, checksum = _FRAME.unpack_from(data, offset)
    length, number = _COUNTED.unpack_from(data, offset + _FRAME.size)
    end = begin + length
    if mark != _MARK or end > len(data):
        return None
    if checksum != crc32(memoryview(data)[offset + _FRAME.size : end], salt):
        return None
    return number, dict(_unpack(data, begin, end)), end - offset


def _unpack(data: bytes, offset: int, end: int) -> Iterator[tuple[Key, Entry | None]]:
    """The puts of a body whose checksum is right."""
    while offset < end:
        table, name_size, keep, value_size = _PUT.unpack_from(data, offset)
        offset += _PUT.size
        name = data[offset : offset + name_size]
        offset += name_size
        value = data[offset : offset + value_size]
        offset += value_size
        until = None if keep == _NEVER else keep
        yield (Table(table), name), None if keep == _DELETED else Entry(value, until)
