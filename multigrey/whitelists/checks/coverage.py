"""Finds whitelist entries that another entry makes superfluous, because it matches everything they do.

One entry covers another if each of its conditions is met by everything that meets some condition of
the other.  Only the texts are compared: two different regular expressions are never analysed.  So
every entry that is reported as covered is covered, but some covered entries are not reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from multigrey.identity.addresses import split_address
from multigrey.whitelists.entry import Condition, ListedEntry
from multigrey.whitelists.entry_table import Index

__all__ = ["Covered", "covered", "covers", "implies"]


class Covered(NamedTuple):
    """An entry that could be removed, and the entry that covers it."""

    entry: ListedEntry
    by: ListedEntry
    same: bool
    """Whether both have the same conditions."""


def covered(entries: Sequence[ListedEntry]) -> Iterator[Covered]:
    """Yield every entry that another one covers for at least as long; of two equal ones the later.

    `entries` must hold only entries that are in use.
    """
    items = [(entry.conditions, position) for position, entry in enumerate(entries)]
    index = Index(conditions for conditions, _ in items)
    by_pattern: dict[Condition, list[int]] = {}
    for conditions, position in items:
        for condition in conditions:
            if condition.how.endswith("regex"):
                by_pattern.setdefault(condition, []).append(position)
    for position, entry in enumerate(entries):
        for other in sorted(set(_candidates(index, by_pattern, entry.conditions)) - {position}):
            by = entries[other]
            if not _outlives(by, entry):
                continue
            if _outlives(entry, by) and other > position:  # they cover each other: report the later one
                continue
            yield Covered(entry, by, set(entry.conditions) == set(by.conditions))
            break


def _outlives(by: ListedEntry, entry: ListedEntry) -> bool:
    return by.until >= entry.until and covers(by.conditions, entry.conditions)


def covers(wide: Iterable[Condition], narrow: Sequence[Condition]) -> bool:
    """Whether everything that meets all conditions of `narrow` meets all of `wide`."""
    return all(any(implies(one, condition) for one in narrow) for condition in wide)


def implies(narrow: Condition, wide: Condition) -> bool:
    """Whether everything that meets `narrow` meets `wide`; False also if that cannot be decided."""
    if narrow.subject != wide.subject:
        return False
    if narrow.network is not None or wide.network is not None:
        return _contains(wide, narrow)
    if narrow == wide:
        return True
    if wide.subject == "client":
        return wide.how == "below" and narrow.how in {"exact", "below"} and _is_below(narrow.text, wide.text)
    return bool(narrow.text) and _address_implies(narrow, wide)


def _contains(wide: Condition, narrow: Condition) -> bool:
    outer, inner = wide.network, narrow.network
    if outer is None or inner is None or outer.version != inner.version or outer.prefixlen > inner.prefixlen:
        return False
    spare = outer.max_prefixlen - outer.prefixlen
    return int(outer.network_address) >> spare == int(inner.network_address) >> spare


def _address_implies(narrow: Condition, wide: Condition) -> bool:
    local, domain = _parts(narrow)
    wide_local, wide_domain = _parts(wide)
    match wide.how:
        case "user":
            return narrow.how in {"exact", "user"} and _extends(local, wide_local)
        case "exact":
            return narrow.how == "exact" and domain == wide_domain and _extends(local, wide_local)
        case "domain":
            return narrow.how in {"exact", "domain"} and domain == wide.text
        case "domain below":
            return narrow.how in {"exact", "domain", "domain below"} and _is_below(domain, wide.text)
    return False


def _parts(condition: Condition) -> tuple[str, str]:
    """The local part and the domain that a condition on an address names; "" for any."""
    if condition.how == "exact":
        return split_address(condition.text)
    return (condition.text, "") if condition.how == "user" else ("", condition.text)


def _extends(local: str, wide: str) -> bool:
    return local == wide or local.startswith(f"{wide}+")


def _is_below(name: str, wide: str) -> bool:
    return name == wide or name.endswith(f".{wide}")


def _candidates(
    index: Index, by_pattern: Mapping[Condition, Sequence[int]], conditions: Iterable[Condition]
) -> Iterator[int]:
    """Yield the positions of all entries that may cover one with these conditions, and some others."""
    for condition in conditions:
        if condition.how.endswith("regex"):
            yield from by_pattern.get(condition, ())
        elif condition.network is not None:
            yield from index.of_address(condition.network.network_address)
        elif condition.subject == "client":
            yield from index.names.of_name(condition.text)
        elif condition.subject == "origin":
            yield from index.of_origin(condition.text)
        elif condition.subject in index.envelopes:
            texts = index.envelopes[condition.subject]
            local, domain = _parts(condition)
            if condition.how == "exact" or local:
                yield from texts.of_address(f"{local}@{domain}" if condition.text else "")
            else:
                yield from texts.of_domain(domain)
