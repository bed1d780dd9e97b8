"""The rows of the META table: every kind is declared here, once, and its declaration reads and writes it.

The key of a row is the name of its kind, alone or followed by a slash and more.  `verify` reads every row
with the coder of its kind.  The scope of a kind says what several mail servers do with its rows when they
share what they know.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Generic, NamedTuple, TypeVar

from multigrey.codec import (
    Hits,
    decode_hits,
    decode_names,
    decode_origin,
    decode_record,
    decode_reputation,
    decode_text,
    encode_hits,
    encode_names,
    encode_text,
)
from multigrey.contracts import Store
from multigrey.errors import CodecError
from multigrey.identity.host_names.name_evidence import Evidence
from multigrey.model import Key, Table

__all__ = [
    "BLOCKS",
    "EXPECTATIONS",
    "FLOW",
    "FLOW_ORIGINS",
    "GROWTH",
    "HEALTH_CHECK",
    "HITS",
    "HITS_SINCE",
    "HOURS",
    "KINDS",
    "NAMES",
    "OPEN_DEFERRALS",
    "OVERRIDES",
    "SITE_KEY",
    "TABLE_SCOPES",
    "Coder",
    "MetaRows",
    "Scope",
    "kind_of",
    "why_unreadable",
]

_SLICE = 200
_FINGERPRINT = 8

T = TypeVar("T")


class Scope(Enum):
    """What happens to a row when several mail servers share what they know."""

    LOCAL = "local"
    """Each server has its own."""
    JOINED = "joined"
    """The rows of two servers are joined to one, in any order."""
    PARTS = "parts"
    """Each server writes a part, and all parts together count."""
    LAST = "last"
    """The row that was written last holds everywhere."""


class Coder(NamedTuple, Generic[T]):
    """Turns a value into stored bytes and back; `decode` raises CodecError."""

    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]


class MetaRows(NamedTuple, Generic[T]):
    """One kind of rows."""

    name: bytes
    coder: Coder[T]
    scope: Scope
    may_be_lost: bool
    """Whether only figures would be missing without these rows."""
    several: bool = True
    """Whether there is a row for each of several things.  If not, the name alone is the key."""

    def key(self, rest: bytes = b"") -> Key:
        """The key of the row for `rest`."""
        return Table.META, self.prefix + rest

    @property
    def prefix(self) -> bytes:
        """How the digests of these rows begin."""
        return self.name + b"/" if self.several else self.name

    async def walk(self, store: Store) -> AsyncGenerator[list[tuple[bytes, bytes]], None]:
        """All rows in slices: what follows the prefix, and the stored bytes.  Raises StoreError."""
        prefix = self.prefix
        cursor = prefix
        while cursor.startswith(prefix):
            rows, cursor = await store.scan(Table.META, cursor, _SLICE)
            yield [(digest[len(prefix) :], value) for digest, value in rows if digest.startswith(prefix)]


# --- coders ----------------------------------------------------------------------------------------


def _number() -> Coder[int]:
    def decode(value: bytes) -> int:
        text = decode_text(value)
        if not text.isdecimal():
            raise CodecError("not a number")
        return int(text)

    return Coder(lambda number: encode_text(str(number)), decode)


def _fields(**types: type) -> Coder[Mapping[str, Any]]:
    """A JSON object with exactly these keys."""

    def decode(value: bytes) -> Mapping[str, Any]:
        fields = _json(value)
        if not isinstance(fields, dict) or fields.keys() != types.keys():
            raise CodecError(f"expected the fields {', '.join(types)}")
        if any(type(fields[name]) is not kind for name, kind in types.items()):
            raise CodecError("a field is of another type")
        return fields

    return Coder(lambda fields: encode_text(json.dumps(dict(fields))), decode)


def _table(most: int, *types: type) -> Coder[Sequence[Sequence[Any]]]:
    """A JSON list of at most `most` rows with these columns."""

    def decode(value: bytes) -> Sequence[Sequence[Any]]:
        rows = _json(value)
        if not isinstance(rows, list) or len(rows) > most:
            raise CodecError(f"expected up to {most} rows")
        if any(not isinstance(row, list) or tuple(map(type, row)) != types for row in rows):
            raise CodecError("a row has other columns")
        return rows

    return Coder(lambda rows: encode_text(json.dumps([*map(list, rows)], separators=(",", ":"))), decode)


def _counts(most: int) -> Coder[Mapping[str, Mapping[str, int]]]:
    """A JSON object of at most `most` groups, by a decimal number: counts by a name of two or more words."""

    def is_group(group: object) -> bool:
        return isinstance(group, dict) and all(
            type(number) is int and " " in name for name, number in group.items()
        )

    def decode(value: bytes) -> Mapping[str, Mapping[str, int]]:
        groups = _json(value)
        if not isinstance(groups, dict) or len(groups) > most:
            raise CodecError(f"expected up to {most} groups of counts")
        if not all(name.isascii() and name.isdecimal() and is_group(group) for name, group in groups.items()):
            raise CodecError("a group is not one of counts by name")
        return groups

    return Coder(lambda groups: encode_text(json.dumps(groups, separators=(",", ":"))), decode)


def _json(value: bytes) -> Any:
    try:
        return json.loads(decode_text(value))
    except (ValueError, RecursionError) as error:
        raise CodecError(f"not JSON: {error}") from error


def _fingerprint(value: bytes) -> bytes:
    if len(value) != _FINGERPRINT:
        raise CodecError(f"expected {_FINGERPRINT} octets")
    return value


_TEXT = Coder(encode_text, decode_text)
_EVIDENCE: Coder[tuple[str, Evidence]] = Coder(lambda row: encode_names(*row), decode_names)

# --- the kinds -------------------------------------------------------------------------------------

SITE_KEY: MetaRows[bytes] = MetaRows(
    b"site-key", Coder(_fingerprint, _fingerprint), Scope.LOCAL, may_be_lost=False, several=False
)
"""A fingerprint of the key that the store was written with."""
OVERRIDES = MetaRows(
    b"override", _fields(word=str, since=int, until=int, by=str), Scope.LAST, may_be_lost=False
)
"""By slot (see `overrides.mode`)."""
EXPECTATIONS = MetaRows(
    b"expect",
    _fields(recipient=str, sender_domain=str, since=int, until=int, asked_by=str, reason=str),
    Scope.LAST,
    may_be_lost=False,
)
"""By a digest of what is expected (see `overrides.expectations`)."""
BLOCKS = MetaRows(b"blocked", _TEXT, Scope.LAST, may_be_lost=False)
"""By the digest of a key: what it stands for (see `overrides.blocks`)."""
NAMES = MetaRows(b"names", _EVIDENCE, Scope.JOINED, may_be_lost=True)
"""By a digest of the registered domain (see `evidence.name_ledger`)."""
HITS: MetaRows[Hits] = MetaRows(b"hits", Coder(encode_hits, decode_hits), Scope.PARTS, may_be_lost=True)
"""By a digest of source and entry (see `background.hits`)."""
HITS_SINCE = MetaRows(b"hits-since", _number(), Scope.LOCAL, may_be_lost=True, several=False)
"""The second from which on hits were counted."""
FLOW: MetaRows[Sequence[Sequence[Any]]] = MetaRows(
    b"flow", _table(12, *[int] * (1 + 8 + 18)), Scope.LOCAL, may_be_lost=True
)
"""By hour, eight digits: the figures of its slots (see `background.flow`)."""
FLOW_ORIGINS: MetaRows[Sequence[Sequence[Any]]] = MetaRows(
    b"flow-origins", _table(60, str, str, *[int] * (4 + 18)), Scope.LOCAL, may_be_lost=True
)
"""By hour, eight digits: the figures of its busiest origins."""
HOURS: MetaRows[Mapping[str, Mapping[str, int]]] = MetaRows(
    b"hours", _counts(24), Scope.LOCAL, may_be_lost=True
)
"""By day, eight digits: the figures of its hours by name (see `background.hours`)."""
GROWTH = MetaRows(b"growth", _table(24, *[int] * 7), Scope.LOCAL, may_be_lost=True)
"""By day, eight digits: the samples of its hours (see `background.growth`)."""
OPEN_DEFERRALS = MetaRows(
    b"metrics-deferrals", _table(1_000, int, str, int, int), Scope.LOCAL, may_be_lost=True, several=False
)
"""Hours whose deferrals may still come back, for metrics."""
HEALTH_CHECK = MetaRows(b"health-check", _number(), Scope.LOCAL, may_be_lost=True, several=False)
"""When a health check last wrote."""

KINDS: tuple[MetaRows[Any], ...] = (
    *(SITE_KEY, OVERRIDES, EXPECTATIONS, BLOCKS, NAMES, HITS, HITS_SINCE, GROWTH, OPEN_DEFERRALS),
    *(HEALTH_CHECK, FLOW, FLOW_ORIGINS, HOURS),
)
TABLE_SCOPES: Mapping[Table, Scope | None] = {
    Table.RECORD: Scope.JOINED,
    Table.ORIGIN: Scope.JOINED,
    Table.MARK: Scope.JOINED,
    Table.META: None,
}
"""The scopes of tables; in ORIGIN, the reputation of whole origins is in parts.  None: by kind."""

# --- reading everything ----------------------------------------------------------------------------


def kind_of(digest: bytes) -> MetaRows[Any] | None:
    """The kind of a row of META; None: this version does not know it."""
    name, slash, _ = digest.partition(b"/")
    return next((kind for kind in KINDS if kind.name == name and kind.several == bool(slash)), None)


def why_unreadable(table: Table, digest: bytes, value: bytes, read_marks: Callable[[bytes], object]) -> str:
    """Why a row cannot be read; "" when it can.  `read_marks`: reads a bucket of marks."""
    try:
        if table is Table.RECORD:
            decode_record(value)
        elif table is Table.ORIGIN:
            _decode_origin(value)
        elif table is Table.MARK:
            read_marks(value)
        elif (kind := kind_of(digest)) is None:
            return "not a kind of row that this version knows"
        else:
            kind.coder.decode(value)
    except CodecError as error:
        return str(error)
    return ""


def _decode_origin(value: bytes) -> None:
    """Of an origin for a sender domain, or of an origin as a whole: both are in this table."""
    try:
        decode_origin(value)
    except CodecError:
        decode_reputation(value)  # its versions are the later ones
