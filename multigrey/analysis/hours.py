"""Figures of whole hours, which are kept for 400 days, and the report that they come to.

The figures of an hour are counts by name.  A name has two or three words: what is counted (`all` mail, the
`origin` classes, the `class`es, the `reason`s), the figure, and of which one: `all first`,
`origin back named`, `class d600 codes`, `reason count new`.  The figures are those of `analysis.flow`; `d600`
counts delays of up to 600 seconds that are above the bound before it.  `first` and `back` belong to the hour
of the first attempt, so that an hour shows which share of its deferrals came back.  Counts of hours are added
up, so a sum is never a guess; a median is estimated within the bounds between which it lies.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from multigrey.analysis.figures import (
    DELAY_BOUNDS,
    ORIGIN_CLASSES,
    ClassRow,
    Delays,
    Outlook,
    SenderFigures,
    Slot,
    Target,
    Traffic,
    Worth,
    resolved_at,
    slot_length,
)
from multigrey.analysis.flow import BOUNDS, COUNTS, quantile
from multigrey.model import HOUR, Reason

__all__ = ["Counts", "add_to", "counts_of_slot", "decisions_in", "report_of_hours", "worth_of_hours"]

Counts = Mapping[str, int]
"""The figures of an hour."""

_DELAYS = (*(f"d{bound}" for bound in BOUNDS), "dmore")
_NAMES = tuple(f"all {word}" for word in (*COUNTS, *_DELAYS))
_LONGEST = "longest"


def counts_of_slot(figures: Sequence[int]) -> dict[str, int]:
    """The counts of a slot of five minutes (see `analysis.flow`) as those of an hour."""
    return {name: number for name, number in zip(_NAMES, figures, strict=True) if number}


def add_to(sums: dict[str, int], counts: Counts) -> None:
    """Add the figures of a part of an hour to those of the hour."""
    for name, number in counts.items():
        old = sums.get(name, 0)
        sums[name] = max(old, number) if _LONGEST in name.split(" ", 2)[1] else old + number


def decisions_in(hours: Mapping[int, Counts]) -> int:
    """How many decisions were counted."""
    return sum(n for counts in hours.values() for name, n in counts.items() if name.startswith("reason "))


class _Sums(NamedTuple):
    """The figures of all mail, of a class or of a reason."""

    all: Counter[str]
    settled: Counter[str]
    """Those of hours whose retry window is over."""

    def delays(self) -> Delays:
        """The outcome of deferred mail, by the hour of the first attempt."""
        counted = [self.all[word] for word in _DELAYS]
        first, back = self.all["first"], self.all["back"]
        never = max(self.settled["first"] - self.settled["back"], 0)
        waiting = max(first - back - never, 0)
        longest = self.all[_LONGEST] or None
        p50, p95 = (_at_most(quantile(counted, percent), longest) for percent in (50, 95))
        return Delays(first, back, waiting, never, p50, p95, longest)


def _at_most(seconds: int | None, longest: int | None) -> int | None:
    """An estimate that does not exceed what was seen."""
    return seconds if seconds is None or longest is None else min(seconds, longest)


def report_of_hours(
    hours: Mapping[int, Counts], origins: Iterable[Mapping[str, Any]], outlook: Outlook
) -> dict[str, Any]:
    """The fields of `figures.Report` that whole hours, by their beginnings, come to.

    `origins`: the busiest ones, as in `flow.FlowView`.
    """
    sums = _summed(hours, outlook)
    everything = sums["all", ""]
    delays, begin = everything.delays(), min(hours)
    length = slot_length(outlook.now - begin)
    top = [_origin(row) for row in origins][: outlook.most]
    return {
        "counted_since": begin,
        "traffic": _traffic(sums, everything, begin),
        "delays": delays,
        "origins": [
            ClassRow(name, "", None, 0, sums["origin", name].delays())
            for name in ORIGIN_CLASSES
            if sums["origin", name].all["first"]
        ],
        "classes": _classes(sums, outlook),
        "slot": length,
        "slots": _slots(hours, begin, length, outlook),
        "histogram": _histogram(everything),
        **({"top_origins": top} if top else {}),
        "first_figures": _first_figures(begin, delays, outlook),
    }


def worth_of_hours(hours: Mapping[int, Counts], outlook: Outlook) -> Worth:
    """What the sentence on the benefit of greylisting needs."""
    sums = _summed(hours, outlook)["all", ""]
    settled = sums.settled
    delays = sums.delays()
    first = _first_figures(min(hours), delays, outlook)
    return Worth(delays.deferred, settled["first"], settled["back"], delays.p50, delays.p95, first)


def _summed(hours: Mapping[int, Counts], outlook: Outlook) -> Mapping[tuple[str, str], _Sums]:
    found: dict[tuple[str, str], _Sums] = defaultdict(lambda: _Sums(Counter(), Counter()))
    for hour, counts in hours.items():
        is_settled = resolved_at(hour, outlook.retry_window) <= outlook.now
        for key, number in counts.items():
            group, word, *name = key.split(" ", 2)
            sums = found[group, "".join(name)]
            if word == _LONGEST:
                sums.all[word] = max(sums.all[word], number)
                continue
            sums.all[word] += number
            if is_settled:
                sums.settled[word] += number
    return found


def _first_figures(begin: int, delays: Delays, outlook: Outlook) -> int | None:
    first = resolved_at(begin, outlook.retry_window)
    return first if delays.deferred and first > outlook.now else None


def _traffic(sums: Mapping[tuple[str, str], _Sums], everything: _Sums, begin: int) -> Traffic:
    reasons = Counter({name: each.all["count"] for (group, name), each in sums.items() if group == "reason"})
    return Traffic(
        decisions=reasons.total(),
        first=begin,
        passed_at_once=everything.all["at_once"],
        refused=everything.all["refused"],
        observed=everything.all["observed"],
        by_reason=dict(reasons.most_common()),
        over_limit=reasons[Reason.OVER_LIMIT.value],
    )


def _classes(sums: Mapping[tuple[str, str], _Sums], outlook: Outlook) -> list[ClassRow]:
    counted = {name for group, name in sums if group == "class"}
    rows = []
    for name in [*outlook.targets, *sorted(counted - {*outlook.targets})]:
        target = outlook.targets.get(name, Target())
        if outlook.owner in {"", target.owner}:
            each = sums["class", name]
            rows.append(ClassRow(name, target.owner, target.seconds, each.all["over"], each.delays()))
    return rows


def _slots(hours: Mapping[int, Counts], begin: int, length: int, outlook: Outlook) -> list[Slot]:
    """Mail by time slots, which begin with whole hours or days of local time."""
    begin -= (begin + outlook.utc_offset) % length
    counts = [[0, 0, 0] for _ in range((outlook.now - begin) // length + 1)]
    for hour, figures in hours.items():
        row = counts[min((hour - begin) // length, len(counts) - 1)]
        for index, word in enumerate(("first", "returned", "at_once")):
            row[index] += figures.get(f"all {word}", 0)
    return [Slot(begin + index * length, *row) for index, row in enumerate(counts)]


def _histogram(sums: _Sums) -> list[int]:
    counts = [0] * (len(DELAY_BOUNDS) + 1)
    for bound, word in zip((*BOUNDS, HOUR * 24 * 365), _DELAYS, strict=True):
        counts[sum(bound > each for each in DELAY_BOUNDS)] += sums.all[word]
    return counts


def _origin(row: Mapping[str, Any]) -> SenderFigures:
    deferred, back, never = row["deferred"], row["returned"], row["never"] or 0
    waiting = max(deferred - back - never, 0)
    delays = Delays(deferred, back, waiting, never, row["p50"], row["p95"], None)
    return SenderFigures(row["name"], row["kind"], row["attempts"], 0, delays)
