"""Group commit: who waits for the disk, and what happens when the disk fails."""

from __future__ import annotations

import logging
import re

import lmdb
import pytest
import trio
import trio.testing
from trio.testing import wait_all_tasks_blocked

from multigrey.errors import StoreError
from multigrey.model import Change, Entry, Table
from multigrey.stores.lmdb import checkpoints, commits
from multigrey.stores.lmdb.store import LmdbStore
from tests.support.stores import FAR, Disk, count, everything, get, key, options, put, running, touch


@pytest.fixture
def disk():
    disk = Disk()
    yield disk
    disk.go()


@pytest.fixture
async def store(tmp_path, disk):
    async with running(LmdbStore(options(tmp_path), commit_hook=disk)) as store:
        yield store
        disk.go()


class Waiters:
    """Calls that run beside the test, and how they ended."""

    def __init__(self, nursery):
        self._nursery = nursery
        self.ended = {}

    def start(self, name, call, *args, **more):
        async def run():
            try:
                self.ended[name] = await call(*args, **more)
            except StoreError as error:
                self.ended[name] = str(error)

        self._nursery.start_soon(run)


@pytest.fixture
def waiters(nursery):
    return Waiters(nursery)


async def until(condition):
    """Wait for what a thread is about to do."""
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110  (what a thread does sets no trio.Event)
            await trio.sleep(0.001)


def lmdb_error(kind, code):
    """As LMDB raises it."""
    error = kind(f"mdb_txn_commit: {code}")
    error.code = code
    return error


async def fail(store, disk, error):
    """One failing commit."""
    disk.error = error
    with pytest.raises(StoreError):
        await put(store, key(999), b"never")


async def test_a_durable_change_waits_and_others_do_not(store, disk, waiters):
    disk.stop()
    waiters.start("durable", put, store, key(1), b"one")
    await put(store, key(2), b"two", durable=False)
    await wait_all_tasks_blocked()
    assert waiters.ended == {}
    assert list(await store.read([key(1), key(2)])) == [b"one", b"two"]
    assert (await store.health())["pending"] == 2
    assert (await store.health())["records"] == 0
    disk.go()
    await until(lambda: "durable" in waiters.ended)
    assert waiters.ended["durable"] is None


async def test_reading_what_is_pending_waits_if_it_must_last(store, disk, waiters):
    disk.stop()
    await put(store, key(1), b"pending", durable=False)
    assert await touch(store, key(1), durable=False) == b"pending"
    waiters.start("pending", touch, store, key(1), durable=True)
    await wait_all_tasks_blocked()
    assert waiters.ended == {}
    assert await touch(store, key(2), durable=True) is None  # nobody's change: nothing to wait for
    disk.go()
    await until(lambda: waiters.ended == {"pending": b"pending"})


async def test_reading_a_pending_deletion_waits_too(store, disk, waiters):
    await put(store, key(1), b"there")
    disk.stop()
    await put(store, key(1), None, durable=False)
    waiters.start("deleted", touch, store, key(1), durable=True)
    await wait_all_tasks_blocked()
    assert waiters.ended == {}
    disk.go()
    await until(lambda: waiters.ended == {"deleted": None})


async def test_what_is_on_disk_is_answered_at_once(store, disk):
    await put(store, key(1), b"there")
    disk.stop()
    await put(store, key(2), b"other", durable=False)
    assert await touch(store, key(1), durable=True) == b"there"


async def test_changes_made_during_a_commit_are_one_batch(store, disk, waiters):
    disk.stop()
    waiters.start("first", count, store, key(1))
    await wait_all_tasks_blocked()
    for name in range(30):
        waiters.start(name, count, store, key(name % 3))
    await wait_all_tasks_blocked()
    before = disk.commits
    disk.go()
    await until(lambda: len(waiters.ended) == 31)
    assert disk.commits == before + 2
    assert waiters.ended["first"] == 1
    assert [await get(store, key(number)) for number in range(3)] == [b"10", b"11", b"10"]


