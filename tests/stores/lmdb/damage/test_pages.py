"""Pages read without LMDB: the same rows as LMDB reads, and an end whatever the pages hold."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import pytest

from multigrey.stores.lmdb.damage.pages import Pages
from tests.support.damage import PAGE, damage, fill

NAMES = {b"r", b"o", b"m", b"k", b"due", b"layout"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    directory = tmp_path_factory.mktemp("whole")
    fill(directory, 1_000)
    return (directory / "store.mdb").read_bytes()


@contextmanager
def opened(path: Path) -> Iterator[Pages]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield Pages(descriptor)
    finally:
        os.close(descriptor)


def read_all(pages: Pages) -> dict[bytes, list[tuple[bytes, bytes]]]:
    return {name: [tuple(row) for row in pages.rows(root)] for name, root in pages.tables.items()}


def by_lmdb(path: Path) -> dict[bytes, list[tuple[bytes, bytes]]]:
    whole = lmdb.open(str(path), subdir=False, readonly=True, lock=False, max_dbs=8, lib_version=0)
    with whole as env, env.begin() as txn:
        names = [name for name, _ in txn.cursor()]
        return {name: list(txn.cursor(env.open_db(name, txn=txn, create=False))) for name in names}


def test_a_whole_file_reads_as_by_lmdb_and_has_no_strays(whole, tmp_path):
    path = tmp_path / "store.mdb"
    path.write_bytes(whole)
    with opened(path) as pages:
        found = read_all(pages)
        assert found == by_lmdb(path)
        assert found.keys() == NAMES
        assert (pages.unreadable, pages.free_known, list(pages.strays())) == (0, True, [])


def test_values_on_pages_of_their_own(tmp_path):
    path = tmp_path / "store.mdb"
    rows = {b"key %d" % number: os.urandom(number * 3_000) for number in range(1, 20)}
    with lmdb.open(str(path), subdir=False, max_dbs=2, lib_version=0) as env:
        table = env.open_db(b"r")
        with env.begin(write=True) as txn:
            for key, value in rows.items():
                txn.put(key, value, db=table)
    with opened(path) as pages:
        assert dict(read_all(pages)[b"r"]) == rows
        assert list(pages.strays()) == []


def test_leaves_below_a_damaged_branch_are_strays(whole, tmp_path):
    path = tmp_path / "store.mdb"
    path.write_bytes(whole)
    rows = by_lmdb(path)[b"r"]
    with opened(path) as pages:
        root = pages.tables[b"r"]
    path.write_bytes(whole[: root * PAGE] + bytes(PAGE) + whole[(root + 1) * PAGE :])
    with opened(path) as pages:
        found = read_all(pages)
        assert (found[b"r"], pages.unreadable) == ([], 1)
        assert sorted(tuple(row) for leaf in pages.strays() for row in leaf) == rows


@pytest.mark.parametrize("metas", [(0,), (1,), (0, 1)])
def test_meta_pages(whole, tmp_path, metas):
    data = bytearray(whole)
    for number in metas:
        data[number * PAGE : (number + 1) * PAGE] = bytes(PAGE)
    path = tmp_path / "store.mdb"
    path.write_bytes(data)
    with opened(path) as pages:
        assert (pages.tables.keys() == NAMES, pages.unreadable) == (len(metas) == 1, len(metas) - 1)
        assert bool(list(pages.strays())) or len(metas) == 1


@pytest.mark.parametrize("seed", range(60))
def test_no_damage_keeps_it_from_an_end(whole, tmp_path, seed):
    path = tmp_path / "store.mdb"
    path.write_bytes(whole)
    for each in range(seed % 4 + 1):
        damage(path, seed * 10 + each)
    with opened(path) as pages:
        read_all(pages)
        list(pages.strays())
        list(pages.leaves(reached=False))


@pytest.mark.parametrize("size", [0, 1, 100, PAGE, 5 * PAGE + 7])
def test_noise(tmp_path, size):
    path = tmp_path / "store.mdb"
    path.write_bytes(random.Random(size).randbytes(size))
    with opened(path) as pages:
        assert (read_all(pages), pages.unreadable) == ({}, 1)
        list(pages.strays())
