"""Stored bytes and back: the only module that packs.

A value is a msgpack array that begins with its version.  An older version is read with a stated
meaning for what it lacks; a newer one is refused (NewerFormatError); anything else is a CodecError,
so that no record is ever guessed.  Text that was not UTF-8 on the wire keeps its bytes.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import msgpack  # noqa: TID251  (this is the one module that may)

from multigrey.errors import CodecError, NewerFormatError
from multigrey.model import OriginRecord, Record, Standing

__all__ = [
    "Hits",
    "Times",
    "decode_hits",
    "decode_origin",
    "decode_record",
    "decode_standing",
    "decode_text",
    "encode_hits",
    "encode_origin",
    "encode_record",
    "encode_standing",
    "encode_text",
    "record_times",
]

T = TypeVar("T")

RECORD_VERSION = 2
"""Version 1 lacked `observed`; none of its records were."""
ORIGIN_VERSION = 1
STANDING_VERSION = 1
TEXT_VERSION = 1
HITS_VERSION = 1

_RECORD_1_TYPES = (int,) * 8 + (str,) * 4
_RECORD_TYPES = (*_RECORD_1_TYPES, bool)
_ORIGIN_TYPES = (int, int, int, int, bytes, bool)
_TEXT_TYPES = (int, str)
_HITS_TYPES = (int, int, int, int, str, str)


def encode_record(record: Record) -> bytes:
    """The stored form of a record."""
    return _pack(
        (
            RECORD_VERSION,
            record.first_seen,
            record.last_seen,
            record.delay,
            record.attempts,
            record.early,
            record.passed_at,
            record.passes,
            record.client,
            record.sender,
            record.recipient,
            record.origin,
            record.observed,
        )
    )


def decode_record(value: bytes) -> Record:
    """A record from its stored form.  Raises CodecError (NewerFormatError for a later version)."""
    return Record(*_unpack_record(value))


Times = tuple[int, int, int, int, int, int, int]


def record_times(value: bytes) -> Times:
    """The numbers of a stored record: first_seen, last_seen, delay, attempts, early, passed_at, passes.

    As strict as `decode_record`, without making a Record.  Raises CodecError.
    """
    times: Times = _unpack_record(value)[:7]
    return times


def encode_origin(record: OriginRecord) -> bytes:
    """The stored form of an origin record."""
    return _pack(
        (
            ORIGIN_VERSION,
            record.passes,
            record.last_counted,
            record.last_seen,
            record.first_key,
            record.several_keys,
        )
    )


def decode_origin(value: bytes) -> OriginRecord:
    """An origin record from its stored form.  Raises CodecError."""
    return OriginRecord(*_unpack(value, "origin record", ORIGIN_VERSION, _ORIGIN_TYPES))


def encode_standing(standing: Standing) -> bytes:
    """The stored form of what is known of an origin as a whole."""
    return _pack((STANDING_VERSION, standing.days, standing.domains, standing.proven_at, standing.last_seen))


def decode_standing(value: bytes) -> Standing:
    """The standing of an origin from its stored form.  Raises CodecError."""
    standing = Standing(*_unpack(value, "standing", STANDING_VERSION, (int, tuple, tuple, int, int)))
    days = all(type(row) is tuple and tuple(map(type, row)) == (int, int, int) for row in standing.days)
    marks = all(type(row) is tuple and tuple(map(type, row)) == (bytes, int) for row in standing.domains)
    if not days or not marks:
        raise CodecError(f"stored standing does not have the fields of version {STANDING_VERSION}")
    return standing


def encode_text(text: str) -> bytes:
    """The stored form of a single text (META)."""
    return _pack((TEXT_VERSION, text))


def decode_text(value: bytes) -> str:
    """A text from its stored form.  Raises CodecError."""
    return str(_unpack(value, "text", TEXT_VERSION, _TEXT_TYPES)[0])


class Hits(NamedTuple):
    """How often an entry of a whitelist matched.  Times are wall-clock seconds."""

    number: int
    first: int
    last: int
    source: str
    entry: str
    """The name hits are counted under (see `whitelists.lists.hit_name`)."""


def encode_hits(hits: Hits) -> bytes:
    """The stored form of the hits of an entry (META)."""
    return _pack((HITS_VERSION, *hits))


def decode_hits(value: bytes) -> Hits:
    """The hits of an entry from their stored form.  Raises CodecError."""
    return Hits(*_unpack(value, "hit count", HITS_VERSION, _HITS_TYPES))


def _pack(row: tuple[Any, ...]) -> bytes:
    try:
        packed: bytes = msgpack.packb(row, unicode_errors="surrogateescape")
    except (OverflowError, UnicodeEncodeError) as error:
        raise CodecError(f"cannot be stored: {error}") from error
    return packed


def _unpack_record(value: bytes) -> tuple[Any, ...]:
    row = _row(value, "record", RECORD_VERSION)
    types = tuple(map(type, row))
    if row[0] == RECORD_VERSION and types == _RECORD_TYPES:
        return row[1:]
    if row[0] == 1 and types == _RECORD_1_TYPES:
        return (*row[1:], False)
    raise CodecError(f"stored record does not have the fields of version {row[0]}")


def _unpack(value: bytes, what: str, version: int, types: tuple[type, ...]) -> tuple[Any, ...]:
    row = _row(value, what, version)
    if row[0] != version or tuple(map(type, row)) != types:
        raise CodecError(f"stored {what} does not have the fields of version {version}")
    return row[1:]


def _row(value: bytes, what: str, version: int) -> tuple[Any, ...]:
    """The array, of a version that is known.  Raises CodecError."""
    try:
        row = msgpack.unpackb(value, use_list=False, unicode_errors="surrogateescape", max_ext_len=0)
    except (ValueError, RecursionError) as error:
        raise CodecError(f"stored {what} cannot be read: {error}") from error
    if type(row) is not tuple or not row or type(row[0]) is not int:
        raise CodecError(f"stored {what} is not an array that begins with a version")
    if row[0] > version:
        raise NewerFormatError(
            f"stored {what} has version {row[0]}, this multigrey knows up to {version}: use the newer one"
        )
    return row
