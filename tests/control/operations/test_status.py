"""`status`, from parts made by hand; the daemon's own part: tests/cli/test_status.py."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from multigrey.codec import encode_record
from multigrey.control.operations.status import count_records, newest_change, operations
from multigrey.engine.setup import SourceInfo
from multigrey.errors import StoreError
from multigrey.model import Change, Entry, Record, Table
from multigrey.overrides.mode import Overrides
from tests.support.control import answer, collected, parts
from tests.support.engines import WINDOW


async def _write(house, values) -> None:
    puts = {(Table.RECORD, number.to_bytes(16)): Entry(value, None) for number, value in enumerate(values)}
    await house.store.apply(tuple(puts), lambda _: Change(None, puts, durable=True))


async def test_records_by_state():
    async with parts() as (house, made):
        now = house.clock.now()
        records = [
            Record(now, now, 1),
            Record(now - WINDOW, now, 1),
            Record(now - WINDOW - 1, now, 1),
            Record(now - 9 * WINDOW, now, 1, passed_at=now),
            Record(now, now, 1, passed_at=now, observed=True),
        ]
        await _write(house, [*map(encode_record, records), b"rubbish"])
        told = await answer(collected(operations, made), "status")
    assert told["records"] == {
        "known": 1,
        "waiting": 2,
        "observed": 1,
        "expired": 1,
        "unreadable": 1,
        "total": 6,
        "estimated": False,
    }
    assert told["store"]["records"] == 6
    assert told["running"] is False


async def test_of_very_many_records_some_are_counted(monkeypatch):
    monkeypatch.setattr("multigrey.control.operations.status._MOST_COUNTED", 400)
    async with parts() as (house, _):
        now = house.clock.now()
        records = [Record(now, now, 1), Record(now, now, 1, passed_at=now)] * 500
        await _write(house, map(encode_record, records))
        told = await count_records(house.store, now, WINDOW)
    assert told["estimated"]
    assert (told["known"], told["waiting"], told["total"]) == (500, 500, 1_000)


async def test_a_store_that_fails_is_told_and_the_rest_too(monkeypatch):
    async with parts() as (house, made):

        async def fail(*_: object) -> None:
            raise StoreError("disk gone")

        for name in ("health", "scan", "read"):
            monkeypatch.setattr(house.store, name, fail)
        told = await answer(collected(operations, made), "status")
    assert told["store"] == told["records"] == {"error": "disk gone"}
    assert told["overrides"] == []
    assert told["mode"] == {"configured": "enforce", "in_effect": "enforce"}


async def test_overrides_of_a_stopped_daemon():
    async with parts() as (house, made):
        await Overrides(house.clock, house.store).put("mode", "off", 60, "root")
        told = await answer(collected(operations, made), "status")
    assert [(each["slot"], each["word"], each["by"]) for each in told["overrides"]] == [
        ("mode", "off", "root")
    ]


async def test_lists_in_order_and_whether_they_were_read(tmp_path):
    paths = {name: tmp_path / name for name in ("same", "changed", "gone")}
    for path in paths.values():
        path.write_text("192.0.2.1\n")
        os.utime(path, (1_000, 1_000))
    files = {str(path): newest_change(path) for path in paths.values()}
    os.utime(paths["changed"], (2_000, 2_000))
    paths["gone"].unlink()
    status = {"since": 1, "overrides": [], "files": files}
    async with parts(status=lambda: status) as (house, made):
        sources = [SourceInfo("role-addresses"), *(SourceInfo("list", str(path)) for path in paths.values())]
        house.engine.setup = replace(house.engine.setup, about_sources=tuple(sources))
        told = await answer(collected(operations, made), "status")
    assert told["running"] is True
    assert "files" not in told
    rows = [(row["position"], row["changed"], row["newer_on_disk"], row["missing"]) for row in told["lists"]]
    assert rows == [
        (0, None, False, False),
        (1, 1_000, False, False),
        (2, 2_000, True, False),
        (3, None, False, True),
    ]


@pytest.mark.parametrize("newest", ["a.toml", "b.toml", "."])
def test_a_directory_of_lists_is_as_new_as_its_newest_file(tmp_path, newest):
    for name in ("a.toml", "b.toml", "ignored"):
        (tmp_path / name).write_text("")
    for name in ("a.toml", "b.toml", "."):
        os.utime(tmp_path / name, (1_000, 1_000))
    os.utime(tmp_path / newest, (5_000, 5_000))
    assert newest_change(tmp_path) == 5_000
