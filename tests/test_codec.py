"""Stored bytes: pinned for each version, read back exactly, and nothing else is ever believed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address

import msgpack  # noqa: TID251  (makes stored bytes the codec must refuse)
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from multigrey.codec import (
    Hits,
    decode_hits,
    decode_origin,
    decode_record,
    decode_reputation,
    decode_text,
    encode_first_record,
    encode_hits,
    encode_origin,
    encode_record,
    encode_reputation,
    encode_text,
    record_times,
)
from multigrey.errors import CodecError, MultigreyError, NewerFormatError
from multigrey.identity.shortened import LONGEST_SHOWN, shortened
from multigrey.model import OriginRecord, Record, Reputation

INTEGERS = st.integers(-(2**63), 2**64 - 1)
TEXTS = st.binary(max_size=30).map(lambda data: data.decode("utf-8", "surrogateescape"))
CLIENTS = st.ip_addresses().map(str) | TEXTS
RECORDS = st.builds(Record, *[INTEGERS] * 7, CLIENTS, *[TEXTS] * 3, st.booleans())
AWAY = st.builds(
    Record,
    *[INTEGERS] * 7,
    CLIENTS,
    origin=TEXTS,
    observed=st.booleans(),
    home=st.binary(min_size=16, max_size=16),
)
STANDINGS = st.builds(
    Reputation,
    st.lists(st.tuples(INTEGERS, INTEGERS, INTEGERS), max_size=5).map(tuple),
    st.lists(st.tuples(st.binary(max_size=4), INTEGERS), max_size=5).map(tuple),
    INTEGERS,
    INTEGERS,
)
ORIGINS = st.builds(OriginRecord, INTEGERS, INTEGERS, INTEGERS, st.binary(max_size=20), st.booleans())

T = 1_000_000_000
RECORD = Record(T, T + 1, 120, 2, 1, T + 130, 3, "192.0.2.1", "é@example.org", "b\udcff@example.net", "o")
PLAIN = Record(T, T, 120)
OBSERVED = Record(T, T, 120, passed_at=T, observed=True)
STANDING = Reputation(((11573, 20, 19), (11574, 3, 0)), ((b"abcd", 11574),), T, T + 1)
ORIGIN = OriginRecord(5, T, T + 1, b"k" * 16, several_keys=True)

# What is on the disks of installations: these bytes must be read for ever.
PINNED = [
    (
        encode_record,
        decode_record,
        RECORD,
        (
            b"\x9d\x03\xce\x3b\x9a\xca\x00\xce\x3b\x9a\xca\x01\x78\x02\x01\xce\x3b\x9a\xca\x82\x03"
            b"\xc4\x04\xc0\x00\x02\x01\xa1o\xc2\xae\xc3\xa9@example.org\xaeb\xff@example.net"
        ),
    ),
    (
        encode_record,
        decode_record,
        Record(T, T, 120, client="2001:db8::1", origin="o", home=b"0123456789abcdef"),
        (
            b"\x9c\x03\xce\x3b\x9a\xca\x00\xce\x3b\x9a\xca\x00\x78\x01\x00\x00\x00"
            b"\xc4\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\xa1o\xc2\xc4\x100123456789abcdef"
        ),
    ),
    (
        encode_record,
        decode_record,
        PLAIN,
        b"\x9d\x03\xce\x3b\x9a\xca\x00\xce\x3b\x9a\xca\x00\x78\x01\x00\x00\x00\xa0\xa0\xc2\xa0\xa0",
    ),
    (
        encode_record,
        decode_record,
        OBSERVED,
        b"\x9d\x03\xce\x3b\x9a\xca\x00\xce\x3b\x9a\xca\x00\x78\x01\x00\xce\x3b\x9a\xca\x00\x00\xa0\xa0\xc3\xa0\xa0",
    ),
    (
        encode_reputation,
        decode_reputation,
        STANDING,
        (
            b"\x97\x02\x92\x93\xcd-5\x14\x13\x93\xcd-6\x03\x00\x91\x92\xc4\x04abcd\xcd-6"
            b"\xce\x3b\x9a\xca\x00\xce\x3b\x9a\xca\x01\x90\x90"
        ),
    ),
    (
        encode_reputation,
        decode_reputation,
        Reputation(hours=((277_801, 2, 1),), ages=(2, 1)),
        b"\x97\x02\x90\x90\x00\x00\x91\x93\xce\x00\x04\x3d\x29\x02\x01\x92\x02\x01",
    ),
    (
        encode_origin,
        decode_origin,
        ORIGIN,
        b"\x96\x01\x05\xce\x3b\x9a\xca\x00\xce\x3b\x9a\xca\x01\xc4\x10kkkkkkkkkkkkkkkk\xc3",
    ),
    (encode_origin, decode_origin, OriginRecord(), b"\x96\x01\x00\x00\x00\xc4\x00\xc2"),
    (encode_text, decode_text, "blocked \udc80", b"\x92\x01\xa9blocked \x80"),
    (encode_text, decode_text, "", b"\x92\x01\xa0"),
]


@pytest.mark.parametrize(("encode", "decode", "value", "stored"), PINNED)
def test_pinned(encode, decode, value, stored):
    assert encode(value) == stored
    assert decode(stored) == value


OLDER = [
    (
        RECORD,
        (
            b"\x9c\x01\xce\x3b\x9a\xca\x00\xce\x3b\x9a\xca\x01\x78\x02\x01\xce\x3b\x9a\xca\x82\x03"
            b"\xa9192.0.2.1\xae\xc3\xa9@example.org\xaeb\xff@example.net\xa1o"
        ),
    ),
    (
        PLAIN,
        b"\x9c\x01\xce\x3b\x9a\xca\x00\xce\x3b\x9a\xca\x00\x78\x01\x00\x00\x00\xa0\xa0\xa0\xa0",
    ),
]


OBSERVED_2 = (
    b"\x9d\x02\xce\x3b\x9a\xca\x00\xce\x3b\x9a\xca\x00\x78\x01\x00"
    b"\xce\x3b\x9a\xca\x00\x00\xa0\xa0\xa0\xa0\xc3"
)


@pytest.mark.parametrize(("record", "stored"), [*OLDER, (OBSERVED, OBSERVED_2)])
def test_records_of_older_versions_are_read(record, stored):
    assert decode_record(stored) == record
    assert record_times(stored) == record_times(encode_record(record))


@pytest.mark.parametrize(
    ("standing", "stored"),
    [
        (
            STANDING,
            (
                b"\x95\x01\x92\x93\xcd-5\x14\x13\x93\xcd-6\x03\x00\x91\x92\xc4\x04abcd\xcd-6"
                b"\xce\x3b\x9a\xca\x00\xce\x3b\x9a\xca\x01"
            ),
        ),
        (Reputation(), b"\x95\x01\x90\x90\x00\x00"),
    ],
)
def test_a_standing_of_version_1_was_counted_by_days_alone(standing, stored):
    assert decode_reputation(stored) == standing


@given(STANDINGS)
def test_standings_come_back(standing):
    assert decode_reputation(encode_reputation(standing)) == standing


@given(RECORDS)
@example(Record(-(2**63), 2**64 - 1, -1))
def test_records_come_back(record):
    assert decode_record(encode_record(record)) == record


@given(ORIGINS)
def test_origin_records_come_back(record):
    assert decode_origin(encode_origin(record)) == record


@given(TEXTS)
def test_texts_come_back(text):
    assert decode_text(encode_text(text)) == text


@given(AWAY)
def test_records_that_name_their_home_come_back(record):
    assert decode_record(encode_record(record)) == record


LONG = "\N{COMBINING GRAVE ACCENT}" * 100_000


def test_a_record_has_a_largest_size_whatever_is_sent():
    record = Record(*[2**63] * 7, "c" * 500, LONG, f"{LONG}@{LONG}", LONG, observed=True)
    stored = encode_record(record)
    assert len(stored) <= 4 * (LONGEST_SHOWN + 2) + 7 * 9 + 3
    assert encode_record(decode_record(stored)) == stored
    assert decode_record(stored).recipient == shortened(f"{LONG}@{LONG}")


@given(CLIENTS, TEXTS, TEXTS, TEXTS)
@example("192.0.2.1", LONG, LONG, LONG)
def test_first_records_are_written_as_any_other(client, sender, recipient, origin):
    first = Record(T, T, 120, client=client, sender=sender, recipient=recipient, origin=origin)
    assert encode_first_record(T, 120, client, origin, sender, recipient) == encode_record(first)
    away = replace(first, home=b"0123456789abcdef")
    assert encode_first_record(T, 120, client, origin, sender, recipient, away.home) == encode_record(away)
    with suppress(ValueError):
        address = ip_address(client)
        stored = encode_first_record(T, 120, address, origin, sender, recipient)
        assert decode_record(stored).client == str(address)


def pack(*row):
    return msgpack.packb(row)


ROW = (1, T, T, 120, 1, 0, 0, 0, "", "", "", "")
ROW_2 = (2, *ROW[1:], False)
ROW_3 = (3, *ROW[1:8], b"four", "o", False, "s", "r")
ROW_AWAY = (*ROW_3[:11], b"0123456789abcdef")
STANDING_ROW = (1, [(1, 2, 3)], [(b"mark", 1)], 0, T)
ORIGIN_ROW = (1, 0, 0, 0, b"", False)


def changed(row, place, value):
    return pack(*row[:place], value, *row[place + 1 :])


REFUSED = [
    ("nothing", b""),
    ("never used by msgpack", b"\xc1"),
    ("a number", pack(1)[1:]),
    ("a text", msgpack.packb("1")),
    ("bytes", msgpack.packb(b"\x01")),
    ("nil", b"\xc0"),
    ("empty array", b"\x90"),
    ("a map", msgpack.packb({1: 2}, strict_types=True)),
    ("a map with an array as key", b"\x81\x91\x80\x01"),
    ("no version", pack("1", *ROW[1:])),
    ("true is not a version", pack(True, *ROW[1:])),
    ("a float is not a version", pack(1.0, *ROW[1:])),
    ("version 0", pack(0, *ROW[1:])),
    ("version -1", pack(-1, *ROW[1:])),
    ("only a version", pack(1)),
    ("one field short", pack(*ROW[:-1])),
    ("one field more", pack(*ROW, "")),
    ("nested", pack(ROW)),
    ("trailing byte", pack(*ROW) + b"\x00"),
    ("twice", pack(*ROW) * 2),
    ("extension", b"\x91\xd4\x01\x00"),
    ("extension of no length", b"\x91\xc7\x00\x05"),
    ("time stamp", b"\xd6\xff\x00\x00\x00\x00"),
    ("deep", b"\x91" * 10_000),
    ("deeper than any stack", b"\x81" * 1_000_000),
    ("array of 4 G", b"\xdd\xff\xff\xff\xff"),
    ("map of 4 G", b"\xdf\xff\xff\xff\xff"),
    ("bytes of 4 G", b"\xc6\xff\xff\xff\xff"),
    ("text of 4 G", b"\x92\x01\xdb\xff\xff\xff\xff"),
    ("another program's text", b"SQLite format 3\x00"),
    *[(f"field {n} true", changed(ROW, n, True)) for n in range(1, 12)],
    *[(f"field {n} float", changed(ROW, n, 1.0)) for n in range(1, 12)],
    *[(f"field {n} nil", changed(ROW, n, None)) for n in range(1, 12)],
    *[(f"number {n} a text", changed(ROW, n, "1")) for n in range(1, 8)],
    *[(f"text {n} bytes", changed(ROW, n, b"")) for n in range(8, 12)],
]


@pytest.mark.parametrize(("name", "stored"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refused(name, stored):
    for decode in (decode_record, decode_origin, decode_reputation, decode_text):
        with pytest.raises(CodecError) as caught:
            decode(stored)
        assert not isinstance(caught.value, NewerFormatError)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", range(1, 6))
def test_refused_origin_fields(place):
    for value in ("x", None, 1.0, [1]):
        with pytest.raises(CodecError, match="fields of version 1"):
            decode_origin(changed(ORIGIN_ROW, place, value))


REFUSED_RECORDS = [
    *[(f"field {n} true", changed(ROW_2, n, True)) for n in range(1, 12)],
    *[(f"field {n} nil", changed(ROW_2, n, None)) for n in range(1, 13)],
    ("observed a number", changed(ROW_2, 12, 0)),
    ("version 1 with a field more", pack(*ROW, False)),
    ("version 2 with a field less", pack(*ROW_2[:-1])),
    ("version 2 with a field more", pack(*ROW_2, False)),
    ("only version 2", pack(2)),
    *[(f"version 3, field {n} nil", changed(ROW_3, n, None)) for n in range(1, 13)],
    *[(f"away, field {n} nil", changed(ROW_AWAY, n, None)) for n in range(1, 12)],
    *[(f"an address of {n} octets", changed(ROW_3, 8, bytes(n))) for n in (0, 3, 5, 15, 17)],
    ("version 3 with a field more", pack(*ROW_3, "")),
    ("version 3 with a field less", pack(*ROW_3[:-1])),
    ("away with a field less", pack(*ROW_AWAY[:-1])),
]


@pytest.mark.parametrize(("name", "stored"), REFUSED_RECORDS, ids=[row[0] for row in REFUSED_RECORDS])
def test_refused_records(name, stored):
    for decode in (decode_record, record_times):
        with pytest.raises(CodecError, match="fields of version"):
            decode(stored)


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        *[(place, wrong) for place in range(1, 5) for wrong in ("x", None, 1.0)],
        (1, [1]),
        (1, [(1, 2)]),
        (1, [(1, 2, True)]),
        (1, [(1, 2, 3), None]),
        (2, [(b"mark", "1")]),
        (2, [("mark", 1)]),
        (2, [b"mark"]),
        (5, [(1, 2)]),
        (5, 1),
    ],
)
def test_refused_standing_fields(place, wrong):
    with pytest.raises(CodecError, match=f"fields of version {STANDING_ROW[0]}"):
        decode_reputation(changed(STANDING_ROW, place, wrong))


def test_one_kind_is_not_taken_for_another():
    stored = {
        decode_record: encode_record(RECORD),
        decode_origin: encode_origin(ORIGIN),
        decode_reputation: encode_reputation(STANDING),
        decode_text: encode_text("x"),
    }
    for decode in stored:
        for other, value in stored.items():
            if other is not decode:
                with pytest.raises(CodecError):
                    decode(value)


@pytest.mark.parametrize("decode", [decode_record, decode_origin, decode_reputation, decode_text])
@pytest.mark.parametrize(
    "stored", [pack(4), pack(4, *ROW[1:]), pack(2**64 - 1), pack(4, {"any": "thing"}, None)]
)
def test_a_newer_version_is_told_apart(decode, stored):
    with pytest.raises(NewerFormatError, match="use the newer multigrey"):
        decode(stored)


@pytest.mark.parametrize(
    "stored",
    [encode_record(RECORD), encode_origin(ORIGIN), encode_reputation(STANDING), encode_text("text")],
)
def test_cut_short(stored):
    for length in range(len(stored)):
        for decode in (decode_record, decode_origin, decode_text):
            with pytest.raises(CodecError):
                decode(stored[:length])


@pytest.mark.parametrize(
    "record",
    [
        Record(T, T, 120, attempts=2**64),
        Record(-(2**63) - 1, T, 120),
        Record(T, T, 120, sender="\ud800"),
    ],
)
def test_what_does_not_fit_is_not_stored(record):
    with pytest.raises(CodecError, match="cannot be stored"):
        encode_record(record)


def test_errors_belong_to_the_family():
    assert issubclass(CodecError, MultigreyError)
    assert issubclass(NewerFormatError, CodecError)


def believe(stored):
    for decode, encode in (
        (decode_record, encode_record),
        (decode_origin, encode_origin),
        (decode_text, encode_text),
    ):
        try:
            value = decode(stored)
        except CodecError:
            continue
        assert decode(encode(value)) == value


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(stored):
    believe(stored)


@given(
    st.recursive(
        st.none() | st.booleans() | INTEGERS | st.floats() | st.binary(max_size=5) | TEXTS,
        lambda inner: st.lists(inner, max_size=12) | st.dictionaries(TEXTS | INTEGERS, inner, max_size=3),
        max_leaves=15,
    )
)
def test_any_value_is_read_or_refused(value):
    believe(msgpack.packb(value, unicode_errors="surrogateescape"))


@given(RECORDS, st.integers(0, 100), st.integers(0, 255))
def test_a_flipped_byte_is_read_or_refused(record, place, byte):
    stored = bytearray(encode_record(record))
    stored[place % len(stored)] = byte
    believe(bytes(stored))


# --- hits of whitelist entries ---

HITS = st.builds(Hits, INTEGERS, INTEGERS, INTEGERS, TEXTS, TEXTS)


def test_hits_are_pinned():
    hits = Hits(3, T, T + 1, "list", "a.toml client=mx.example.org")
    stored = b"\x96\x01\x03\xce\x3b\x9a\xca\x00\xce\x3b\x9a\xca\x01\xa4list\xbca.toml client=mx.example.org"
    assert encode_hits(hits) == stored
    assert decode_hits(stored) == hits


@given(HITS)
def test_hits_come_back(hits):
    assert decode_hits(encode_hits(hits)) == hits


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ([2, 1, 1, 1, "a", "b"], NewerFormatError),
        ([1, 1, 1, 1, "a"], CodecError),
        ([1, 1, 1, "1", "a", "b"], CodecError),
        ([0, 1, 1, 1, "a", "b"], CodecError),
        ({}, CodecError),
    ],
)
def test_other_hits_are_refused(row, error):
    with pytest.raises(error):
        decode_hits(msgpack.packb(row))
