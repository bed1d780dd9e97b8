"""The memory store: for trials and tests.  It loses everything at exit.

No call waits, because nothing is ever on disk.  In every other respect it fulfils the contract.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush
from typing import TypeVar

import trio

from multigrey.contracts import StoreOptions, Submitted
from multigrey.errors import StoreError
from multigrey.model import Change, Entry, Key, Table
from multigrey.stores.entries import check_keys, merged, slices

__all__ = ["MemoryStore"]

T = TypeVar("T")


class MemoryStore:
    """See `contracts.Store`.  Loses everything when `run` ends."""

    def __init__(self, options: StoreOptions) -> None:
        """Uses nothing of `options`: it has no file, and only the machine's memory limits it."""
        self._options = options
        self._running = False
        self._clear()

    def _clear(self) -> None:
        self._entries: dict[Key, Entry] = {}
        self._digests = {table: _Sorted() for table in Table}
        self._due = _Due()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See `Store.run`."""
        self._running = True
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            self._running = False
            self._clear()

    def submit(
        self,
        keys: Sequence[Key],
        decide: Callable[[Sequence[bytes | None]], Change[T]],
        seen: Sequence[bytes | None] = (),
    ) -> Submitted[T] | None:
        """See `Store.submit`; there is never anything to wait for."""
        del seen
        change = decide([None if entry is None else entry.value for entry in self._found(keys)])
        self._write(change.puts)
        return Submitted(change.value, None)

    async def apply(self, keys: Sequence[Key], decide: Callable[[Sequence[bytes | None]], Change[T]]) -> T:
        """See `Store.apply`; never waits."""
        change = decide(await self.read(keys))
        self._write(change.puts)
        return change.value

    def peek(self, keys: Sequence[Key]) -> Sequence[bytes | None] | None:
        """See `Store.peek`."""
        return [None if entry is None else entry.value for entry in self._found(keys)]

    async def read(self, keys: Sequence[Key]) -> Sequence[bytes | None]:
        """See `Store.read`."""
        return [None if entry is None else entry.value for entry in self._found(keys)]

    async def scan(
        self, table: Table, cursor: bytes, limit: int
    ) -> tuple[Sequence[tuple[bytes, bytes]], bytes]:
        """See `Store.scan`."""
        self._check_running()
        digests, more = self._digests[table].after(cursor, max(limit, 1))
        rows = [(digest, self._entries[table, digest].value) for digest in digests]
        return rows, digests[-1] if more else b""

    async def load(self, items: Mapping[Key, Entry], merge: Callable[[bytes | None, bytes], bytes]) -> int:
        """See `Store.load`."""
        changed = 0
        for piece in slices(items):
            puts = merged(piece, self._found(list(piece)), merge)
            self._write(puts)
            changed += len(puts)
            await trio.lowlevel.checkpoint()
        return changed

    async def forget(self, before: int, limit: int) -> int:
        """See `Store.forget`."""
        self._check_running()
        gone = 0
        while gone < limit and (key := self._due.pop(before)) is not None:
            entry = self._entries.get(key)
            if entry is None or entry.keep_until is None:
                continue
            if entry.keep_until < before:
                self._write({key: None})
                gone += 1
            else:
                self._due.note(key, entry.keep_until)
        return gone

    async def newest(self) -> int:
        """See `Store.newest`."""
        self._check_running()
        return max((entry.keep_until or 0 for entry in self._entries.values()), default=0)

    @property
    def records(self) -> int:
        """See `Store.records`."""
        return len(self._digests[Table.RECORD])

    @property
    def lags(self) -> bool:
        """See `Store.lags`: never."""
        return False

    def has_room(self, *, for_marks: bool = False) -> bool:
        """See `Store.has_room`: always."""
        del for_marks
        return self._running

    async def health(self) -> Mapping[str, int | float | str]:
        """See `Store.health`."""
        self._check_running()
        return {
            "backend": "memory",
            "records": len(self._digests[Table.RECORD]),
            "origins": len(self._digests[Table.ORIGIN]),
            "marks": len(self._digests[Table.MARK]),
            "pending": 0,
        }

    def _check_running(self) -> None:
        if not self._running:
            raise StoreError("the store is not open")

    def _found(self, keys: Sequence[Key]) -> list[Entry | None]:
        self._check_running()
        return [self._entries.get(key) for key in keys]

    def _write(self, puts: Mapping[Key, Entry | None]) -> None:
        check_keys(puts)
        for key, entry in puts.items():
            table, digest = key
            if entry is None:
                if self._entries.pop(key, None) is not None:
                    self._digests[table].remove(digest)
                continue
            if key not in self._entries:
                self._digests[table].add(digest)
            self._entries[key] = entry
            if entry.keep_until is not None:
                self._due.note(key, entry.keep_until)


class _Sorted:
    """The digests of a table; sorted only when a scan needs them."""

    def __init__(self) -> None:
        self._known: set[bytes] = set()
        self._order: list[bytes] = []
        self._is_sorted = True

    def __len__(self) -> int:
        return len(self._known)

    def add(self, digest: bytes) -> None:
        self._known.add(digest)
        self._is_sorted = False

    def remove(self, digest: bytes) -> None:
        self._known.discard(digest)
        self._is_sorted = False

    def after(self, cursor: bytes, limit: int) -> tuple[list[bytes], bool]:
        """Up to `limit` digests after the cursor, and whether there are more."""
        if not self._is_sorted:
            self._order = sorted(self._known)
            self._is_sorted = True
        begin = bisect_right(self._order, cursor)
        end = begin + limit
        return self._order[begin:end], end < len(self._order)


class _Due:
    """When to look at which entry: at its keep_until or earlier, so that a later one changes nothing."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, bytes, bytes]] = []
        self._looks: dict[Key, int] = {}
        """The earliest look that is planned for each key; other looks in the heap are void."""

    def note(self, key: Key, keep_until: int) -> None:
        planned = self._looks.get(key)
        if planned is None or keep_until < planned:
            self._looks[key] = keep_until
            heappush(self._heap, (keep_until, key[0].value, key[1]))

    def pop(self, before: int) -> Key | None:
        """The next key to look at, if its time lies before `before`."""
        while self._heap and self._heap[0][0] < before:
            look, table, digest = heappop(self._heap)
            key = (Table(table), digest)
            if self._looks.get(key) == look:
                del self._looks[key]
                return key
        return None
