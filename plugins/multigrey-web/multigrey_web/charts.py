"""The charts: their values as JSON for uPlot, and the same values as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

from multigrey_web.words import duration

__all__ = ["Chart", "Line", "by_day", "decided", "delays", "growth", "traffic"]

DAY = 86_400
_MOST_POINTS = 1_000


@dataclass(frozen=True, slots=True)
class Line:
    """One series."""

    name: str
    look: str
    """The name of its colour in the style sheet."""
    values: Sequence[int]
    unit: str = ""
    """"octets" for a series with its own scale."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart.  `kind`: "lines" over times in seconds since 1970, or "bars" over the texts of `labels`."""

    name: str
    """What is counted, or the subject of the chart."""
    kind: str
    times: Sequence[int]
    lines: Sequence[Line]
    labels: Sequence[str] = ()

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The rows of the table: a time or a text, and the number of each series."""
        heads: Sequence[Any] = self.labels or self.times
        return list(zip(heads, *(line.values for line in self.lines), strict=True))

    @property
    def is_empty(self) -> bool:
        """Whether all values are zero or missing."""
        return not any(any(line.values) for line in self.lines)

    def as_json(self) -> dict[str, Any]:
        """The chart for the script that draws it."""
        return {
            "kind": self.kind,
            "times": list(self.times),
            "labels": list(self.labels),
            "lines": [
                {"name": line.name, "look": line.look, "unit": line.unit, "values": list(line.values)}
                for line in self.lines
            ],
        }


def traffic(report: Mapping[str, Any]) -> Chart:
    """Mail over time by its result, from the history; only for the time that the report covers fully."""
    begin = report["since"]
    if report["more"]:
        begin = max(begin, report["traffic"]["first"] or 0)
    slots = [slot for slot in report["slots"] if slot["begin"] >= begin]
    return Chart(
        "mails",
        "lines",
        [slot["begin"] for slot in slots],
        [
            Line("deferred at first", "wait", [slot["deferred"] for slot in slots]),
            Line("came back and passed", "back", [slot["returned"] for slot in slots]),
            Line("passed at once", "pass", [slot["passed"] for slot in slots]),
        ],
    )


def decided(told: Mapping[str, Any], since: int) -> Chart:
    """Attempts passed and deferred, from the hourly samples, for times that the history does not cover."""
    samples = [sample for sample in _samples(told) if sample["hour"] >= since - told["every"]]
    return Chart(
        "attempts",
        "lines",
        [sample["hour"] for sample in samples],
        [
            Line("attempts deferred", "wait", [sample["deferred"] for sample in samples]),
            Line("attempts passed", "pass", [sample["passed"] for sample in samples]),
        ],
    )


def delays(report: Mapping[str, Any]) -> Chart:
    """The distribution of delays from the first attempt to acceptance."""
    bounds = [duration(bound) for bound in report["delay_bounds"]]
    between = [f"{low} to {high}" for low, high in pairwise(bounds)]
    labels = [f"up to {bounds[0]}", *between, f"over {bounds[-1]}"]
    return Chart("delays", "bars", [], [Line("mails", "back", report["histogram"])], labels)


def growth(told: Mapping[str, Any]) -> Chart:
    """The number of records and the octets in use of the store over time."""
    samples = _samples(told)[-_MOST_POINTS:]
    lines = [Line("records", "pass", [sample["records"] for sample in samples])]
    if any(sample["octets"] for sample in samples):
        lines.append(Line("octets in use", "wait", [sample["octets"] for sample in samples], "octets"))
    return Chart("growth", "lines", [sample["hour"] for sample in samples], lines)


def by_day(chart: Chart) -> list[tuple[Any, ...]]:
    """The rows of a table with the last values of each day, the latest day first."""
    days = groupby(chart.rows, key=lambda row: row[0] // DAY)
    return [list(rows)[-1] for _, rows in days][::-1]


def _samples(told: Mapping[str, Any]) -> list[dict[str, int]]:
    return [dict(zip(told["columns"], row, strict=True)) for row in told["samples"]]
