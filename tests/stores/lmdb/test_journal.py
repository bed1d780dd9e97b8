"""The journal's files: what is safe, and what a disk that fails leaves behind."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from multigrey.model import Entry
from multigrey.stores.lmdb import journal as module
from multigrey.stores.lmdb.frames import pack
from multigrey.stores.lmdb.journal import Journal, read_journal
from multigrey.stores.lmdb.state_files import StateFiles
from tests.support.stores import Disk, key


@pytest.fixture
def files(tmp_path):
    return StateFiles(tmp_path)


@pytest.fixture
def small(monkeypatch):
    """Segments of a thousand bytes."""
    monkeypatch.setattr(module, "SEGMENT", 1000)


def opened(files, applied=0, hook=None) -> Journal:
    return Journal(files, read_journal(files, applied), hook)


def body(number: int, value: bytes = b"x") -> bytes:
    return pack({key(number): Entry(value, None)})


def content(files, applied=0) -> dict[int, bytes]:
    puts = read_journal(files, applied).puts
    return {int.from_bytes(digest, "big"): entry.value for (_, digest), entry in puts.items()}


def names(files) -> list[str]:
    return [path.name for path in files.journals()]


def test_it_is_there_after_a_crash(files):
    journal = opened(files)
    for number in range(5):
        journal.append(body(number, b"%d" % number))
    journal.append(body(0, b"again"))
    expected = {0: b"again", 1: b"1", 2: b"2", 3: b"3", 4: b"4"}
    assert content(files) == content(files) == expected
    assert stat.S_IMODE(files.journals()[0].stat().st_mode) == 0o600
    journal.close()
    later = opened(files)
    later.append(body(1, b"later"))
    assert content(files) == {**expected, 1: b"later"}
    later.close()


def test_what_lmdb_has_is_skipped(files):
    journal = opened(files)
    for number in range(5):
        journal.append(body(number))
    assert list(content(files, applied=3)) == [3, 4]
    assert read_journal(files, 3).position.number == 5
    journal.close()
    assert content(files, applied=5) == {}
    assert names(files) == []


def test_an_orderly_end_leaves_nothing(files, small):
    journal = opened(files)
    for number in range(20):
        journal.append(body(number, b"x" * 100))
        journal.prepare()
        journal.rotate()
    assert len(names(files)) > 3
    journal.remove()
    assert names(files) == []


def test_segments_are_changed_when_they_are_half_full(files, small):
    journal = opened(files)
    journal.append(body(1, b"x" * 100))
    journal.prepare()
    journal.rotate()
    assert names(files) == ["store.journal.1"]
    journal.append(body(2, b"x" * 400))
    journal.rotate()  # nothing was prepared: it goes on
    journal.append(body(3, b"x" * 2000))
    journal.prepare()
    journal.rotate()
    journal.append(body(4))
    assert names(files) == ["store.journal.1", "store.journal.2"]
    journal.drop(2)
    assert list(content(files)) == [1, 2, 3, 4]
    journal.drop(3)
    assert names(files) == ["store.journal.2"]
    assert list(content(files, applied=3)) == [4]
    journal.close()


def test_a_missing_segment_is_told(files, small, caplog):
    journal = opened(files)
    for number in range(6):
        journal.append(body(number, b"x" * 700))
        journal.prepare()
        journal.rotate()
    journal.close()
    files.journal(3).unlink()
    assert list(content(files)) == [0, 1, 3, 4, 5]
    assert "store.journal.4: begins with batch 4 after batch 2: batches are lost" in caplog.text


@pytest.mark.parametrize("truncates", [True, False])
def test_after_a_failed_sync_the_batch_is_void(files, monkeypatch, truncates):
    """Even if the disk has it after all, and cannot be made to lose it."""
    disk = Disk()
    journal = opened(files, hook=disk)
    journal.append(body(1))
    if not truncates:
        monkeypatch.setattr(os, "ftruncate", fails(errno.EIO))
    for _ in range(3):
        disk.error = OSError(errno.EIO, "x")
        with pytest.raises(OSError, match="x"):
            journal.append(body(2, b"never"))
    assert journal.position.number == 1
    disk.error = None
    journal.append(body(3))
    assert list(content(files)) == [1, 3]
    assert journal.position.number == 2
    journal.drop(1)
    assert content(files, applied=1) == {3: b"x"}
    journal.append(body(4))
    assert list(content(files, applied=1)) == [3, 4]
    journal.close()


def fails(code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    return fail


def test_a_write_that_fails_half_way_is_taken_back(files, monkeypatch):
    journal = opened(files)
    journal.append(body(1))
    write = os.pwrite

    def full(descriptor, data, offset):
        if len(data) < 20:
            raise OSError(errno.ENOSPC, "full")
        return write(descriptor, data[: len(data) // 2], offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="full"):
        journal.append(body(2, b"never" * 1000))
    monkeypatch.undo()
    assert list(content(files)) == [1]
    journal.append(body(3))
    assert list(content(files)) == [1, 3]
    assert names(files) == ["store.journal.1"]
    journal.close()


def test_without_room_for_zeros_it_grows(files, monkeypatch):
    write = os.pwrite

    def full(descriptor, data, offset):
        if len(data) == module.SEGMENT:
            raise OSError(errno.ENOSPC, "full")
        return write(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    journal = opened(files)
    journal.append(body(1))
    assert content(files) == {1: b"x"}
    assert files.journal(1).stat().st_size < 200
    journal.close()


def test_no_segment_can_be_made(files, monkeypatch):
    journal = opened(files)
    monkeypatch.setattr(os, "fsync", fails(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        journal.append(body(1))
    assert names(files) == []
    monkeypatch.undo()
    journal.append(body(2))
    assert list(content(files)) == [2]
    journal.close()


def test_a_spare_one_that_came_late_is_not_used(files, small):
    """The numbers of segments tell their order when two begin with the same batch."""
    disk = Disk()
    journal = opened(files, hook=disk)
    journal.append(body(1, b"x" * 600))
    spare = journal._make()  # the checkpoint thread begins to make one, meanwhile …
    disk.error = OSError(errno.EIO, "x")
    with pytest.raises(OSError, match="x"):
        journal.append(body(2))
    disk.error = None
    journal.append(body(3, b"x" * 600))
    journal._spares.append(spare)
    journal.rotate()
    journal.append(body(4))
    assert names(files) == ["store.journal.1", "store.journal.3", "store.journal.4"]
    assert list(content(files)) == [1, 3, 4]
    journal.close()


def test_other_names_are_left_alone(files):
    strange = [files.directory / name for name in ("store.journal", "store.journal.0", "store.journal.x")]
    for path in strange:
        path.write_text("whatever")
    assert content(files) == {}
    assert all(path.exists() for path in strange)


def test_a_segment_with_a_damaged_head_is_kept_under_another_name(files, small, caplog):
    """Whoever has it examined finds it; what the others hold counts."""
    damaged = b""
    for number in (1, 2):
        journal = opened(files)
        journal.append(body(number, b"x" * 700))
        journal.close()
        path = files.journals()[-1]
        damaged = path.read_bytes()[:20] + b"\xff\xff" + path.read_bytes()[22:]
        path.write_bytes(damaged)
        path.chmod(0o644)
        journal = opened(files)
        kept = files.directory / f"store.damaged.{number}"
        assert kept.read_bytes() == damaged
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert names(files) == []
        assert f"{path}: moved to {kept}" in caplog.text
        assert kept in files.all()
        journal.append(body(number + 10))
        assert list(content(files)) == [number + 10]
        journal.remove()
    assert sorted(path.name for path in files.directory.iterdir()) == ["store.damaged.1", "store.damaged.2"]


def test_others_are_read_beside_a_damaged_one(files, small):
    journal = opened(files)
    for number in range(3):
        journal.append(body(number, b"x" * 700))
        journal.prepare()
        journal.rotate()
    journal.close()
    files.journal(2).write_bytes(b"\xff" * 900)
    found = read_journal(files, 0)
    assert [int.from_bytes(digest, "big") for _, digest in found.puts] == [0, 2]
    assert files.journal(2) not in found.paths
    assert (files.directory / "store.damaged.1").read_bytes() == b"\xff" * 900
    assert content(files, applied=3) == {}
    assert [path.name for path in files.directory.iterdir()] == ["store.damaged.1"]


def test_a_segment_that_was_never_used_is_not_damaged(files):
    files.journal(1).write_bytes(bytes(5000))
    assert content(files) == {}
    assert list(files.directory.iterdir()) == []
