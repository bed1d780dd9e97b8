"""The LMDB store's files: what it refuses, what it survives."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from shutil import rmtree

import lmdb
import pytest
import trio

from multigrey.contracts import LocalStore
from multigrey.errors import StoreError
from multigrey.model import Entry, Table
from multigrey.stores.lmdb.store import LmdbStore
from tests.support.stores import FAR, backed_up, count, everything, get, key, options, put, running, touch

ROOT = Path(__file__).resolve().parents[3]
CHILD = """
import resource, sys, lmdb, trio
from pathlib import Path
from multigrey.errors import StoreError
from multigrey.model import Table
from multigrey.stores.lmdb.store import LmdbStore
from tests.support.stores import count, everything, get, key, options, put, running
directory = Path(sys.argv[1])
async def opened():
    async with running(LmdbStore(options(directory))) as store:
        await work(store)
"""
HOLD = """
async def work(store):
    await put(store, key(1), b"x")
    print("open", flush=True)
    await trio.sleep_forever()
trio.run(opened)
"""


def child(code: str, *arguments: object, **more) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD + code, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def outcome(code: str, *arguments: object, **more) -> str:
    process = child(code, *arguments, **more)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    return out


async def fill(directory: Path, number: int = 500) -> None:
    async with running(LmdbStore(options(directory))) as store:
        await store.load({key(n): Entry(b"x" * 100, FAR) for n in range(number)}, lambda _, new: new)


async def refused(directory: Path) -> str:
    with pytest.raises(StoreError) as caught:
        await LmdbStore(options(directory)).run()
    return str(caught.value)


async def test_it_is_a_local_store(tmp_path):
    assert isinstance(LmdbStore(options(tmp_path)), LocalStore)


async def test_missing_directories_are_made_for_us_alone(tmp_path):
    directory = tmp_path / "deep" / "state"
    mask = os.umask(0)
    try:
        async with running(LmdbStore(options(directory))) as store:
            await put(store, key(1), b"x")
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    finally:
        os.umask(mask)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    names = ["lock", "store.journal.1", "store.mdb", "store.mdb-lock"]
    assert modes == dict.fromkeys(names, 0o600)


async def test_everything_is_there_after_opening_again(tmp_path):
    await fill(tmp_path)
    async with running(LmdbStore(options(tmp_path))) as store:
        assert len(await everything(store)) == 500
        assert await store.newest() == FAR
        assert await store.forget(FAR, 1000) == 0
        assert await store.forget(FAR + 1, 1000) == 500


async def test_the_format_is_the_one_others_read(tmp_path, monkeypatch):
    await fill(tmp_path)
    with lmdb.open(str(tmp_path / "store.mdb"), subdir=False, lib_version=0, max_dbs=8, readonly=True) as env:
        assert sorted(env.dbs()) == [b"due", b"k", b"layout", b"m", b"o", b"r"]


async def test_another_lmdb_format(tmp_path):
    lmdb.open(str(tmp_path / "store.mdb"), subdir=False, lib_version=1).close()
    text = await refused(tmp_path)
    assert text.startswith(f"{tmp_path}/store.mdb: LMDB data format 3, this multigrey uses 1: ")


async def test_somebody_elses_lmdb_file(tmp_path):
    lmdb.open(str(tmp_path / "store.mdb"), subdir=False, lib_version=0).close()
    assert "an LMDB file, but not multigrey's: move it away" in await refused(tmp_path)


async def test_a_later_layout(tmp_path):
    await fill(tmp_path)
    with lmdb.open(str(tmp_path / "store.mdb"), subdir=False, lib_version=0, max_dbs=8) as env:
        layout = env.open_db(b"layout", create=False)
        with env.begin(write=True) as txn:
            txn.put(b"version", b"4", db=layout)
    assert "written by a later multigrey (layout 4, this one knows 3)" in await refused(tmp_path)


def make_older(path: Path) -> None:
    """As a multigrey without marks left it."""
    with lmdb.open(str(path), subdir=False, lib_version=0, max_dbs=8) as env:
        layout, marks = env.open_db(b"layout", create=False), env.open_db(b"k", create=False)
        with env.begin(write=True) as txn:
            txn.drop(marks)
            txn.put(b"version", b"1", db=layout)


async def test_a_store_of_before_there_were_marks(tmp_path):
    await fill(tmp_path)
    make_older(tmp_path / "store.mdb")
    for number in range(2):
        async with running(LmdbStore(options(tmp_path))) as store:
            assert await get(store, key(7)) == b"x" * 100
            await put(store, key(number, Table.MARK), b"marks")
            health = await store.health()
            assert (health["records"], health["marks"]) == (500, number + 1)
    with lmdb.open(str(tmp_path / "store.mdb"), subdir=False, lib_version=0, max_dbs=8, readonly=True) as env:
        layout = env.open_db(b"layout", create=False)
        with env.begin() as txn:
            assert txn.get(b"version", db=layout) == b"3"


async def test_a_backup_of_before_there_were_marks_is_upgraded_too(tmp_path):
    target = tmp_path / "restored" / "store.mdb"
    await fill(tmp_path / "state")
    async with running(LmdbStore(options(tmp_path / "state"))) as store:
        await backed_up(store, target.parent)
    make_older(target)
    async with running(LmdbStore(options(target.parent))) as store:
        await store.compact()
        assert await count(store, key(1, Table.MARK)) == 1
        assert len(await everything(store)) == 500


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "store.mdb: empty: "),
        (b"hello", "store.mdb: not an LMDB file: "),
        (os.urandom(100_000), "store.mdb: not an LMDB file: "),
        (b"SQLite format 3\0" * 1000, "store.mdb: not an LMDB file: "),
    ],
)
async def test_not_a_store(tmp_path, content, words):
    path = tmp_path / "store.mdb"
    path.write_bytes(content)
    text = await refused(tmp_path)
    assert words in text
    assert text.endswith("put a backup in its place, or move it away to start empty")
    assert path.read_bytes() == content
    path.unlink()
    async with running(LmdbStore(options(tmp_path))) as store:
        assert await count(store, key(1)) == 1


@pytest.mark.parametrize("size", [100, 4096, 4200, 8192, 12288, 50_000, -4096])
async def test_a_file_cut_short(tmp_path, size):
    """LMDB would open most of these, and then end the process with SIGBUS."""
    await fill(tmp_path)
    path = tmp_path / "store.mdb"
    assert path.stat().st_size > 60_000
    os.truncate(path, size % path.stat().st_size)
    assert "store.mdb: damaged (" in await refused(tmp_path)


async def test_a_page_of_noise(tmp_path):
    await fill(tmp_path)
    path = tmp_path / "store.mdb"
    content = bytearray(path.read_bytes())
    content[2 * 4096 :] = b"\xa5" * (len(content) - 2 * 4096)
    path.write_bytes(content)
    assert "store.mdb: damaged (" in await refused(tmp_path)


async def test_one_meta_page_of_noise(tmp_path):
    await fill(tmp_path)
    with (tmp_path / "store.mdb").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 4096)
    assert "store.mdb: damaged (its meta pages are wrong)" in await refused(tmp_path)


async def test_missing_pages_that_nobody_needs(tmp_path):
    """LMDB need not write pages at the end of the file that a transaction frees again."""
    await fill(tmp_path, 3000)
    async with running(LmdbStore(options(tmp_path))) as store:
        assert await store.forget(FAR + 1, 3000) == 3000
        for _ in range(5):  # the free pages at the beginning are used again
            await put(store, key(1), b"still here")
        size = (await store.health())["file"]
    os.truncate(tmp_path / "store.mdb", size - 4096)
    async with running(LmdbStore(options(tmp_path))) as store:
        assert await get(store, key(1)) == b"still here"
        await store.load({key(n): Entry(b"x" * 100, FAR) for n in range(5000)}, lambda _, new: new)
        assert len(await everything(store, limit=1000)) == 5000


async def test_a_store_that_was_being_made(tmp_path):
    """After kill -9 during the first start."""
    for name in ("store.mdb.new", "store.mdb.new-lock", "store.mdb-lock", "lock"):
        (tmp_path / name).write_bytes(b"1")
    async with running(LmdbStore(options(tmp_path))) as store:
        assert await count(store, key(1)) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "store.mdb", "store.mdb-lock"]


async def test_second_opener_in_this_process(tmp_path):
    async with running(LmdbStore(options(tmp_path))) as store:
        text = await refused(tmp_path)
        assert text.startswith(f"{tmp_path} is in use by another multigrey (process {os.getpid()}): ")
        await put(store, key(1), b"x")
    await fill(tmp_path, 1)


async def test_second_opener_in_another_process_and_after_kill_9(tmp_path):
    process = child(HOLD, tmp_path)
    try:
        assert process.stdout.readline() == "open\n"
        text = await refused(tmp_path)
        assert text.startswith(f"{tmp_path} is in use by another multigrey (process {process.pid}): ")
    finally:
        process.kill()
        process.communicate()
    async with running(LmdbStore(options(tmp_path))) as store:
        assert await get(store, key(1)) == b"x"


READER = """
env = lmdb.open(str(directory / "store.mdb"), subdir=False, lib_version=0, readonly=True, max_dbs=8)
txn = env.begin()
print("reading", flush=True)
sys.stdin.read()
print(txn.stat(env.open_db(b"r", txn=txn, create=False))["entries"], flush=True)
"""


def reader(directory: Path) -> subprocess.Popen[str]:
    """Somebody who looks at the store, as mdb_stat does, until told to go on."""
    process = child(READER, directory, stdin=subprocess.PIPE)
    assert process.stdout.readline() == "reading\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


async def test_readers_that_were_killed_are_cleared(tmp_path):
    """Their slots would keep pages from being used again, and the file would grow."""
    await fill(tmp_path, 1)
    alive, dead = reader(tmp_path), reader(tmp_path)
    kill(dead)
    async with running(LmdbStore(options(tmp_path))) as store:
        env = store._holder.opened.env
        assert str(alive.pid) in env.readers()
        assert str(dead.pid) not in env.readers()
        kill(alive)
        assert str(alive.pid) in env.readers()
        await store._holder.aside(lambda opened: opened.env.reader_check())
        assert str(alive.pid) not in env.readers()


@pytest.mark.parametrize("deleted", [4, 5])
async def test_compacting_beside_a_reader(tmp_path, deleted):
    """It keeps what it saw, and does not disturb us.

    With the old lock file LMDB would take every other transaction number for an empty store.
    """
    await fill(tmp_path, 2000)
    async with running(LmdbStore(options(tmp_path))) as store:
        for number in range(deleted):
            await put(store, key(number), None)
        await everything(store)  # has them put into the file
        process = reader(tmp_path)
        await store.compact()
        for number in range(20):
            await put(store, key(number, Table.ORIGIN), b"x")
            assert len(await everything(store, Table.ORIGIN)) == number + 1
        out, _ = process.communicate("")
        assert out == f"{2000 - deleted}\n"
        assert len(await everything(store, limit=1000)) == 2000 - deleted
    async with running(LmdbStore(options(tmp_path))) as store:
        assert len(await everything(store, limit=1000)) == 2000 - deleted
        assert len(await everything(store, Table.ORIGIN)) == 20


UNPRIVILEGED = """
import os
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
async def main():
    try:
        await LmdbStore(options(directory)).run()
    except StoreError as error:
        print(error)
