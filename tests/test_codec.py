"""Stored bytes: pinned for version 1, read back exactly, and nothing else is ever believed."""

from __future__ import annotations

import msgpack  # noqa: TID251  (makes stored bytes the codec must refuse)
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from multigrey.codec import (
    decode_origin,
    decode_record,
    decode_text,
    encode_origin,
    encode_record,
    encode_text,
)
from multigrey.errors import CodecError, MultigreyError, NewerFormatError
from multigrey.model import OriginRecord, Record

INTEGERS = st.integers(-(2**63), 2**64 - 1)
TEXTS = st.binary(max_size=30).map(lambda data: data.decode("utf-8", "surrogateescape"))
RECORDS = st.builds(Record, *[INTEGERS] * 7, *[TEXTS] * 4)
ORIGINS = st.builds(OriginRecord, INTEGERS, INTEGERS, INTEGERS, st.binary(max_size=20), st.booleans())

T = 1_000_000_000
RECORD = Record(T, T + 1, 120, 2, 1, T + 130, 3, "192.0.2.1", "é@example.org", "b\udcff@example.net", "o")
PLAIN = Record(T, T, 120)
ORIGIN = OriginRecord(5, T, T + 1, b"k" * 16, several_keys=True)

# What is on the disks of installations: these bytes must be read for ever.
PINNED = [
    (
        encode_record,
        decode_record,
        RECORD,
        (
            b"\x9c\x01\xce\x3b\x9a\xca\x00\xce\x3b\x9a\xca\x01\x78\x02\x01\xce\x3b\x9a\xca\x82\x03"
            b"\xa9192.0.2.1\xae\xc3\xa9@example.org\xaeb\xff@example.net\xa1o"
        ),
    ),
    (
        encode_record,
        decode_record,
        PLAIN,
        b"\x9c\x01\xce\x3b\x9a\xca\x00\xce\x3b\x9a\xca\x00\x78\x01\x00\x00\x00\xa0\xa0\xa0\xa0",
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


def test_a_megabyte_comes_back():
    record = Record(T, T, 120, sender="x" * 1_000_000)
    assert decode_record(encode_record(record)) == record


def pack(*row):
    return msgpack.packb(row)


ROW = (1, T, T, 120, 1, 0, 0, 0, "", "", "", "")
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
    ("true is no version", pack(True, *ROW[1:])),
    ("a float is no version", pack(1.0, *ROW[1:])),
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
    for decode in (decode_record, decode_origin, decode_text):
        with pytest.raises(CodecError) as caught:
            decode(stored)
        assert not isinstance(caught.value, NewerFormatError)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", range(1, 6))
def test_refused_origin_fields(place):
    for value in ("x", None, 1.0, [1]):
        with pytest.raises(CodecError, match="fields of version 1"):
            decode_origin(changed(ORIGIN_ROW, place, value))


def test_one_kind_is_not_taken_for_another():
    stored = {
        decode_record: encode_record(RECORD),
        decode_origin: encode_origin(ORIGIN),
        decode_text: encode_text("x"),
    }
    for decode in stored:
        for other, value in stored.items():
            if other is not decode:
                with pytest.raises(CodecError):
                    decode(value)


@pytest.mark.parametrize("decode", [decode_record, decode_origin, decode_text])
@pytest.mark.parametrize(
    "stored", [pack(2), pack(2, *ROW[1:]), pack(2**64 - 1), pack(2, {"any": "thing"}, None)]
)
def test_a_newer_version_is_told_apart(decode, stored):
    with pytest.raises(NewerFormatError, match="use the newer one"):
        decode(stored)


@pytest.mark.parametrize("stored", [encode_record(RECORD), encode_origin(ORIGIN), encode_text("text")])
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
