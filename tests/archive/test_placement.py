"""Putting a backup in place: all of it or nothing, wherever it is interrupted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from multigrey.archive import placement
from multigrey.archive.placement import finish_restore, place, present
from multigrey.archive.tar import ArchiveError, Member
from multigrey.errors import StoreError
from multigrey.history.file import open_history
from multigrey.stores.lmdb.state_files import StateFiles
from multigrey.stores.lmdb.store import LmdbStore
from multigrey.stores.site_key import check_site_key
from tests.support.stores import backed_up, everything, get, key, options, put, running

OLD, NEW = b"o" * 32, b"n" * 32


async def made(directory: Path, site_key: bytes, value: bytes) -> dict[str, bytes]:
    """A state of its own, and the files of its backup."""
    state = directory / "state"
    async with running(LmdbStore(options(state))) as store:
        await check_site_key(store, site_key)
        await put(store, key(1), value)
        await backed_up(store, directory / "backup")
    (state / "site.key").write_bytes(site_key)
    open_history(state / "history.mdb", 1 << 20).close()
    shutil.copy(state / "history.mdb", directory / "backup")
    return {
        "state/store.mdb": (directory / "backup" / "store.mdb").read_bytes(),
        "state/site.key": site_key,
        "state/history.mdb": (directory / "backup" / "history.mdb").read_bytes(),
    }


def members(files: dict[str, bytes]) -> Iterator[Member]:
    for name, content in {"backup.json": b"{}", **files, "configuration/x": b"x"}.items():
        yield Member(name, len(content), iter([content[:9], content[9:]]))


async def value_in(state: Path) -> tuple[bytes, bytes | None]:
    """The site key, and what the store holds; as a daemon that starts there would find it."""
    finish_restore(state)
    site_key = (state / "site.key").read_bytes()
    async with running(LmdbStore(options(state))) as store:
        await check_site_key(store, site_key)
        return site_key, await get(store, key(1))


@pytest.fixture
async def backup(tmp_path):
    return await made(tmp_path / "other", NEW, b"new")


@pytest.fixture
async def old(tmp_path):
    """Another state, whose daemon was killed: its journal has what the store has not."""
    await made(tmp_path / "old", OLD, b"old")
    state = tmp_path / "old" / "state"
    async with running(LmdbStore(options(state))) as store:
        await put(store, key(1), b"old")
        await put(store, key(2), b"of the journal")
        shutil.copytree(state, tmp_path / "state")
    assert StateFiles(tmp_path / "state").journals()
    return tmp_path / "state"


async def test_into_an_empty_directory(tmp_path, backup):
    state = tmp_path / "state"
    state.mkdir()
    assert present(state) == present(tmp_path / "missing") == []
    place(state, members(backup), replace=False)
    assert sorted(path.name for path in state.iterdir()) == ["history.mdb", "lock", "site.key", "store.mdb"]
    assert {path.stat().st_mode & 0o777 for path in state.iterdir()} == {0o600}
    assert await value_in(state) == (NEW, b"new")
    open_history(state / "history.mdb", 1 << 20, read_only=True).close()


async def test_what_exists_is_replaced_only_if_asked_for(backup, old):
    with pytest.raises(StoreError, match=r"store\.mdb exists already: restore with --replace"):
        place(old, members(backup), replace=False)
    place(old, members(backup), replace=True)
    assert await value_in(old) == (NEW, b"new")
    async with running(LmdbStore(options(old))) as store:
        assert len(await everything(store)) == 1  # nothing of the journal of another time


async def test_a_site_key_that_was_kept_apart(tmp_path, backup):
    state = tmp_path / "state"
    state.mkdir()
    without = {name: content for name, content in backup.items() if name != "state/site.key"}
    with pytest.raises(ArchiveError, match="it has no site key: put the one that belongs to it"):
        place(state, members(without), replace=False)
    (state / "site.key").write_bytes(OLD)
    with pytest.raises(ArchiveError, match="written with another site key"):
        place(state, members(without), replace=False)
    with pytest.raises(StoreError, match=r"site\.key exists already"):
        place(state, members(backup), replace=False)
    (state / "site.key").write_bytes(NEW)
    place(state, members(without), replace=False)
    assert await value_in(state) == (NEW, b"new")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("state/store.mdb", None, "it has no state/store.mdb"),
        ("state/store.mdb", b"", "not an LMDB file|empty"),
        ("state/store.mdb", b"rubbish" * 9999, "not an LMDB file"),
        ("state/store.mdb", "cut", "damaged"),
        ("state/history.mdb", b"rubbish" * 9999, "not an LMDB file"),
        ("state/site.key", b"short", "5 bytes instead of 32"),
        ("state/site.key", OLD, "written with another site key"),
    ],
)
async def test_what_no_daemon_could_use_changes_nothing(backup, old, name, content, words):
    before = {path.name: path.read_bytes() for path in old.iterdir()}
    files = {**backup, name: backup[name][:-5000] if content == "cut" else content}
    given = {name: text for name, text in files.items() if text is not None}
    with pytest.raises((ArchiveError, StoreError), match=words):
        place(old, members(given), replace=True)
    before["lock"] = b"%d\n" % os.getpid()
    assert {path.name: path.read_bytes() for path in old.iterdir()} == before
    assert await value_in(old) == (OLD, b"old")


async def test_not_while_a_daemon_runs(backup, tmp_path):
    async with running(LmdbStore(options(tmp_path / "state"))):
        with pytest.raises(StoreError, match="in use by another multigrey"):
            place(tmp_path / "state", members(backup), replace=True)


class KilledError(BaseException):
    """The process ends here."""


CALLS = ("rename", "unlink", "mkdir", "fsync", "rmdir", "open")


async def test_wherever_it_is_killed_it_is_the_old_state_or_the_new_one(tmp_path, backup, old, monkeypatch):
    """Dies before the Nth change of the disk, for every N; then a daemon starts, or it is repeated."""
    seen = []
    for number in range(200):
        state = tmp_path / f"state{number}"
        shutil.copytree(old, state)
        ended = False
        with monkeypatch.context() as patch:
            left = [number]

            def counted(call, left=left):
                def dies(*arguments, **options):
                    if not left[0]:
                        raise KilledError
                    left[0] -= 1
                    return call(*arguments, **options)

                return dies

            for name in CALLS:
                patch.setattr(os, name, counted(getattr(os, name)))
            patch.setattr(placement, "run", lambda *_: {})

            def cleans_up(path, left=left, **options):
                if left[0]:  # a process that was killed does not
                    shutil.rmtree(path, **options)

            patch.setattr(placement, "rmtree", cleans_up)
            try:
                place(state, members(backup), replace=True)
                ended = True
            except KilledError:
                pass
        again = tmp_path / f"again{number}"
        shutil.copytree(state, again)
        place(again, members(backup), replace=True)
        assert await value_in(again) == (NEW, b"new")
        found = await value_in(state)
        assert found in {(OLD, b"old"), (NEW, b"new")}, number
        assert not (state / "restored").exists()
        seen.append(found)
        if ended:
            break
    assert ended
    assert seen == sorted(seen, reverse=True)  # never back again
    assert {OLD, NEW} == {site_key for site_key, _ in seen}
