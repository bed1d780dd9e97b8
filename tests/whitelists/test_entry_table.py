"""The index finds what the slow, obvious way finds: the first entry all of whose conditions hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.model import Attempt, Match, Origin
from multigrey.whitelists.entry import NEVER, Condition
from multigrey.whitelists.entry_table import EntryTable
from tests.support.whitelists import ATTEMPTS, CONDITIONS, ORIGINS, holds

NOW = 1_000_000_000

ROWS = st.tuples(
    st.lists(CONDITIONS, min_size=1, max_size=3), st.sampled_from([NEVER, NEVER, NOW - 1, NOW, NOW + 1])
)


@given(st.lists(ROWS, max_size=12), ATTEMPTS, ORIGINS)
def test_it_agrees_with_looking_at_one_entry_after_the_other(rows, attempt, origin):
    rows = [
        (conditions, until, Match("list", str(number))) for number, (conditions, until) in enumerate(rows)
    ]
    table = EntryTable(rows, lambda: NOW, lambda _: origin)
    expected = next(
        (
            match
            for conditions, until, match in rows
            if until > NOW and all(holds(condition, attempt, origin) for condition in conditions)
        ),
        None,
    )
    assert table.match(attempt) == expected
    assert table.match(attempt) == expected  # what is remembered is the same


def attempt(**fields):
    values = {"listener": "test", "client_address": None, "client_name": None, "helo": ""}
    return Attempt(**{**values, "sender": "a@example.com", "recipient": "b@example.net", **fields})


@pytest.mark.parametrize(("now", "matches"), [(NOW - 1, True), (NOW, False), (NOW + 1, False)])
def test_an_entry_ends_at_its_second(now, matches):
    rows = [([Condition("client", "exact", "mx.example.org")], NOW, Match("list", "1"))]
    table = EntryTable(rows, lambda: now, lambda _: Origin("", named=False))
    assert bool(table.match(attempt(client_name="mx.example.org"))) is matches


def test_the_clock_and_the_origin_are_only_asked_where_they_matter():
    def never(*_):
        raise AssertionError("asked")

    table = EntryTable([([Condition("client", "exact", "a.org")], NEVER, Match("list", "1"))], never, never)
    assert table.match(attempt(client_name="a.org"))
    assert table.match(attempt(client_name="b.org")) is None


def test_long_texts_match_all_the_same():
    rows = [([Condition("sender", "domain below", "example.org")], NEVER, Match("list", "1"))]
    table = EntryTable(rows, lambda: 0, lambda _: Origin("", named=False))
    assert table.match(attempt(sender="a" * 5000 + "@mail.example.org"))
    assert table.match(attempt(sender="a" * 5000 + "@mail.example.com")) is None


def test_the_rarest_condition_finds_an_entry():
    shared = Condition("client", "below", "example.net")
    rows = [
        (
            [shared, Condition("recipient", "exact", f"user{number}@example.org")],
            NEVER,
            Match("list", str(number)),
        )
        for number in range(200)
    ]
    table = EntryTable(rows, lambda: 0, lambda _: Origin("", named=False))
    one = attempt(client_name="mx.example.net", recipient="user77@example.org")
    assert table.match(one).entry == "77"
    assert len(table._candidates(one)) == 1
