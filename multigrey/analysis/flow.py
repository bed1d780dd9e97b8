"""Figures of mail in slots of five minutes: what is counted, and what many slots come to.

A slot has counts of attempts and of mails, and the delays of the mails that came back in it, by the bound
below which they lie.  Counts of slots are added up to longer ones, so a sum is never a guess.  A median is
estimated within the bounds between which it lies, as if the delays were spread evenly.

`back` is counted in the slot of the first attempt, so that a slot shows how many of its deferrals came back;
`returned` in the slot in which a mail passed.  The outcome of a slot is settled when the retry window of its
last deferral is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from multigrey.model import DAY, HOUR

__all__ = [
    "BOUNDS",
    "COUNTS",
    "ORIGIN_COUNTS",
    "STEP",
    "FlowView",
    "OriginFlow",
    "Span",
    "flow_view",
    "length_of",
    "quantile",
]

STEP = 300
"""Seconds of a slot."""
COUNTS = ("deferred", "passed", "refused", "observed", "first", "returned", "at_once", "back")
"""Attempts deferred, passed and refused, and passed only because greylisting was observed; mails deferred
for the first time, mails that came back and passed, attempts that passed without a deferral, deferrals of
this slot that came back."""
BOUNDS = (
    *(60, 120, 180, 240, 300, 420, 600, 900, 1200, 1800, 2700),
    *(HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, DAY, 2 * DAY),
)
"""Upper bounds of delays, in seconds; what is above the last is counted as well."""
ORIGIN_COUNTS = ("attempts", "first", "returned", "back")
"""Of an origin: attempts, mails deferred for the first time, mails that came back, deferrals of the hour that
came back."""

_LENGTHS = (STEP, 2 * STEP, 1800, HOUR, 3 * HOUR, 6 * HOUR, DAY)
_MOST_SLOTS = 60
_FIRST, _RETURNED, _BACK = COUNTS.index("first"), COUNTS.index("returned"), COUNTS.index("back")
_WEEK = 7 * DAY
WIDTH = len(COUNTS) + len(BOUNDS) + 1

Figures = Sequence[int]
"""Numbers in the order of `COUNTS`, then those of delays by bound."""


@dataclass(frozen=True, slots=True)
class OriginFlow:
    """The figures of an origin in one hour."""

    hour: int
    name: str
    kind: str
    """named, unnamed or provider."""
    figures: Figures
    """In the order of `ORIGIN_COUNTS`, then those of delays by bound."""


@dataclass(frozen=True, slots=True)
class Span:
    """What is asked for.  Times are seconds since 1970."""

    now: int
    since: int
    retry_window: int
    utc_offset: int = 0
    """Seconds by which local time is ahead of UTC: longer slots begin with local hours and days."""
    most_origins: int = 100


@dataclass(frozen=True, slots=True)
class FlowView:
    """The figures of a span."""

    recorded_since: int | None
    """The beginning of the first slot that is known; None: there is none."""
    step: int
    """Seconds of a slot of the span."""
    slots: Sequence[tuple[int, bool, Figures | None]]
    """Beginning, whether it was counted from its beginning to its end, and counts; None: not counted."""
    totals: Mapping[str, Any]
    histogram: Sequence[int]
    days: Sequence[tuple[int, int, int | None, int | None]]
    """By local day: beginning, mails that came back, median delay, 95th percentile."""
    week: Mapping[str, Any]
    origins: Sequence[Mapping[str, Any]]


def length_of(seconds: int) -> int:
    """The length of slots for a span of so many seconds."""
    return next((each for each in _LENGTHS if seconds <= each * _MOST_SLOTS), DAY)


def quantile(counts: Sequence[int], percent: int) -> int | None:
    """The delay in seconds that `percent` percent do not exceed, estimated; None: nothing was counted."""
    total = sum(counts)
    if not total:
        return None
    wanted, low = total * percent / 100, 0
    for bound, count, below in zip(BOUNDS, counts, accumulate(counts), strict=False):
        if below >= wanted:
            return round(bound - (bound - low) * (below - wanted) / count) if count else bound
        low = bound
    return BOUNDS[-1]


def flow_view(samples: Mapping[int, Figures], origins: Iterable[OriginFlow], span: Span) -> FlowView:
    """What the slots of five minutes, by their beginnings, come to in a span.

    `samples` has to go back to a week before the retry window of the latest settled slot.
    """
    recorded_since = min(samples, default=None)
    begin = max(span.since, span.now if recorded_since is None else recorded_since)
    step = length_of(span.now - begin)
    within = {time: figures for time, figures in samples.items() if time + STEP > span.since}
    summed = _sum(within.values())
    delays = summed[len(COUNTS) :]
    settled = _settled(within, span)
    return FlowView(
        recorded_since=recorded_since,
        step=step,
        slots=_slots(within, begin, step, span),
        totals={
            **dict(zip(COUNTS, summed, strict=False)),
            "settled": settled[_FIRST],
            "never": max(settled[_FIRST] - settled[_BACK], 0) if settled[_FIRST] else None,
            "p50": quantile(delays, 50),
            "p95": quantile(delays, 95),
        },
        histogram=delays,
        days=_days(within, span),
        week=_week(samples, span),
        origins=_origins(origins, span),
    )


def _sum(rows: Iterable[Figures], width: int = WIDTH) -> list[int]:
    found = [0] * width
    for row in rows:
        for index, number in enumerate(row):
            if number:
                found[index] += number
    return found


def _settled(samples: Mapping[int, Figures], span: Span) -> list[int]:
    """The sum of the slots whose retry window is over."""
    return _sum(row for time, row in samples.items() if time + STEP + span.retry_window <= span.now)


def _slots(
    samples: Mapping[int, Figures], begin: int, step: int, span: Span
) -> list[tuple[int, bool, Figures | None]]:
    """Slots of `step` seconds; the first of all and the one that is being counted are not complete."""
    groups: dict[int, list[Figures]] = {}
    for time, row in samples.items():
        groups.setdefault(_start(time, step, span), []).append(row)
    first = min(samples, default=span.now)
    found: list[tuple[int, bool, Figures | None]] = []
    for time in range(min([_start(begin, step, span), *groups]), span.now + 1, step):
        rows = groups.get(time)
        complete = time > first and time + step <= span.now
        found.append((time, complete, None if rows is None else _sum(rows)[: len(COUNTS)]))
    return found


def _start(time: int, step: int, span: Span) -> int:
    return time - (time + span.utc_offset) % step


def _days(samples: Mapping[int, Figures], span: Span) -> list[tuple[int, int, int | None, int | None]]:
    groups: dict[int, list[Figures]] = {}
    for time, row in samples.items():
        groups.setdefault(_start(time, DAY, span), []).append(row)
    found = []
    for time, rows in sorted(groups.items()):
        summed = _sum(rows)
        delays = summed[len(COUNTS) :]
        found.append((time, summed[_RETURNED], quantile(delays, 50), quantile(delays, 95)))
    return found


def _week(samples: Mapping[int, Figures], span: Span) -> Mapping[str, Any]:
    """How much of the mail that was deferred in the latest week with a known outcome never came back."""
    until = span.now - span.retry_window
    within = {time: row for time, row in samples.items() if until - _WEEK < time + STEP <= until}
    settled = _sum(within.values())
    first_figures = min(samples, default=span.now) + span.retry_window + STEP
    return {
        "deferred": settled[_FIRST],
        "never": max(settled[_FIRST] - settled[_BACK], 0),
        "since": min(within, default=None),
        "until": until,
        "first_figures": None if within else first_figures,
    }


def _origins(rows: Iterable[OriginFlow], span: Span) -> list[Mapping[str, Any]]:
    """The origins with most attempts."""
    width = len(ORIGIN_COUNTS) + len(BOUNDS) + 1
    found: dict[str, tuple[str, list[int], list[int]]] = {}
    for row in rows:
        kind, sums, settled = found.get(row.name) or ("", [0] * width, [0, 0])
        for index, number in enumerate(row.figures):
            if number:
                sums[index] += number
        if row.hour + HOUR + span.retry_window <= span.now:
            settled[0] += row.figures[1]
            settled[1] += row.figures[3]
        found[row.name] = (row.kind or kind, sums, settled)
    busiest = sorted(found.items(), key=lambda item: (-item[1][1][0], item[0]))[: span.most_origins]
    return [
        {
            "name": name,
            "kind": kind,
            "attempts": sums[0],
            "deferred": sums[1],
            "returned": sums[2],
            "never": max(settled[0] - settled[1], 0) if settled[0] or not sums[1] else None,
            "p50": quantile(sums[len(ORIGIN_COUNTS) :], 50),
            "p95": quantile(sums[len(ORIGIN_COUNTS) :], 95),
        }
        for name, (kind, sums, settled) in busiest
    ]
