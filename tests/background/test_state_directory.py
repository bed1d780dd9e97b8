"""What is noticed of a state directory that goes away under a running store, and what is no trouble."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from contextlib import asynccontextmanager

import pytest
import trio

from multigrey.background import state_directory
from multigrey.background.state_directory import StateDirectory
from multigrey.contracts import StoreOptions
from multigrey.model import Change, Entry, Table
from multigrey.stores.lmdb import journal
from multigrey.stores.lmdb.store import LmdbStore
from tests.daemon.test_daemon import ask, daemon, eventually
from tests.mta.harness import free_port
from tests.support.engines import memory_store
from tests.support.stores import backed_up

KEY = (Table.RECORD, b"k" * 16)


async def put(store, size=10):
    await store.apply((KEY,), lambda _: Change(None, {KEY: Entry(b"v" * size, 2**40)}, durable=True))


@asynccontextmanager
async def watched(path, monkeypatch):
    monkeypatch.setattr(state_directory, "_SURE", 0)
    store = LmdbStore(StoreOptions(path, 1 << 24))
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        await put(store)
        watch = StateDirectory(path, store)
        await watch.look()
        assert watch.trouble == ""
        yield store, watch
        nursery.cancel_scope.cancel()


def hide(path):
    path.rename(path.with_name("elsewhere"))


def remove(path):
    shutil.rmtree(path)


def renew(path):
    hide(path)
    path.mkdir()


@pytest.mark.parametrize("change", [hide, remove, renew])
async def test_a_directory_that_goes_away(tmp_path, monkeypatch, caplog, change):
    async with watched(tmp_path / "state", monkeypatch) as (store, watch):
        change(tmp_path / "state")
        await watch.look()
        assert watch.trouble.startswith(
            f"state directory {tmp_path}/state: it was removed, renamed or mounted"
        )
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        await watch.look()
        assert len(caplog.records) == 1
        await put(store)  # answers go on


async def test_a_file_system_that_is_mounted_over_it(tmp_path, monkeypatch):
    path = tmp_path / "state"
    async with watched(path, monkeypatch) as (_, watch):
        mounted = await trio.run_process(
            ["mount", "-t", "tmpfs", "none", path], capture_stderr=True, check=False
        )
        if mounted.returncode:
            pytest.skip("this user may not mount a file system")
        try:
            await watch.look()
            assert "it was removed, renamed or mounted over" in watch.trouble
        finally:
            await trio.run_process(["umount", path])
        await watch.look()
        assert watch.trouble == ""


@pytest.mark.parametrize("name", ["lock", "store.mdb", "store.journal.1"])
@pytest.mark.parametrize("change", [os.unlink, hide, lambda path: (hide(path), path.write_bytes(b""))])
async def test_a_file_that_goes_away(tmp_path, monkeypatch, name, change):
    path = tmp_path / "state" / name
    async with watched(tmp_path / "state", monkeypatch) as (_, watch):
        change(path)
        await watch.look()
        assert f": {name} was removed, renamed or mounted over: answers go on" in watch.trouble


async def test_what_is_put_back_is_over(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    async with watched(tmp_path / "state", monkeypatch) as (_, watch):
        hide(tmp_path / "state")
        await watch.look()
        (tmp_path / "elsewhere").rename(tmp_path / "state")
        await watch.look()
        assert watch.trouble == ""
        assert caplog.records[-1].message.endswith("its files are back in their places")


async def test_the_daemons_own_work_is_no_trouble(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "SEGMENT", 4096)
    async with watched(tmp_path / "state", monkeypatch) as (store, watch):
        before = {file.name for file in (tmp_path / "state").glob("store.journal.*")}
        for _ in range(20):
            await put(store, 1000)
            await store.newest()  # a checkpoint
            await watch.look()
        assert {file.name for file in (tmp_path / "state").glob("store.journal.*")} != before
        await store.compact()
        await watch.look()
        await backed_up(store, tmp_path / "restored")
        await watch.look()
        assert watch.trouble == ""


async def test_what_a_second_look_does_not_see_is_no_trouble(tmp_path, monkeypatch, caplog):
    async with watched(tmp_path / "state", monkeypatch) as (_, watch):
        looks = iter([[tmp_path / "state/store.journal.7"], []])
        monkeypatch.setattr(LmdbStore, "astray", lambda self: next(looks))
        await watch.look()
        assert (watch.trouble, caplog.records) == ("", [])


async def test_of_a_store_without_files_the_directory_is_watched(tmp_path, monkeypatch):
    monkeypatch.setattr(state_directory, "_SURE", 0)
    watch = StateDirectory(tmp_path, memory_store())
    await watch.look()
    assert watch.trouble == ""
    renew(tmp_path)
    await watch.look()
    assert "it was removed" in watch.trouble
    (tmp_path.with_name("elsewhere")).rmdir()


@pytest.mark.slow
def test_a_real_daemon_reports_it(short_directory):
    port = free_port()
    config = f"""
        state_dir = "{{dir}}/state"
        listen = [{{ protocol = "postfix", address = "unix:{{dir}}/state/postfix.sock" }}]
        metrics = {{ address = "tcp:127.0.0.1:{port}" }}
    """

    def fetched(path):
        done = subprocess.run(
            ["curl", "-s", "-w", "%{http_code}", f"http://127.0.0.1:{port}{path}"],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    with daemon(short_directory, config) as d:
        assert fetched("/healthz").endswith("200")
        hide(short_directory / "state")
        for _ in range(3):  # ten seconds each
            try:
                eventually(lambda: "removed, renamed or mounted over" in d.stderr(), "an error in the log")
            except pytest.fail.Exception:
                continue
            break
        assert fetched("/healthz").startswith("not well: state directory")
        assert "multigrey_state_directory_up 0.0" in fetched("/metrics")
        hide_back = short_directory / "elsewhere"
        hide_back.rename(short_directory / "state")
        assert ask(short_directory).startswith("action=DEFER")
