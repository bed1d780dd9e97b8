"""How the store grows and what is decided, hour by hour, for as long as anybody looks back.

A few times an hour the store's figures, and how many attempts passed, were deferred or refused since
the last time, are added to the hour's sample.  The samples of a day (UTC) are one row of the META table,
so what is kept is bounded, survives a restart, and never lies on the way of an answer: the engine counts
its decisions anyway.  A crash loses what was counted since the last writing.
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
"""Seconds between two writings."""

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
    """What the store's file has in use; 0: such a store does not tell."""
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
        """What `counts` said when it was last written."""
        self._tidied = 0

    async def run(self) -> None:
        """Note the present state every ten minutes, for ever.  Failures are only logged."""
        self._tidied = self._now() // DAY  # whether the clock can be believed is known later
        while True:
            try:
                await self.note()
                await self._tidy()
            except StoreError as error:
                logger.warning("the store's growth is not noted: %s", error)
            await trio.sleep(WRITE_EVERY)

    async def note(self) -> None:
        """Add what is new to the sample of this hour.  Raises StoreError; then it waits for the next time."""
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
    """Days since 1970, written so that they lie in order."""
    return GROWTH.key(b"%08d" % day)


def _noted(key: Key, sample: Sample, values: Sequence[bytes | None]) -> Change[None]:
    """The samples of a day with one more, or with more in the one of this hour."""
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
    """None of a day that has none, or that cannot be read: it is begun anew."""
    if value is None:
        return []
    try:
        return [Sample(*row) for row in GROWTH.coder.decode(value)]
    except CodecError:
        return []
