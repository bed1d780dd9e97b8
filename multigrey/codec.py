"""Converts values to stored bytes and back; the only module that uses msgpack.

A stored value is a msgpack array that begins with its version.  An older version is read, with a defined
value for each field that it lacks.  A newer version is refused (NewerFormatError).  Anything else is a
CodecError, so no record is ever guessed.  Text that was not UTF-8 on the wire keeps its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NamedTuple, TypeVar

import msgpack  # noqa: TID251  (this is the one module that may)

from multigrey.errors import AddressError, CodecError, NewerFormatError
from multigrey.identity.addresses import client_text, parse_client_address
from multigrey.identity.host_names.name_evidence import Client, Evidence, Return, State
from multigrey.identity.shortened import shortened
from multigrey.model import (
    Action,
    Address,
    Attempt,
    DecisionEvent,
    Match,
    OriginRecord,
    Reason,
    Record,
    Reputation,
    Stage,
    Times,
    Verdict,
)

__all__ = [
    "LARGEST_RECORD",
    "RECORD_OCTETS",
    "Hits",
    "decode_event",
    "decode_hits",
    "decode_names",
    "decode_origin",
    "decode_record",
    "decode_reputation",
    "decode_text",
    "encode_event",
    "encode_first_record",
    "encode_hits",
    "encode_names",
    "encode_origin",
    "encode_record",
    "encode_reputation",
    "encode_text",
    "record_times",
]

T = TypeVar("T")

RECORD_VERSION = 3
"""Version 1 had no `observed`; for its records it is False.  Versions 1 and 2 had all texts in every row, of
any length, and the client as text."""
RECORD_OCTETS = 300
"""What a record of usual addresses takes of the store's file, indexes and free space of pages included."""
LARGEST_RECORD = 500
"""The same for the longest addresses."""
ORIGIN_VERSION = 1
STANDING_VERSION = 2
"""Version 1 had only `days`, no `hours` and `ages`."""
TEXT_VERSION = 1
HITS_VERSION = 1
NAMES_VERSION = 1
EVENT_VERSION = 1

_RECORD_1_TYPES = (int,) * 8 + (str,) * 4
_RECORD_2_TYPES = (*_RECORD_1_TYPES, bool)
_RECORD_TYPES = frozenset(
    (*(int,) * 8, client, str, bool, *last) for client in (bytes, str) for last in ((str, str), (bytes,))
)
"""Numbers, client (packed if it is an address), origin, observed; then sender and recipient, or home."""
_ADDRESS_OCTETS = (4, 16)
_ORIGIN_TYPES = (int, int, int, int, bytes, bool)
_TEXT_TYPES = (int, str)
_HITS_TYPES = (int, int, int, int, str, str)


def encode_record(record: Record) -> bytes:
    """The stored form of a record.  Long texts are shortened (see `identity.shortened`)."""
    times = (
        record.first_seen,
        record.last_seen,
        record.delay,
        record.attempts,
        record.early,
        record.passed_at,
        record.passes,
    )
    texts = (record.home,) if record.home else (shortened(record.sender), shortened(record.recipient))
    client, origin = _packed_client(record.client), shortened(record.origin)
    return _pack((RECORD_VERSION, *times, client, origin, record.observed, *texts))


# Shortcut of encode_record.
def encode_first_record(
    now: int, delay: int, client: Address | str, origin: str, sender: str, recipient: str, home: bytes = b""
) -> bytes:
    """The stored form of the record of a first attempt at `now`, without making a Record."""
    packed = _packed_client(client) if isinstance(client, str) else client.packed
    texts = (home,) if home else (shortened(sender), shortened(recipient))
    return _pack((RECORD_VERSION, now, now, delay, 1, 0, 0, 0, packed, shortened(origin), False, *texts))


def decode_record(value: bytes) -> Record:
    """A record from its stored form.  Raises CodecError (NewerFormatError for a later version)."""
    row = _record_row(value)
    if row[0] < RECORD_VERSION:
        return Record(*row[1:])
    packed, origin, observed, *last = row[8:]
    client = packed if type(packed) is str else client_text(_packed_address(packed))
    sender, recipient, home = (*last, b"") if len(last) == 2 else ("", "", *last)
    return Record(*(*row[1:8], client, sender, recipient, origin, observed, home))


# Shortcut of decode_record.
def record_times(value: bytes) -> Times:
    """The numbers of a stored record: first_seen, last_seen, delay, attempts, early, passed_at, passes.

    As strict as `decode_record`, without making a Record.  Raises CodecError.
    """
    times: Times = _record_row(value)[1:8]
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


def encode_reputation(standing: Reputation) -> bytes:
    """The stored form of the standing of an origin."""
    return _pack(
        (
            STANDING_VERSION,
            standing.days,
            standing.domains,
            standing.proven_at,
            standing.last_seen,
            standing.hours,
            standing.ages,
        )
    )


