"""What every store has to do; runs unchanged over each of them."""

from __future__ import annotations

import pytest
import trio

from multigrey.contracts import LocalStore, Store
from multigrey.errors import StoreError
from multigrey.greylist import marks
from multigrey.greylist.marks import Mark
from multigrey.model import Change, Entry, Table
from tests.support.stores import (
    FAR,
    MAKERS,
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


@pytest.fixture(params=MAKERS)
def make(request, tmp_path):
    return lambda: MAKERS[request.param](options(tmp_path / "state"))


@pytest.fixture
async def store(make):
    async with running(make()) as store:
        yield store


LOCAL = {name: make for name, make in MAKERS.items() if hasattr(make, "backup")}
"""The stores that have a file of their own."""


def due(store: Store, before: int, limit: int = 100):
    return store.forget(before, limit)


async def test_nothing_is_there_at_first(store):
    assert await get(store, key(1)) is None
    assert await store.read([]) == []
    assert await store.scan(Table.RECORD, b"", 10) == ([], b"")
    assert await store.newest() == 0
    assert await due(store, FAR) == 0


async def test_values_come_in_the_order_of_the_keys(store):
    await put(store, key(1), b"one")
    await put(store, key(2), b"two")
    wanted = [key(2), key(3), key(1), key(2)]
    assert list(await store.read(wanted)) == [b"two", None, b"one", b"two"]
    seen = await store.apply(wanted, lambda values: Change(list(values), {}, durable=False))
    assert seen == [b"two", None, b"one", b"two"]


@pytest.mark.parametrize("durable", [True, False])
async def test_new_changed_deleted(store, durable):
    for value in (b"first", b"second", b"", b"x" * 5000, None, None, b"again"):
        await put(store, key(1), value, durable=durable)
        assert await get(store, key(1)) == value
        assert await touch(store, key(1), durable=True) == value


async def test_tables_are_separate(store):
    for number, table in enumerate(Table):
        await put(store, key(1, table), b"%d" % number)
    for number, table in enumerate(Table):
        assert await get(store, key(1, table)) == b"%d" % number
        assert await everything(store, table) == {key(1)[1]: b"%d" % number}


async def test_one_change_over_several_tables(store):
    puts = {key(1, table): Entry(table.value, FAR) for table in Table}
    await store.apply([], lambda _: Change(None, puts, durable=True))
    assert list(await store.read(list(puts))) == [table.value for table in Table]


async def test_what_was_submitted_since_a_look_counts(store):
    await put(store, key(1), b"old")
    seen = store.peek([key(1), key(2)])
    assert store.submit([], lambda _: Change(None, {key(2): Entry(b"new", FAR)}, durable=False)) is not None
    told = store.submit([key(1), key(2)], lambda values: Change(list(values), {}, durable=False), seen)
    assert told is not None
    assert told.value == [b"old", b"new"]
    told = store.submit([key(1), key(2)], lambda values: Change(list(values), {}, durable=False), seen[:1])
    assert told is not None
    assert told.value == [b"old", b"new"]


async def test_concurrent_changes_of_one_key_all_count(store):
    async with trio.open_nursery() as nursery:
        for number in range(60):
            nursery.start_soon(lambda durable=number % 3 > 0: count(store, key(1), durable=durable))
    assert await get(store, key(1)) == b"60"


async def test_a_decision_that_raises_changes_nothing(store):
    await put(store, key(1), b"before")

    def decide(values):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.apply([key(1)], decide)
    assert await count(store, key(2)) == 1
    assert await get(store, key(1)) == b"before"


@pytest.mark.parametrize("length", [1, 16, 255])
async def test_possible_keys(store, length):
    where = (Table.META, b"k" * length)
    await put(store, where, b"value", until=1)
    assert await get(store, where) == b"value"
    assert await due(store, 2) == 1
    assert await get(store, where) is None


@pytest.mark.parametrize("length", [0, 256, 511, 512, 5000])
async def test_impossible_keys_harm_nobody_else(store, length):
    puts = {key(1): Entry(b"good", FAR), (Table.META, b"k" * length): Entry(b"bad", FAR)}
    with pytest.raises(StoreError, match=f"key of {length} bytes"):
        await store.apply([], lambda _: Change(None, puts, durable=True))
    with pytest.raises(StoreError):
        await store.load(puts, lambda _, new: new)
    assert await get(store, key(1)) is None
    assert await count(store, key(2)) == 1


async def test_scan_in_order_and_in_pieces(store):
    for number in (5, 3, 9, 1, 7):
        await put(store, key(number), b"%d" % number)
    rows, cursor = await store.scan(Table.RECORD, b"", 2)
    assert [value for _, value in rows] == [b"1", b"3"]
    rows, cursor = await store.scan(Table.RECORD, cursor, 2)
    assert [value for _, value in rows] == [b"5", b"7"]
    rows, cursor = await store.scan(Table.RECORD, cursor, 2)
    assert (rows, cursor) == ([(key(9)[1], b"9")], b"")


@pytest.mark.parametrize("limit", [1, 4, 5, 6])
async def test_scan_ends(store, limit):
    for number in range(5):
        await put(store, key(number), b"%d" % number)
    assert len(await everything(store, limit=limit)) == 5


async def test_scan_while_changing(store):
    for number in range(0, 100, 2):
        await put(store, key(number), b"old", durable=False)
    await put(store, key(0), b"old")
    found = {}
    cursor = b""
    while True:
        rows, cursor = await store.scan(Table.RECORD, cursor, 10)
        found.update(rows)
        if not cursor:
            break
        reached = int.from_bytes(cursor, "big")
        await put(store, key(reached), None)  # the very row the cursor stands on
        await put(store, key(reached + 1), b"new")
        await put(store, key(0), b"behind")
    assert {key(number)[1] for number in range(0, 100, 2)} <= set(found)


async def test_forgets_what_is_due_and_nothing_else(store):
    await put(store, key(1), b"due", until=99)
    await put(store, key(2), b"not yet", until=100)
    await put(store, key(3), b"never", until=None)
    await put(store, key(4, Table.ORIGIN), b"due", until=0)
    await put(store, key(5, Table.MARK), b"due", until=98)
    assert await due(store, 100) == 3
    assert await due(store, 100) == 0
    assert await get(store, key(1)) is None
    assert await get(store, key(2)) == b"not yet"
    assert await due(store, 10**12) == 1
    assert await get(store, key(3)) == b"never"


@pytest.mark.parametrize("durable", [True, False])
async def test_a_refreshed_entry_is_kept(store, durable):
    await put(store, key(1), b"record", until=100)
    await put(store, key(1), b"refreshed", until=200, durable=durable)
    assert await due(store, 150) == 0
    assert await get(store, key(1)) == b"refreshed"
    assert await due(store, 200) == 0
    assert await due(store, 201) == 1
    assert await get(store, key(1)) is None


@pytest.mark.parametrize(
    "untils",
    [(100, 50), (None, 50), (100, None, 50), (50, 100, None, 20, 50), (100, "gone", 50), (10, "gone", 50)],
)
async def test_the_last_time_given_counts(store, untils):
    for until in untils:
        if until == "gone":
            await put(store, key(1), None)
        else:
            await put(store, key(1), b"x", until=until)
    assert await due(store, 50) == 0
    assert await get(store, key(1)) == b"x"
    assert await due(store, 51) == 1
    assert await get(store, key(1)) is None
    assert await due(store, 10**12) == 0


async def test_never_after_a_time(store):
    await put(store, key(1), b"x", until=50)
    await put(store, key(1), b"x", until=None)
    assert await due(store, 10**12) == 0
    assert await get(store, key(1)) == b"x"
    assert await store.newest() == 0


async def test_forgets_in_slices(store):
    for number in range(25):
        await put(store, key(number), b"x", until=number, durable=False)
    assert [await due(store, 1000, 10) for _ in range(4)] == [10, 10, 5, 0]
    assert await everything(store) == {}


async def test_a_slice_is_full_though_many_entries_were_refreshed(store):
    """Whoever gets less than it asked for may believe that nothing more is due."""
    for number in range(600):
        await put(store, key(number), b"x", until=number, durable=False)
    for number in range(550):
        await put(store, key(number), b"x", until=5000, durable=False)
    assert await due(store, 1000, 40) == 40
    assert await due(store, 1000, 40) == 10
    assert len(await everything(store)) == 550


async def test_forgetting_while_deciding(store):
    """Nobody's count is lost, whether the entry was forgotten before or after."""
    for number in range(50):
        await put(store, key(number), b"41", until=10, durable=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(due, store, 20)
        for number in range(50):
            nursery.start_soon(count, store, key(number))
    assert set((await everything(store)).values()) <= {b"1", b"42"}
    assert len(await everything(store)) == 50


async def test_a_bucket_that_grows_with_every_change(store):
    """As marks are kept: each change rewrites a row with what others put there meanwhile."""
    window, buckets = 1000, 4

    async def remember(number: int) -> None:
        digest = (number % buckets << 1).to_bytes(2) + number.to_bytes(8) + bytes(6)

        def decide(values):
            mark = Mark(number, 300)
            bucket = marks.put(values[0], digest, mark, b"aabbcc", number, window)
            return Change(None, {where: Entry(bucket, marks.newest(bucket) + window)}, durable=number % 3 > 0)

        where = marks.bucket_key(digest)
        await store.apply([where], decide)

    async with trio.open_nursery() as nursery:
        for number in range(buckets * marks.CELLS):
            nursery.start_soon(remember, number)
    rows = await everything(store, Table.MARK)
    assert [marks.count(bucket) for bucket in rows.values()] == [marks.CELLS] * buckets
    assert await due(store, window + 10) == 0
    assert await due(store, 2 * window) == buckets
    assert await everything(store, Table.MARK) == {}


async def test_newest(store):
    await put(store, key(1), b"x", until=70)
    await put(store, key(2, Table.META), b"x", until=None)
    assert await store.newest() == 70
    await put(store, key(1), b"x", until=90, durable=False)
    await put(store, key(3, Table.ORIGIN), b"x", until=80, durable=False)
    assert await store.newest() == 90
    await put(store, key(1), None)
    assert await store.newest() == 80
    await put(store, key(4, Table.MARK), b"x", until=85)
    assert await store.newest() == 85
    assert await due(store, 100) == 2
    assert await store.newest() == 0


async def test_load_merges(store):
    await put(store, key(1), b"a", until=100)
    await put(store, key(2), b"b", until=500)
    await put(store, key(3), b"same", until=None)

    def merge(old, new):
        return new if old is None or old == new else old + new

    items = {
        key(1): Entry(b"A", 200),
        key(2): Entry(b"B", 200),
        key(3): Entry(b"same", 200),
        key(4, Table.ORIGIN): Entry(b"new", 200),
        key(5, Table.MARK): Entry(b"marks", 300),
    }
    assert await store.load(items, merge) == 4
    assert list(await store.read(list(items))) == [b"aA", b"bB", b"same", b"new", b"marks"]
    assert await due(store, 201) == 2  # the later time holds: 1 and 4 are gone
    assert list(await store.read(list(items))) == [None, b"bB", b"same", None, b"marks"]
    assert await store.load({}, merge) == 0


async def test_load_many_beside_others(store):
    items = {key(number): Entry(b"%d" % number, FAR) for number in range(3000)}
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(count, store, key(number, Table.ORIGIN))
        assert await store.load(items, lambda _, new: new) == 3000
    assert len(await everything(store, limit=1000)) == 3000
    assert len(await everything(store, Table.ORIGIN)) == 20
    assert await store.load(items, lambda old, new: old or new) == 0


async def test_health(store):
    for number in range(5):
        await put(store, key(number), b"x")
    await put(store, key(1, Table.ORIGIN), b"x")
    for number in range(3):
        await put(store, key(number, Table.MARK), b"x")
    await put(store, key(4), None)
    health = await store.health()
    assert health["backend"] in MAKERS
    figures = ("records", "origins", "marks", "pending")
    assert [health[name] for name in figures] == [4, 1, 3, 0]
    assert all(isinstance(value, (int, float, str)) for value in health.values())


async def test_only_while_it_runs(make):
    store = make()
    calls = [
        lambda: store.apply([key(1)], lambda _: Change(None, {}, durable=False)),
        lambda: store.read([key(1)]),
        lambda: store.scan(Table.RECORD, b"", 1),
        lambda: store.load({key(1): Entry(b"", 1)}, lambda _, new: new),
        lambda: store.forget(1, 1),
        store.newest,
        store.health,
    ]
    for call in calls:
        with pytest.raises(StoreError, match="not open"):
            await call()
    async with running(store):
        await put(store, key(1), b"x")
    for call in calls:
        with pytest.raises(StoreError):
            await call()


@pytest.mark.parametrize("name", LOCAL)
async def test_what_a_backup_yields_makes_the_store_again(tmp_path, name):
    """All that was answered before the call is in it, whatever is answered meanwhile."""
    make, restored = LOCAL[name], tmp_path / "restored"
    async with running(make(options(tmp_path / "state"))) as store:
        assert isinstance(store, LocalStore)
        for number in range(50):
            await put(store, key(number), b"before", durable=number % 2 > 0)
        await put(store, key(1, Table.MARK), b"marks", durable=False)
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(count, store, key(number, Table.ORIGIN))
            names = await backed_up(store, restored)
        await put(store, key(1), b"later")
        assert await get(store, key(1)) == b"later"
    assert len(names) == len(set(names)) > 0
    async with running(make(options(restored))) as store:
        assert await everything(store) == {key(number)[1]: b"before" for number in range(50)}
        assert await get(store, key(1, Table.MARK)) == b"marks"
        await put(store, key(1), b"on")
        assert await get(store, key(1)) == b"on"
