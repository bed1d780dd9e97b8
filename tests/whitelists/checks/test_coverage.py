"""Whatever an entry lets in, one that covers it lets in, too."""

from __future__ import annotations

from datetime import date
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.whitelists.checks.coverage import covered, covers, implies
from multigrey.whitelists.entry import NEVER, Condition, ListedEntry, network_condition
from tests.support.whitelists import ATTEMPTS, CONDITIONS, ORIGINS, holds


def of(text):
    """A condition from a few characters: `client below example.org`, `network 192.0.2.0/24`."""
    subject, _, rest = text.partition(" ")
    if subject == "network":
        return network_condition(ip_network(rest))
    how, _, value = (
        rest.replace("domain below", "domain_below").replace("domain regex", "domain_regex").partition(" ")
    )
    return Condition(subject, how.replace("_", " "), value)


IMPLIED = [
    ("network 192.0.2.0/25", "network 192.0.2.0/24", True),
    ("network 192.0.2.0/24", "network 192.0.2.0/24", True),
    ("network 192.0.2.0/24", "network 192.0.2.0/25", False),
    ("network 198.51.100.0/25", "network 192.0.2.0/24", False),
    ("network 2001:db8::1", "network 2001:db8::/32", True),
    ("network 0.0.0.0/8", "network ::/8", False),
    ("client exact mx.example.org", "client below example.org", True),
    ("client below mx.example.org", "client below example.org", True),
    ("client below example.org", "client exact example.org", False),
    ("client exact notexample.org", "client below example.org", False),
    ("client exact example.org", "client exact example.org", True),
    ("client regex x$", "client regex x$", True),
    ("client regex x$", "client regex y$", False),
    ("client exact example.org", "origin exact example.org", False),
    ("network 192.0.2.1/32", "client below example.org", False),
    ("sender exact bob+list@example.org", "sender exact bob@example.org", True),
    ("sender exact bob@example.org", "sender exact bob+list@example.org", False),
    ("sender exact bobby@example.org", "sender exact bob@example.org", False),
    ("sender exact bob@example.org", "sender user bob", True),
    ("sender user bob", "sender exact bob@example.org", False),
    ("sender user bob+x", "sender user bob", True),
    ("sender exact bob@example.org", "sender domain example.org", True),
    ("sender exact bob@mx.example.org", "sender domain example.org", False),
    ("sender exact bob@mx.example.org", "sender domain below example.org", True),
    ("sender domain example.org", "sender domain below example.org", True),
    ("sender domain below example.org", "sender domain example.org", False),
    ("sender user example.org", "sender domain example.org", False),
    ("sender exact bob@example.org", "recipient exact bob@example.org", False),
    ("sender exact ", "sender exact ", True),
    ("sender exact ", "sender user bob", False),
    ("sender exact bob@example.org", "sender exact ", False),
]


@pytest.mark.parametrize(("narrow", "wide", "expected"), IMPLIED)
def test_implies(narrow, wide, expected):
    assert implies(of(narrow), of(wide)) is expected


@given(CONDITIONS, CONDITIONS, ATTEMPTS, ORIGINS)
def test_what_meets_the_narrow_meets_the_wide(narrow, wide, attempt, origin):
    if implies(narrow, wide) and holds(narrow, attempt, origin):
        assert holds(wide, attempt, origin)


def entry(line, *conditions, **fields):
    return ListedEntry(Path("list.toml"), line, tuple(map(of, conditions)), **fields)


def found(*entries):
    return [(each.entry.line, each.by.line, each.same) for each in covered(entries)]


def test_fewer_conditions_cover_more():
    pair = entry(1, "client below example.org", "recipient exact bob@example.net")
    assert found(pair, entry(2, "client below example.org")) == [(1, 2, False)]
    assert found(pair, entry(2, "recipient domain example.net")) == [(1, 2, False)]
    assert found(pair, entry(2, "client below example.org", "recipient exact alice@example.net")) == []
    assert covers((), pair.conditions)


def test_the_later_of_two_equal_entries_is_told():
    same = "network 192.0.2.0/24"
    assert found(entry(1, same), entry(2, same), entry(3, same)) == [(2, 1, True), (3, 1, True)]
    assert found(entry(1, "sender user a", same), entry(2, same, "sender user a")) == [(2, 1, True)]


def test_an_entry_that_ends_earlier_covers_nothing_that_goes_on():
    wide, narrow = "network 192.0.2.0/24", "network 192.0.2.1/32"
    soon = date(2030, 1, 1)
    assert found(entry(1, wide, expires=soon), entry(2, narrow)) == []
    assert found(entry(1, wide), entry(2, narrow, expires=soon)) == [(2, 1, False)]
    assert found(entry(1, wide, expires=soon), entry(2, wide)) == [(1, 2, True)]


@given(st.lists(st.lists(CONDITIONS, min_size=1, max_size=3), max_size=10))
def test_it_agrees_with_comparing_every_pair(lists):
    entries = [ListedEntry(Path("x"), number, tuple(conditions)) for number, conditions in enumerate(lists)]
    expected = set()
    for number, each in enumerate(entries):
        assert each.until == NEVER
        for other, by in enumerate(entries):
            mutual = covers(each.conditions, by.conditions)
            if number != other and covers(by.conditions, each.conditions) and not (mutual and other > number):
                expected.add(number)
    assert {each.entry.line for each in covered(entries)} == expected


def test_thousands_of_entries_take_no_time():
    entries = [entry(number, f"client exact host{number}.example.org") for number in range(3000)]
    assert found(*entries, entry(9999, "client exact host7.example.org")) == [(9999, 7, True)]
