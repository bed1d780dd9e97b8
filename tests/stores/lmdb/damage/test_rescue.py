"""Damaged stores by the dozen: none of them ends the process that opens it, and what is whole is there."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest
import trio

from multigrey.errors import StoreError
from multigrey.model import Entry, Key, Table
from multigrey.stores.lmdb.damage import rescue as rescue_module
from multigrey.stores.lmdb.damage.child import NoProcessError, run
from multigrey.stores.lmdb.damage.pages import Pages
from multigrey.stores.lmdb.damage.rescue import keep_damaged, rescue, walk
from multigrey.stores.lmdb.journal import read_journal
from multigrey.stores.lmdb.state_files import DamagedStoreError, StateFiles
from multigrey.stores.lmdb.store import LmdbStore
from tests.support.damage import (
    MAP_SIZE,
    PAGE,
    damage,
    digest,
    fill,
    read_unprotected,
    rows_of,
    walk_as_the_daemon_does,
)
from tests.support.stores import FAR, get, key, options, put, running

SEEDS = int(os.environ.get("MULTIGREY_DAMAGED_STORES", "30"))
A_LEAF = 120
"""More rows than a leaf of any table holds."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[bytes, dict[Key, Entry]]:
    directory = tmp_path_factory.mktemp("whole")
    entries = fill(directory)
    return (directory / "store.mdb").read_bytes(), entries


@pytest.fixture
def files(tmp_path: Path, whole) -> StateFiles:
    files = StateFiles(tmp_path)
    files.data.write_bytes(whole[0])
    return files


def rescued(files: StateFiles) -> list[tuple[float, str]]:
    told: list[tuple[float, str]] = []
    rescue(files, MAP_SIZE, "two starts died", lambda seconds, what: told.append((seconds, what)))
    return told


def ruin(files: StateFiles) -> None:
    """The root of the records becomes zeros."""
    data = bytearray(files.data.read_bytes())
    with files.data.open("rb") as file:
        page = Pages(file.fileno()).tables[Table.RECORD.value]
    data[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)
    files.data.write_bytes(data)


def ends_a_reader(files: StateFiles, whole: bytes) -> None:
    """Damage the store so that LMDB ends by a signal (found by looking)."""
    for seed in range(200):
        files.data.write_bytes(whole)
        damage(files.data, seed)
        if read_unprotected(files.data) < 0:
            return
    pytest.fail("no damage ends a reader by a signal")


def test_damaged_stores_by_the_dozen(tmp_path, whole):
    data, entries = whole
    unprotected: Counter[int] = Counter()
    lost: list[int] = []
    for seed in range(SEEDS):
        files = StateFiles(tmp_path / str(seed))
        files.directory.mkdir()
        files.data.write_bytes(data)
        what = damage(files.data, seed)
        unprotected[read_unprotected(files.data)] += 1
        rescued(files)
        assert read_unprotected(files.data) == 0, (seed, what)
        found = rows_of(files)
        wrong = sum(found.get(each) != entry for each, entry in entries.items())
        assert wrong <= A_LEAF * (what.count(",") + 1), (seed, what)
        lost.append(wrong)
    # The negative control: the same stores do end a process that is not protected.
    assert any(status < 0 for status in unprotected), unprotected
    assert sum(lost) < len(entries) * SEEDS / 50, lost


def test_every_walk_over_a_damaged_store_has_an_end(tmp_path, whole):
    """What the daemon does all day: it raises lmdb.Error, or a signal ends it, or it comes to an end."""
    ends: Counter[int] = Counter()
    for seed in range(SEEDS):
        files = StateFiles(tmp_path / str(seed))
        files.directory.mkdir()
        files.data.write_bytes(whole[0])
        damage(files.data, seed)
        ends[walk_as_the_daemon_does(files.directory)] += 1
    assert all(status <= 0 for status in ends), ends


def test_a_sound_store_stays_as_it_is(files, whole, caplog):
    assert [what for _, what in rescued(files)] == ["walking store.mdb"]
    assert files.data.read_bytes() == whole[0]
    assert files.all_damaged() == []
    assert "two starts died: it is walked first, which may take 30 s" in caplog.text


@pytest.mark.parametrize(("place", "number"), [(8, 1 << 40), (32, 1 << 20)])
async def test_counts_that_cannot_be_are_damage(files, whole, place, number):
    """Nothing else notices: the store would be full, or records would be evicted."""
    data = bytearray(files.data.read_bytes())
    with files.data.open("rb") as file:
        root = Pages(file.fileno()).tables[Table.RECORD.value]
    end = b"".join(each.to_bytes(8, sys.byteorder) for each in (3_000, root))
    for record in (match.start() - 32 for match in re.finditer(re.escape(end), bytes(data))):
        data[record + place : record + place + 8] = number.to_bytes(8, sys.byteorder)
    files.data.write_bytes(data)
    assert read_unprotected(files.data) == 0
    with pytest.raises(ExceptionGroup) as refused:
        async with running(LmdbStore(options(files.directory))):
            pass
    assert refused.group_contains(DamagedStoreError, match="tables claim more than the file holds")
    assert "damage: " in files.starts.read_text()
    rescued(files)
    assert rows_of(files) == whole[1]


