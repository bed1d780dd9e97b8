"""The charts: their values as JSON for uPlot, and the same values as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

from multigrey_web.words import duration, offset

__all__ = ["Chart", "Line", "by_day", "delays", "growth", "traffic", "trend"]

DAY = 86_400
_MOST_POINTS = 1_000


@dataclass(frozen=True, slots=True)
class Line:
    """One series."""

    name: str
    look: str
    """The name of its colour in the style sheet."""
    values: Sequence[int | None]
    unit: str = ""
    """"octets" for a series with its own scale, "seconds" for durations."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart.  `kind`: "lines" over times in seconds since 1970, or "bars" over the texts of `labels`."""

    name: str
    """What is counted, or the subject of the chart."""
    kind: str
    times: Sequence[int]
    lines: Sequence[Line]
    labels: Sequence[str] = ()
    partial: Sequence[bool] = ()
    """For each time, whether its numbers are those of a part of it only: they are in the table, not drawn."""

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The rows of the table: a time or a text, and the number of each series."""
        heads: Sequence[Any] = self.labels or self.times
        return list(zip(heads, *(line.values for line in self.lines), strict=True))

    @property
    def is_empty(self) -> bool:
        """Whether all values are zero or missing."""
        return not any(any(line.values) for line in self.lines)

    @property
    def drawn(self) -> Sequence[int]:
        """The places of the values that are drawn."""
        return [index for index in range(len(self.rows)) if not (self.partial and self.partial[index])]

    def as_json(self) -> dict[str, Any]:
        """The chart for the script that draws it."""
        places = self.drawn
        return {
            "kind": self.kind,
            # As seconds of local time: the script takes them for UTC, and knows no time zone.
            "times": [time + offset(time) for time in (self.times[place] for place in places)]
            if self.times
            else [],
            "labels": list(self.labels),
            "lines": [
                {
                    "name": line.name,
                    "look": line.look,
                    "unit": line.unit,
                    "values": [line.values[place] for place in places],
                }
                for line in self.lines
            ],
        }


def traffic(flow: Mapping[str, Any]) -> Chart:
    """Mail over time by its result.  A slot in which the daemon did not run has no numbers."""
    slots = flow["slots"]

    def line(name: str, look: str, column: str) -> Line:
        place = flow["columns"].index(column)
        return Line(name, look, [None if counts is None else counts[place] for _, _, counts in slots])

    lines = [
        line("deferred at first", "wait", "first"),
        line("came back and passed", "back", "returned"),
        line("passed at once", "pass", "at_once"),
    ]
    if flow["totals"]["observed"]:
        lines.append(line("only observed", "seen", "observed"))
    return Chart(
        "mails",
        "lines",
        [begin for begin, _, _ in slots],
        lines,
        partial=[not complete for _, complete, _ in slots],
    )


def delays(flow: Mapping[str, Any]) -> Chart:
    """The distribution of delays from the first attempt to acceptance."""
    bounds = [duration(bound) for bound in flow["bounds"]]
    between = [f"{low} to {high}" for low, high in pairwise(bounds)]
    labels = [f"up to {bounds[0]}", *between, f"over {bounds[-1]}"]
    return Chart("delays", "bars", [], [Line("mails", "back", flow["histogram"])], labels)


def trend(flow: Mapping[str, Any]) -> Chart:
    """The delay of mail that came back, day by day."""
    days = flow["days"]
    return Chart(
        "delays",
        "lines",
        [day[0] for day in days],
        [
            Line("half of the mail within", "back", [day[2] for day in days], "seconds"),
            Line("95 % of the mail within", "wait", [day[3] for day in days], "seconds"),
        ],
    )


def growth(told: Mapping[str, Any]) -> Chart:
    """The number of records and the octets in use of the store over time."""
    samples = _samples(told)[-_MOST_POINTS:]
    lines = [Line("records", "pass", [sample["records"] for sample in samples])]
    if any(sample["octets"] for sample in samples):
        lines.append(Line("octets in use", "wait", [sample["octets"] for sample in samples], "octets"))
    return Chart("growth", "lines", [sample["hour"] for sample in samples], lines)


def by_day(chart: Chart) -> list[tuple[Any, ...]]:
    """The rows of a table with the last values of each local day, the latest day first."""
    days = groupby(chart.rows, key=lambda row: (row[0] + offset(row[0])) // DAY)
    return [list(rows)[-1] for _, rows in days][::-1]


def _samples(told: Mapping[str, Any]) -> list[dict[str, int]]:
    return [dict(zip(told["columns"], row, strict=True)) for row in told["samples"]]
