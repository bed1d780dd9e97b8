"""Growth: one sample an hour of the store's size and of the decisions, for 400 days.

A few times an hour, two things are added to the hour's sample: the store's figures, and how many attempts
passed, were deferred or refused since the last time.  The samples of a day (UTC) are one row of the META
table.  So the data are bounded, survive a restart, and delay no answer: the engine counts its decisions
anyway.  A crash loses what was counted since the last write.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import NamedTuple

import trio

from multigrey.contracts import Store
from multigrey.errors import CodecError, StoreError
from multigrey.model import DAY, HOUR, Action, Change, Entry, Key
from multigrey.stores.meta import GROWTH

__all__ = ["DAYS_KEPT", "Growth", "Sample", "samples_since"]

DAYS_KEPT = 400
WRITE_EVERY = 600.0
"""Seconds between two writes."""

_SLICE = 200
_DAYS_AT_ONCE = 20
"""Days that are read in one go: a millisecond, then the loop has its turn."""

Counts = Mapping[Action, int]

logger = logging.getLogger(__name__)


class Sample(NamedTuple):
    """What is known of one hour."""

    hour: int
    """Its beginning, in seconds since 1970."""
    records: int
    """Rows of records in the store when it was last looked at."""
    origins: int
    octets: int
    """Bytes in use of the store's file; 0: the store does not report them."""
    deferred: int
    """Attempts in this hour."""
    passed: int
    refused: int


class Growth:
    """Takes the samples of a running daemon."""

    def __init__(self, store: Store, now: Callable[[], int], counts: Callable[[], Counts]) -> None:
        """`counts`: decisions since the start, by action."""
        self._store = store
        self._now = now
        self._counts = counts
        self._told: Counts = {}
        """What `counts` returned at the last write."""
        self._tidied = 0

    async def run(self) -> None:
        """Note the present state every ten minutes, for ever.  Failures are only logged."""
        self._tidied = self._now() // DAY  # not at the start: the clock may be wrong
        while True:
            try:
                await self.note()
                await self._tidy()
            except StoreError as error:
                logger.warning("cannot note the growth of the store: %s", error)
            await trio.sleep(WRITE_EVERY)

    async def note(self) -> None:
        """Add what is new to the sample of this hour.  Raises StoreError; then the next call adds it."""
        health = await self._store.health()
        now, counts = self._now(), dict(self._counts())
        new = {action: counts.get(action, 0) - self._told.get(action, 0) for action in Action}
        sample = Sample(
            now - now % HOUR,
            int(health["records"]),
            int(health["origins"]),
            int(health.get("used", 0)),
            new[Action.DEFER],
            new[Action.PASS],
            new[Action.REJECT],
        )
        key = _key(now // DAY)
        await self._store.apply((key,), partial(_noted, key, sample))
        # Not before the write: what a failed one did not add is part of the next sample.
        self._told = counts

    async def _tidy(self) -> None:
        """Once a day, forget the days that are too long ago."""
        today = self._now() // DAY
        if today == self._tidied:
            return
        first = b"%08d" % (today - DAYS_KEPT)
        doomed: dict[Key, Entry | None] = {}
        async with aclosing(GROWTH.walk(self._store)) as slices:
            async for rows in slices:
                doomed |= {GROWTH.key(day): None for day, _ in rows if day < first}
        if doomed:
            await self._store.apply(tuple(doomed), lambda _: Change(None, doomed, durable=True))
        self._tidied = today


async def samples_since(store: Store, since: int, now: int) -> list[Sample]:
    """The samples of hours that ended after `since`, the oldest first.  Raises StoreError."""
    first = max(since // DAY, now // DAY - DAYS_KEPT)
    found: list[Sample] = []
    for start in range(first, now // DAY + 1, _DAYS_AT_ONCE):
        days = range(start, min(start + _DAYS_AT_ONCE, now // DAY + 1))
        for value in await store.read([_key(day) for day in days]):
            found += _readable(value)
        await trio.lowlevel.checkpoint()
    return [sample for sample in found if sample.hour + HOUR > since]


def _key(day: int) -> Key:
    """The key of a day (days since 1970), written so that days sort in order."""
    return GROWTH.key(b"%08d" % day)


def _noted(key: Key, sample: Sample, values: Sequence[bytes | None]) -> Change[None]:
    """The samples of a day, with one added, or with more in the one of this hour."""
    by_hour = {each.hour: each for each in _readable(values[0])}
    old = by_hour.get(sample.hour)
    if old is not None:
        sample = sample._replace(
            deferred=old.deferred + sample.deferred,
            passed=old.passed + sample.passed,
            refused=old.refused + sample.refused,
        )
    by_hour[sample.hour] = sample
    rows = sorted(by_hour.values())
    entry = Entry(GROWTH.coder.encode(rows), None)
    return Change(None, {key: entry}, durable=True)


def _readable(value: bytes | None) -> list[Sample]:
    """The samples of a day; none if it has no row, or one that cannot be read and is replaced."""
    if value is None:
        return []
    try:
        return [Sample(*row) for row in GROWTH.coder.decode(value)]
    except CodecError:
        return []
