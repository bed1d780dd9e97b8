"""Compact and verify, as operations."""

from __future__ import annotations

import pytest

from multigrey.codec import encode_origin, encode_record, encode_reputation, encode_text
from multigrey.contracts import StoreOptions
from multigrey.control.operations.operation import OperationError
from multigrey.control.operations.store import operations
from multigrey.greylist.marks import Mark
from multigrey.greylist.marks import put as put_mark
from multigrey.model import Change, Entry, OriginRecord, Record, Reputation, Table
from multigrey.stores.lmdb.store import LmdbStore
from tests.support.control import answer, collected, items, parts


def _store(tmp_path) -> LmdbStore:
    return LmdbStore(StoreOptions(tmp_path / "state", 2**24))


async def _write(store, rows) -> None:
    puts = {key: Entry(value, None) for key, value in rows.items()}
    await store.apply(tuple(puts), lambda _: Change(None, puts, durable=True))


async def test_a_store_without_a_file_has_nothing_to_compact():
    async with parts() as (_, made):
        with pytest.raises(OperationError, match="no local file"):
            await answer(collected(operations, made), "compact")


async def test_compact_tells_what_it_saved(tmp_path):
    async with parts(_store(tmp_path)) as (house, made):
        rows = {(Table.RECORD, number.to_bytes(16)): b"x" * 500 for number in range(1_000)}
        await _write(house.store, rows)
        await house.store.apply(tuple(rows), lambda _: Change(None, dict.fromkeys(rows), durable=True))
        told = await answer(collected(operations, made), "compact")
        assert told["before"] > told["after"] > 0


async def test_verify_reads_every_row_and_names_those_it_cannot():
    record = encode_record(Record(1, 1, 1))
    rows = {
        (Table.RECORD, bytes(16)): record,
        (Table.RECORD, b"\1" * 16): b"rubbish",
        (Table.RECORD, b"\2" * 16): bytes([record[0], 99]) + record[2:],
        (Table.ORIGIN, bytes(16)): encode_origin(OriginRecord()),
        (Table.ORIGIN, b"\1" * 16): encode_reputation(Reputation()),
        (Table.ORIGIN, b"\2" * 16): record,
        (Table.META, b"blocked/" + bytes(16)): encode_text("192.0.2.1"),
        (Table.META, b"growth/00011574"): encode_text("[[1, 2]]"),
        (Table.META, b"hits/" + bytes(16)): b"rubbish",
        (Table.META, b"names/" + bytes(16)): b"rubbish",
        (Table.META, b"of-somebody-else"): b"rubbish",
        (Table.MARK, bytes(16)): put_mark(None, bytes(16), Mark(1, 300), bytes(6), 1, 100),
        (Table.MARK, b"\1" * 16): b"\1rubbish",
        (Table.MARK, b"\2" * 16): b"\2" + bytes(23),
    }
    async with parts() as (house, made):
        await _write(house.store, rows)
        (told,) = await items(collected(operations, made), "verify")
    assert told["rows"] == {"records": 3, "origins": 3, "meta": 5, "marks": 3}
    assert told["unreadable"] == 9
    assert [(finding["table"], finding["key"]) for finding in told["findings"]] == [
        ("records", "01" * 16),
        ("records", "02" * 16),
        ("origins", "02" * 16),
        ("meta", "growth/" + b"00011574".hex()),
        ("meta", "hits/" + "00" * 16),
        ("meta", "names/" + "00" * 16),
        ("meta", "of-somebody-else"),
        ("marks", "01" * 16),
        ("marks", "02" * 16),
    ]
    assert "has version 99" in told["findings"][1]["problem"]
    assert told["findings"][7]["problem"] == "stored bucket of marks has 8 octets: not 1 to 40 whole marks"
    assert "has version 2" in told["findings"][8]["problem"]


async def test_verify_tells_how_far_it_is_and_stays_bounded():
    async with parts() as (house, made):
        await _write(house.store, {(Table.RECORD, n.to_bytes(16)): b"" for n in range(12_000)})
        *progress, told = await items(collected(operations, made), "verify")
    assert [item["progress"]["rows"] for item in progress] == [5_000, 10_000]
    assert {item["progress"]["of"] for item in progress} == {12_000}
    assert told["unreadable"] == 12_000
    assert len(told["findings"]) == 100