trio.run(main)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="gives up root in a child")
@pytest.mark.parametrize("names", [[], ["lock"], ["store.mdb"], ["lock", "store.mdb"]])
async def test_a_directory_of_somebody_else(tmp_path_factory, names):
    directory = tmp_path_factory.mktemp("state")
    await fill(directory, 1)
    for path in (directory, *directory.parents[:2]):
        path.chmod(0o755)
    (directory / "store.mdb-lock").unlink()
    for name in ("lock", "store.mdb"):
        if name in names:
            os.chown(directory / name, 65534, 65534)
    text = outcome(UNPRIVILEGED, directory)
    assert "Permission denied: it must belong to the user multigrey runs as" in text
    assert str(directory) in text


async def test_a_file_in_place_of_the_directory(tmp_path):
    path = tmp_path / "state"
    path.write_text("")
    assert await refused(path) == f"{path}: File exists"
    assert await refused(path / "below") == f"{path}/below: Not a directory"


async def test_a_directory_in_place_of_the_file(tmp_path):
    (tmp_path / "store.mdb").mkdir()
    assert await refused(tmp_path) == f"{tmp_path}/store.mdb: Is a directory"


async def test_more_address_space_than_there_is(tmp_path):
    with pytest.raises(StoreError, match=r"Cannot allocate memory: lower \[store\] map_size"):
        await LmdbStore(options(tmp_path, 1 << 50)).run()


