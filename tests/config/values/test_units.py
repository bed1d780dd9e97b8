"""Durations and sizes: tables, and reading back what is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.config.values.units import (
    duration,
    format_duration,
    format_size,
    fractional_duration,
    parse_duration,
    parse_size,
    size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("2m", 120),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        (" 2 m ", 120),
        ("36d", 36 * 86_400),
        ("1w", 7 * 86_400),
        ("1w1d1h1m1s1ms", 694_861.001),
        ("500ms", 0.5),
        ("1m500ms", 60.5),
        ("0s", 0),
        ("007s", 7),
        ("3650d", 315_360_000),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (120, 'no unit; write "2m" for 120 seconds'),
        (90, 'no unit; write "1m30s"'),
        ("300", 'no unit; write "5m" for 300 seconds'),
        (2.5, 'no unit; write "2s500ms"'),
        (0, "0 has no unit; expected a duration such as"),
        (-5, "-5 has no unit; expected a duration such as"),
        (10**30, "has no unit; expected a duration such as"),
        (float("inf"), "inf is not a duration"),
        (True, "got true"),
        (["2m"], "got a list"),
        ({}, "got a table"),
        ("", '"" is not a duration'),
        ("m", '"m" is not a duration'),
        ("2M", '"2M" is not a duration'),
        ("2 minutes", "is not a duration"),
        ("1.5h", "is not a duration"),
        ("-2m", "is not a duration"),
        ("2m extra", "is not a duration"),
        ("٢m", "is not a duration"),
        ("1m1h", "the largest first"),
        ("1m1m", "each unit once"),
        ("3651d", "more than ten years"),
        ("9" * 15 + "d", "more than ten years"),
        ("9" * 100 + "d", "is not a duration"),
    ],
)
def test_what_is_no_duration(value, message):
    with pytest.raises(ValueError, match=r"^") as caught:
        parse_duration(value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.5, "500ms"),
        (90, "1m30s"),
        (120, "2m"),
        (86_400, "1d"),
        (3_110_400, "36d"),
        (5400, "1h30m"),
        (1.25, "1s250ms"),
    ],
)
def test_durations_are_written_short(seconds, text):
    assert format_duration(seconds) == text


@given(st.integers(0, 10 * 365 * 86_400_000))
def test_a_written_duration_reads_back(milliseconds):
    assert parse_duration(format_duration(milliseconds / 1000)) == milliseconds / 1000


@given(st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none()))
def test_a_duration_or_a_value_error(value):
    try:
        seconds = parse_duration(value)
    except ValueError:
        return
    assert 0 <= seconds <= 10 * 365 * 86_400


def test_duration_fields_know_their_bounds():
    kind = duration("1s", "1h")
    assert kind.read("1s") == 1
    assert kind.read("1h") == 3600
    assert isinstance(kind.read("1h"), int)
    for text, message in [
        ("0s", "at least 1s"),
        ("3601s", "1h1s is too long; at most 1h"),
        ("1s1ms", "whole"),
    ]:
        with pytest.raises(ValueError, match=message):
            kind.read(text)
    assert fractional_duration("100ms", "1s").read("250ms") == 0.25
    with pytest.raises(ValueError, match="99ms is too short; at least 100ms"):
        fractional_duration("100ms", "1s").read("99ms")


@pytest.mark.parametrize(
    ("value", "octets"),
    [
        ("64KiB", 65_536),
        ("64 KiB", 65_536),
        ("10MB", 10_000_000),
        ("10kB", 10_000),
        ("4GiB", 2**32),
        ("1TiB", 2**40),
        ("12B", 12),
        ("12", 12),
        (12, 12),
    ],
)
def test_sizes(value, octets):
    assert parse_size(value) == octets


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("64K", 'write "64KiB" (units of 1024) or "64KB" (units of 1000)'),
        ("64kb", 'write "64KiB"'),
        ("4gib", 'write "4GiB"'),
        ("4Gi", 'write "4GiB"'),
        ("4 bytes", "'bytes' is not a unit of size"),
        ("GiB", "is not a size"),
        ("-1KiB", "is not a size"),
        ("1.5GiB", "is not a size"),
        ("", "is not a size"),
        (1.5, "got 1.5"),
        (False, "got false"),
    ],
)
def test_what_is_no_size(value, message):
    with pytest.raises(ValueError, match=r"^") as caught:
        parse_size(value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("octets", "text"),
    [(0, "0B"), (1, "1B"), (1000, "1KB"), (1024, "1KiB"), (1500, "1500B"), (2**32, "4GiB"), (10**7, "10MB")],
)
def test_sizes_are_written_short(octets, text):
    assert format_size(octets) == text


@given(st.integers(0, 2**60 // 2))
def test_a_written_size_reads_back(octets):
    if octets < 10**15:
        assert parse_size(format_size(octets)) == octets


def test_size_fields_know_their_bounds():
    kind = size("4KiB", "1MiB")
    assert kind.read("4KiB") == 4096
    assert kind.read("1MiB") == 2**20
    for value, message in [(4095, "4095B is too small; at least 4KiB"), ("2MiB", "2MiB is too large")]:
        with pytest.raises(ValueError, match=message):
            kind.read(value)
