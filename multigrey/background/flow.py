"""Flow: figures of each five minutes for forty days, of all mail and of the busiest origins.

A subscriber of the engine counts each decision; every two minutes the counts are added to the store.  The
slots of an hour are one row of the META table, the busiest origins of an hour another (see `analysis.flow`).
The figures of the present are read together with those in the store, so nothing is missing from the first
decision on.  What was written is handed on to `hours`, which keeps it for longer.  A slot without mail is
written as well: a slot that is missing was not counted, because nothing ran.  No answer waits for this.  A
crash loses what was counted since the last write.

Where client addresses are hidden, an origin without a name is stored as a token.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from itertools import islice
from typing import Any

import trio

from multigrey.analysis.figures import would_have_waited
from multigrey.analysis.flow import (
    BOUNDS,
    COUNTS,
    ORIGIN_COUNTS,
    STEP,
    FlowView,
    OriginFlow,
    Span,
    flow_view,
)
from multigrey.analysis.hours import add_to, counts_of_slot
from multigrey.background.hours import Hours
from multigrey.clock import Clock
from multigrey.contracts import Store
from multigrey.errors import CodecError, StoreError
from multigrey.identity.redaction import Redactor
from multigrey.model import DAY, HOUR, Action, Change, DecisionEvent, Entry, Key, Reason
from multigrey.stores.meta import FLOW, FLOW_ORIGINS, MetaRows
from multigrey.threads import in_thread

__all__ = ["KEPT", "MOST_ORIGINS", "WRITE_EVERY", "Flow", "view_of"]

KEPT = 40 * DAY
"""Thirty days can be shown, and the week before a retry window."""
WRITE_EVERY = 120.0
"""Seconds between two writes."""
MOST_ORIGINS = 60
"""Origins of an hour in the store."""

_MOST_COUNTED = 1_000
"""Origins of an hour that are counted in memory between two writes."""
_AT_ONCE = 24
"""Rows that are read, or written, in one go."""
_DEFERRED, _PASSED, _REFUSED, _OBSERVED, _FIRST, _RETURNED, _AT_ONCE_PASSED, _BACK = range(len(COUNTS))
_FIRST_REASONS = frozenset({Reason.NEW, Reason.EXPIRED, Reason.OVER_LIMIT})
_ACCEPTED = frozenset({Reason.RETRY, Reason.SAME_MESSAGE, Reason.AUTO_WHITELISTED})
"""Reasons with which mail passes that may have been deferred before."""
_UNDECIDED = frozenset({Reason.NULL_SENDER, Reason.PROBE})
"""Reasons with which nothing is decided: the same mail is judged at DATA."""

_DELAY_WORDS = (*(f"d{bound}" for bound in BOUNDS), "dmore")

Rows = Sequence[Sequence[Any]]
Slots = dict[int, list[int]]
"""By the beginning of a slot."""
Origins = dict[int, dict[str, list[int]]]
"""By hour and name."""

logger = logging.getLogger(__name__)


class Flow:
    """Counts the decisions of a running daemon."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        origin_class: Callable[[DecisionEvent], str] = lambda _: "",
        redactor: Callable[[], Redactor | None] = lambda: None,
        hours: Hours | None = None,
        target_of: Callable[[str], int | None] = lambda _: None,
    ) -> None:
        """`origin_class` returns named, unnamed or provider; `redactor` hides origins without a name.

        `hours` gets what is to be kept for longer; `target_of` returns the target of a class in seconds.
        """
        self.hours = Hours(store) if hours is None else hours
        self._target_of = target_of
        self._store = store
        self._clock = clock
        self._origin_class = origin_class
        self._redactor = redactor
        self._slots: Slots = {}
        self._origins: Origins = {}
        self._kinds: dict[str, str] = {}
        """The kinds of the origins that are counted."""
        self._tidied = 0

    def __call__(self, event: DecisionEvent) -> None:
        """Count one decision; a subscriber of the engine."""
        verdict, time = event.verdict, event.time
        reason, action = verdict.reason, verdict.action
        if reason in _UNDECIDED:
            return
        counts, origin = self._slot(time), self._origin(event)
        origin[0] += 1
        if action is Action.DEFER:
            counts[_DEFERRED] += 1
            if reason in _FIRST_REASONS and verdict.attempts <= 1:
                counts[_FIRST] += 1
                origin[1] += 1
                self._note_hour(event, time, "first")
        elif action is Action.REJECT:
            counts[_REFUSED] += 1
        else:
            counts[_PASSED] += 1
            if verdict.observed:
                counts[_OBSERVED] += would_have_waited(event)
            elif verdict.attempts > 1 and reason in _ACCEPTED:
                self._came_back(event, counts, origin)
            else:
                counts[_AT_ONCE_PASSED] += 1

    def _came_back(self, event: DecisionEvent, counts: list[int], origin: list[int]) -> None:
        age = max(event.verdict.age, 0)
        bucket = bisect_left(BOUNDS, age)
        counts[_RETURNED] += 1
        counts[len(COUNTS) + bucket] += 1
        origin[2] += 1
        origin[len(ORIGIN_COUNTS) + bucket] += 1
        first = event.time - age
        self._note_hour(event, event.time, "returned", _DELAY_WORDS[bucket])
        self._note_hour(event, first, "back")
        self.hours.add(event.time, {"all longest": age})
        target = self._target_of(event.class_) if event.class_ else None
        if target is not None and age > target:
            self.hours.add(event.time, {f"class over {event.class_}": 1})
        self._slot(first)[_BACK] += 1
        self._named(first - first % HOUR, event)[3] += 1

    def _note_hour(self, event: DecisionEvent, time: int, *words: str) -> None:
        """Count a first deferral or a return for its class of origins, and for its class."""
        kind = self._kinds.get(event.origin)
        if kind is None:
            kind = self._origin_class(event)
        counts = {f"origin {word} {kind}": 1 for word in words}
        if event.class_:
            counts |= {f"class {word} {event.class_}": 1 for word in words}
        self.hours.add(time, counts)

    def _slot(self, time: int) -> list[int]:
        begin = time - time % STEP
        found = self._slots.get(begin)
        if found is None:
            found = self._slots[begin] = [0] * (len(COUNTS) + len(BOUNDS) + 1)
        return found

    def _origin(self, event: DecisionEvent) -> list[int]:
        return self._named(event.time - event.time % HOUR, event)

    def _named(self, hour: int, event: DecisionEvent) -> list[int]:
        """The counts of the decision's origin in an hour; of one too many, counts that are not kept."""
        origins = self._origins.get(hour)
        if origins is None:
            origins = self._origins[hour] = {}
        found = origins.get(event.origin)
        if found is None:
            found = [0] * (len(ORIGIN_COUNTS) + len(BOUNDS) + 1)
            if event.origin and len(origins) < _MOST_COUNTED:
                origins[event.origin] = found
                if event.origin not in self._kinds:
                    self._kinds[event.origin] = self._origin_class(event)
        return found

    async def run(self) -> None:
        """Add what was counted to the store every two minutes, for ever.  Failures are only logged."""
        self._tidied = self._clock.now() // DAY  # not at the start: the clock may be wrong
        while True:
            try:
                await self.note()
                await self._tidy()
            except StoreError as error:
                logger.warning("cannot note the flow of mail: %s", error)
            await trio.sleep(WRITE_EVERY)

    async def note(self) -> None:
        """Add what was counted to the store.  Raises StoreError; then the next call adds the rest."""
        self._slot(self._clock.now())  # also if there was no mail
        hours = sorted({begin - begin % HOUR for begin in self._slots} | {*self._origins})
        for start in range(0, len(hours), _AT_ONCE):
            await self._add(hours[start : start + _AT_ONCE])
        self._kinds = {}
        await self.hours.note(self._clock.now())

    async def _add(self, hours: Sequence[int]) -> None:
        slots = {begin: row for begin, row in self._slots.items() if begin - begin % HOUR in hours}
        origins = {hour: self._origins[hour] for hour in hours if hour in self._origins}
        for begin in slots:
            del self._slots[begin]
        for hour in origins:
            del self._origins[hour]
        kinds, redactor = self._kinds, self._redactor()
        written = {hour: _written(rows, kinds, redactor) for hour, rows in origins.items()}
        keys = (*(_key(FLOW, hour) for hour in hours), *(_key(FLOW_ORIGINS, hour) for hour in hours))
        try:
            await self._store.apply(keys, partial(_added, hours, slots, written))
        except StoreError:
            self._give_back(slots, origins)
            raise
        self.hours.add_slots(slots)

    def _give_back(self, slots: Slots, origins: Origins) -> None:
        """Take counts that could not be written to those that were made in the meantime."""
        for begin, row in slots.items():
            _add_to(self._slot(begin), row)
        for hour, rows in origins.items():
            theirs = self._origins.setdefault(hour, {})
            for name, row in islice(rows.items(), _MOST_COUNTED):
                _add_to(theirs.setdefault(name, [0] * len(row)), row)

    async def _tidy(self) -> None:
        """Once a day, forget what is too long ago."""
        today = self._clock.now() // DAY
        if today == self._tidied:
            return
        first, last = (
            b"%08d" % (time // HOUR) for time in (self._clock.now() - KEPT, self._clock.now() + DAY)
        )
        for kind in (FLOW, FLOW_ORIGINS):
            async with aclosing(kind.walk(self._store)) as slices:
                async for rows in slices:
                    doomed: dict[Key, Entry | None]
                    doomed = {kind.key(hour): None for hour, _ in rows if not first <= hour <= last}
                    if doomed:
                        await self._store.apply(tuple(doomed), partial(_forgotten, doomed))
        await self.hours.tidy(today)
        self._tidied = today

    def pending_hours(self) -> dict[int, dict[str, int]]:
        """The figures of hours that are not in the store yet."""
        found = self.hours.pending(self._clock.now())
        for begin, row in self._slots.items():
            add_to(found.setdefault(begin - begin % HOUR, {}), counts_of_slot(row))
        return found

    def pending(self) -> tuple[Slots, list[OriginFlow]]:
        """What is not in the store yet."""
        kinds, redactor = self._kinds, self._redactor()
        origins = [
            OriginFlow(hour, name, kind, row)
            for hour, rows in self._origins.items()
            for name, (kind, row) in _written(rows, kinds, redactor).items()
        ]
        return {begin: [*row] for begin, row in self._slots.items()}, origins


def _key(kind: MetaRows[Rows], hour: int) -> Key:
    return kind.key(b"%08d" % (hour // HOUR))


def _add_to(sums: list[int], row: Iterable[int]) -> None:
    for index, number in enumerate(row):
        sums[index] += number


Written = Mapping[str, tuple[str, list[int]]]
"""Kind and counts by the name as it is stored."""


def _written(rows: Mapping[str, list[int]], kinds: Mapping[str, str], redactor: Redactor | None) -> Written:
    found: dict[str, tuple[str, list[int]]] = {}
    busiest = sorted(rows.items(), key=lambda item: -item[1][0])[: 2 * MOST_ORIGINS]
    for name, row in busiest:
        shown = name if redactor is None else redactor.field("origin", name)
        found[shown] = kinds.get(name, ""), [*row]
    return found


def _added(
    hours: Sequence[int],
    slots: Slots,
    origins: Mapping[int, Written],
    values: Sequence[bytes | None],
) -> Change[None]:
    """The rows of these hours with the counts added; one that cannot be read is replaced."""
    puts: dict[Key, Entry | None] = {}
    for hour, value, others in zip(hours, values, values[len(hours) :], strict=False):
        found: Slots = {row[0]: [*row[1:]] for row in _readable(FLOW, value)}
        for begin, row in slots.items():
            if begin - begin % HOUR == hour:
                _add_to(found.setdefault(begin, [0] * len(row)), row)
        if found:
            rows = [[begin, *row] for begin, row in sorted(found.items())]
            puts[_key(FLOW, hour)] = Entry(FLOW.coder.encode(rows), None)
        if hour in origins:
            stored = _with(_readable(FLOW_ORIGINS, others), origins[hour])
            puts[_key(FLOW_ORIGINS, hour)] = Entry(FLOW_ORIGINS.coder.encode(stored), None)
    return Change(None, puts, durable=False)


def _with(stored: Rows, new: Written) -> list[list[Any]]:
    """The busiest origins of an hour; without those of which only returns are known."""
    found = {row[0]: (row[1], [*row[2:]]) for row in stored}
    for name, (kind, row) in new.items():
        if name not in found:
            if not row[0]:
                continue
            found[name] = kind, [0] * len(row)
        _add_to(found[name][1], row)
    busiest = sorted(found.items(), key=lambda item: (-item[1][1][0], item[0]))[:MOST_ORIGINS]
    return [[name, kind, *row] for name, (kind, row) in busiest]


def _forgotten(doomed: Mapping[Key, Entry | None], values: Sequence[bytes | None]) -> Change[None]:
    del values
    return Change(None, doomed, durable=True)


def _readable(kind: MetaRows[Rows], value: bytes | None) -> Rows:
    """The rows of an hour; none if it has none, or they cannot be read."""
    if value is None:
        return ()
    try:
        return kind.coder.decode(value)
    except CodecError:
        return ()


async def view_of(store: Store, flow: Flow | None, span: Span) -> FlowView:
    """The figures of a span, with those that are not in the store yet.  Raises StoreError.

    What is asked for is read in slices, and counted in a thread.
    """
    first = min(span.since, span.now - span.retry_window - 7 * DAY - HOUR)
    first = max(first, span.now - KEPT)
    begin = await _first_hour(store)
    hours = range(first - first % HOUR, span.now + 1, HOUR)
    if begin is not None:
        hours = range(max(hours.start, begin), hours.stop, HOUR)
    stored: list[tuple[bytes | None, ...]] = []
    for start in range(0, len(hours) if begin is not None else 0, _AT_ONCE):
        some = hours[start : start + _AT_ONCE]
        keys = [_key(kind, hour) for kind in (FLOW, FLOW_ORIGINS) for hour in some]
        values = await store.read(keys)
        stored += zip(values[: len(some)], values[len(some) :], strict=True)
        await trio.lowlevel.checkpoint()
    pending = ({}, []) if flow is None else flow.pending()
    return await in_thread(_made, list(hours), stored, pending, span)


async def _first_hour(store: Store) -> int | None:
    """The earliest hour that has a row; None: there is none."""
    rows, _ = await store.scan(FLOW.key()[0], FLOW.prefix, 1)
    if not rows or not rows[0][0].startswith(FLOW.prefix):
        return None
    text = rows[0][0][len(FLOW.prefix) :]
    return int(text) * HOUR if text.isdigit() else None


def _made(
    hours: Sequence[int],
    stored: Sequence[tuple[bytes | None, ...]],
    pending: tuple[Slots, list[OriginFlow]],
    span: Span,
) -> FlowView:
    samples: Slots = {}
    origins = [row for row in pending[1] if row.hour + HOUR > span.since]
    for hour, (value, others) in zip(hours, stored, strict=False):
        samples |= {row[0]: [*row[1:]] for row in _readable(FLOW, value)}
        if hour + HOUR > span.since:
            for name, kind, *row in _readable(FLOW_ORIGINS, others):
                origins.append(OriginFlow(hour, name, kind, row))
    for begin, row in pending[0].items():
        _add_to(samples.setdefault(begin, [0] * len(row)), row)
    return flow_view(samples, origins, span)