async def test_a_change_nobody_waits_for_is_written_soon(tmp_path, disk, monkeypatch):
    monkeypatch.setattr(commits, "LAZY", 0.01)
    monkeypatch.setattr(checkpoints, "AFTER", 0.01)
    async with running(LmdbStore(options(tmp_path), commit_hook=disk)) as store:
        await put(store, key(1), b"x", durable=False)
        await until(lambda: store._commits.idle)
        assert await everything(store) == {key(1)[1]: b"x"}


async def test_a_change_nobody_waits_for_rides_along(tmp_path, disk, monkeypatch):
    monkeypatch.setattr(commits, "LAZY", 3600)
    async with running(LmdbStore(options(tmp_path), commit_hook=disk)) as store:
        await put(store, key(1), b"x", durable=False)
        await put(store, key(2), b"y")
        assert len(await everything(store)) == 2
        assert disk.commits == 1


async def test_cancelling_writes_what_is_pending(tmp_path, disk, monkeypatch):
    monkeypatch.setattr(commits, "LAZY", 3600)
    async with running(LmdbStore(options(tmp_path), commit_hook=disk)) as store:
        await put(store, key(1), b"x", durable=False)
    async with running(LmdbStore(options(tmp_path))) as store:
        assert await get(store, key(1)) == b"x"


async def test_whoever_waits_at_the_end_is_served(tmp_path, disk, waiters):
    disk.stop()
    async with running(LmdbStore(options(tmp_path), commit_hook=disk)) as store:
        waiters.start("first", put, store, key(1), b"x")
        await wait_all_tasks_blocked()
        waiters.start("second", put, store, key(2), b"y")
        await wait_all_tasks_blocked()
        disk.go()
    await wait_all_tasks_blocked()
    assert waiters.ended == {"first": None, "second": None}


async def test_a_disk_that_hangs_at_the_end_is_given_up(tmp_path, disk, waiters, monkeypatch, caplog):
    monkeypatch.setattr("multigrey.stores.lmdb.store.FLUSH_TIME", 0.05)
    disk.stop()
    async with running(LmdbStore(options(tmp_path), commit_hook=disk)) as store:
        waiters.start("first", put, store, key(1), b"x")
        await wait_all_tasks_blocked()
    await wait_all_tasks_blocked()
    assert waiters.ended == {"first": "the store is closed"}
    assert "did not take everything" in caplog.text


async def test_a_cancelled_waiter_leaves_its_change(store, disk):
    disk.stop()
    with trio.move_on_after(0.01) as scope:
        await put(store, key(1), b"x")
    assert scope.cancelled_caught
    assert await get(store, key(1)) == b"x"
    disk.go()
    assert await touch(store, key(1), durable=True) == b"x"
    assert await everything(store) == {key(1)[1]: b"x"}


async def test_a_failed_commit_fails_everybody_who_came_after(store, disk, waiters):
    await put(store, key(1), b"1")
    disk.stop()
    disk.error = lmdb_error(lmdb.DiskError, 28)
    waiters.start("first", count, store, key(1))
    await wait_all_tasks_blocked()
    waiters.start("on top of it", count, store, key(1))
    waiters.start("beside it", put, store, key(2), b"new")
    waiters.start("reader", touch, store, key(1), durable=True)
    await put(store, key(3), b"lazy", durable=False)
    await wait_all_tasks_blocked()
    assert list(await store.read([key(1), key(2), key(3)])) == [b"3", b"new", b"lazy"]
    disk.go()
    await until(lambda: len(waiters.ended) == 4)
    assert all(re.search("store.mdb: No space left", str(end)) for end in waiters.ended.values()), (
        waiters.ended
    )
    assert list(await store.read([key(1), key(2), key(3)])) == [b"1", None, None]
    health = await store.health()
    assert (health["pending"], health["commit_failures"]) == (0, 1)
    disk.error = None
    assert await count(store, key(1)) == 2
    assert await everything(store) == {key(1)[1]: b"2"}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (lmdb_error(lmdb.DiskError, 28), "No space left on device: make room"),
        (lmdb.MapFullError("x"), "full: raise .store. map_size"),
        (lmdb_error(lmdb.Error, 5), "Input/output error: the file system is full"),
        (lmdb_error(lmdb.Error, 27), "File too large: raise the limit"),
        (OSError(122, "Disk quota exceeded"), "Disk quota exceeded: make room"),
        (lmdb.CorruptedError("page 7"), "damaged .page 7.: start multigrey again, which saves"),
        (lmdb.PanicError("panic"), "panic"),
        (ZeroDivisionError("ours"), "commit failed: ZeroDivisionError"),
    ],
)
async def test_every_failure_is_survived(store, disk, error, words, caplog):
    disk.error = error
    with pytest.raises(StoreError, match=words):
        await put(store, key(1), b"x")
    assert await get(store, key(1)) is None
    disk.error = None
    await put(store, key(1), b"y")
    assert await everything(store) == {key(1)[1]: b"y"}


