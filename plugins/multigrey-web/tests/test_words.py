"""Numbers, times and strangers' texts as a page shows them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multigrey_web.words import (
    clock_time,
    cut,
    duration,
    in_link,
    machine_time,
    moment,
    number,
    octets,
    visible,
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


def test_times_are_utc_and_never_fail():
    assert moment(1_790_000_000) == "2026-09-21 14:13"
    assert clock_time(1_790_000_000) == "14:13:20"
    assert machine_time(1_790_000_000) == "2026-09-21T14:13:20Z"
    assert moment(-5) == "1970-01-01 00:00"
    assert moment(10**18) == "9999-12-31 23:59"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain@example.org", "plain@example.org"),
        ("grün@例え.jp", "grün@例え.jp"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u200bb", "a\\u200bb"),
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