async def put_until_refused(store):
    for begin in range(0, 1_000_000, 100):
        items = {key(n): Entry(b"x" * 300, n) for n in range(begin, begin + 100)}
        await store.load(items, lambda _, new: new)


async def test_a_full_map_refuses_until_there_is_room(tmp_path):
    async with running(LmdbStore(options(tmp_path, 1 << 20))) as store:
        with pytest.raises(StoreError, match=r"store\.mdb: full: raise \[store\] map_size"):
            await put_until_refused(store)
        stored = (await store.health())["records"]
        assert stored > 1000
        health = await store.health()
        assert health["used"] <= health["map_size"] == 1 << 20
        # who is known is served, and may even be refreshed
        assert await get(store, key(5)) == b"x" * 300
        await put(store, key(5), b"y" * 300)
        # forgetting needs no room of the map's, and makes some
        assert await store.forget(stored // 2, 10_000) == stored // 2 - 1
        await put(store, key(100_000), b"z" * 300)
    async with running(LmdbStore(options(tmp_path, 1 << 20))) as store:
        assert await get(store, key(100_000)) == b"z" * 300


async def grow_until_refused(store, grown: list[int]) -> None:
    """Make two thousand rows longer, all by one mark, again and again."""
    for length in range(23, 900, 23):
        for number in range(2000):
            await put(store, key(number, Table.MARK), bytes(length), durable=number % 100 == 99)
        grown.append(length)


async def test_a_full_map_refuses_rows_that_grow(tmp_path):
    """What was acknowledged stays."""
    grown: list[int] = []
    async with running(LmdbStore(options(tmp_path, 1 << 20))) as store:
        with pytest.raises(StoreError, match="full: raise"):
            await grow_until_refused(store, grown)
        assert len(grown) > 2
        assert (await store.health())["used"] <= 1 << 20
    async with running(LmdbStore(options(tmp_path, 1 << 20))) as store:
        rows = await everything(store, Table.MARK, 1000)
        assert len(rows) == 2000
        assert {len(value) for value in rows.values()} <= {grown[-1], grown[-1] + 23}


async def test_a_smaller_map_than_the_file(tmp_path):
    await fill(tmp_path, 20_000)
    async with running(LmdbStore(options(tmp_path, 1 << 20))) as store:
        await put(store, key(19_999), b"y" * 100)  # refreshing needs nothing
        assert await get(store, key(19_999)) == b"y" * 100
        with pytest.raises(StoreError, match="full: raise"):
            await store.load(
                {key(n): Entry(b"x" * 300, FAR) for n in range(30_000, 31_000)}, lambda _, new: new
            )


FULL_DISK = """
async def work(store):
    acknowledged = failed = 0
    limit = (directory / "store.mdb").stat().st_size + 60_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for number in range(400):
        try:
            await put(store, key(number), b"x" * 1000, durable=True)
            acknowledged += 1
        except StoreError as error:
            assert str(directory) in str(error), error
            failed += 1
            break
    assert failed, "the limit was never reached"
    assert await get(store, key(0)) == b"x" * 1000
    assert await get(store, key(acknowledged)) is None
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    for number in range(acknowledged, 400):
        await put(store, key(number), b"x" * 1000)
    assert len(await everything(store)) == 400
    print(acknowledged)
trio.run(opened)
"""


async def test_a_full_disk(tmp_path):
    """As far as the kernel goes: writes beyond a file size fail.  Answers end with StoreError, then go on."""
    acknowledged = int(outcome(FULL_DISK, tmp_path))
    assert 0 < acknowledged < 400
    async with running(LmdbStore(options(tmp_path))) as store:
        assert len(await everything(store)) == 400


async def test_a_backup_leaves_no_file_behind(tmp_path):
    async with running(LmdbStore(options(tmp_path / "state"))) as store:
        await put(store, key(1), b"x", durable=False)
        await store.newest()
        before = sorted(path.name for path in (tmp_path / "state").iterdir())
        async for part in store.backup():
            assert stat.S_IMODE(os.fstat(part.file.fileno()).st_mode) == 0o600
            assert sorted(path.name for path in (tmp_path / "state").iterdir()) == before
            part.file.close()


async def test_a_backup_of_a_directory_that_was_removed(tmp_path):
    """All that is left is open; and what is open is enough."""
    async with running(LmdbStore(options(tmp_path / "state"))) as store:
        await put(store, key(1), b"x")
        await store.newest()  # everything is in the file
        rmtree(tmp_path / "state")
        assert await backed_up(store, tmp_path / "restored") == ["store.mdb"]
    async with running(LmdbStore(options(tmp_path / "restored"))) as store:
        assert await get(store, key(1)) == b"x"


async def test_compacting_while_working(tmp_path):
    await fill(tmp_path, 5000)
    path = tmp_path / "store.mdb"
    async with running(LmdbStore(options(tmp_path))) as store:
        await store.load({key(n): Entry(b"x", 5) for n in range(5000, 10_000)}, lambda _, new: new)
        assert await store.forget(6, 10_000) == 5000
        before = path.stat().st_size
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.compact)
            for number in range(50):
                nursery.start_soon(count, store, key(number % 10, Table.ORIGIN))
                nursery.start_soon(count, store, key(number % 10, Table.MARK))
                nursery.start_soon(get, store, key(number))
            nursery.start_soon(everything, store)
        assert path.stat().st_size < before
        names = sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith("store.journal."))
        assert names == ["lock", "store.mdb", "store.mdb-lock"]
        assert len(await everything(store)) == 5000
        assert list((await everything(store, Table.ORIGIN)).values()) == [b"5"] * 10
        assert list((await everything(store, Table.MARK)).values()) == [b"5"] * 10
    async with running(LmdbStore(options(tmp_path))) as store:
        assert len(await everything(store)) == 5000
        await store.compact()
        await store.compact()
        assert await count(store, key(1, Table.ORIGIN)) == 6