def decode_reputation(value: bytes) -> Reputation:
    """The standing of an origin from its stored form.  Raises CodecError."""
    row = _row(value, "standing", STANDING_VERSION)
    types = (int, tuple, tuple, int, int) if row[0] == 1 else (int, tuple, tuple, int, int, tuple, tuple)
    if row[0] not in {1, STANDING_VERSION} or tuple(map(type, row)) != types:
        raise CodecError(f"stored standing does not have the fields of version {row[0]}")
    standing = Reputation(*row[1:])
    days = all(_is_counted(counted) for counted in (*standing.days, *standing.hours))
    marks = all(type(mark) is tuple and tuple(map(type, mark)) == (bytes, int) for mark in standing.domains)
    if not days or not marks or not all(type(count) is int for count in standing.ages):
        raise CodecError(f"stored standing does not have the fields of version {row[0]}")
    return standing


def _is_counted(row: object) -> bool:
    return type(row) is tuple and tuple(map(type, row)) == (int, int, int)


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
    """The name under which hits are counted (see `whitelists.list_source.hit_name`)."""


def encode_hits(hits: Hits) -> bytes:
    """The stored form of the hits of an entry (META)."""
    return _pack((HITS_VERSION, *hits))


def decode_hits(value: bytes) -> Hits:
    """The hits of an entry from their stored form.  Raises CodecError."""
    return Hits(*_unpack(value, "hit count", HITS_VERSION, _HITS_TYPES))


# --- evidence about host names ----------------------------------------------------------------------

_CLIENT_TYPES = (bytes, int, int, int, bytes)
_RETURN_TYPES = (str, bytes, int)
_STATE_TYPES = (str, int, bool)


def encode_names(domain: str, evidence: Evidence) -> bytes:
    """The stored form of the evidence about the hosts below a registered domain (META)."""
    return _pack((NAMES_VERSION, domain, evidence.clients, evidence.returns, evidence.states))


def decode_names(value: bytes) -> tuple[str, Evidence]:
    """A registered domain and the evidence about its hosts, from their stored form.  Raises CodecError."""
    domain, bags, returns, states = _unpack(value, "evidence", NAMES_VERSION, (int, str, tuple, tuple, tuple))
    if not all(type(bag) is tuple and tuple(map(type, bag)) == (str, tuple) for bag in bags):
        raise CodecError(f"stored evidence does not have the fields of version {NAMES_VERSION}")
    clients = tuple((name, tuple(_rows(rows, Client, _CLIENT_TYPES))) for name, rows in bags)
    return domain, Evidence(
        clients, tuple(_rows(returns, Return, _RETURN_TYPES)), tuple(_rows(states, State, _STATE_TYPES))
    )


def _rows(rows: tuple[Any, ...], kind: Callable[..., T], types: tuple[type, ...]) -> Iterator[T]:
    for row in rows:
        if type(row) is not tuple or tuple(map(type, row)) != types:
            raise CodecError(f"stored evidence does not have the fields of version {NAMES_VERSION}")
        yield kind(*row)


# --- decisions, for the history ---------------------------------------------------------------------

_EVENT_TYPES: tuple[tuple[type, ...], ...] = (
    *((int,), (str,), (str,), (bytes,), (str, type(None))),  # time, id, listener, client address and name
    *(((str,),) * 7),  # HELO, sender, recipient, stage, message, authenticated, raw
    (dict,),  # attributes
    *(((str,),) * 2),  # action, reason
    *(((int,),) * 4),  # retry_after, delay, age, attempts
    (tuple, type(None)),  # whitelist entry
    *(((str,),) * 4),  # rule, text, code, detail
    (bool,),
    *(((str,),) * 2),  # origin, class
)
_REASONS: Mapping[str, Reason] = {reason.value: reason for reason in Reason}
_LONGEST_EVENT = 8192
"""Largest size of a decision in bytes; of a larger one only the beginning of each text is stored."""
_LONGEST_TEXT = 200
"""Characters of a text that are kept when a decision is too large."""
_BUFFER = 2048
"""First size of the buffer for packing, in bytes."""
_MOST_ATTRIBUTES = 32


def encode_event(event: DecisionEvent) -> bytes:
    """The stored form of a decision; the texts of a decision over 8192 bytes are cut."""
    packed = _pack(_event_row(event))
    return packed if len(packed) <= _LONGEST_EVENT else _pack(_event_row(_cut_event(event)))


def decode_event(value: bytes) -> DecisionEvent:
    """A decision from its stored form.  Raises CodecError."""
    row = _row(value, "decision", EVENT_VERSION)
    if len(row) != len(_EVENT_TYPES) + 1 or not all(
        type(field) in types for field, types in zip(row[1:], _EVENT_TYPES, strict=True)
    ):
        raise CodecError(f"stored decision does not have the fields of version {EVENT_VERSION}")
    try:
        return _event(row)
    except (KeyError, ValueError, TypeError) as error:  # an unknown word, an invalid address
        raise CodecError(f"stored decision cannot be read: {error}") from error


