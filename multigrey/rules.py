"""The administrator's rules: ordered, the first one that matches decides.

A rule matches when all its traits hold.  A trait that only a slow source can find is unknown until
the sources were asked, and unknown never matches: then the next rule is looked at.  After they were
asked, the rules are looked at once more from the top.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Protocol

from multigrey.contracts import Trait
from multigrey.errors import Problem
from multigrey.model import Action, Attempt

__all__ = ["ACTIONS", "Outcome", "Rule", "RuleLike", "Rules", "check"]

ACTIONS: Mapping[str, Action | None] = {
    "pass": Action.PASS,
    "greylist": None,
    "defer": Action.DEFER,
    "reject": Action.REJECT,
}
"""The words for what a rule does; `greylist` goes on, with the rule's delay."""


class RuleLike(Protocol):
    """What a rule of the configuration tells; `Rule` is one."""

    @property
    def name(self) -> str:
        """Its name in the log."""

    @property
    def traits(self) -> Sequence[str]:
        """All of them must hold; none: it always matches."""

    @property
    def action(self) -> str:
        """One of `ACTIONS`."""

    @property
    def delay(self) -> int | None:
        """For `greylist`: seconds instead of the configured delay; None: as configured."""

    @property
    def text(self) -> str | None:
        """Reply text instead of the configured one; empty or None: as configured."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule by itself (see `RuleLike`)."""

    name: str
    traits: tuple[str, ...] = ()
    action: str = "greylist"
    delay: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the rule that matched wants."""

    rule: str
    action: Action | None
    """None: greylist, under `delay`."""
    delay: int | None = None
    """Seconds; None: as configured."""
    text: str = ""


@dataclass(frozen=True, slots=True)
class _Ready:
    quick: tuple[tuple[str, Trait], ...]
    slow: frozenset[str]
    outcome: Outcome


class Rules:
    """Rules in order, ready to be asked; false when there are none, so that they cost nothing."""

    __slots__ = ("_rules",)

    def __init__(self, rules: Iterable[RuleLike] = (), traits: Mapping[str, Trait] | None = None) -> None:
        """`traits` are those that can be asked at once (guarded); all others are slow sources'."""
        known = traits or {}
        self._rules = tuple(
            _Ready(
                quick=tuple((trait, known[trait]) for trait in rule.traits if trait in known),
                slow=frozenset(trait for trait in rule.traits if trait not in known),
                outcome=Outcome(rule.name, ACTIONS[rule.action], rule.delay, rule.text or ""),
            )
            for rule in rules
        )

    def __len__(self) -> int:
        return len(self._rules)

    def evaluate(self, attempt: Attempt, found: frozenset[str] | None) -> Outcome | None:
        """What the first matching rule wants, None when no rule matches.

        `found`: the traits slow sources have found; None while they have not been asked.
        """
        if not self._rules:
            return None
        asked: dict[str, bool] = {}
        for rule in self._rules:
            if rule.slow and (found is None or not rule.slow <= found):
                continue
            for name, trait in rule.quick:
                holds = asked.get(name)
                if holds is None:
                    holds = asked[name] = trait.holds(attempt)
                if not holds:
                    break
            else:
                return rule.outcome
        return None


def check(rules: Sequence[RuleLike], traits: Iterable[str], slow_traits: Iterable[str] = ()) -> list[Problem]:
    """What is wrong with rules, given the traits there are; [] when they can be used.

    The problems name the rule as key (`rule[2].traits`); the caller knows file and line.
    """
    known = {*traits, *slow_traits}
    problems: list[Problem] = []
    names: set[str] = set()
    for index, rule in enumerate(rules):
        where = f"rule[{index}]"
        if rule.name in names:
            problems.append(Problem("", None, f"{where}.name", f"there is another rule {rule.name!r}"))
        names.add(rule.name)
        if rule.action not in ACTIONS:
            expected = ", ".join(ACTIONS)
            problems.append(Problem("", None, f"{where}.action", f"{rule.action!r} is none of {expected}"))
        problems += [
            Problem("", None, f"{where}.traits", _unknown(trait, known))
            for trait in rule.traits
            if trait not in known
        ]
    return problems


def _unknown(trait: str, known: Iterable[str]) -> str:
    near = get_close_matches(trait, sorted(known), n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return f"nobody provides the trait {trait!r}{meant}"
