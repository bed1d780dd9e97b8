"""Entries come out of the block as they went in."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.whitelists.entry import ListedEntry
from multigrey.whitelists.packed_entries import PackedEntries
from tests.support.whitelists import CONDITIONS

FILE = Path("/lists/a.toml")
TEXTS = st.text(st.characters(blacklist_characters="\0", blacklist_categories=[]), max_size=8)
DAYS = st.none() | st.dates()
ENTRIES = st.builds(
    ListedEntry,
    path=st.just(FILE),
    line=st.none() | st.integers(1, 10**6),
    conditions=st.lists(CONDITIONS, min_size=1, max_size=4).map(tuple),
    owner=TEXTS,
    reason=TEXTS,
    ticket=TEXTS,
    added=DAYS,
    review_by=DAYS,
    expires=DAYS | st.datetimes(timezones=st.just(UTC)),
    enabled=st.booleans(),
    written=TEXTS,
)


@given(st.lists(ENTRIES, max_size=5))
def test_they_come_out_as_they_went_in(entries):
    packed = PackedEntries(FILE, entries)
    assert len(packed) == len(entries)
    assert list(packed) == entries
    assert packed[:] == entries
    assert [packed[place] for place in range(-len(entries), len(entries))] == entries * 2
    with pytest.raises(IndexError):
        packed[len(entries)]


def test_a_day_and_a_moment_stay_what_they_are():
    moment = datetime(2026, 12, 31, 18, tzinfo=UTC)
    for expires in (date(2026, 12, 31), moment):
        entry = ListedEntry(FILE, 1, (), expires=expires)
        (found,) = PackedEntries(FILE, [entry])
        assert (type(found.expires), found.until) == (type(expires), entry.until)
