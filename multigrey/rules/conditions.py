"""Compiles the conditions that `config.values.when` reads into functions of an attempt.

Every result is True, False or None.  None means unknown (yet): a trait that only a slow source can
find, a size or an encryption that the mail server did not report, a client without an address.  The
logic is three-valued (Kleene's): a table is False if one of its conditions is False, else None if one
is None; `not` of None is None.  None never counts as a match.

As much as possible is computed once, when conditions are compiled: exact texts, networks and names
are looked up in hash tables, and all regular expressions of a condition are one automaton.  The texts
of an attempt are computed once for all rules (`Facts`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from pathlib import Path

from multigrey.config.files import list_dangers
from multigrey.config.locate import KeyPath, key_text
from multigrey.config.values.patterns import Days, Net, Pattern, Sizes, Times
from multigrey.config.values.when import (
    CONDITIONS,
    Conditions,
    Group,
    Test,
    TraitName,
    Value,
    ValueFile,
    conditions_text,
)
from multigrey.contracts import Trait
from multigrey.errors import Problem
from multigrey.identity.addresses import LONGEST_ADDRESS, split_address
from multigrey.matching.facts import Facts
from multigrey.matching.matchers import NameTable, NetworkTable, RegexSet
from multigrey.matching.timespans import minutes_of

__all__ = ["Check", "Maker", "Node", "Truth", "both", "either", "every", "negated", "node_of"]

_REMEMBERED = 1024
"""Most texts whose result each condition caches: much mail comes from the same few senders."""

Truth = bool | None
"""None: unknown."""


Check = Callable[[Facts], Truth]
GetText = Callable[[Facts], str | None]


# --- logic -----------------------------------------------------------------------------------------


def both(checks: Sequence[Check]) -> Check:
    """True if all checks are True, False if one is False, else None; True for no checks."""
    if len(checks) == 1:
        return checks[0]

    def check(facts: Facts) -> Truth:
        truth: Truth = True
        for each in checks:
            one = each(facts)
            if one is False:
                return False
            if one is None:
                truth = None
        return truth

    return check


def every(checks: Sequence[Check]) -> Callable[[Facts], bool | None]:
    """Whether all checks are True; checks after the first that is not True are not called.

    Unlike `both`, it returns False instead of None: its results are never negated.
    """
    if len(checks) == 1:
        return checks[0]

    def check(facts: Facts) -> bool:
        for each in checks:  # noqa: SIM110  (half the time of all() with a generator)
            if not each(facts):
                return False
        return True

    return check


def either(checks: Sequence[Check]) -> Check:
    """True if one check is True, False if all are False, else None; False for no checks."""
    if len(checks) == 1:
        return checks[0]

    def check(facts: Facts) -> Truth:
        truth: Truth = False
        for each in checks:
            one = each(facts)
            if one:
                return True
            if one is None:
                truth = None
        return truth

    return check


def negated(inner: Check) -> Check:
    """The negation of a check; None stays None."""

    def check(facts: Facts) -> Truth:
        truth = inner(facts)
        return None if truth is None else not truth

    return check


@dataclass(frozen=True, slots=True)
class Node:
    """A compiled condition with its text, or several conditions under `all`, `any` or `not`."""

    check: Check
    label: str = ""
    word: str = ""
    parts: tuple[Node, ...] = ()

    def why(self, facts: Facts) -> tuple[Truth, tuple[str, ...]]:
        """Its truth, and the texts of the conditions that decided it."""
        if not self.word:
            return self.check(facts), (self.label,)
        answers = [part.why(facts) for part in self.parts]
        truth = self.check(facts)
        deciding = truth
        if self.word == "not":
            deciding = None if truth is None else not truth
        reasons = [reasons for one, reasons in answers if one is deciding]
        if deciding is (self.word != "all"):  # one part was enough to decide, so name only the first
            reasons = reasons[:1]
        told = [reason for each in reasons for reason in each]
        return truth, tuple(f"not {reason}" if self.word == "not" else reason for reason in told)


def node_of(word: str, parts: Sequence[Node]) -> Node:
    """Return one node for several under `all`, `any`, or `not` (none of them holds)."""
    checks = [part.check for part in parts]
    if word == "all":
        return Node(both(checks), word=word, parts=tuple(parts))
    check = either(checks)
    return Node(negated(check) if word == "not" else check, word=word, parts=tuple(parts))


# --- compiling -------------------------------------------------------------------------------------


class Maker:
    """Compiles conditions; collects problems with list files in `problems`."""

    def __init__(self, traits: Mapping[str, Trait]) -> None:
        """`traits` are the (guarded) traits with an immediate result; all others come from slow sources."""
        self._traits = traits
        self._lists: dict[tuple[Path, str], tuple[Value, ...]] = {}
        self.problems: list[Problem] = []
        self.slow: set[str] = set()
        """Traits of slow sources that the conditions use."""

    def all_of(self, conditions: Conditions, path: KeyPath) -> list[Node]:
        """Return a node for each condition of a table; `path` is the table's key path, for messages."""
        return [
            self.group(part, path) if isinstance(part, Group) else self.test(part, (*path, part.key))
            for part in conditions.parts
        ]

    def group(self, group: Group, path: KeyPath) -> Node:
        """Return a node for `not`, `any` or `all`."""
        parts = []
        for index, inner in enumerate(group.parts):
            below = (*path, group.word, index) if group.listed else (*path, group.word)
            nodes = self.all_of(inner, below)
            parts.append(nodes[0] if len(nodes) == 1 else node_of("all", nodes))
        return node_of(group.word, parts)

    def test(self, test: Test, path: KeyPath) -> Node:
        """Return a node for one condition."""
        values = [*test.values]
        for file in test.files:
            values += self._values_of(file, test.key, path)
        patterns = _Patterns(values)
        for reason in patterns.regexes.rejected.values():  # each was valid alone: together they are too many
            place = str(test.files[0].path) if test.files else "configuration"
            self.problems.append(
                Problem(place, None, key_text(path), f"too many regular expressions: {reason}")
            )
            break
        return Node(self._check(test, values, patterns), conditions_text(test))

    def trait(self, names: Sequence[str]) -> Check:
        """Return the check whether an attempt has one of these traits."""
        quick = [(name, self._traits[name]) for name in names if name in self._traits]
        slow = frozenset(name for name in names if name not in self._traits)
        self.slow |= slow

        def check(facts: Facts) -> Truth:
            for name, trait in quick:
                if facts.holds(name, trait):
                    return True
            if not slow:
                return False
            if facts.found is None:
                return None
            if not slow.isdisjoint(facts.found):
                return True
            return False if slow.isdisjoint(facts.unanswered) else None

        return check

    def _check(self, test: Test, values: Sequence[Value], patterns: _Patterns) -> Check:
        key = test.key
        if test.wanted is not None:
            return _YES_NO[key](test.wanted)
        if key == "trait":
            return self.trait([value.written for value in values if isinstance(value, TraitName)])
        if key in {"sender", "recipient"}:
            return _addresses(key, patterns)
        if key in _OTHERS:
            return _OTHERS[key](values)
        return _texts(*_FACTS[key], patterns)

    def _values_of(self, file: ValueFile, key: str, path: KeyPath) -> tuple[Value, ...]:
        found = self._lists.get((file.path, key))
        if found is None:
            for danger in list_dangers(file.path):
                self.problems.append(Problem(str(file.path), None, key_text(path), danger))
            found = self._lists[file.path, key] = tuple(self._read(file.path, key, path))
        return found

    def _read(self, file: Path, key: str, path: KeyPath) -> Iterable[Value]:
        """Yield the values of a list file: one on each line; `#` begins a comment."""
        read = CONDITIONS[key].read
        assert read is not None
        try:
            text = file.read_bytes().decode("utf-8", "surrogateescape")
        except OSError as error:
            reason = f"cannot be read: {error.strerror or error}"
            self.problems.append(Problem(str(file), None, key_text(path), reason))
            return
        for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
            entry = line.partition("#")[0].strip()
            if not entry:
                continue
            try:
                yield read(entry)
            except ValueError as error:
                self.problems.append(Problem(str(file), number, "", str(error)))


