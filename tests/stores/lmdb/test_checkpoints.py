"""From the journal into LMDB: when, and what happens when one of them is ahead or fails."""

from __future__ import annotations

import logging
import shutil

import lmdb
import pytest
import trio

from multigrey.errors import StoreError
from multigrey.model import Change, Entry, Table
from multigrey.stores.lmdb import checkpoints, commits, environment
from multigrey.stores.lmdb.frames import HEAD_SIZE, Head
from multigrey.stores.lmdb.journal import Journal
from multigrey.stores.lmdb.state_files import StateFiles
from multigrey.stores.lmdb.store import LmdbStore
from tests.support.stores import (
    FAR,
    Disk,
    backed_up,
    count,
    everything,
    get,
    key,
    options,
    put,
    running,
    touch,
)


@pytest.fixture
def disk():
    disk = Disk()
    yield disk
    disk.go()


@pytest.fixture
async def store(tmp_path, disk):
    async with running(LmdbStore(options(tmp_path / "state"), checkpoint_hook=disk)) as store:
        yield store
        disk.go()


def crashed(tmp_path, name="crashed"):
    """The files as a crash now would leave them."""
    return shutil.copytree(tmp_path / "state", tmp_path / name)


def journals(directory) -> list[str]:
    return [path.name for path in StateFiles(directory).journals()]


def in_file(directory) -> int:
    """Records that somebody sees who opens the file alone."""
    with lmdb.open(
        str(directory / "store.mdb"), subdir=False, lib_version=0, readonly=True, max_dbs=8
    ) as env:
        return entries_of(env)


def entries_of(env) -> int:
    database = env.open_db(b"r", create=False)
    with env.begin() as txn:
        return txn.stat(database)["entries"]


async def until(condition):
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110  (what a thread does sets no trio.Event)
            await trio.sleep(0.001)


def broken() -> lmdb.Error:
    error = lmdb.DiskError("mdb_txn_commit: No space left on device")
    error.code = 28
    return error


async def test_a_crash_before_the_checkpoint(store, disk, tmp_path):
    await put(store, key(1), b"x")
    await put(store, key(1), b"y", until=7)
    await put(store, key(2), b"gone")
    await put(store, key(2), None)
    assert disk.commits == 0
    copy = crashed(tmp_path)
    assert journals(copy) == ["store.journal.1"]
    async with running(LmdbStore(options(copy))) as other:
        assert list(await other.read([key(1), key(2)])) == [b"y", None]
        assert await touch(other, key(1), durable=True) == b"y"
        assert await everything(other) == {key(1)[1]: b"y"}
        assert await other.newest() == 7
        assert await count(other, key(3)) == 1
    assert journals(copy) == []
    async with running(LmdbStore(options(copy))) as other:
        assert len(await everything(other)) == 2


async def test_crash_upon_crash(store, tmp_path):
    """The journal is read as often as it takes, and goes on after what it had."""
    for number in range(3):
        await count(store, key(number))
    copy = tmp_path / "state"
    for generation in range(3):
        copy = shutil.copytree(copy, tmp_path / f"crash-{generation}")
        broken_disk = Disk()
        broken_disk.error = broken()
        async with running(LmdbStore(options(copy), checkpoint_hook=broken_disk)) as other:
            assert [await count(other, key(number)) for number in range(3)] == [generation + 2] * 3
        assert in_file(copy) == 0
    async with running(LmdbStore(options(copy))) as other:
        assert set((await everything(other)).values()) == {b"4"}


async def test_a_crash_before_the_journal_is_cut_off(store, tmp_path, monkeypatch):
    """A batch that LMDB has is not taken out of the journal once more."""
    monkeypatch.setattr(Journal, "drop", lambda *_: None)
    await put(store, key(1), b"old", until=5)
    await everything(store)
    old = crashed(tmp_path, "journal")
    await put(store, key(1), b"new")
    await put(store, key(2), b"new", until=5)
    assert await store.forget(6, 10) == 1
    copy = crashed(tmp_path)
    for path in StateFiles(copy).journals():
        path.unlink()
    for path in StateFiles(old).journals():
        shutil.copy(path, copy)
    async with running(LmdbStore(options(copy))) as other:
        assert journals(copy) == []
        assert await everything(other) == {key(1)[1]: b"new"}


async def test_a_journal_beside_a_new_file(store, tmp_path):
    """As when a damaged file was moved away."""
    await put(store, key(1), b"x")
    copy = crashed(tmp_path)
    (copy / "store.mdb").unlink()
    async with running(LmdbStore(options(copy))) as other:
        assert await everything(other) == {key(1)[1]: b"x"}


