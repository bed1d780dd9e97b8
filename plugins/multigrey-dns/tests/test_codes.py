"""Return codes and the patterns that pick some of them."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from multigrey_dns.codes import ANY, is_code, level_pattern, parse_pattern, picked


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("127.0.0.2", ["127.0.0.2"], ["127.0.0.3", "127.0.1.2", "127.1.0.2"]),
        ("127.0.0.4-7", ["127.0.0.4", "127.0.0.7"], ["127.0.0.3", "127.0.0.8"]),
        ("127.0.*.2-3", ["127.0.0.2", "127.0.255.3"], ["127.0.5.1", "127.1.5.2"]),
        ("127.0.[0..255].[1..3]", ["127.0.9.1", "127.0.9.3"], ["127.0.9.0", "127.0.9.4"]),
        ("127.0.0.[2;4;6..8]", ["127.0.0.2", "127.0.0.4", "127.0.0.7"], ["127.0.0.3", "127.0.0.5"]),
        ("127.0.0.&8", ["127.0.0.8", "127.0.0.10", "127.0.0.255"], ["127.0.0.2", "127.0.0.7"]),
        ("127.*.*.*", ["127.0.0.0", "127.255.255.255"], []),
    ],
)
def test_patterns(pattern, inside, outside):
    made = parse_pattern(pattern)
    assert [code for code in inside if not made.covers(IPv4Address(code))] == []
    assert [code for code in outside if made.covers(IPv4Address(code))] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a pattern"),
        ("127.0.0", "not a pattern"),
        ("127.0.0.2.3", "not a pattern"),
        ("127.0.0.2/24", "not a pattern"),
        ("127.0.0.x", "not a pattern"),
        ("127.0.0.256", "256 is more than 255"),
        ("127.0.0.&256", "256 is more than 255"),
        ("127.0.0.7-4", "write the smaller number first"),
        ("127.0.0.[2...4]", "neither a number nor a range"),
        ("127.0.0.[;]", "neither a number nor a range"),
        ("10.0.0.2", "begin with 127"),
        ("*.0.0.2", "begin with 127"),
        ("127.0.0.2\n", "not a pattern"),
    ],
)
def test_what_is_no_pattern(text, message):
    with pytest.raises(ValueError, match=message):
        parse_pattern(text)


@pytest.mark.parametrize(
    ("level", "inside", "outside"),
    [
        ("none", "127.0.5.0", "127.0.5.1"),
        ("low", "127.0.2.1", "127.0.0.1"),
        ("medium", "127.0.20.2", "127.0.0.2"),
        ("high", "127.0.255.3", "127.1.2.3"),
    ],
)
def test_levels_have_a_category(level, inside, outside):
    assert level_pattern(level).covers(IPv4Address(inside))
    assert not level_pattern(level).covers(IPv4Address(outside))


@pytest.mark.parametrize("level", ["none", "low", "medium", "high"])
def test_no_level_holds_the_answer_of_a_list_that_blocks_us(level):
    assert not level_pattern(level).covers(IPv4Address("127.0.0.255"))


def test_codes_lie_in_127():
    assert is_code(IPv4Address("127.0.0.0"))
    assert is_code(IPv4Address("127.255.255.255"))
    assert not is_code(IPv4Address("126.255.255.255"))
    assert not is_code(IPv4Address("128.0.0.0"))


def test_what_is_picked_is_in_order():
    codes = frozenset(map(IPv4Address, ["127.0.0.10", "127.0.0.2", "127.0.0.4"]))
    patterns = [parse_pattern("127.0.0.10"), parse_pattern("127.0.0.2-3")]
    assert list(map(str, picked(codes, patterns))) == ["127.0.0.2", "127.0.0.10"]
    assert picked(codes, []) == []
    assert len(picked(codes, [ANY])) == 3
