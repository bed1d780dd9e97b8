"""`[history]`: defaults and bounds."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from multigrey.config.tables.history import History


def test_defaults():
    found = History()
    assert (found.enabled, found.max_age, found.max_entries, found.map_size) == (
        True,
        35 * 86_400,
        2_000_000,
        1 << 30,
    )


def test_everything_can_be_set():
    found = History(enabled=False, max_age="2d", max_entries=5000, map_size="64MiB")
    assert (found.enabled, found.max_age, found.max_entries, found.map_size) == (
        False,
        172_800,
        5000,
        64 << 20,
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"enabled": "yes"},
        {"max_age": "59m"},
        {"max_age": 7},
        {"max_entries": 999},
        {"max_entries": "5000"},
        {"map_size": "1KiB"},
        {"days": 3},
    ],
)
def test_bounds(wrong):
    with pytest.raises(ValidationError):
        History(**wrong)
