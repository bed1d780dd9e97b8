"""What has to be reached, in one place, and whether it is.

Mechanisms are tuned on seeds 1 to 5; seeds 101 to 120 are run once, to report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import trio

from tests.support.simulation.figures import clock_figures, figures, moved, one_shots, rows
from tests.support.simulation.mail import Outcome
from tests.support.simulation.run import calm, full, simulate, troubled
from tests.support.simulation.wiring import retrying_providers

__all__ = [
    "GOALS",
    "REPORTED_ON",
    "TEN_DAYS",
    "TOGETHER",
    "TUNED_ON",
    "WEEKS",
    "Goal",
    "Measured",
    "goal",
    "measure",
    "report",
    "table",
]

TEN_DAYS, WEEKS = 10, 56
TUNED_ON = range(1, 6)
REPORTED_ON = range(101, 121)


@dataclass(frozen=True)
class Goal:
    """A figure and its bound."""

    figure: str
    bound: float
    at_least: bool = False
    days: tuple[int, ...] = (TEN_DAYS, WEEKS)

    def met(self, value: float) -> bool:
        """Whether this is good enough."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{self.figure} {'>=' if self.at_least else '<='} {self.bound:g}"


GOALS: Sequence[Goal] = (
    Goal("never delivered", 0),
    Goal("over deadline", 0),
    Goal("pools: first retry passes %", 99.9, at_least=True),
    Goal("follow-ups of a pair delayed", 0),
    Goal("follow-ups of an organisation delayed %", 1),
    Goal("new beside known recipients delayed %", 1),
    Goal("providers that retry: longest delay s", 0),
    Goal("others: p95 of retries needed", 1),
    Goal("one-shot spam passed %", 0.15),
    Goal("eager spam passed", 0),
    Goal("opaque bots passed % (worst ISP)", 4),
    Goal("the same after a week %", 1),
    Goal("bots sending as their ISP passed", 0),
    Goal("bots authorised by SPF passed %", 0.1),
    Goal("dictionary behind one retried pair passed %", 20.5),  # ten of 49 in each message
    Goal("newsletter of a /24: first retry passes %", 99.9, at_least=True),
    Goal("floods passed % (worst)", 0.1),
    Goal("floods: growth of the store MB (worst)", 64),
    Goal("neighbours: first retry passes %", 100, at_least=True),
    Goal("moved by others", 0),
    Goal("wrong clock: never delivered", 0, days=(TEN_DAYS,)),
    Goal("wrong clock: follow-ups of a pair delayed", 0, days=(TEN_DAYS,)),
)
TOGETHER = Goal("one-shot spam passed %, all seeds together", 0.1)
"""Of at least 50,000 messages: five seeds."""


def goal(figure: str) -> Goal:
    """The goal for this figure."""
    return next(goal for goal in GOALS if goal.figure == figure)


@dataclass(frozen=True)
class Measured:
    """All figures of one seed."""

    seed: int
    days: int
    values: Mapping[str, float]
    one_shots: int
    one_shots_passed: int
    full: Outcome

    def missed(self) -> list[Goal]:
        """The goals that were not reached."""
        return [one for one in GOALS if self.days in one.days and not one.met(self.values[one.figure])]


def measure(seed: int, days: int = TEN_DAYS, size: int = 20_000, *, spf: bool = True) -> Measured:
    """Run one seed: with everything, with nothing but wanted mail, and (ten days) with a wrong clock."""
    everything = trio.run(simulate, full(days, size, spf=spf), seed)
    peace = trio.run(simulate, calm(days, size, spf=spf), seed)
    values = {**figures(everything, retrying_providers()), **moved(peace, everything)}
    if days == TEN_DAYS:
        values |= clock_figures(trio.run(simulate, troubled(days, size, spf=spf), seed))
    return Measured(seed, days, values, *one_shots(everything), everything)


def table(outcome: Outcome) -> str:
    """A line for each class of senders."""
    head = (
        f"{'class':34}{'role':18}{'mail':>7}{'delivered':>10}{'late':>7}{'delayed':>8}"
        f"{'median':>8}{'p95':>8}{'longest':>9}\n"
    )
    return head + "".join(
        f"{row.name:34}{row.role.value:18}{row.deliveries:7}{row.delivered:10}{row.late:7}{row.delayed:8}"
        f"{row.median:7}s{row.p95:7}s{row.longest:8}s\n"
        for row in rows(outcome)
    )


def report(measured: Measured) -> str:
    """A line for each figure, with its bound if there is one."""
    bounds = {one.figure: one for one in GOALS if measured.days in one.days}
    lines = []
    for name, value in measured.values.items():
        wanted = bounds.get(name)
        verdict = "" if wanted is None else f"{'met' if wanted.met(value) else 'MISSED':8}({wanted})"
        lines.append(f"{name:50}{value:12.2f}  {verdict}".rstrip() + "\n")
    return "".join(lines)