class _Patterns:
    """The patterns of one condition, grouped by how they are looked up."""

    def __init__(self, values: Iterable[Value]) -> None:
        patterns = [value for value in values if isinstance(value, Pattern)]
        by_how: dict[str, list[str]] = {}
        for pattern in patterns:
            by_how.setdefault(pattern.how, []).append(pattern.text)
        self.exact = frozenset(by_how.get("exact", ()))
        self.users = frozenset(by_how.get("user", ()))
        self.domains = frozenset(by_how.get("domain", ()))
        self.below = NameTable((name, True) for name in by_how.get("below", ()))
        self.domains_below = NameTable((name, True) for name in by_how.get("domain below", ()))
        self.regexes = RegexSet((text, True) for text in by_how.get("regex", ()))


def _texts(get: GetText, get_name: GetText, found: _Patterns) -> Check:
    """Return the check whether a text matches; `get_name` returns the name for patterns of sub-domains."""
    exact, below, regexes = found.exact, found.below, found.regexes
    if not below and not regexes:
        return lambda facts: get(facts) in exact

    @lru_cache(maxsize=_REMEMBERED)
    def matches(text: str | None, name: str | None) -> bool:
        if text is None:
            return False
        in_name = name is not None and below.get(name) is not None
        return text in exact or in_name or regexes.get(text) is not None

    def check(facts: Facts) -> Truth:
        text, name = get(facts), get_name(facts)
        if text is not None and len(text) > LONGEST_ADDRESS:
            return matches.__wrapped__(text, name)
        return matches(text, name)

    return check


