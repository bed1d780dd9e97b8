"""Filling a store with records; runs in a process of its own.

python -m benchmarks.fill STATE_DIR COUNT [due]   `due`: all but one may be forgotten
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from hashlib import blake2b
from itertools import islice
from pathlib import Path

import trio

from multigrey.clock import SystemClock
from multigrey.codec import encode_record
from multigrey.contracts import StoreOptions
from multigrey.model import Entry, Key, Record, Table
from multigrey.stores.lmdb.store import LmdbStore

_BATCH = 10_000
_MAP_SIZE = 4 << 30
_DAY = 86_400


def entries(count: int, *, due: bool, now: int) -> Iterator[tuple[Key, Entry]]:
    """Records as a day of mail leaves them: seen once, or passed."""
    for number in range(count):
        passed = number % 2 == 0
        record = Record(
            first_seen=now - _DAY,
            last_seen=now - _DAY,
            delay=120,
            passed_at=now - _DAY + 300 if passed else 0,
            passes=int(passed),
            client=f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
            sender=f"user{number}@sender{number % 50_000}.example",
            recipient=f"user{number % 5_000}@example.org",
            origin=f"10.{number >> 16 & 255}.{number >> 8 & 255}.0/24",
        )
        # one record that lives on keeps the daemon from taking a full house of due records for a wrong clock
        until = now - 60 if due and number else now + 30 * _DAY
        yield (Table.RECORD, digest(number)), Entry(encode_record(record), until)


def digest(number: int) -> bytes:
    """A key that looks like any other."""
    return blake2b(number.to_bytes(8, "big"), digest_size=16).digest()


async def fill(store: LmdbStore, count: int, *, due: bool) -> None:
    """Write `count` records."""
    everything = entries(count, due=due, now=SystemClock().now())
    while batch := dict(islice(everything, _BATCH)):
        await store.load(batch, lambda _old, new: new)


async def main(state_dir: str, count: str, *more: str) -> None:
    """Open the store, fill it, close it."""
    store = LmdbStore(StoreOptions(Path(state_dir), _MAP_SIZE))
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        await fill(store, int(count), due="due" in more)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(partial(main, *sys.argv[1:]))
