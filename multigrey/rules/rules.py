"""Evaluates the administrator's rules, in order until one matches, and the classes of reports.

A rule matches when all its conditions hold (see `conditions`).  A trait that only a slow source can
find is unknown until the slow sources have been asked.  An unknown condition does not match, and the
next rule is tried.  After the slow sources have been asked, the rules are evaluated again from the
first.  A slow source may also have found a better origin by then, so conditions on the origin use the
origin that is known at the time of evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import NamedTuple, Protocol

from multigrey.config.locate import KeyPath
from multigrey.config.values.when import Conditions
from multigrey.contracts import Trait
from multigrey.errors import ConfigError
from multigrey.matching.facts import Facts, Surroundings
from multigrey.model import Action, Attempt, Origin
from multigrey.rules.conditions import Check, Maker, Node, Truth, every, node_of
from multigrey.text import did_you_mean

__all__ = [
    "ACTIONS",
    "ClassLike",
    "Classes",
    "ExplainedRule",
    "Outcome",
    "Rule",
    "RuleLike",
    "Rules",
    "wrong_classes",
    "wrong_rules",
]

ACTIONS: Mapping[str, Action | None] = {
    "pass": Action.PASS,
    "greylist": None,
    "observe": None,
    "defer": Action.DEFER,
    "reject": Action.REJECT,
}
"""The actions of rules; `greylist` and `observe` (None) continue with the rule's settings."""

_NOTHING: frozenset[str] = frozenset()


