"""The file of the history: pieces, marks, bounds, and files that are not one."""

from __future__ import annotations

import os

import lmdb
import pytest

from multigrey.errors import StoreError
from multigrey.history import file as history_file
from multigrey.history.file import (
    MOST,
    NAME,
    DamagedHistoryError,
    HistoryEntry,
    move_aside,
    open_history,
    put_in_place,
)
from tests.support.clocks import START

SIZE = 16 << 20


@pytest.fixture
def path(tmp_path):
    return tmp_path / NAME


def entry(number, time=START, marks=(), size=20):
    return HistoryEntry(time, frozenset({number, *marks}), b"%020d" % number + bytes(size - 20))


def nothing_due(summaries):
    return ()


def everything(file, marks=()):
    """All entries of pieces with these marks, the latest first."""
    found, before = [], None
    while True:
        summaries, before = file.walk([[mark] for mark in marks], before, 3)
        for summary in summaries:
            found += reversed([int(data[:20]) for data in file.read(summary.number)])
        if before is None:
            return found


def test_what_is_appended_is_found_by_its_marks(path):
    file = open_history(path, SIZE)
    file.append([entry(number, marks={7_000_000 + number % 3}) for number in range(1, 1001)])
    assert everything(file) == list(range(1000, 0, -1))
    assert file.count == 1000
    assert 500 in everything(file, [500])
    assert len(everything(file, [500])) <= MOST
    assert everything(file, [500, 7_000_002]) == everything(file, [500])
    assert everything(file, [500, 7_000_009]) == []
    assert len(file.walk([[1, 1000], [7_000_000]], None, 99)[0]) == 2
    file.close()


def test_a_mark_is_not_found_across_two_others(path):
    file = open_history(path, SIZE)
    file.append([HistoryEntry(START, frozenset({0x11223344, 0x55667788}), b"x")])
    assert [len(file.walk([[mark]], None, 9)[0]) for mark in (0x11223344, 0x33445566)] == [1, 0]
    file.close()


def test_pieces_grow_until_they_are_full_or_an_hour_long(path):
    file = open_history(path, SIZE)
    for number in range(1, 2 * MOST + 1):
        file.append([entry(number)])
    assert [summary.entries for summary in file.walk([], None, 9)[0]] == [MOST, MOST]
    file.append([entry(1000, START + 3600)])
    file.append([entry(1001, START + 7201)])
    file.append([entry(1002, START)])  # the clock was set back
    newest = [(summary.oldest, summary.latest) for summary in file.walk([], None, 3)[0]]
    assert newest == [(START, START), (START + 7201, START + 7201), (START + 3600, START + 3600)]
    assert file.times() == (START, START + 7201)
    file.close()


def test_it_is_there_after_it_was_opened_again(path):
    file = open_history(path, SIZE)
    file.append([entry(1), entry(2)])
    file.close()
    file = open_history(path, SIZE)
    file.append([entry(3)])
    assert (everything(file), file.count) == ([3, 2, 1], 3)
    assert path.stat().st_mode & 0o777 == 0o600
    file.close()


def test_trim_keeps_the_latest(path):
    file = open_history(path, SIZE)
    file.append([entry(number) for number in range(1, 10 * MOST + 1)])
    assert file.trim(3 * MOST, nothing_due) == 7 * MOST
    assert everything(file)[-1] == 7 * MOST + 1
    assert file.trim(3 * MOST, nothing_due) == 0
    assert file.trim(3 * MOST, lambda summaries: [summaries[1].number]) == MOST
    assert file.count == len(everything(file)) == 2 * MOST
    assert file.trim(0, nothing_due) == 2 * MOST
    file.append([entry(1)])
    assert everything(file) == [1]
    file.close()


def test_the_file_does_not_grow_beyond_its_size(path):
    size = 1 << 20
    file = open_history(path, size)
    for number in range(400):
        noise = [HistoryEntry(START, frozenset({number}), os.urandom(500)) for _ in range(50)]
        file.append(noise)
        if file.full:
            assert file.trim(10**9, nothing_due) > 0
            assert not file.full
    assert 500 < file.count < 3000
    assert path.stat().st_size < size + (4 << 20)
    file.close()


