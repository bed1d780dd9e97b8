"""What is saved of a damaged store: everything that is whole, nothing that was removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from multigrey.model import Entry, Key, Table
from multigrey.stores.lmdb.damage.pages import Pages
from multigrey.stores.lmdb.damage.salvage import ORDER, save
from multigrey.stores.lmdb.environment import open_store, replace_store
from multigrey.stores.lmdb.state_files import StateFiles
from tests.support.damage import MAP_SIZE, PAGE, fill, rows_of


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[bytes, dict[Key, Entry]]:
    directory = tmp_path_factory.mktemp("whole")
    entries = fill(directory)
    return (directory / "store.mdb").read_bytes(), entries


def saved_without(directory: Path, data: bytes, *pages: int) -> dict[Key, Entry]:
    """The rows of the new store, when these pages of the old one are zeros."""
    files = StateFiles(directory)
    damaged = bytearray(data)
    for page in pages:
        damaged[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)
    files.data.write_bytes(damaged)
    save(files, MAP_SIZE)
    replace_store(files)
    return rows_of(files)


def roots(path: Path, data: bytes) -> dict[bytes, int]:
    path.write_bytes(data)
    with path.open("rb") as file:
        pages = Pages(file.fileno())
        return dict(pages.tables)


def test_a_whole_store(whole, tmp_path):
    data, entries = whole
    assert saved_without(tmp_path, data) == entries


@pytest.mark.parametrize("name", [b"r", b"o", b"k", b"due", b"layout"])
def test_the_root_of_a_table_costs_nothing_but_itself(whole, tmp_path, name):
    data, entries = whole
    root = roots(tmp_path / "look", data)[name]
    found = saved_without(tmp_path, data, root)
    assert found == entries


def test_both_meta_pages(whole, tmp_path):
    """Nothing is known then but by the time index, which META is not in; nothing that was removed returns."""
    data, entries = whole
    found = saved_without(tmp_path, data, 0, 1)
    meta = {key for key, entry in entries.items() if entry.keep_until is None}
    assert {key: entries[key] for key in entries.keys() - meta}.items() <= found.items()


def test_a_leaf_costs_its_own_rows(whole, tmp_path):
    data, entries = whole
    leaf = next(
        page
        for page in range(2, len(data) // PAGE)
        if data[page * PAGE + 10] == 2 and next(iter(entries))[1] in data[page * PAGE : (page + 1) * PAGE]
    )
    found = saved_without(tmp_path, data, leaf)
    assert found.items() <= entries.items()
    assert len(entries) - 100 < len(found) <= len(entries)


def test_the_journal_is_read_whole_afterwards(whole, tmp_path):
    data, _ = whole
    saved_without(tmp_path, data)
    opened = open_store(StateFiles(tmp_path), MAP_SIZE)
    assert opened.applied() == 0
    opened.env.close()


def test_the_large_table_comes_last():
    assert ORDER[-1] is Table.RECORD
    assert set(ORDER) == set(Table)