async def test_damage_is_told_at_the_start(store, tmp_path, caplog):
    for number in range(3):
        await put(store, key(number), b"x" * 10)
    copy = crashed(tmp_path)
    path = copy / "store.journal.1"
    data = bytearray(path.read_bytes())
    data[HEAD_SIZE + 30] ^= 1
    path.write_bytes(data)
    async with running(LmdbStore(options(copy))) as other:
        assert len(await everything(other)) == 2
    assert f"{path}: damaged at offset {HEAD_SIZE}: 1 batch is lost" in caplog.text


async def test_a_journal_of_a_later_version(store, tmp_path):
    await put(store, key(1), b"x")
    copy = crashed(tmp_path)
    path = copy / "store.journal.1"
    data = Head(1, 1).packed(version=2) + b"whatever"
    path.write_bytes(data)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"store\.journal\.1: written by a later multigrey"):
            await LmdbStore(options(copy)).run()
    assert path.read_bytes() == data


async def test_what_cannot_be_read(tmp_path):
    (tmp_path / "store.journal.1").mkdir()
    with pytest.raises(StoreError, match=r"store\.journal: Is a directory"):
        await LmdbStore(options(tmp_path)).run()


async def test_an_orderly_end_leaves_it_to_the_file(tmp_path, disk):
    async with running(LmdbStore(options(tmp_path), checkpoint_hook=disk)) as store:
        for number in range(20):
            await put(store, key(number), b"x", durable=number % 2 > 0)
        assert disk.commits == 0
    assert journals(tmp_path) == []
    assert in_file(tmp_path) == 20


async def test_an_end_while_the_disk_fails_leaves_it_to_the_journal(tmp_path, disk, caplog):
    async with running(LmdbStore(options(tmp_path), checkpoint_hook=disk)) as store:
        await put(store, key(1), b"x")
        disk.error = broken()
    assert "the next start reads from the journal what is not in the file" in caplog.text
    assert in_file(tmp_path) == 0
    async with running(LmdbStore(options(tmp_path))) as store:
        assert await get(store, key(1)) == b"x"
    assert in_file(tmp_path) == 1


async def test_a_checkpoint_that_ends_halfway(tmp_path, disk, monkeypatch):
    """It is made of several transactions; what the first ones wrote stands in the journal as well."""
    monkeypatch.setattr(environment, "_AT_ONCE", 3)
    async with running(LmdbStore(options(tmp_path / "state"), checkpoint_hook=disk)) as store:
        await put(store, key(7), b"old")
        await everything(store)
        for number in range(10):
            await put(store, key(number), b"new %d" % number)
        disk.error = broken()
        with pytest.raises(StoreError):
            await store._checkpoints.done()
        copy = crashed(tmp_path)
        assert in_file(copy) in {9, 10}  # nine, and the tenth if it is the one that was there
        disk.error = None
    async with running(LmdbStore(options(copy))) as other:
        assert await everything(other) == {key(number)[1]: b"new %d" % number for number in range(10)}
        assert [await get(other, key(number)) for number in range(10)] == [b"new %d" % n for n in range(10)]
    assert journals(copy) == []
    assert in_file(copy) == 10


async def test_when_there_is_enough(store, disk, monkeypatch):
    monkeypatch.setattr(checkpoints, "ENTRIES", 10)
    for number in range(9):
        await put(store, key(number), b"x")
    assert (await everything_in(store)) == 0
    await put(store, key(9), b"x")
    await until(lambda: store._commits.idle)
    assert (await everything_in(store)) == 10


async def everything_in(store) -> int:
    """How many records LMDB has."""
    return await store._holder.aside(lambda opened: entries_of(opened.env))


async def test_after_some_time(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "AFTER", 0.01)
    async with running(LmdbStore(options(tmp_path))) as store:
        await put(store, key(1), b"x")
        await until(lambda: store._commits.idle)
        assert (await everything_in(store)) == 1


async def test_nothing_waits_for_a_checkpoint(store, disk):
    await put(store, key(1), b"x")
    disk.stop()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(everything, store)
        await until(lambda: store._checkpoints._closed is not None)
        with trio.fail_after(10):
            assert [await count(store, key(2)) for _ in range(5)] == [1, 2, 3, 4, 5]
            assert await get(store, key(1)) == b"x"
            await put(store, key(1), b"y")
            assert await get(store, key(1)) == b"y"
            assert (await store.health())["journaled"] == 3
        disk.go()
    assert await everything(store) == {key(1)[1]: b"y", key(2)[1]: b"5"}
    health = await store.health()
    assert (health["journaled"], health["journal"]) == (0, 0)
    assert health["last_checkpoint_us"] > 0


class Rests:
    """An event that is never set, and how long it was waited for."""

    def __init__(self) -> None:
        self.seconds = []
        self.hurry = False

    def wait(self, seconds):
        self.seconds.append(seconds)

    def set(self):
        self.hurry = True

    def clear(self):
        self.hurry = False


