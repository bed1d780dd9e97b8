"""The operation `waiting`: the records that wait now, and how long they still have to wait.

waiting   {"limit": N, "order": "left" or "wanted"}; 50 and "left" if left out, 1000 at most
          {"time", "waiting": [...], "delayed", "ready", "looked", "total", "complete", "more"}

It walks through the whole store, in slices with a pause after each, so that mail servers get their answers
in between: a million records take some ten seconds.  A walk that takes too long ends early; then `complete`
is false.  Only one walk is made at a time.  Rows have the form of `records.list`.  First come those whose
delay is not over, the shortest time left first; then those that would pass now (`ready`), the latest first.
With "wanted" those come before them that are more likely to be mail that people want: of a named origin, and
tried several times.
`delayed` and `ready` count the records, each once, whatever the number of its keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from heapq import nsmallest
from typing import Any

import trio

from multigrey.codec import decode_record, record_times
from multigrey.control.operations.context import OperationContext
from multigrey.control.operations.operation import BY, Level, Operation, OptionError, Options, Result
from multigrey.control.record_selection import origin_of, shown
from multigrey.errors import CodecError
from multigrey.model import Record, Table
from multigrey.stores.walk import SLICE, Row

__all__ = ["operations"]

ORDERS = ("left", "wanted")
_USUAL, _MOST = 50, 1_000
_BREATH = 0.001
"""Seconds between two slices: with this pause a walk takes at most half the time of the event loop."""
_LONGEST = 30.0
"""Seconds for a walk."""


def operations(parts: OperationContext) -> Iterable[Operation]:
    """The operation of this module."""
    one = trio.CapacityLimiter(1)
    yield Operation("waiting", Level.READ, answer=lambda o: _waiting(parts, one, o), offline=True)


async def _waiting(parts: OperationContext, one: trio.CapacityLimiter, options: Options) -> Result:
    unknown = options.keys() - {"limit", "order", BY}
    if unknown:
        raise OptionError(f"unknown option {min(unknown)!r}")
    limit = options.get("limit", _USUAL)
    if type(limit) is not int or not 1 <= limit <= _MOST:
        raise OptionError(f"limit: a number from 1 to {_MOST} is expected")
    order = options.get("order", ORDERS[0])
    if order not in ORDERS:
        raise OptionError(f"order: expected one of {', '.join(ORDERS)}")
    async with one:
        now = parts.clock.now()
        search = _Search(parts, now, limit, by_chance=order == "wanted")
        with trio.move_on_after(_LONGEST):
            await search.run()
        total = search.looked
        if not search.complete:
            total = max(total, int((await parts.engine.store.health())["records"]))
    delayed, ready = search.delayed, search.ready
    return {
        "time": now,
        "waiting": [shown(parts, digest, record) for digest, record in search.found],
        "delayed": delayed,
        "ready": ready,
        "looked": search.looked,
        "total": total,
        "complete": search.complete,
        "more": delayed + ready > len(search.found),
    }


class _Search:
    """One walk through the store; its results so far can be used at any time."""

    def __init__(self, parts: OperationContext, now: int, limit: int, *, by_chance: bool) -> None:
        """`by_chance`: whether mail that is likely to be wanted comes first."""
        self._by_chance = by_chance
        self._parts = parts
        self._now = now
        self._limit = limit
        self._window = parts.engine.setup.unnamed_policy.retry_window
        self.found: list[Row] = []
        self.delayed = 0
        self.ready = 0
        self.looked = 0
        self.complete = False

    async def run(self) -> None:
        """Walk through the store.  Raises StoreError."""
        store, cursor = self._parts.engine.store, b""
        while True:
            rows, cursor = await store.scan(Table.RECORD, cursor, SLICE)
            self._look(rows)
            if not cursor:
                self.complete = True
                return
            await trio.sleep(_BREATH)

    def _look(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Take a slice; keep the first `limit` rows of all found so far."""
        last = self._order(self.found[-1]) if len(self.found) == self._limit else None
        new: list[Row] = []
        for digest, value in rows:
            self.looked += 1
            with suppress(CodecError):
                record = self._waits(value)
                if record is None:
                    continue
                self._count(record)
                if last is None or self._order((digest, record)) < last:
                    new.append((digest, record))
        if new:
            self.found = nsmallest(self._limit, [*self.found, *new], key=self._order)

    def _waits(self, value: bytes) -> Record | None:
        """The record, if it waits for a retry; None: it does not, or another row shows it."""
        # Most rows are known senders: decoding only their numbers first is quicker.
        first_seen, _, _, _, _, passed_at, _ = record_times(value)
        if passed_at or self._now - first_seen > self._window:
            return None
        record = decode_record(value)
        return None if record.observed or record.home else record

    def _count(self, record: Record) -> None:
        if record.first_seen + record.delay > self._now:
            self.delayed += 1
        else:
            self.ready += 1

    def _order(self, row: Row) -> tuple[Any, ...]:
        record = row[1]
        left = record.first_seen + record.delay - self._now
        chance = _chance(record) if self._by_chance else 0
        return (-chance, left <= 0, abs(left), record.sender, record.recipient)


def _chance(record: Record) -> int:
    """How likely it is that people want this mail: bots have no name, and rarely try twice."""
    return origin_of(record).named + (record.attempts > 1)