@pytest.fixture
def autojump_clock():
    """Time jumps when nothing has happened for a while: the commit thread needs a moment."""
    return trio.testing.MockClock(autojump_threshold=0.05)


async def test_failures_are_reported_sparingly(autojump_clock, store, disk, caplog):
    caplog.set_level(logging.WARNING)
    for _ in range(5):
        await fail(store, disk, lmdb_error(lmdb.DiskError, 28))
    failures = [record for record in caplog.records if "No space" in record.message]
    assert 1 <= len(failures) <= 4  # the pauses grow to a second
    disk.error = None
    await put(store, key(1), b"x")
    assert "can be written again, after 5 failures" in caplog.text


async def test_the_queue_is_bounded(store, disk, monkeypatch):
    monkeypatch.setattr(commits, "MOST_PENDING", 10)
    disk.stop()
    for number in range(11):
        await put(store, key(number), b"x", durable=False)
    with pytest.raises(StoreError, match="wait for the disk"):
        await put(store, key(99), b"x", durable=False)
    assert await touch(store, key(3), durable=False) == b"x"
    disk.go()
    assert await touch(store, key(10), durable=True) == b"x"
    with pytest.raises(StoreError, match="11 changes wait for the disk"):  # the journal is no place to stay
        await put(store, key(99), b"x", durable=False)
    await until(lambda: store._commits.idle)
    await put(store, key(99), b"x", durable=False)


async def test_forgetting_sees_what_is_pending(store, disk, monkeypatch):
    monkeypatch.setattr(commits, "LAZY", 3600)
    await put(store, key(1), b"old", until=10)
    await put(store, key(1), b"refreshed", until=100, durable=False)
    assert await store.forget(50, 10) == 0
    assert await everything(store) == {key(1)[1]: b"refreshed"}


async def test_forgetting_goes_on_when_commits_fail(store, disk):
    """It is what makes room on a full disk."""
    await put(store, key(1), b"old", until=10)
    disk.error = lmdb.MapFullError("full")
    await put(store, key(2), b"pending", durable=False)
    assert await store.forget(50, 10) == 1
    assert await get(store, key(1)) is None


async def test_loading_reports_a_failure_in_the_middle(store, disk):
    disk.stop()
    disk.error = lmdb_error(lmdb.DiskError, 28)
    items = {key(number): Entry(b"x", FAR) for number in range(500)}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_and_go, disk)
        with pytest.raises(StoreError, match="No space"):
            await store.load(items, lambda _, new: new)


async def wait_and_go(disk):
    await wait_all_tasks_blocked()
    disk.go()


async def test_entries_of_a_batch_are_all_or_none(store, disk):
    puts = {key(number, table): Entry(b"x", FAR) for number in range(5) for table in Table}
    disk.error = OSError(5, "Input/output error")
    with pytest.raises(StoreError):
        await store.apply([], lambda _: Change(None, puts, durable=True))
    for table in Table:
        assert await everything(store, table) == {}