def test_there_is_no_store_yet(tmp_path):
    assert rescued(StateFiles(tmp_path)) == []


def test_a_damaged_store_is_moved_aside_and_its_rows_are_saved(files, whole, caplog):
    ends_a_reader(files, whole[0])
    before = files.data.read_bytes()
    told = rescued(files)
    assert [what for _, what in told] == ["walking store.mdb", "saving store.mdb"]
    assert all(seconds >= 30 for seconds, _ in told)
    assert files.damaged(1).read_bytes() == before
    assert len(rows_of(files)) > len(whole[1]) * 0.8
    (error,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert f"{files.data}: damaged (" in error
    assert f"moved to {files.damaged(1)}; rows saved: " in error


def test_a_file_that_is_not_ours_stays_where_it_is(tmp_path, caplog):
    files = StateFiles(tmp_path)
    files.data.write_bytes(b"somebody's letters" * 1_000)
    rescued(files)
    assert files.data.exists()
    assert files.all_damaged() == []
    assert "not an LMDB file" in caplog.text


def test_what_is_left_when_saving_ends_early_is_used_if_it_is_whole(files, whole, monkeypatch, caplog):
    """As when its time is over: everything but the last table was written."""
    ruin(files)

    def breaks_off(job, about, within):
        found = run(job, about, within)
        if job[0] == "save":
            raise StoreError("the time was over")
        return found

    monkeypatch.setattr(rescue_module, "run", breaks_off)
    rescued(files)
    assert "a part was saved (the time was over)" in caplog.text
    assert rows_of(files)


def test_nothing_can_be_saved(files, monkeypatch, caplog):
    ruin(files)

    def fails(job, about, within):
        if job[0] == "save":
            raise NoProcessError("no room")
        return run(job, about, within)

    monkeypatch.setattr(rescue_module, "run", fails)
    rescued(files)
    assert "nothing could be saved (no room): every sender is new once" in caplog.text
    assert rows_of(files) == {}
    assert files.damaged(1).exists()


def test_a_walk_that_takes_too_long_changes_nothing(files, monkeypatch, caplog):
    ruin(files)
    monkeypatch.setattr(rescue_module, "seconds_for", lambda path: 0.0)
    assert walk(files.data, "why") == ""
    assert "not read within 0 s: it is used as it is" in caplog.text


def test_few_damaged_files_are_kept(files):
    for _ in range(5):
        keep_damaged(files)
    assert [path.name for path in files.all_damaged()] == [f"store.damaged.{n}" for n in (3, 4, 5)]


def test_the_journal_is_replayed_over_what_was_saved(files, whole):
    """Rows of the last seconds were on the damaged page, or not in the file at all."""
    number = next(n for n in range(3_000) if (Table.RECORD, digest(n)) in whole[1])

    async def write() -> None:
        store = LmdbStore(options(files.directory))
        async with running(store):
            await put(store, (Table.RECORD, digest(number)), b"newer", FAR)
            await put(store, key(7), b"new", FAR)
            segments = {path: path.read_bytes() for path in files.journals()}
        for path, data in segments.items():  # as if it had died
            path.write_bytes(data)

    async def read() -> list[bytes | None]:
        store = LmdbStore(options(files.directory))
        async with running(store):
            return [await get(store, (Table.RECORD, digest(number))), await get(store, key(7))]

    trio.run(write)
    ends_a_reader(files, files.data.read_bytes())
    rescued(files)
    assert read_journal(files, 0).puts
    assert trio.run(read) == [b"newer", b"new"]


class TestRunning:
    """A store that is open: damage is found by a process of its own, and said."""

    async def test_a_walk_finds_it_and_the_next_start_knows(self, files, whole):
        async with running(store := LmdbStore(options(files.directory))):
            await store.walk()
            assert (await store.health())["damaged"] == ""
        ends_a_reader(files, files.data.read_bytes())
        async with running(store := LmdbStore(options(files.directory))):
            for work in (store.walk, store.compact, lambda: anext(store.backup())):
                with pytest.raises(DamagedStoreError, match=r"damaged .*: start multigrey again"):
                    await work()
            assert str((await store.health())["damaged"]).startswith(f"{files.data}: damaged (")
        assert "damage: " in files.starts.read_text()

    async def test_what_was_moved_aside_is_said_until_it_is_deleted(self, files, whole):
        ends_a_reader(files, whole[0])
        rescued(files)
        async with running(store := LmdbStore(options(files.directory))):
            assert f"moved aside as {files.damaged(1)}" in str((await store.health())["damaged"])
            files.damaged(1).unlink()
            assert (await store.health())["damaged"] == ""

    async def test_a_walk_without_a_process_goes_on(self, files, monkeypatch, caplog):
        monkeypatch.setattr("sys.executable", "/nonexistent")
        async with running(store := LmdbStore(options(files.directory))):
            await store.walk()
        assert "no process can be started: No such file or directory: it is read in this one" in caplog.text


def test_signals_of_the_parent_are_not_the_child_s(files):
    """SIGTERM has a handler while the daemon waits; the child must not run it."""
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert run(("walk", str(files.data)), files.data, 30.0)["rows"] > 0
