"""An index of whitelist entries: matches an attempt with thousands of entries in microseconds.

Each entry is in one table, under the condition that the fewest entries before it are filed under.  An attempt
is looked up in every table that is not empty, and each entry found is checked for its other conditions
and its expiry.  Of several matching entries the first in the list counts, so the result does not
depend on the order in which they are found.

A table holds only the position of an entry; an entry that is found is compiled then, and remembered.  So a
hundred thousand entries are a hundred thousand numbers, which the garbage collector does not look at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain
from typing import Any

from multigrey.identity.addresses import LONGEST_ADDRESS, host_name, split_address
from multigrey.identity.envelope import address_text
from multigrey.matching.facts import sender_forms
from multigrey.matching.matchers import AddressTable, NameTable, NetworkTable, RegexSet
from multigrey.model import Address, Attempt, Match, Origin
from multigrey.whitelists.entry import NEVER, Condition, ListedEntry

__all__ = ["EntryTable", "Index", "Sighting"]

Places = int | list[int]
"""The position of an entry, or those of several with the same condition."""
_MOST_NEAR = 20
_REMEMBERED = 1024
"""Compiled entries; those of the clients that send all the time."""


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


def _file(table: dict[Any, Places], key: object, position: int) -> None:
    held = table.get(key)
    if held is None:
        table[key] = position
    elif isinstance(held, int):
        table[key] = [held, position]
    else:
        held.append(position)


def _positions(found: Iterable[Places]) -> Iterator[int]:
    for each in found:
        if isinstance(each, int):
            yield each
        else:
            yield from each


class _Texts:
    """Tables with the conditions on one kind of text."""

    def __init__(self, *, address: bool = False) -> None:
        """`address`: the text is an envelope address, not a name."""
        self._address = address
        self._null: dict[str, Places] = {}
        self._users: AddressTable[Places] = AddressTable()
        self._exact: dict[str, Places] = {}
        self._below: NameTable[Places] = NameTable()
        self._regexes: dict[str, list[tuple[str, int]]] = {"regex": [], "domain regex": []}
        self._patterns: RegexSet[int] = RegexSet()
        self._domain_patterns: RegexSet[int] = RegexSet()

    def place(self, condition: Condition) -> tuple[dict[Any, Places], object] | None:
        """The mapping and the key of a condition; None for a regular expression, which has none."""
        how, text = condition.how, condition.text
        if how.endswith("regex"):
            return None
        if how.endswith("below"):
            return self._below.place(text)
        if how == "domain" or not self._address:
            return self._exact, text
        return self._users.place(_address_key(condition)) if text else (self._null, "")

    def file(self, condition: Condition, position: int) -> None:
        """Take one more entry."""
        place = self.place(condition)
        if place is None:
            self._regexes[condition.how].append((condition.text, position))
            return
        table, key = place
        if key not in table:  # the tables note the longest name, and such things
            if condition.how.endswith("below"):
                self._below.add(condition.text, position)
                return
            if table is not self._exact and condition.text:
                self._users.add(_address_key(condition), position)
                return
        _file(table, key, position)

    def compile(self) -> None:
        """Make one automaton of the regular expressions; call it when all entries are filed."""
        self._patterns = RegexSet(self._regexes["regex"])
        self._domain_patterns = RegexSet(self._regexes["domain regex"])

    def parts(self) -> list[dict[Any, Any]]:
        """The mappings with the positions (see `matching.matchers`)."""
        return [self._null, self._exact, *self._below.parts(), *self._users.parts()]

    def of_name(self, name: str) -> Iterator[int]:
        """Yield all entries whose condition a name meets."""
        if self._exact and (found := self._exact.get(name)) is not None:
            yield from _positions((found,))
        if len(self._below):
            yield from _positions(self._below.every(name))
        yield from self._patterns.every(name)

    def of_address(self, address: str) -> Iterator[int]:
        """Yield all entries whose condition an envelope address meets."""
        if not address:
            yield from _positions(self._null.values())
        local, domain = split_address(address)
        if address and len(self._users):
            yield from _positions(self._users.every(local, domain))
        yield from self.of_domain(domain)
        yield from self._patterns.every(address)

    def of_domain(self, domain: str) -> Iterator[int]:
        """Yield all entries whose condition every address in a domain meets."""
        if self._exact and (found := self._exact.get(domain)) is not None:
            yield from _positions((found,))
        if len(self._below):
            yield from _positions(self._below.every(domain))
        yield from self._domain_patterns.every(domain)


class Index:
    """Entries by their conditions.  A look-up finds all entries whose conditions hold, and some others."""

    def __init__(self, entries: Iterable[Sequence[Condition]]) -> None:
        """`entries`: the conditions of each."""
        self.networks: NetworkTable[Places] = NetworkTable()
        self.names = _Texts()
        self.origins: dict[str, Places] = {}
        self.envelopes: dict[str, _Texts] = {}
        self.has_names = False
        for position, conditions in enumerate(entries):
            rarest = conditions[0] if len(conditions) == 1 else min(conditions, key=self._number)
            self._take(rarest, position)
        for texts in (self.names, *self.envelopes.values()):
            texts.compile()

    def _number(self, condition: Condition) -> tuple[bool, int]:
        """How many entries are filed under a condition so far; regular expressions come last."""
        place = self._place(condition)
        if place is None:
            return True, 0
        held = place[0].get(place[1])
        return False, 0 if held is None else 1 if isinstance(held, int) else len(held)

    def _place(self, condition: Condition) -> tuple[dict[Any, Places], object] | None:
        if condition.network is not None:
            return self.networks.place(condition.network)
        if condition.subject == "origin":
            return self.origins, condition.text
        return self._texts(condition.subject).place(condition)

    def _texts(self, subject: str) -> _Texts:
        if subject == "client":
            return self.names
        if subject not in self.envelopes:
            self.envelopes[subject] = _Texts(address=True)
        return self.envelopes[subject]

    def _take(self, condition: Condition, position: int) -> None:
        if condition.network is not None:
            table, key = self.networks.place(condition.network)
            if key in table:
                _file(table, key, position)
            else:
                self.networks.add(condition.network, position)
        elif condition.subject == "origin":
            _file(self.origins, condition.text, position)
        else:
            self.has_names = self.has_names or condition.subject == "client"
            self._texts(condition.subject).file(condition, position)

    def of_address(self, address: Address) -> Iterator[int]:
        """Yield all entries whose network contains an address."""
        return _positions(self.networks.every(address))

    def of_origin(self, origin: str) -> Iterator[int]:
        """Yield all entries with this origin."""
        found = self.origins.get(origin)
        return iter(()) if found is None else _positions((found,))

    def parts(self) -> list[dict[Any, Any]]:
        """The mappings with the positions (see `matching.matchers`)."""
        texts = [self.names, *self.envelopes.values()]
        return [*self.networks.parts(), self.origins, *chain.from_iterable(each.parts() for each in texts)]


@dataclass(slots=True)
class _Entry:
    """A compiled entry."""

    until: int
    """The first second at which it does not match any more."""
    checks: tuple[_Check, ...]
    match: Match


def _compiled(
    entries: Sequence[ListedEntry], match_of: Callable[[ListedEntry], Match], position: int
) -> _Entry:
    entry = entries[position]
    conditions = entry.conditions
    # The look-up has met a single condition.
    checks = tuple(map(_check, conditions)) if len(conditions) > 1 else ()
    return _Entry(entry.until if entry.enabled else 0, checks, match_of(entry))


class EntryTable:
    """The entries of a list, for matching."""

    def __init__(
        self,
        entries: Sequence[ListedEntry],
        match_of: Callable[[ListedEntry], Match],
        now: Callable[[], int],
        origin_of: Callable[[Attempt], Origin],
    ) -> None:
        """`now` returns the wall clock in seconds; it is called only for entries that expire."""
        self.used = 0
        """The number of entries that are in use, or were until they expired."""
        index = Index(self._counted(entries))
        self._entries = entries
        self._now = now
        self._origin_of = origin_of
        self.parts = index.parts()
        """The mappings with the positions (see `matching.matchers`)."""
        # Not a method: a list that refers to itself would never be freed (see `daemon.list_memory`).
        self._entry = lru_cache(_REMEMBERED)(partial(_compiled, entries, match_of))
        self._index = index if len(index.networks) else None
        self._origins = index.of_origin if index.origins else None
        names = index.names
        self._names = _remembered(lambda name: names.of_name(host_name(name))) if index.has_names else None
        self._senders = _of_addresses(index.envelopes.get("sender"))
        self._recipients = _of_addresses(index.envelopes.get("recipient"))

    def _counted(self, entries: Iterable[ListedEntry]) -> Iterator[Sequence[Condition]]:
        for entry in entries:
            self.used += entry.enabled
            yield entry.conditions

    def every(self, attempt: Attempt) -> list[Match]:
        """The matches of all entries whose conditions hold and that have not expired, in their order."""
        seen = Sighting(attempt, self._origin_of)
        found = [self._entry(position) for position in sorted({*self._candidates(attempt)})]
        return [entry.match for entry in found if self._holds(entry, seen)]

    def match(self, attempt: Attempt) -> Match | None:
        """The match of the first entry whose conditions all hold and that has not expired."""
        found = self._candidates(attempt)
        if not found:
            return None
        found.sort()
        seen = Sighting(attempt, self._origin_of)
        return next((entry.match for entry in map(self._entry, found) if self._holds(entry, seen)), None)

    def almost(self, attempt: Attempt) -> Iterator[tuple[Match, str]]:
        """Yield the match of some entries that do not match, but nearly, and why they do not."""
        seen = Sighting(attempt, self._origin_of)
        for position in sorted({*self._candidates(attempt)})[:_MOST_NEAR]:
            entry, conditions = self._entry(position), self._entries[position].conditions
            missing = [str(each) for each in conditions if not _check(each)(seen)]
            if missing:
                yield entry.match, f"does not hold: {', '.join(missing)}"
            elif not self._holds(entry, seen):
                yield entry.match, "has expired" if entry.until else "is switched off"

    def _candidates(self, attempt: Attempt) -> list[int]:
        """The positions of the entries that the attempt is found under in the index, in any order."""
        found: list[int] = []
        if self._index is not None and attempt.client_address is not None:
            found += self._index.of_address(attempt.client_address)
        if self._names is not None and attempt.client_name:
            found += self._names(attempt.client_name)
        if self._origins is not None:
            origin = self._origin_of(attempt)
            if origin.named:
                found += self._origins(origin.text)
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


def _of_addresses(texts: _Texts | None) -> Callable[[str], Sequence[int]] | None:
    return None if texts is None else _remembered(lambda address: texts.of_address(address_text(address)))


def _remembered(find: Callable[[str], Iterable[int]]) -> Callable[[str], Sequence[int]]:
    """Return `find` with a cache, for the few texts that are looked up again and again.

    A text longer than any address is not cached, so that the cache stays bounded in octets.
    """
    remembered = lru_cache(maxsize=4096)(lambda text: tuple(find(text)))
    return lambda text: remembered(text) if len(text) <= LONGEST_ADDRESS else tuple(find(text))
