"""The goals of the project, and what was measured against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["NEAR", "Outcome", "at_least", "at_most", "table"]

NEAR = 0.25
"""A figure missed by less than this share is reported with a profile instead of being chased."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One goal and how it came out."""

    goal: str
    limit: float
    unit: str
    """`x` for a ratio."""
    measured: float
    spread: str
    """The extremes, or what else one must know to read the figure."""
    more_is_better: bool

    @property
    def met(self) -> bool:
        """Whether the median reaches the limit."""
        return self.measured >= self.limit if self.more_is_better else self.measured <= self.limit

    @property
    def missed(self) -> float:
        """By which share of the limit."""
        return abs(self.measured - self.limit) / self.limit if self.limit else float("inf")

    @property
    def far(self) -> bool:
        """Whether it was missed by too much to be excused with a profile."""
        return not self.met and self.missed >= NEAR

    @property
    def verdict(self) -> str:
        """`met`, or by how much it was missed."""
        if self.met:
            return "met"
        return f"missed by {self.missed:.0%}{' (!)' if self.far else ''}" if self.limit else "missed (!)"

    def row(self) -> tuple[str, ...]:
        """As cells of the table."""
        sign = ">=" if self.more_is_better else "<="
        return (
            self.goal,
            f"{sign} {self.limit:g} {self.unit}",
            f"{self.measured:.3g} {self.unit}",
            self.spread,
            self.verdict,
        )


def at_least(goal: str, limit: float, unit: str, measured: float, spread: str = "") -> Outcome:
    """A goal that wants much."""
    return Outcome(goal, limit, unit, measured, spread, more_is_better=True)


def at_most(goal: str, limit: float, unit: str, measured: float, spread: str = "") -> Outcome:
    """A goal that wants little."""
    return Outcome(goal, limit, unit, measured, spread, more_is_better=False)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the first of them a heading, in columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
