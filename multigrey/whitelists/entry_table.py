"""An index of whitelist entries: matches an attempt with thousands of entries in microseconds.

Each entry is in one table, under the condition that the fewest other entries share.  An attempt is
looked up in every table that is not empty, and each entry found is checked for its other conditions
and its expiry.  Of several matching entries the first in the list counts, so the result does not
depend on the order in which they are found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Any, Generic, TypeVar

from multigrey.identity.addresses import LONGEST_ADDRESS, host_name, split_address
from multigrey.identity.envelope import address_text
from multigrey.matching.facts import sender_forms
from multigrey.matching.matchers import AddressTable, NameTable, Network, NetworkTable, RegexSet
from multigrey.model import Attempt, Match, Origin
from multigrey.whitelists.entry import NEVER, Condition

__all__ = ["EntryTable", "Index", "Row", "Sighting"]

T = TypeVar("T")


Row = tuple[Sequence[Condition], int, Match]
"""The conditions of an entry, the first second at which it is expired, and its Match."""


class Sighting:
    """The texts of an attempt that entries are compared with, each computed when it is needed."""

    __slots__ = ("_origin_of", "address", "attempt")

    def __init__(self, attempt: Attempt, origin_of: Callable[[Attempt], Origin]) -> None:
        self.attempt = attempt
        self.address = attempt.client_address
        self._origin_of = origin_of

    def name(self) -> str:
        """The verified client name; "" if there is none."""
        name = self.attempt.client_name
        return host_name(name) if name else ""

    def origin(self) -> str:
        """The named origin; "" if it has no name."""
        origin = self._origin_of(self.attempt)
        return origin.text if origin.named else ""

    def envelope(self, subject: str) -> tuple[str, ...]:
        """The texts of the sender or the recipient; none for a raw attempt, which has neither."""
        if subject == "sender":
            return sender_forms(self.attempt)
        return () if self.attempt.raw else (address_text(self.attempt.recipient),)


# --- one entry -------------------------------------------------------------------------------------

_Check = Callable[[Sighting], bool]


def _check(condition: Condition) -> _Check:
    """Return the check whether an attempt meets one condition."""
    subject, text = condition.subject, condition.text
    if condition.network is not None:
        networks = NetworkTable([(condition.network, True)])
        return lambda seen: seen.address is not None and networks.get(seen.address) is not None
    if subject == "origin":
        return lambda seen: seen.origin() == text
    holds = _text_check(condition)
    if subject == "client":
        return lambda seen: bool(name := seen.name()) and holds(name)
    return lambda seen: any(map(holds, seen.envelope(subject)))


def _text_check(condition: Condition) -> Callable[[str], bool]:
    """Return the same check for a text: the client name, the sender or the recipient."""
    text, below = condition.text, f".{condition.text}"
    match condition.how:
        case "regex":
            pattern = RegexSet([(text, True)])
            return lambda name: pattern.get(name) is not None
        case "domain regex":
            of_domain = RegexSet([(text, True)])
            return lambda address: of_domain.get(split_address(address)[1]) is not None
        case "domain":
            return lambda address: split_address(address)[1] == text
        case "domain below":
            return lambda address: _is_below(split_address(address)[1], text, below)
        case "below":
            return lambda name: _is_below(name, text, below)
        case "exact" if condition.subject == "client" or not text:
            return lambda name: name == text
        case _:
            users = AddressTable([(_address_key(condition), True)])
            return lambda address: bool(address) and users.get(*split_address(address)) is not None


def _is_below(name: str, text: str, below: str) -> bool:
    return name == text or name.endswith(below)


def _address_key(condition: Condition) -> tuple[str, str]:
    return (condition.text, "") if condition.how == "user" else split_address(condition.text)


# --- all of them -----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Filed(Generic[T]):
    """A value that is stored in an index under one condition."""

    condition: Condition
    value: T


def _key(condition: Condition) -> Hashable:
    return condition.subject, condition.how, condition.text


class _Texts(Generic[T]):
    """Tables with the conditions on one kind of text."""

    def __init__(self, filed: Iterable[_Filed[T]], *, address: bool = False) -> None:
        """`address`: the text is an envelope address, not a name."""
        by_how: dict[str, list[tuple[Condition, T]]] = {}
        for each in filed:
            by_how.setdefault(each.condition.how, []).append((each.condition, each.value))
        users = [*by_how.get("user", ()), *by_how.get("exact", ())] if address else []
        null = [pair for pair in users if not pair[0].text]
        self._null = [value for _, value in null]
        self._users = AddressTable(_grouped((c, v) for c, v in users if c.text)) if users else None
        exact = by_how.get("domain" if address else "exact", ())
        self._exact = dict(_named(exact))
        self._below = NameTable(_named(by_how.get("domain below" if address else "below", ())))
        self._patterns = RegexSet((condition.text, value) for condition, value in by_how.get("regex", ()))
        of_domain = by_how.get("domain regex", ())
        self._domain_patterns = RegexSet((condition.text, value) for condition, value in of_domain)

    def parts(self) -> list[dict[Any, Any]]:
        """The mappings with the values (see `matching.matchers`)."""
        users = () if self._users is None else self._users.parts()
        return [self._exact, *self._below.parts(), *users]

    def of_name(self, name: str) -> Iterator[T]:
        """Yield all values whose condition a name meets."""
        if self._exact:
            yield from self._exact.get(name, ())
        if len(self._below):
            for values in self._below.every(name):
                yield from values
        yield from self._patterns.every(name)

    def of_address(self, address: str) -> Iterator[T]:
        """Yield all values whose condition an envelope address meets."""
        if not address:
            yield from self._null
        local, domain = split_address(address)
        if self._users is not None and address:
            for values in self._users.every(local, domain):
                yield from values
        yield from self.of_domain(domain)
        yield from self._patterns.every(address)

    def of_domain(self, domain: str) -> Iterator[T]:
        """Yield all values whose condition every address in a domain meets."""
        if self._exact:
            yield from self._exact.get(domain, ())
        if len(self._below):
            for values in self._below.every(domain):
                yield from values
        yield from self._domain_patterns.every(domain)


def _named(pairs: Iterable[tuple[Condition, T]]) -> Iterable[tuple[str, tuple[T, ...]]]:
    return _together((condition.text, value) for condition, value in pairs)


def _grouped(pairs: Iterable[tuple[Condition, T]]) -> Iterable[tuple[tuple[str, str], tuple[T, ...]]]:
    return _together((_address_key(condition), value) for condition, value in pairs)


K = TypeVar("K", bound=Hashable)


def _together(pairs: Iterable[tuple[K, T]]) -> Iterable[tuple[K, tuple[T, ...]]]:
    """Group the values of equal keys into one tuple."""
    found: dict[K, list[T]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return [(key, tuple(values)) for key, values in found.items()]


class Index(Generic[T]):
    """Values under sets of conditions.  A look-up finds all values whose conditions hold, and some others."""

    def __init__(self, items: Sequence[tuple[Sequence[Condition], T]]) -> None:
        counts = Counter(_key(condition) for conditions, _ in items for condition in conditions)
        filed: dict[str, list[_Filed[T]]] = {}
        networks: list[tuple[Network, T]] = []
        for conditions, value in items:
            rarest = min(conditions, key=lambda each: (each.how.endswith("regex"), counts[_key(each)]))
            if rarest.network is None:
                filed.setdefault(rarest.subject, []).append(_Filed(rarest, value))
            else:
                networks.append((rarest.network, value))
        self.networks = NetworkTable(_together(networks))
        self.names = _Texts(filed.get("client", ()))
        self.origins = dict(_named((each.condition, each.value) for each in filed.get("origin", ())))
        self.envelopes = {
            subject: _Texts(filed[subject], address=True)
            for subject in ("sender", "recipient")
            if subject in filed
        }
        self.has_names = "client" in filed

    def parts(self) -> list[dict[Any, Any]]:
        """The mappings with the values (see `matching.matchers`)."""
        texts = [self.names, *self.envelopes.values()]
        return [*self.networks.parts(), self.origins, *chain.from_iterable(each.parts() for each in texts)]


@dataclass(slots=True)
class _Entry:
    """A compiled entry."""

    position: int
    until: int
    checks: tuple[_Check, ...]
    match: Match


def _checks(conditions: Sequence[Condition]) -> tuple[_Check, ...]:
    """The checks that a look-up leaves to do; none for a single condition, which the look-up has met."""
    return tuple(map(_check, conditions)) if len(conditions) > 1 else ()


class EntryTable:
    """The entries of a list, compiled for matching."""

    def __init__(
        self, rows: Iterable[Row], now: Callable[[], int], origin_of: Callable[[Attempt], Origin]
    ) -> None:
        """`now` returns the wall clock in seconds; it is called only for entries that expire."""
        entries = [
            (conditions, _Entry(position, until, _checks(conditions), match))
            for position, (conditions, until, match) in enumerate(rows)
        ]
        index: Index[_Entry] = Index(entries)
        self._now = now
        self._origin_of = origin_of
        self.parts = index.parts()
        """The mappings with the entries (see `matching.matchers`)."""
        self._networks = index.networks if len(index.networks) else None
        self._origins = index.origins
        names = index.names
        self._names = _remembered(lambda name: names.of_name(host_name(name))) if index.has_names else None
        self._senders = _of_addresses(index.envelopes.get("sender"))
        self._recipients = _of_addresses(index.envelopes.get("recipient"))

    def every(self, attempt: Attempt) -> list[Match]:
        """The matches of all entries whose conditions hold and that have not expired, in their order."""
        found = {entry.position: entry for entry in self._candidates(attempt)}
        seen = Sighting(attempt, self._origin_of)
        return [found[place].match for place in sorted(found) if self._holds(found[place], seen)]

    def match(self, attempt: Attempt) -> Match | None:
        """The match of the first entry whose conditions all hold and that has not expired."""
        found = self._candidates(attempt)
        if not found:
            return None
        found.sort(key=attrgetter("position"))
        seen = Sighting(attempt, self._origin_of)
        return next((entry.match for entry in found if self._holds(entry, seen)), None)

    def _candidates(self, attempt: Attempt) -> list[_Entry]:
        """The entries that the attempt is found under in the index, in any order."""
        found: list[_Entry] = []
        if self._networks is not None and attempt.client_address is not None:
            for entries in self._networks.every(attempt.client_address):
                found += entries
        if self._names is not None and attempt.client_name:
            found += self._names(attempt.client_name)
        if self._origins:
            origin = self._origin_of(attempt)
            if origin.named:
                found += self._origins.get(origin.text, ())
        if not attempt.raw:
            if self._senders is not None:
                for sender in sender_forms(attempt):
                    found += self._senders(sender)
            if self._recipients is not None:
                found += self._recipients(attempt.recipient)
        return found

    def _holds(self, entry: _Entry, seen: Sighting) -> bool:
        if entry.until != NEVER and self._now() >= entry.until:
            return False
        return all(check(seen) for check in entry.checks)


def _of_addresses(texts: _Texts[_Entry] | None) -> Callable[[str], Sequence[_Entry]] | None:
    return None if texts is None else _remembered(lambda address: texts.of_address(address_text(address)))


def _remembered(find: Callable[[str], Iterable[_Entry]]) -> Callable[[str], Sequence[_Entry]]:
    """Return `find` with a cache, for the few texts that are looked up again and again.

    A text longer than any address is not cached, so that the cache stays bounded in octets.
    """
    remembered = lru_cache(maxsize=4096)(lambda text: tuple(find(text)))
    return lambda text: remembered(text) if len(text) <= LONGEST_ADDRESS else tuple(find(text))
