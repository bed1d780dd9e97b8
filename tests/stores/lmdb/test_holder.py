"""The store's file, while it is opened anew in the middle of everything."""

from __future__ import annotations

import lmdb
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from multigrey.errors import StoreError
from multigrey.stores.lmdb.store import LmdbStore
from tests.support.stores import Disk, everything, get, key, options, put, running


@pytest.fixture
def disk():
    disk = Disk()
    yield disk
    disk.go()


async def test_after_a_panic_the_file_is_opened_again(tmp_path, disk):
    async with running(LmdbStore(options(tmp_path), checkpoint_hook=disk)) as store:
        await put(store, key(1), b"x")
        moved = tmp_path / "elsewhere"
        data = tmp_path / "store.mdb"
        data.rename(moved)
        data.write_bytes(b"not a store")
        disk.error = lmdb.PanicError("panic")
        with pytest.raises(StoreError, match="not an LMDB file"):
            await everything(store)
        disk.error = None
        with pytest.raises(StoreError, match="not an LMDB file"):
            await get(store, key(1))
        data.unlink()
        moved.rename(data)
        with trio.fail_after(10):
            while True:
                try:
                    assert await get(store, key(1)) == b"x"
                    break
                except StoreError:
                    await trio.sleep(0.01)
        await put(store, key(1), b"y")
        assert await everything(store) == {key(1)[1]: b"y"}


async def test_it_is_not_closed_under_somebody_who_reads(tmp_path):
    reading, go = trio.Event(), trio.Event()

    def slow(opened):
        trio.from_thread.run_sync(reading.set)
        trio.from_thread.run(go.wait)
        return opened.used()

    async with running(LmdbStore(options(tmp_path))) as store, trio.open_nursery() as nursery:
        await put(store, key(1), b"x")
        nursery.start_soon(store._holder.aside, slow)
        await reading.wait()
        nursery.start_soon(store.compact)
        await wait_all_tasks_blocked()
        assert await get(store, key(1)) == b"x"
        go.set()
    async with running(LmdbStore(options(tmp_path))) as store:
        assert await get(store, key(1)) == b"x"


async def test_readers_are_checked_hourly(tmp_path, autojump_clock):
    async with running(LmdbStore(options(tmp_path))) as store:
        checked = []
        aside = store._holder.aside

        async def watch(work, *more):
            checked.append(trio.current_time())
            return await aside(work, *more)

        store._holder.aside = watch
        began = trio.current_time()
        await trio.sleep(3601)
        assert [round(time - began) for time in checked] == [3600]