def _event_row(event: DecisionEvent) -> tuple[Any, ...]:
    attempt, verdict = event.attempt, event.verdict
    address, match = attempt.client_address, verdict.match
    return (
        EVENT_VERSION,
        event.time,
        event.id,
        attempt.listener,
        b"" if address is None else address.packed,
        attempt.client_name,
        attempt.helo,
        attempt.sender,
        attempt.recipient,
        attempt.stage._value_,
        attempt.message,
        attempt.authenticated,
        attempt.raw,
        {name: text for name, text in attempt.attributes.items() if text},
        verdict.action._value_,
        verdict.reason._value_,
        verdict.retry_after,
        verdict.delay,
        verdict.age,
        verdict.attempts,
        None if match is None else (match.source, match.entry, match.owner),
        verdict.rule,
        verdict.text,
        verdict.code,
        verdict.detail,
        verdict.observed,
        event.origin,
        event.class_,
    )


def _event(row: tuple[Any, ...]) -> DecisionEvent:
    """Raises KeyError, ValueError, TypeError."""
    attributes: Mapping[Any, Any] = row[13]
    if not all(type(name) is str and type(text) is str for name, text in attributes.items()):
        raise TypeError("an attribute is not text")
    attempt = Attempt(
        listener=row[3],
        client_address=_address(row[4]),
        client_name=row[5],
        helo=row[6],
        sender=row[7],
        recipient=row[8],
        stage=Stage(row[9]),
        message=row[10],
        authenticated=row[11],
        raw=row[12],
        attributes=attributes,
    )
    match = None if row[20] is None else _match(*row[20])
    verdict = Verdict(
        action=Action(row[14]),
        reason=_REASONS[row[15]],
        retry_after=row[16],
        delay=row[17],
        age=row[18],
        attempts=row[19],
        match=match,
        rule=row[21],
        text=row[22],
        code=row[23],
        detail=row[24],
        observed=row[25],
    )
    return DecisionEvent(row[1], row[2], attempt, verdict, row[26], row[27])


def _match(source: str, entry: str, owner: str) -> Match:
    if not all(type(text) is str for text in (source, entry, owner)):
        raise TypeError("a whitelist entry is not text")
    return Match(source, entry, owner)


def _address(packed: bytes) -> Address | None:
    return _packed_address(packed) if packed else None


def _cut_event(event: DecisionEvent) -> DecisionEvent:
    """The decision with only the beginning of every text."""
    attempt = event.attempt
    name, attributes = attempt.client_name, list(attempt.attributes.items())[:_MOST_ATTRIBUTES]
    short = replace(
        attempt,
        client_name=None if name is None else _cut(name),
        helo=_cut(attempt.helo),
        sender=_cut(attempt.sender),
        recipient=_cut(attempt.recipient),
        message=_cut(attempt.message),
        authenticated=_cut(attempt.authenticated),
        raw=_cut(attempt.raw),
        attributes={_cut(name): _cut(text) for name, text in attributes},
    )
    return replace(event, attempt=short, origin=_cut(event.origin))


def _cut(text: str) -> str:
    return text[:_LONGEST_TEXT]


# --- packing ----------------------------------------------------------------------------------------


def _pack(row: tuple[Any, ...]) -> bytes:
    try:
        # Without `buf_size` each Packer allocates a buffer of a quarter of a megabyte.
        packed: bytes = msgpack.Packer(unicode_errors="surrogateescape", buf_size=_BUFFER).pack(row)
    except (OverflowError, UnicodeEncodeError) as error:
        raise CodecError(f"cannot be stored: {error}") from error
    return packed


def _record_row(value: bytes) -> tuple[Any, ...]:
    row = _row(value, "record", RECORD_VERSION)
    types = tuple(map(type, row))
    if row[0] == RECORD_VERSION:
        if types in _RECORD_TYPES and (types[8] is str or len(row[8]) in _ADDRESS_OCTETS):
            return row
    elif (row[0], types) in {(2, _RECORD_2_TYPES), (1, _RECORD_1_TYPES)}:
        return row
    raise CodecError(f"stored record does not have the fields of version {row[0]}")


def _packed_client(text: str) -> bytes | str:
    """The octets of a client's address; other text (of a redacted record) as it is, but short."""
    with suppress(AddressError):
        address = parse_client_address(text)
        if address is not None and client_text(address) == text:
            return address.packed
    return shortened(text)


def _packed_address(packed: bytes) -> Address:
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


def _unpack(value: bytes, what: str, version: int, types: tuple[type, ...]) -> tuple[Any, ...]:
    row = _row(value, what, version)
    if row[0] != version or tuple(map(type, row)) != types:
        raise CodecError(f"stored {what} does not have the fields of version {version}")
    return row[1:]


def _row(value: bytes, what: str, version: int) -> tuple[Any, ...]:
    """The unpacked array; its version is not newer than `version`.  Raises CodecError."""
    try:
        row = msgpack.unpackb(value, use_list=False, unicode_errors="surrogateescape", max_ext_len=0)
    except (ValueError, RecursionError) as error:
        raise CodecError(f"stored {what} cannot be read: {error}") from error
    if type(row) is not tuple or not row or type(row[0]) is not int:
        raise CodecError(f"stored {what} is not an array that begins with a version")
    if row[0] > version:
        raise NewerFormatError(
            f"stored {what} has version {row[0]}, this multigrey reads up to {version}: "
            "use the newer multigrey"
        )
    return row
