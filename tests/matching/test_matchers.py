"""The tables behind whitelists agree with the slow, obvious way of doing the same."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.errors import AddressError
from multigrey.matching.matchers import (
    TEXT_LIMIT,
    AddressTable,
    NameTable,
    NetworkTable,
    RegexSet,
    parse_network,
)


@st.composite
def networks(draw):
    """Networks close together, so that they hold one another and the addresses asked for."""
    if draw(st.booleans()):
        number = draw(st.sampled_from([0xC0000200, 0xC0000201, 0xCB007107, 0xFFFFFFFF])) ^ draw(
            st.integers(0, 7)
        )
        return IPv4Network((number, draw(st.integers(1, 32))), strict=False)
    number = (0x20010DB8 << 96) ^ draw(st.integers(0, 7)) ^ (draw(st.integers(0, 7)) << 64)
    return IPv6Network((number, draw(st.integers(1, 128))), strict=False)


def addresses():
    near = networks().map(lambda network: network.network_address)
    return near | st.ip_addresses()


@given(st.lists(networks()), addresses())
def test_network_table_agrees_with_a_scan(entries, address):
    table = NetworkTable((network, network) for network in entries)
    holding = [network for network in entries if network.version == address.version and address in network]
    expected = max(holding, key=lambda network: network.prefixlen, default=None)
    assert table.get(address) == expected
    assert len(table) == len(set(entries))


def test_the_first_of_equal_networks_wins():
    table = NetworkTable([(ip_network("192.0.2.0/24"), "first"), (ip_network("192.0.2.0/24"), "second")])
    assert table.get(IPv4Address("192.0.2.9")) == "first"


def test_one_number_is_not_both_kinds_of_address():
    table = NetworkTable([(ip_network("0.0.2.1/32"), "v4")])
    assert table.get(IPv6Address(0x0201)) is None


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.1", "192.0.2.1/32"),
        ("192.0.2", "192.0.2.0/24"),
        ("192.168", "192.168.0.0/16"),
        ("10", "10.0.0.0/8"),
        ("192.0.2.77/24", "192.0.2.0/24"),
        ("0.0.0.0/1", "0.0.0.0/1"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("2001:db8:0:0:0:0:0:1/64", "2001:db8::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1/32"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("64:ff9b::c000:0201", "192.0.2.1/32"),
        ("2002:c000:0201::/48", "192.0.2.1/32"),
        ("2002:c000:0201:1::/64", "192.0.2.1/32"),
        ("2002:c000::/32", "192.0.0.0/16"),
        ("::/1", "::/1"),
    ],
)
def test_parse_network(text, network):
    assert parse_network(text) == ip_network(network)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "256",
        "192.0.2.256",
        "192.0.2.1.5",
        "192.0.2.1/33",
        "192.0.2.1/0",
        "::/0",
        "::ffff:0:0/96",
        "192.0.2.0/255.255.255.0",
        "192.168/16",
        "192.168.",
        "1::2::3",
        "2001:db8::/129",
        "2001:db8::/",
        "/24",
        "192.0.2.0/24/8",
        "example.org",
        "192.0.2.\u0661",
    ],
)
def test_parse_network_refuses(text):
    with pytest.raises(AddressError, match="not an IP address or network"):
        parse_network(text)


labels = st.sampled_from(["a", "b", "mail", "example", "org", ""])
names = st.lists(labels, min_size=1, max_size=6).map(".".join)


@given(st.lists(names.filter(bool)), names)
def test_name_table_agrees_with_a_scan(entries, name):
    table = NameTable((entry, entry) for entry in entries)
    holding = [entry for entry in entries if name == entry or name.endswith("." + entry)]
    assert table.get(name) == max(holding, key=len, default=None)
    assert len(table) == len(set(entries))


def test_name_table_takes_a_name_of_many_labels():
    table = NameTable([("example.org", 1), ("x.example", 2)])
    assert table.get("a." * 100_000 + "example.org") == 1
    assert table.get("a." * 100_000 + "notexample.org") is None
    assert table.get("a" * 100_000) is None
    assert table.get("." * 100_000) is None


def test_an_empty_table_knows_nothing():
    assert NameTable[int]().get("example.org") is None
    assert NetworkTable[int]().get(IPv4Address("192.0.2.1")) is None
    assert RegexSet[int]().get("example.org") is None


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"^mail\d+\.example\.org$", "mail12.example.org", True),
        (r"^mail\d+\.example\.org$", "xmail12.example.org", False),
        (r"EXAMPLE", "mx.example.org", True),
        (r"example", "mx.EXAMPLE.org", True),
        (r"ple\.o", "example.org", True),
        (r"\bmx\b", "mx.example.org", True),
        (r"ü", "BÜCHER", True),
        (r"^.*-out-.*\.example\.net$", "a-out-b.example.net", True),
        (r"foo", "\udcff foo", True),
        (r"", "anything", True),
    ],
)
def test_regex(pattern, text, found):
    assert (RegexSet([(pattern, "it")]).get(text) == "it") is found


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(?=x)", "perl operator"),
        (r"(?<!x)y", "perl operator"),
        (r"(x)\1", "escape sequence"),
        (r"[", "missing"),
        (r"x{5000}", "repetition"),
        ("\udcff", "UTF-8"),
        (r"((a{100}){100}){100}", "repetition|large"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_told_and_left_out(pattern, reason, capfd):
    table = RegexSet([("first", 1), (pattern, 2), ("last", 3)])
    assert list(table.rejected) == [1]
    assert re.search(reason, table.rejected[1])
    assert len(table) == 2
    assert (table.get("first"), table.get("last")) == (1, 3)
    assert capfd.readouterr().err == ""


def test_the_first_pattern_wins():
    table = RegexSet([("b", "b"), ("a", "a")])
    assert table.get("ab") == "b"


def test_patterns_that_blow_up_elsewhere_are_harmless():
    table = RegexSet([("(a+)+$", 1), ("(a|aa)+b$", 2), ("(x*)*y", 3)])
    assert table.get("a" * TEXT_LIMIT) == 1
    assert table.get("a" * (TEXT_LIMIT - 1) + "!") is None


def test_a_longer_text_matches_nothing():
    assert RegexSet([("a", 1)]).get("a" * (TEXT_LIMIT + 1)) is None


def test_memory_is_bounded():
    """As many of the first patterns as fit are used, the others are reported."""
    patterns = [(rf"^mail-{i}-[0-9]+.*\.example{i}\.org$|both", i) for i in range(400)]
    assert not RegexSet(patterns, max_memory=8 << 20).rejected
    little = RegexSet(patterns, max_memory=1 << 19)
    assert 10 < len(little) < 390
    assert list(little.rejected) == list(range(len(little), 400))
    assert set(little.rejected.values()) == {"the expressions before it use up the memory"}
    for i in range(400):
        assert little.get(f"mail-{i}-1.example{i}.org") == (i if i < len(little) else None)
    assert little.get("both") == 0


def test_one_huge_pattern_does_not_take_the_room_of_others():
    table = RegexSet([("x{900}" * 20, 1), ("example", 2)], pattern_memory=1 << 16)
    assert table.rejected == {0: "too large"}
    assert table.get("example.org") == 2


def test_our_own_probe_is_no_match():
    assert RegexSet([("abc", 1)]).get("\x00multigrey probe\x00") is None


def test_addresses_of_both_families_side_by_side():
    table = NetworkTable([(ip_network("192.0.2.0/24"), 4), (ip_network("2001:db8::/32"), 6)])
    assert table.get(ip_address("192.0.2.1")) == 4
    assert table.get(ip_address("2001:db8::1")) == 6
    assert table.get(ip_address("198.51.100.1")) is None


# --- every ---


@given(st.lists(networks()), addresses())
def test_every_network_is_found_smallest_first(entries, address):
    table = NetworkTable((network, network) for network in entries)
    holding = {network for network in entries if network.version == address.version and address in network}
    assert [*table.every(address)] == sorted(holding, key=lambda network: -network.prefixlen)


NAMES = st.lists(st.sampled_from(["a", "b", "aa"]), min_size=1, max_size=5).map(".".join)


@given(st.lists(NAMES), NAMES | st.just(""))
def test_every_name_is_found_longest_first(entries, name):
    table = NameTable((entry, entry) for entry in entries)
    above = {entry for entry in entries if name == entry or name.endswith(f".{entry}")}
    assert [*table.every(name)] == sorted(above, key=len, reverse=True)


@given(st.lists(st.sampled_from(["a", "b", "^a", "c$"]), max_size=6), st.text("abc", max_size=4))
def test_every_pattern_is_found_in_order(patterns, text):
    table = RegexSet((pattern, number) for number, pattern in enumerate(patterns))
    expected = [number for number, pattern in enumerate(patterns) if re.search(pattern, text)]
    assert [*table.every(text)] == expected
    assert [*table.every("a" * (TEXT_LIMIT + 1))] == []


USERS = st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=4).map("+".join)


@given(
    st.lists(st.tuples(USERS, st.sampled_from(["", "x.org"]))), USERS, st.sampled_from(["", "x.org", "y.org"])
)
def test_every_address_is_found_with_any_extension(entries, local, domain):
    table = AddressTable((entry, entry) for entry in entries)
    expected = {
        (user, where)
        for user, where in entries
        if where in {"", domain} and (local == user or local.startswith(f"{user}+"))
    }
    found = [*table.every(local, domain)]
    assert set(found) == expected
    assert len(found) == len(expected)
    assert [len(user) for user, _ in found] == sorted((len(user) for user, _ in found), reverse=True)
    assert table.get(local, domain) == (found[0] if found else None)
    assert len(table) == len(set(entries))