async def test_a_checkpoint_nobody_waits_for_rests_between_its_pieces(store, monkeypatch):
    taken = iter([0.0, 0.002, 0.002, 9.0, 9.0])
    monkeypatch.setattr("multigrey.stores.lmdb.checkpoints.thread_time", lambda: next(taken))
    rests = store._checkpoints._hurry = Rests()
    breathe = store._checkpoints.breather()
    breathe()
    breathe()
    assert rests.seconds == [pytest.approx(0.008), checkpoints._LONGEST_REST]


async def test_whoever_waits_for_a_checkpoint_lets_it_hurry(store, disk):
    await put(store, key(1), b"x")
    hurry = store._checkpoints._hurry
    disk.stop()
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(store._checkpoints.done)
        await until(lambda: store._checkpoints._closed is not None)
        assert hurry.is_set()
        disk.go()
    assert not hurry.is_set()


async def test_a_checkpoint_of_many_pieces_rests_after_each(store, monkeypatch):
    rests = store._checkpoints._hurry = Rests()
    puts = {key(number): Entry(b"x", FAR + number) for number in range(600)}
    await store.apply([], lambda _: Change(None, puts, durable=True))
    await store._checkpoints.done()
    assert len(rests.seconds) == 6  # 600 entries, 600 rows of the time index, in pieces of 250
    assert len(await everything(store)) == 600


async def test_nothing_is_lost_while_checkpoints_fail(store, disk, caplog, monkeypatch, tmp_path):
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr("multigrey.stores.lmdb.batches._LONGEST_PAUSE", 0.05)
    await put(store, key(1), b"1")
    await everything(store)
    disk.error = broken()
    assert await count(store, key(1)) == 2
    for call in (lambda: everything(store), lambda: backed_up(store, tmp_path / "none")):
        with pytest.raises(StoreError, match=r"store\.mdb: No space left on device: make room"):
            await call()
    assert await count(store, key(1)) == 3
    await put(store, key(2), None)
    assert await store.forget(5, 10) == 0
    assert await store.newest() == FAR
    health = await store.health()
    assert health["commit_failures"] == health["pending"] == 0
    assert health["checkpoint_failures"] >= 2
    assert health["journaled"] == 2
    assert "No space left on device: make room on that file system (entries that stay in" in caplog.text
    disk.error = None
    assert await everything(store) == {key(1)[1]: b"3"}
    assert "the file of the store can be written again, after" in caplog.text
    warnings = [record for record in caplog.records if "No space" in record.message]
    assert len(warnings) <= 1 + health["checkpoint_failures"] // 2


async def test_the_overlay_is_bounded_while_checkpoints_fail(store, disk, monkeypatch):
    monkeypatch.setattr(commits, "MOST_PENDING", 10)
    disk.error = broken()
    for number in range(11):
        await put(store, key(number), b"x")
    with pytest.raises(StoreError, match=r"store\.mdb: No space left"):
        await put(store, key(99), b"x")
    disk.error = None
    await until(lambda: store._commits.idle)
    await put(store, key(99), b"x")
    assert len(await everything(store)) == 12


async def test_a_store_whose_checkpoints_do_not_keep_up_says_so_and_takes_more(store, disk, monkeypatch):
    monkeypatch.setattr("multigrey.stores.lmdb.store.LAGGING", 10)
    disk.stop()
    for number in range(10):
        await put(store, key(number), b"x")
    assert not store.lags
    await put(store, key(10), b"x")
    assert store.lags
    assert store.records >= 11
    await put(store, key(11), b"x")
    disk.go()
    await until(lambda: not store.lags)


async def test_a_failed_sync_of_the_journal_hurries_the_checkpoint(tmp_path, disk):
    async with running(LmdbStore(options(tmp_path), commit_hook=disk)) as store:
        await put(store, key(1), b"x")
        disk.error = OSError(5, "x")
        with pytest.raises(StoreError, match=r"store\.journal: Input/output error"):
            await put(store, key(2), b"x")
        disk.error = None
        await until(lambda: store._commits.idle)
        assert (await everything_in(store)) == 1
        await put(store, key(3), b"x")
        assert len(await everything(store)) == 2


async def test_backup_has_what_is_in_the_journal(store, tmp_path):
    for number in range(10):
        await put(store, key(number), b"x", durable=number % 2 > 0)
    assert await backed_up(store, tmp_path / "restored") == ["store.mdb"]
    assert in_file(tmp_path / "restored") == 10


async def test_loading_more_than_the_overlay_may_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(commits, "MOST_PENDING", 5_000)
    monkeypatch.setattr("multigrey.stores.lmdb.store._LOAD_COLLECTED", 2_000)
    items = {key(number, Table.ORIGIN): Entry(b"%d" % number, FAR) for number in range(12_000)}
    async with running(LmdbStore(options(tmp_path))) as store:
        assert await store.load(items, lambda _, new: new) == 12_000
        assert await store.load(items, lambda old, new: old or new) == 0
        assert len(await everything(store, Table.ORIGIN, 5000)) == 12_000
    assert journals(tmp_path) == []