class RuleLike(Protocol):
    """The fields of a rule in the configuration; `Rule` has them.  None or "": as configured elsewhere."""

    @property
    def name(self) -> str:
        """Its name in the log."""

    @property
    def when(self) -> Conditions | None:
        """Conditions that must hold."""

    @property
    def traits(self) -> Sequence[str] | None:
        """Traits that the attempt must have too, all of them."""

    @property
    def action(self) -> str:
        """One of `ACTIONS`."""

    @property
    def delay(self) -> int | None:
        """Seconds instead of the configured delays."""

    @property
    def unnamed_delay(self) -> int | None:
        """Seconds for senders without a name."""

    @property
    def retry_window(self) -> int | None:
        """Oldest age in seconds at which a retry counts."""

    @property
    def key(self) -> tuple[str, ...] | None:
        """Names of key components."""

    @property
    def text(self) -> str | None:
        """Reply text."""

    @property
    def code(self) -> str | None:
        """Enhanced status code."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule without a configuration (see `RuleLike`)."""

    name: str
    traits: tuple[str, ...] = ()
    action: str = "greylist"
    delay: int | None = None
    text: str = ""
    when: Conditions | None = None
    unnamed_delay: int | None = None
    retry_window: int | None = None
    key: tuple[str, ...] | None = None
    code: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The action and settings of the rule that matched."""

    rule: str
    action: Action | None
    """None: greylist, or (with `observe`) only record what greylisting would do."""
    observe: bool = False
    delay: int | None = None
    """Seconds, for named and unnamed senders unless `unnamed_delay` is given; None: as configured."""
    unnamed_delay: int | None = None
    retry_window: int | None = None
    key: tuple[str, ...] | None = None
    """Names of key components; None: as configured."""
    text: str = ""
    code: str = ""
    """Enhanced status code (RFC 3463); "" for the default one."""


@dataclass(frozen=True, slots=True)
class ExplainedRule:
    """The result of one rule for one attempt."""

    rule: str
    truth: Truth
    """Whether its conditions hold; None: unknown (yet), so the rule does not match."""
    because: tuple[str, ...]
    """The conditions that decided; empty for a rule without conditions."""


class _Ready(NamedTuple):
    matches: Check
    outcome: Outcome
    node: Node


class Rules:
    """Compiled rules in order; false when there are none, so that callers can skip them."""

    __slots__ = ("_rules", "_surroundings", "slow_traits")

    def __init__(
        self,
        rules: Iterable[RuleLike] = (),
        traits: Mapping[str, Trait] | None = None,
        *,
        zone: tzinfo | None = None,
        delimiters: str = "+",
    ) -> None:
        """Compile rules and read the list files that they name.  Raises ConfigError.

        `traits` are the (guarded) traits with an immediate result; all others come from slow sources.
        `zone`: the time zone; None is the system's own.  `delimiters`: `[greylist] recipient_delimiter`.
        """
        maker = Maker(traits or {})
        self._surroundings = Surroundings(zone, delimiters)
        self._rules = tuple(_ready(maker, index, rule) for index, rule in enumerate(rules))
        self.slow_traits = frozenset(maker.slow)
        """Traits of slow sources that rules use; if empty, asking slow sources cannot change the result."""
        if maker.problems:
            raise ConfigError(maker.problems)

    def __len__(self) -> int:
        return len(self._rules)

    def evaluate(
        self,
        attempt: Attempt,
        origin: Origin,
        provider: str,
        now: int,
        found: frozenset[str] | None,
        unanswered: frozenset[str] = _NOTHING,
    ) -> Outcome | None:
        """Return the outcome of the first matching rule; None if no rule matches.

        `provider`: "" for none.  `now`: wall-clock seconds.  `found`: the traits that slow sources have
        found; None while they have not been asked.  `unanswered`: the traits of sources that were asked
        but gave no answer; these stay unknown.
        """
        if not self._rules:
            return None
        facts = Facts(attempt, origin, provider, now, found, unanswered, self._surroundings)
        for matches, outcome, _ in self._rules:
            if matches(facts):
                return outcome
        return None

    def explained(
        self,
        attempt: Attempt,
        origin: Origin,
        provider: str,
        now: int,
        found: frozenset[str] | None,
        unanswered: frozenset[str] = _NOTHING,
    ) -> list[ExplainedRule]:
        """Return the result of every rule in order, as `evaluate` computes it; the first True one decides."""
        facts = Facts(attempt, origin, provider, now, found, unanswered, self._surroundings)
        return [ExplainedRule(outcome.rule, *node.why(facts)) for _, outcome, node in self._rules]


def _ready(maker: Maker, index: int, rule: RuleLike) -> _Ready:
    nodes = []
    if rule.when is not None:
        nodes += maker.all_of(rule.when, ("rule", index, "when"))
    nodes += [Node(maker.trait([name]), f'trait = "{name}"') for name in rule.traits or ()]
    outcome = Outcome(
        rule.name,
        ACTIONS[rule.action],
        rule.action == "observe",
        rule.delay,
        rule.unnamed_delay,
        rule.retry_window,
        rule.key,
        rule.text or "",
        rule.code or "",
    )
    return _Ready(every([node.check for node in nodes]), outcome, node_of("all", nodes))


# --- classes ---------------------------------------------------------------------------------------


class ClassLike(Protocol):
    """The fields of a class in the configuration."""

    @property
    def name(self) -> str:
        """Its name in reports."""

    @property
    def when(self) -> Conditions:
        """Conditions that must hold."""


class Classes:
    """Compiled classes in order; false when there are none, so that callers can skip them."""

    __slots__ = ("_classes", "_surroundings")

    def __init__(
        self,
        classes: Iterable[ClassLike] = (),
        traits: Mapping[str, Trait] | None = None,
        *,
        zone: tzinfo | None = None,
        delimiters: str = "+",
    ) -> None:
        """Compile classes; arguments and errors as for `Rules`."""
        maker = Maker(traits or {})
        self._surroundings = Surroundings(zone, delimiters)
        self._classes = tuple(
            (one.name, every([node.check for node in maker.all_of(one.when, ("class", index, "when"))]))
            for index, one in enumerate(classes)
        )
        if maker.problems:
            raise ConfigError(maker.problems)

    def __len__(self) -> int:
        return len(self._classes)

    def of(self, attempt: Attempt, origin: Origin, provider: str, now: int) -> str:
        """Return the name of the first class that matches; "" for none.  Arguments: see `Rules.evaluate`."""
        if not self._classes:
            return ""
        facts = Facts(attempt, origin, provider, now, None, _NOTHING, self._surroundings)
        for name, matches in self._classes:
            if matches(facts):
                return name
        return ""


# --- checking --------------------------------------------------------------------------------------

Wrong = tuple[KeyPath, str]
"""A key path of the configuration, and what is wrong with its value."""


def wrong_rules(
    rules: Sequence[RuleLike],
    traits: Iterable[str],
    slow_traits: Iterable[str] = (),
    components: Iterable[str] | None = None,
) -> Iterator[Wrong]:
    """Yield what is wrong with rules, given all traits and key components (None: do not check these)."""
    known = {*traits, *slow_traits}
    names: set[str] = set()
    for index, rule in enumerate(rules):
        where: KeyPath = ("rule", index)
        if rule.name in names:
            yield (*where, "name"), f"another rule is also named {rule.name!r}"
        names.add(rule.name)
        if rule.action not in ACTIONS:
            yield (*where, "action"), f"{rule.action!r} is none of {', '.join(ACTIONS)}"
        yield from ((path, _unknown_trait(name, known)) for path, name in _traits(rule, where, known))
        if components is not None:
            known_parts = {*components}
            for word in rule.key or ():
                if word not in known_parts:
                    meant = f"{did_you_mean(word, known_parts)} (known: {', '.join(sorted(known_parts))})"
                    yield (*where, "key"), f"{word!r} is not a key component{meant}"


def wrong_classes(
    classes: Sequence[ClassLike], traits: Iterable[str], slow_traits: Iterable[str] = ()
) -> Iterator[Wrong]:
    """Yield what is wrong with classes, given all traits."""
    known, slow = {*traits}, {*slow_traits}
    for index, one in enumerate(classes):
        for path, name in _traits_of(one.when, ("class", index, "when"), known):
            if name in slow:
                yield path, f"the trait {name!r} comes from a slow source, and a class cannot wait for it"
            else:
                yield path, _unknown_trait(name, known)


def _traits(rule: RuleLike, where: KeyPath, known: set[str]) -> Iterator[tuple[KeyPath, str]]:
    yield from (((*where, "traits"), name) for name in rule.traits or () if name not in known)
    if rule.when is not None:
        yield from _traits_of(rule.when, (*where, "when"), known)


def _traits_of(conditions: Conditions, where: KeyPath, known: set[str]) -> Iterator[tuple[KeyPath, str]]:
    """Yield the key path and the name of each trait that is not in `known`."""
    for path, test in conditions.tests(where):
        if test.key == "trait":
            yield from ((path, value.written) for value in test.values if value.written not in known)


def _unknown_trait(name: str, known: Iterable[str]) -> str:
    return f"the trait {name!r} does not exist{did_you_mean(name, known)}"
