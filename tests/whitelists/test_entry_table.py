"""The index finds what the slow, obvious way finds: the first entry all of whose conditions hold."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.model import Attempt, Match, Origin
from multigrey.whitelists.entry import NEVER, Condition, ListedEntry
from multigrey.whitelists.entry_table import EntryTable
from tests.support.whitelists import ATTEMPTS, CONDITIONS, ORIGINS, holds

NOW = 1_000_000_000
FILE = Path("a.toml")

ROWS = st.tuples(
    st.lists(CONDITIONS, min_size=1, max_size=3),
    st.sampled_from([NEVER, NEVER, NOW - 1, NOW, NOW + 1]),
    st.booleans(),
)


def entries_of(rows):
    """Entries from conditions, the second at which each ends, and whether it is in use."""
    return [
        ListedEntry(
            FILE,
            number,
            tuple(conditions),
            expires=None if until == NEVER else datetime.fromtimestamp(until, UTC),
            enabled=enabled,
        )
        for number, (conditions, until, enabled) in enumerate(rows)
    ]


def match_of(entry):
    return Match("list", str(entry.line))


def table_of(rows, now=NOW, origin=None):
    unnamed = Origin("", named=False)
    return EntryTable(entries_of(rows), match_of, lambda: now, lambda _: origin or unnamed)


@given(st.lists(ROWS, max_size=12), ATTEMPTS, ORIGINS)
def test_it_agrees_with_looking_at_one_entry_after_the_other(rows, attempt, origin):
    table = table_of(rows, origin=origin)
    every = [
        match_of(entry)
        for entry in entries_of(rows)
        if entry.enabled
        and entry.until > NOW
        and all(holds(condition, attempt, origin) for condition in entry.conditions)
    ]
    expected = every[0] if every else None
    assert table.every(attempt) == every
    assert table.used == sum(enabled for _, _, enabled in rows)
    assert table.match(attempt) == expected
    assert table.match(attempt) == expected  # what is remembered is the same


def attempt(**fields):
    values = {"listener": "test", "client_address": None, "client_name": None, "helo": ""}
    return Attempt(**{**values, "sender": "a@example.com", "recipient": "b@example.net", **fields})


@pytest.mark.parametrize(("now", "matches"), [(NOW - 1, True), (NOW, False), (NOW + 1, False)])
def test_an_entry_ends_at_its_second(now, matches):
    table = table_of([([Condition("client", "exact", "mx.example.org")], NOW, True)], now)
    assert bool(table.match(attempt(client_name="mx.example.org"))) is matches


def test_the_clock_and_the_origin_are_only_asked_where_they_matter():
    def never(*_):
        raise AssertionError("asked")

    entries = entries_of([([Condition("client", "exact", "a.org")], NEVER, True)])
    table = EntryTable(entries, match_of, never, never)
    assert table.match(attempt(client_name="a.org"))
    assert table.match(attempt(client_name="b.org")) is None


def test_long_texts_match_all_the_same():
    table = table_of([([Condition("sender", "domain below", "example.org")], NEVER, True)])
    assert table.match(attempt(sender="a" * 5000 + "@mail.example.org"))
    assert table.match(attempt(sender="a" * 5000 + "@mail.example.com")) is None


def test_the_rarest_condition_finds_an_entry():
    shared = Condition("client", "below", "example.net")
    table = table_of(
        [
            ([shared, Condition("recipient", "exact", f"user{number}@example.org")], NEVER, True)
            for number in range(200)
        ]
    )
    one = attempt(client_name="mx.example.net", recipient="user77@example.org")
    assert table.match(one).entry == "77"
    assert len(table._candidates(one)) <= 2  # the first one was filed when none was rarer
