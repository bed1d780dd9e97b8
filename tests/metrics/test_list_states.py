"""Entries of whitelists by state."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from multigrey.config.load import load
from multigrey.metrics.list_states import STATES, Lists
from multigrey.whitelists.entry import ListedEntry, end_of

DAY = date(2026, 3, 1)
END = end_of(DAY)
PLACE = Path("/etc/multigrey/partners.toml")


def entry(**more):
    return ListedEntry(PLACE, 1, (), **more)


@pytest.mark.parametrize(
    ("more", "before", "after"),
    [
        ({}, "active", "active"),
        ({"review_by": DAY}, "active", "review"),
        ({"expires": DAY}, "active", "expired"),
        ({"expires": DAY, "review_by": DAY}, "active", "expired"),
        ({"expires": datetime(2026, 3, 2, tzinfo=UTC)}, "active", "expired"),
        ({"enabled": False, "expires": DAY}, "disabled", "disabled"),
    ],
)
def test_states_change_with_the_days(more, before, after):
    lists = Lists({"list x": 1}, {"list x": [entry(**more)]})
    for now, state in ((END - 1, before), (END, after)):
        assert lists.states(now) == {"list x": {each: int(each == state) for each in STATES}}


def test_entries_with_the_same_dates_are_counted_without_a_look_at_each():
    many = Lists({"list x": 900}, {"list x": [entry(), entry(enabled=False), entry(expires=DAY)] * 300})
    assert len(many._dated["list x"]) == 3
    assert many.states(0)["list x"] == {"active": 600, "review": 0, "expired": 0, "disabled": 300}
    assert many.states(END)["list x"]["expired"] == 300


def test_lists_without_dates_are_active():
    assert Lists({"postgrey-clients /x": 7}, {}).states(END) == {"postgrey-clients /x": {"active": 7}}


def test_lists_of_a_configuration(tmp_path):
    path = tmp_path / "partners.toml"
    path.write_text(
        '[[entry]]\nclient = "mail.example.org"\nreason = "x"\nowner = "m"\nreview_by = 2026-03-01\n'
    )
    config = tmp_path / "multigrey.toml"
    config.write_text(f'state_dir = "{tmp_path}/s"\n[[whitelist]]\nsource = "list"\npath = "{path}"\n')
    settings = load(config, {}, {}, uid=1000).settings
    name = f"list {path}"
    lists = Lists.of(settings, {name: 1})
    assert lists.states(END)[name]["review"] == 1
    path.write_text("broken")
    assert Lists.of(settings, {name: 1}).states(END) == {name: {"active": 1}}
