"""Stores opened, filled and looked at by hand."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from multigrey.contracts import LocalStore, Store, StoreOptions
from multigrey.model import Change, Entry, Key, Table
from multigrey.stores.lmdb.store import LmdbStore
from multigrey.stores.memory import MemoryStore

MAP_SIZE = 64 << 20
FAR = 4_000_000_000

MAKERS: dict[str, Callable[[StoreOptions], Store]] = {"memory": MemoryStore, "lmdb": LmdbStore}


def options(directory: Path, map_size: int = MAP_SIZE) -> StoreOptions:
    return StoreOptions(directory, map_size)


def key(number: int, table: Table = Table.RECORD) -> Key:
    return table, number.to_bytes(16, "big")


@asynccontextmanager
async def running(store: Store) -> AsyncIterator[Store]:
    """The store while its `run` runs; cancelled at the end, which flushes it."""
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        yield store
        nursery.cancel_scope.cancel()


async def put(
    store: Store, where: Key, value: bytes | None, until: int | None = FAR, *, durable=True
) -> None:
    entry = None if value is None else Entry(value, until)
    await store.apply([where], lambda _: Change(None, {where: entry}, durable=durable))


async def get(store: Store, where: Key) -> bytes | None:
    (value,) = await store.read([where])
    return value


async def touch(store: Store, where: Key, *, durable: bool) -> bytes | None:
    """Read through `apply` without writing."""
    return await store.apply([where], lambda values: Change(values[0], {}, durable=durable))


async def count(store: Store, where: Key, *, durable=True) -> int:
    """Add one to a number in the store."""

    def decide(values):
        number = int(values[0] or b"0") + 1
        return Change(number, {where: Entry(b"%d" % number, FAR)}, durable=durable)

    return await store.apply([where], decide)


async def everything(store: Store, table: Table = Table.RECORD, limit: int = 100) -> dict[bytes, bytes]:
    """All committed rows of a table."""
    found: dict[bytes, bytes] = {}
    cursor = b""
    while True:
        rows, cursor = await store.scan(table, cursor, limit)
        assert len(rows) <= limit
        for digest, value in rows:
            assert digest not in found
            found[digest] = value
        if not cursor:
            return found


async def backed_up(store: LocalStore, directory: Path) -> list[str]:
    """Put the parts of a backup into a new directory; returns their names."""
    directory.mkdir(parents=True)  # noqa: ASYNC240  (a test's)
    names = []
    async for part in store.backup():
        with part.file:
            (directory / part.name).write_bytes(part.file.read())
        names.append(part.name)
    return names


class Disk:
    """A disk that can be stopped and broken: a `commit_hook`."""

    def __init__(self) -> None:
        self._go = threading.Event()
        self._go.set()
        self.error: Exception | None = None
        self.commits = 0

    def __call__(self) -> None:
        assert self._go.wait(30), "the test forgot to let the disk go on"
        if self.error is not None:
            raise self.error
        self.commits += 1

    def stop(self) -> None:
        self._go.clear()

    def go(self) -> None:
        self._go.set()
