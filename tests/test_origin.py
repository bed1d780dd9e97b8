"""Who is sending, and for whom trust is counted."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from multigrey.addresses import network_of, parse_client_address
from multigrey.model import Attempt, Origin
from multigrey.origin import origin_of, trust_text

ATTEMPT = Attempt(
    listener="test",
    client_address=None,
    client_name="mail.example.org",
    helo="mail.example.org",
    sender="alice@example.org",
    recipient="bob@example.net",
)

ORIGINS = [
    # address as told, IPv4 and IPv6 prefix, origin
    ("192.0.2.77", 24, 64, "192.0.2.0/24"),
    ("192.0.2.77", 32, 64, "192.0.2.77/32"),
    ("192.0.2.77", 16, 64, "192.0.0.0/16"),
    ("192.0.2.77", 0, 64, "0.0.0.0/0"),
    ("2001:db8:1:2:3:4:5:6", 24, 64, "2001:db8:1:2::/64"),
    ("2001:DB8:1:2:3:4:5:6", 24, 48, "2001:db8:1::/48"),
    ("2001:db8::1", 24, 128, "2001:db8::1/128"),
    ("::ffff:192.0.2.77", 24, 64, "192.0.2.0/24"),
    ("64:ff9b::c000:24d", 24, 64, "192.0.2.0/24"),
    ("2002:c000:24d::1", 24, 64, "192.0.2.0/24"),
]


@pytest.mark.parametrize(("told", "ipv4_prefix", "ipv6_prefix", "text"), ORIGINS)
def test_the_origin_is_the_client_network(told, ipv4_prefix, ipv6_prefix, text):
    attempt = replace(ATTEMPT, client_address=parse_client_address(told))
    network = network_of(attempt.client_address, ipv4_prefix, ipv6_prefix)
    assert origin_of(attempt, network) == Origin(text, named=False)


def test_a_name_earns_nothing_yet():
    unnamed = replace(ATTEMPT, client_address=ip_address("192.0.2.77"), client_name=None, helo="[192.0.2.77]")
    named = replace(unnamed, client_name="mail.example.org", helo="mail.example.org")
    assert origin_of(named, "192.0.2.0/24") == origin_of(unnamed, "192.0.2.0/24")


def test_without_an_address_it_is_nobody():
    assert origin_of(ATTEMPT, "") == Origin("", named=False)


TRUST = [
    # origin, client address, text under which trust is counted
    (Origin("192.0.2.0/24", named=False), "192.0.2.77", "192.0.2.77/32"),
    (Origin("192.0.0.0/16", named=False), "192.0.2.77", "192.0.2.77/32"),
    (Origin("192.0.2.77/32", named=False), "192.0.2.77", "192.0.2.77/32"),
    (Origin("2001:db8:1::/48", named=False), "2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
    (Origin("2001:db8:1:2:3::4/128", named=False), "2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
    (Origin("example.org", named=True), "192.0.2.77", "example.org"),
    (Origin("example.org", named=True), None, "example.org"),
    (Origin("192.0.2.0/24", named=False), None, "192.0.2.0/24"),
    (Origin("", named=False), None, ""),
]


@pytest.mark.parametrize(("origin", "address", "text"), TRUST)
def test_trust_is_counted_narrowly(origin, address, text):
    assert trust_text(origin, None if address is None else ip_address(address)) == text


def test_no_trust_for_a_neighbour():
    one, two = (
        trust_text(origin_of(ATTEMPT, "192.0.2.0/24"), ip_address(told))
        for told in ("192.0.2.77", "192.0.2.78")
    )
    assert one != two