def _addresses(key: str, found: _Patterns) -> Check:
    """Return the check whether an envelope address matches.

    A recipient is also compared without its extension, a sender also without what its own domain added.
    """
    exact, users, domains = found.exact, found.users, found.domains
    below, regexes = found.domains_below, found.regexes
    if not (users or domains or below or regexes):
        if key == "sender":
            return lambda facts: not exact.isdisjoint(facts.senders)
        return lambda facts: not exact.isdisjoint(facts.recipients)

    @lru_cache(maxsize=_REMEMBERED)
    def matches(text: str) -> bool:
        local, domain = split_address(text)
        in_parts = local in users or domain in domains or below.get(domain) is not None
        return text in exact or in_parts or regexes.get(text) is not None

    def found_in(text: str) -> bool:
        return matches.__wrapped__(text) if len(text) > LONGEST_ADDRESS else matches(text)

    def check_sender(facts: Facts) -> Truth:
        return any(map(found_in, facts.senders))

    def check_recipient(facts: Facts) -> Truth:
        return any(map(found_in, facts.recipients))

    return check_sender if key == "sender" else check_recipient


def _networks(values: Sequence[Value]) -> Check:
    table = NetworkTable((value.network, True) for value in values if isinstance(value, Net))

    def check(facts: Facts) -> Truth:
        address = facts.attempt.client_address
        return None if address is None else table.get(address) is not None

    return check


def _sizes(values: Sequence[Value]) -> Check:
    spans = [(value.low, value.high) for value in values if isinstance(value, Sizes)]

    def check(facts: Facts) -> Truth:
        size = facts.size
        if size is None:
            return None
        return any(low <= size and (high is None or size <= high) for low, high in spans)

    return check


def _times(values: Sequence[Value]) -> Check:
    minutes = minutes_of((value.begin, value.end) for value in values if isinstance(value, Times))
    return lambda facts: facts.moment[1] in minutes


def _weekdays(values: Sequence[Value]) -> Check:
    days = frozenset(day for value in values if isinstance(value, Days) for day in value.days)
    return lambda facts: facts.moment[0] in days


def _tls(wanted: bool) -> Check:
    def check(facts: Facts) -> Truth:
        return None if facts.encrypted is None else facts.encrypted is wanted

    return check


_OTHERS: Mapping[str, Callable[[Sequence[Value]], Check]] = {
    "client_address": _networks,
    "size": _sizes,
    "time": _times,
    "weekday": _weekdays,
}

_YES_NO: Mapping[str, Callable[[bool], Check]] = {
    "authenticated": lambda wanted: lambda facts: (facts.authenticated is not None) is wanted,
    "named": lambda wanted: lambda facts: facts.origin.named is wanted,
    "provider": lambda wanted: lambda facts: (facts.provider is not None) is wanted,
    "tls": _tls,
}


def _same(get: GetText) -> tuple[GetText, GetText]:
    return get, get


_FACTS: Mapping[str, tuple[GetText, GetText]] = {
    "authenticated": _same(attrgetter("authenticated")),
    "client_name": _same(attrgetter("client_name")),
    "helo": _same(attrgetter("helo")),
    "listener": _same(attrgetter("attempt.listener")),
    "origin": (attrgetter("origin.text"), attrgetter("origin_domain")),
    "policy_context": _same(attrgetter("policy_context")),
    "provider": _same(attrgetter("provider")),
    "recipient_domain": _same(attrgetter("recipient_domain")),
    "sender_domain": _same(attrgetter("sender_domain")),
}
