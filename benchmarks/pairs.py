"""Interleaved measurements: A B C A B C …, compared within each round.

A noisy machine is slow for minutes at a time; two runs that follow each other share its mood.  So only
ratios within a round are believed, and their median and extremes are reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from benchmarks.generator import Generator, Load, Measured
from benchmarks.machine import Server

__all__ = ["Comparison", "Ratio", "Side", "compare", "ratio"]

EXPECTED = {
    ("postfix", "known"): {"DUNNO"},
    ("postfix", "new"): {"DEFER_IF_PERMIT"},
    ("exim", "known"): {"pass/known"},
    ("exim", "new"): {"defer/new"},
    ("greylistd", "known"): {"false"},
    ("greylistd", "new"): {"true"},
}
"""What a right answer begins with; `greylistd`: is it grey?"""
TOLERATED = 0.001


@dataclass(frozen=True, slots=True)
class Side:
    """One server asked over one protocol."""

    name: str
    server: Server
    protocol: str
    judges: bool = True
    """Whether its answers can be right or wrong; an echo's cannot."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """One figure divided by another, over all rounds."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.low:.2f}-{self.high:.2f})"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Some sides under one workload: a list of measurements each, one per round."""

    workload: str
    sides: Sequence[Side]
    rounds: dict[str, list[Measured]]

    def middle(self, name: str, what: Callable[[Measured], float]) -> float:
        """The median of one figure of one side."""
        return median(what(measured) for measured in self.rounds[name])

    def spread(self, name: str, what: Callable[[Measured], float]) -> tuple[float, float]:
        """The extremes of one figure of one side."""
        figures = [what(measured) for measured in self.rounds[name]]
        return min(figures), max(figures)

    def wrong(self) -> list[str]:
        """A sentence for every side that gave other answers than the workload must get."""
        said = []
        for side in self.sides:
            right = EXPECTED[side.protocol, self.workload]
            answered = sum(measured.answered for measured in self.rounds[side.name])
            others = {
                kind: count
                for measured in self.rounds[side.name]
                for kind, count in measured.kinds.items()
                if kind not in right
            }
            errors = sum(measured.errors for measured in self.rounds[side.name])
            if side.judges and (sum(others.values()) + errors) > answered * TOLERATED:
                said.append(f"{side.name}, {self.workload}: {errors} errors, unexpected answers {others}")
        return said


def compare(
    generator: Generator, sides: Sequence[Side], load: Load, pairs: int, tell: Callable[[str], None]
) -> Comparison:
    """Measure every side once per round; for `known`, bring the known set through first."""
    loads = {side.name: replace(load, protocol=side.protocol) for side in sides}
    for side in sides:
        if load.workload == "known" and side.judges:
            generator.make_known(side.server, loads[side.name])
    rounds: dict[str, list[Measured]] = {side.name: [] for side in sides}
    run = generator.run_new if load.workload == "new" else generator.run
    for number in range(1, pairs + 1):
        for side in sides:
            measured = run(side.server, loads[side.name])
            rounds[side.name].append(measured)
            tell(f"{load.workload} {number}/{pairs}: {side.name} {measured.rate:.0f}/s")
    return Comparison(load.workload, sides, rounds)


def ratio(
    comparison: Comparison, ours: str, theirs: str, what: Callable[[Measured], float] = lambda run: run.rate
) -> Ratio:
    """A figure of `ours` divided by the same of `theirs`, round by round."""
    pairs = zip(comparison.rounds[ours], comparison.rounds[theirs], strict=True)
    ratios = [what(mine) / what(other) for mine, other in pairs]
    return Ratio(median(ratios), min(ratios), max(ratios))