def test_rewriting_a_piece(path):
    file = open_history(path, SIZE)
    file.append([entry(number) for number in range(1, MOST + 11)])
    file.rewrite(1, [entry(5)])
    assert everything(file, [5]) == [5]
    assert everything(file, [6]) == []
    file.rewrite(1, [])
    assert file.count == 10
    file.rewrite(2, [entry(1000)])  # the piece that grows
    file.append([entry(1001)])
    assert everything(file) == [1001, 1000]
    file.rewrite(2, [])
    file.append([entry(2000)])
    assert (everything(file), file.count) == ([2000], 1)
    assert file.read(77) == []
    file.close()


def test_compacting_leaves_nothing_of_what_was_removed(path):
    file = open_history(path, SIZE)
    secret = b"somebody@example.org"
    file.append([HistoryEntry(START, frozenset({1}), secret * 50), entry(2, START + 9000)])
    file.rewrite(1, [])
    draft = path.with_name("draft")
    file.compact(draft)
    file.close()
    put_in_place(path, draft)
    file = open_history(path, SIZE)
    assert everything(file) == [2]
    file.close()
    assert secret not in path.read_bytes()
    assert not draft.exists()


def test_reading_only(path):
    with pytest.raises(StoreError, match="No such file"):
        open_history(path, SIZE, read_only=True)
    assert not path.exists()
    file = open_history(path, SIZE)
    file.append([entry(1)])
    file.close()
    (path.parent / f"{NAME}-lock").unlink()
    file = open_history(path, SIZE, read_only=True)
    assert everything(file) == [1]
    file.close()
    assert not (path.parent / f"{NAME}-lock").exists()


def garbage(path):
    path.write_bytes(b"nonsense" * 1000)


def empty(path):
    path.touch()


def cut_short(path):
    file = open_history(path, SIZE)
    file.append([entry(number, size=400) for number in range(2000)])
    file.close()
    os.truncate(path, 8192 * 2)


def other_layout(path):
    open_history(path, SIZE).close()
    with lmdb.open(str(path), subdir=False, max_dbs=4, lib_version=0) as env, env.begin(write=True) as txn:
        txn.put(b"version", b"99", db=env.open_db(b"layout", txn))


def other_program(path):
    with lmdb.open(str(path), subdir=False, max_dbs=4, lib_version=0) as env, env.begin(write=True) as txn:
        txn.put(b"a", b"b")


@pytest.mark.parametrize("spoil", [garbage, empty, cut_short, other_layout, other_program])
def test_what_is_no_history_is_told_and_can_be_moved_aside(path, spoil):
    spoil(path)
    with pytest.raises(DamagedHistoryError, match=NAME):
        open_history(path, SIZE)
    assert move_aside(path) == path.with_name(f"{NAME}.bad")
    file = open_history(path, SIZE)
    assert file.count == 0
    file.close()


def test_trouble_that_may_pass_is_no_damage(path):
    path.mkdir()
    with pytest.raises(StoreError) as caught:
        open_history(path, SIZE)
    assert not isinstance(caught.value, DamagedHistoryError)


@pytest.mark.parametrize(
    "piece", [b"no zlib", history_file.zlib.compress(b"\0\0"), history_file.zlib.compress(b"\0\0\0\x09x")]
)
def test_a_piece_that_is_damaged(path, piece):
    file = open_history(path, SIZE)
    file.append([entry(1)])
    with file._env.begin(write=True) as txn:
        txn.put((1).to_bytes(8), piece, db=file._pieces)
    with pytest.raises(DamagedHistoryError, match="damaged"):
        file.read(1)
    file.close()


def test_a_piece_that_claims_too_much(path, monkeypatch):
    file = open_history(path, SIZE)
    file.append([entry(1, size=100_000)])
    monkeypatch.setattr(history_file, "_LARGEST_PIECE", 1000)
    with pytest.raises(DamagedHistoryError, match="too long"):
        file.read(1)
    file.close()
