"""Dates and texts of entries."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from ipaddress import ip_network
from pathlib import Path

import pytest

from multigrey.whitelists.entry import (
    NEVER,
    Condition,
    ListedEntry,
    day_begin,
    end_of,
    network_condition,
    place_name,
)


@pytest.mark.parametrize(
    ("moment", "second"),
    [
        (date(1970, 1, 1), 86_400),
        (date(2026, 12, 31), int(datetime(2027, 1, 1, tzinfo=UTC).timestamp())),
        (datetime(2026, 12, 31, 18, tzinfo=UTC), int(datetime(2026, 12, 31, 18, tzinfo=UTC).timestamp())),
        (datetime(2026, 12, 31, 18, tzinfo=timezone(timedelta(hours=5))), 1_798_722_000),
        (datetime(2026, 12, 31, 18, 0, 0, 999_999, tzinfo=UTC), 1_798_740_000),
        (date.max, 253_402_300_800),
        (datetime.max.replace(tzinfo=timezone(-timedelta(hours=12))), 253_402_300_799 + 12 * 3600),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=12))), -62_135_596_800 - 12 * 3600),
    ],
)
def test_the_end_of_days_and_moments(moment, second):
    assert end_of(moment) == second


def test_a_day_begins_in_utc():
    assert day_begin(date(2001, 9, 9)) == 999_993_600


def test_entries_without_an_end_never_end():
    assert ListedEntry(Path("a"), 1, ()).until == NEVER > end_of(date.max)


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (network_condition(ip_network("192.0.2.0/24")), "client=192.0.2.0/24"),
        (network_condition(ip_network("192.0.2.1/32")), "client=192.0.2.1"),
        (network_condition(ip_network("2001:db8::1/128")), "client=2001:db8::1"),
        (Condition("client", "exact", "a.example.org"), "client=a.example.org"),
        (Condition("client", "below", "example.org"), "client=.example.org"),
        (Condition("client", "regex", "^a$"), "client=/^a$/"),
        (Condition("sender", "exact", ""), "sender=<>"),
        (Condition("sender", "user", "bob"), "sender=bob@"),
        (Condition("recipient", "domain", "example.org"), "recipient=@example.org"),
        (Condition("recipient", "domain below", "example.org"), "recipient=@.example.org"),
        (Condition("recipient", "domain regex", "x$"), "recipient=@/x$/"),
    ],
)
def test_texts(condition, text):
    assert str(condition) == text


def test_no_name_of_a_file_looks_like_more_than_one_word():
    assert place_name(Path("/etc/x/partners.toml")) == "partners.toml"
    assert place_name(Path("/etc/x/a:1 b\né.toml")) == "a?1?b??.toml"
