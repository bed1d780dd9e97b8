"""The tables on disk: every entry with a time has one row in the time index, and no other row is there."""

from __future__ import annotations

import lmdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.model import Entry, Table
from multigrey.stores.lmdb.rows import HEAD, LAYOUT, Rows, upgrade
from tests.support.stores import key


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.mdb"
    with lmdb.open(str(path), subdir=False, max_dbs=8, lib_version=0, map_size=64 << 20, sync=False) as env:
        yield env


@pytest.fixture(scope="module")
def rows(env):
    return Rows(env, create=True)


@pytest.fixture
def txn(env, rows):
    txn = env.begin(write=True)
    yield txn
    txn.abort()


def looks(rows, txn):
    """Index rows: (table, digest) -> time."""
    found = {}
    for row in txn.cursor(rows._due).iternext(values=False):
        where = Table(row[8:9]), row[9:]
        assert where not in found, "two rows for one entry"
        found[where] = int.from_bytes(row[:8])
    return found


def stored(rows, txn):
    found = {}
    for table, handle in rows.databases.items():
        for digest, row in txn.cursor(handle):
            found[table, digest] = (row[:8], rows.entry(row))
    return found


def check(rows, txn):
    index = looks(rows, txn)
    entries = stored(rows, txn)
    for where, (look, entry) in entries.items():
        if entry.keep_until is None and look == b"\xff" * 8:
            assert where not in index
            continue
        assert index.pop(where) == int.from_bytes(look)
        if entry.keep_until is not None:
            assert int.from_bytes(look) <= entry.keep_until
    assert index == {}, "rows without entry"
    return {where: entry for where, (_, entry) in entries.items()}


times = st.none() | st.integers(0, 30)
keys = st.builds(key, st.integers(0, 3), st.sampled_from(Table))
steps = st.lists(
    st.tuples(st.just("put"), keys, times)
    | st.tuples(st.just("delete"), keys)
    | st.tuples(st.just("forget"), st.integers(0, 35), st.integers(1, 5)),
    max_size=30,
)


@given(steps)
def test_the_index_is_exact(env, rows, steps):
    model = {}
    with env.begin(write=True) as txn:
        for number, (what, *more) in enumerate(steps):
            if what == "put":
                entry = Entry(b"%d" % number, more[1])
                rows.write(txn, {more[0]: entry})
                model[more[0]] = entry
            elif what == "delete":
                rows.write(txn, {more[0]: None})
                model.pop(more[0], None)
            else:
                before, limit = more
                seen, gone = rows.forget(txn, before, limit)
                assert gone <= seen <= limit
                now = check(rows, txn)
                lost = model.keys() - now.keys()
                assert len(lost) == gone
                assert all(model[where].keep_until < before for where in lost)
                if seen < limit:
                    assert not any(
                        entry.keep_until is not None and entry.keep_until < before for entry in now.values()
                    )
                model = now
            assert check(rows, txn) == model
        txn.abort()


def test_refreshing_writes_one_row(rows, txn):
    rows.write(txn, {key(1): Entry(b"x", 100)})
    before = looks(rows, txn)
    rows.write(txn, {key(1): Entry(b"y", 200)})
    assert looks(rows, txn) == before == {key(1): 100}


def test_a_refreshed_entry_moves_when_it_comes_due(rows, txn):
    rows.write(txn, {key(1): Entry(b"x", 100)})
    rows.write(txn, {key(1): Entry(b"y", 200)})
    assert rows.forget(txn, 150, 10) == (1, 0)
    assert looks(rows, txn) == {key(1): 200}
    assert rows.forget(txn, 150, 10) == (0, 0)


def test_an_entry_of_before_its_time_is_found(rows, txn):
    rows.write(txn, {key(1): Entry(b"x", -5), key(2): Entry(b"x", 2**70)})
    assert rows.forget(txn, 1, 10) == (1, 1)
    assert rows.forget(txn, 2**62, 10) == (0, 0)


def test_stray_index_rows_are_swept(rows, txn):
    """Nothing leaves them behind; a file may have gone through other hands."""
    rows.write(txn, {key(1): Entry(b"x", 500)})
    for where in (key(1), key(2)):
        txn.put((100).to_bytes(8) + where[0].value + where[1], b"", db=rows._due)
    assert rows.forget(txn, 200, 10) == (2, 0)
    assert check(rows, txn) == {key(1): Entry(b"x", 500)}


def test_layout_of_a_row(rows, txn):
    """On disk: changing this needs another LAYOUT."""
    rows.write(txn, {key(1): Entry(b"value", 258), key(2): Entry(b"value", None)})
    handle = rows.databases[Table.RECORD]
    assert txn.get(key(1)[1], db=handle) == bytes.fromhex("0000000000000102" * 2) + b"value"
    assert txn.get(key(2)[1], db=handle) == b"\xff" * HEAD + b"value"
    assert looks(rows, txn) == {key(1): 258}


def older(path):
    """A file of layout 1, which has no table of marks."""
    with lmdb.open(str(path), subdir=False, max_dbs=8, lib_version=0, sync=False) as env:
        layout = env.open_db(b"layout")
        for name in (b"r", b"o", b"m", b"due"):
            env.open_db(name)
        with env.begin(write=True) as txn:
            txn.put(b"version", b"1", db=layout)


def test_a_file_of_before_there_were_marks_can_be_read(tmp_path):
    older(tmp_path / "rows.mdb")
    with lmdb.open(
        str(tmp_path / "rows.mdb"), subdir=False, max_dbs=8, lib_version=0, readonly=True, lock=False
    ) as env:
        rows = Rows(env)
        assert set(rows.databases) == {Table.RECORD, Table.ORIGIN, Table.META}
        with env.begin() as txn:
            assert rows.counts(txn) == dict.fromkeys(rows.databases, 0)
            assert rows.pages(txn) == 1  # the layout
            assert rows.scan(txn, Table.RECORD, b"", 1) == ([], b"")


def test_upgrading_gives_it_the_table_once(tmp_path):
    older(tmp_path / "rows.mdb")
    with lmdb.open(str(tmp_path / "rows.mdb"), subdir=False, max_dbs=8, lib_version=0, sync=False) as env:
        for _ in range(2):
            upgrade(env)
            rows = Rows(env)
            assert rows.layout == LAYOUT
            with env.begin(write=True) as txn:
                rows.write(txn, {key(1, Table.MARK): Entry(b"x", 100)})
                assert check(rows, txn) == {key(1, Table.MARK): Entry(b"x", 100)}
        transaction = env.info()["last_txnid"]
        upgrade(env)
        assert env.info()["last_txnid"] == transaction


def test_a_file_of_a_later_layout_is_left_alone(tmp_path):
    older(tmp_path / "rows.mdb")
    with lmdb.open(str(tmp_path / "rows.mdb"), subdir=False, max_dbs=8, lib_version=0, sync=False) as env:
        with env.begin(write=True) as txn:
            txn.put(b"version", b"%d" % (LAYOUT + 1), db=env.open_db(b"layout", txn=txn))
        upgrade(env)
        assert Rows(env).layout == LAYOUT + 1
        assert b"k" not in env.dbs()
