"""Puts an LMDB store under load in a forked child, once per line of input; killed by test_kill_store.

Input: one line per child, `DIRECTORY PREFIX`.  Output: the child's process id, then what was
acknowledged, one line each and only after `apply` returned; `end` when the child is dead.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import trio

from multigrey.greylist import marks
from multigrey.model import Change, Entry, Table
from multigrey.stores.lmdb import checkpoints, journal
from multigrey.stores.lmdb.store import LmdbStore
from tests.support.stores import FAR, count, key, options, put, running

TASKS = 25
SHARED = 5


def say(line: str) -> None:
    """In one piece, whatever happens to this process."""
    os.write(1, line.encode() + b"\n")


async def make_records(store: LmdbStore, prefix: int, task: int) -> None:
    """New records; every third one is refreshed by a change nobody waits for."""
    number = prefix + task
    while True:
        await put(store, key(number), b"%d" % number, FAR)
        say(f"record {number}")
        if number % 3 == 0:
            await put(store, key(number), b"%d" % number, FAR + 1, durable=False)
        number += TASKS


async def make_marks(store: LmdbStore, prefix: int, task: int) -> None:
    """Deferrals that are remembered by a mark; many share a bucket with those of other tasks."""
    number = prefix + task

    def decide(values: Sequence[bytes | None]) -> Change[None]:
        mark = marks.Mark(number & 0xFFFF, 300)
        bucket = marks.put(values[0], mark_digest(number), mark, bytes(6), number & 0xFFFF, FAR)
        return Change(None, {where: Entry(bucket, FAR)} if bucket else {}, durable=True)

    while True:
        where = marks.bucket_key(mark_digest(number))
        await store.apply([where], decide)
        say(f"mark {number}")
        number += TASKS


def mark_digest(number: int) -> bytes:
    """What `Keys` would make of an attempt."""
    return blake2b(b"%d" % number, digest_size=16).digest()


async def count_up(store: LmdbStore, task: int) -> None:
    """Numbers that several tasks add to."""
    number = task % SHARED
    while True:
        say(f"count {number} {await count(store, key(number, Table.ORIGIN))}")


async def forget(store: LmdbStore, prefix: int) -> None:
    """Records that are due, beside the others."""
    number = prefix + 900_000
    while True:
        for _ in range(5):
            number += 1
            await put(store, key(number), b"due", number % 50, durable=False)
        await store.forget(50, 100)


async def load(directory: str, prefix: int) -> None:
    """Until killed."""
    if prefix // 1_000_000 % 2:  # now and then many checkpoints, and many segments of the journal
        checkpoints.ENTRIES = 100
        journal.SEGMENT = 10_000
    store = LmdbStore(options(Path(directory)))
    async with running(store), trio.open_nursery() as nursery:
        for task in range(TASKS):
            nursery.start_soon(make_records, store, prefix, task)
            nursery.start_soon(make_marks, store, prefix, task)
            nursery.start_soon(count_up, store, task)
        nursery.start_soon(forget, store, prefix)


def main() -> None:
    """Fork a child per line: what takes long, importing, was done once."""
    for line in sys.stdin:
        directory, prefix = line.split()
        pid = os.fork()
        if pid == 0:
            say(f"pid {os.getpid()}")
            trio.run(load, directory, int(prefix))
        os.waitpid(pid, 0)
        say("end")


if __name__ == "__main__":
    main()