async def test_compacting_that_fails_changes_nothing(tmp_path):
    async with running(LmdbStore(options(tmp_path))) as store:
        await put(store, key(1), b"x")
        (tmp_path / "store.mdb.new").mkdir()
        with pytest.raises(StoreError, match=r"store\.mdb\.new: Is a directory"):
            await store.compact()
        await put(store, key(2), b"y")
        assert len(await everything(store)) == 2


async def test_health(tmp_path):
    await fill(tmp_path, 1000)
    async with running(LmdbStore(options(tmp_path))) as store:
        await put(store, key(1, Table.META), b"x", durable=False)
        await put(store, key(2, Table.MARK), b"x", durable=False)
        await touch(store, key(2, Table.MARK), durable=True)
        health = await store.health()
        assert health["backend"] == "lmdb"
        figures = ("records", "origins", "meta", "marks", "pending")
        assert [health[name] for name in figures] == [1000, 0, 1, 1, 0]
        assert 100_000 < health["used"] <= health["file"] < health["map_size"]
        assert health["last_commit_us"] > 0
        assert health["commit_failures"] == 0


async def test_a_cancelled_start_leaves_nothing_locked(tmp_path):
    with trio.CancelScope() as scope:
        scope.cancel()
        await LmdbStore(options(tmp_path)).run()
    await fill(tmp_path, 1)


async def test_the_end_by_an_exception_is_orderly_too(tmp_path):
    async def work():
        async with running(LmdbStore(options(tmp_path))) as store:
            await put(store, key(1), b"x", durable=False)
            raise ZeroDivisionError

    with pytest.raises(ExceptionGroup):
        await work()
    async with running(LmdbStore(options(tmp_path))) as store:
        assert await get(store, key(1)) == b"x"
