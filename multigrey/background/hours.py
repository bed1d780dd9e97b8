"""Figures of whole hours for 400 days: of all mail, by class of origins, by class, and of each reason.

`Flow` hands over what it has written, and what it sees of first deferrals and returns; the reasons come from
the counts that the engine has anyway.  The hours of a day (UTC) are one row of the META table (see
`analysis.hours`).  No answer waits for this.  A crash loses what was counted since the last write.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial

import trio

from multigrey.analysis.hours import Counts, add_to, counts_of_slot
from multigrey.contracts import Store
from multigrey.errors import CodecError, StoreError
from multigrey.model import DAY, HOUR, Action, Change, Entry, Key, Reason
from multigrey.stores.meta import HOURS

__all__ = ["DAYS_KEPT", "Hours", "hours_since"]

DAYS_KEPT = 400
_DAYS_AT_ONCE = 10
"""Days that are read, or written, in one go."""

Reasons = Callable[[], Mapping[tuple[Action, Reason], int]]


class Hours:
    """Gathers the figures of a running daemon."""

    def __init__(self, store: Store, reasons: Reasons = dict) -> None:
        """`reasons`: decisions since the start, by action and reason."""
        self._store = store
        self._reasons = reasons
        self._told: Mapping[Reason, int] = {}
        """What `reasons` returned when it was last counted."""
        self._new: dict[int, dict[str, int]] = {}
        """What is not in the store yet, by hour."""

    def add(self, time: int, counts: Counts) -> None:
        """Add figures to the hour in which `time` is."""
        add_to(self._new.setdefault(time - time % HOUR, {}), counts)

    def add_slots(self, slots: Mapping[int, Sequence[int]]) -> None:
        """Add slots of five minutes, by their beginnings (see `analysis.flow`)."""
        for begin, figures in slots.items():
            self.add(begin, counts_of_slot(figures))

    async def note(self, now: int) -> None:
        """Add what was counted to the store.  Raises StoreError; then the next call adds it."""
        self._count_reasons(now)
        days = sorted({hour // DAY for hour in self._new})
        for start in range(0, len(days), _DAYS_AT_ONCE):
            some = days[start : start + _DAYS_AT_ONCE]
            new = {hour: counts for hour, counts in self._new.items() if hour // DAY in some}
            for hour in new:
                del self._new[hour]
            try:
                await self._store.apply([_key(day) for day in some], partial(_added, some, new))
            except StoreError:
                for hour, counts in new.items():
                    self.add(hour, counts)
                raise

    def _count_reasons(self, now: int) -> None:
        counts: dict[Reason, int] = {}
        for (_, reason), number in self._reasons().items():
            counts[reason] = counts.get(reason, 0) + number
        new = {reason: number - self._told.get(reason, 0) for reason, number in counts.items()}
        self.add(now, {f"reason count {reason.value}": number for reason, number in new.items() if number})
        self._told = counts

    async def tidy(self, today: int) -> None:
        """Forget days that are too long ago, or that a wrong clock made.  Raises StoreError."""
        first, last = (b"%08d" % day for day in (today - DAYS_KEPT, today + 1))
        doomed: dict[Key, Entry | None] = {}
        async with aclosing(HOURS.walk(self._store)) as slices:
            async for rows in slices:
                doomed |= {HOURS.key(day): None for day, _ in rows if not first <= day <= last}
        if doomed:
            await self._store.apply(tuple(doomed), lambda _: Change(None, doomed, durable=True))

    def pending(self, now: int) -> dict[int, dict[str, int]]:
        """What is not in the store yet, by hour."""
        self._count_reasons(now)
        return {hour: dict(counts) for hour, counts in self._new.items()}


async def hours_since(
    store: Store, since: int, now: int, pending: Mapping[int, Counts]
) -> dict[int, dict[str, int]]:
    """The figures of the hours that began at or after `since`, with those not stored yet.

    Raises StoreError.
    """
    first = max(since // DAY, now // DAY - DAYS_KEPT)
    found: dict[int, dict[str, int]] = {}
    for start in range(first, now // DAY + 1, _DAYS_AT_ONCE):
        days = range(start, min(start + _DAYS_AT_ONCE, now // DAY + 1))
        for value in await store.read([_key(day) for day in days]):
            found |= _readable(value)
        await trio.lowlevel.checkpoint()
    for hour, counts in pending.items():
        add_to(found.setdefault(hour, {}), counts)
    return {hour: counts for hour, counts in sorted(found.items()) if since <= hour <= now}


def _key(day: int) -> Key:
    """The key of a day (days since 1970), written so that days sort in order."""
    return HOURS.key(b"%08d" % day)


def _added(days: Sequence[int], new: Mapping[int, Counts], values: Sequence[bytes | None]) -> Change[None]:
    """The rows of these days with the figures added; one that cannot be read is replaced."""
    puts: dict[Key, Entry | None] = {}
    for day, value in zip(days, values, strict=True):
        hours = _readable(value)
        for hour, counts in new.items():
            if hour // DAY == day:
                add_to(hours.setdefault(hour, {}), counts)
        rows = {str(hour): counts for hour, counts in sorted(hours.items())}
        puts[_key(day)] = Entry(HOURS.coder.encode(rows), None)
    return Change(None, puts, durable=False)


def _readable(value: bytes | None) -> dict[int, dict[str, int]]:
    """The hours of a day; none if it has no row, or one that cannot be read."""
    if value is None:
        return {}
    try:
        return {int(hour): dict(counts) for hour, counts in HOURS.coder.decode(value).items()}
    except CodecError:
        return {}
