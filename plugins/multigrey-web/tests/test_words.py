"""Numbers, times and strangers' texts as a page shows them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multigrey_web.words import (
    cut,
    day,
    duration,
    in_link,
    machine_time,
    minute,
    moment,
    number,
    octets,
    offset,
    visible,
    zone,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "0s"),
        (59, "59s"),
        (60, "1m"),
        (125, "2m 5s"),
        (3600, "1h"),
        (3605, "1h"),
        (3660, "1h 1m"),
        (90_061, "1d 1h"),
        (2 * 86_400 + 59, "2d"),
        (-61, "−1m 1s"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (0, "0"), (1234567, "1,234,567")])
def test_numbers(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (284_938_240, "271.7 MiB"), (2**51, "2048.0 TiB")],
)
def test_octets(value, text):
    assert octets(value) == text


@pytest.fixture
def zone_of(monkeypatch):
    """Sets the local time zone."""

    def change(name):
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield change
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("name", "shown", "ahead", "text"),
    [
        ("UTC0", "2026-09-21 14:13:20", 0, "UTC"),
        ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-09-21 16:13:20", 7200, "CEST (UTC+02:00)"),
        ("NST3:30NDT,M3.2.0,M11.1.0", "2026-09-21 11:43:20", -9000, "NDT (UTC-02:30)"),
    ],
)
def test_times_are_local_and_the_zone_is_named(zone_of, name, shown, ahead, text):
    zone_of(name)
    assert moment(1_790_000_000) == shown
    assert minute(1_790_000_000) == shown[:16]
    assert day(1_790_000_000) == shown[:10]
    assert offset(1_790_000_000) == ahead
    assert zone(1_790_000_000) == text
    assert machine_time(1_790_000_000) == "2026-09-21T14:13:20Z"


@pytest.mark.parametrize("name", ["UTC0", "X-14", "X12"])
def test_times_never_fail(zone_of, name):
    zone_of(name)
    for seconds in (-5, 0, 10**18):
        assert moment(seconds)
        assert zone(seconds)
    assert moment(10**18).startswith("9999-12-3")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain@example.org", "plain@example.org"),
        ("grün@例え.jp", "grün@例え.jp"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u200bb", "a\\u200bb"),
        ("a\u00a0b c", "a\\u00a0b c"),
        ("a\nb\x7f", "a\\u000ab\\u007f"),
        ("\udce9", "\\xe9"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("<script>", "<script>"),
    ],
)
def test_what_is_not_seen_is_written_out(text, shown):
    assert visible(text) == shown


def test_long_texts_are_cut():
    assert cut("x" * 80) == "x" * 80
    assert cut("x" * 81) == "x" * 79 + "…"
    assert len(visible("x" * 100_000)) == 400


@given(st.text(alphabet=st.characters(), max_size=500))
def test_whatever_it_is_it_can_be_shown_and_linked(text):
    visible(text).encode()
    cut(text).encode()
    assert in_link(text).isascii()
