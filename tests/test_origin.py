"""Who is sending, why, and for whom trust is counted."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.addresses import network_of, parse_client_address
from multigrey.config.origins import registered_domain
from multigrey.model import Attempt, Origin
from multigrey.origin import (
    GeneratedName,
    HeloIsAddress,
    HeloMismatch,
    Naming,
    Origins,
    Provider,
    SharedHost,
    origin_of,
    trust_text,
)

ATTEMPT = Attempt(
    listener="test",
    client_address=None,
    client_name="mail.example.org",
    helo="mail.example.org",
    sender="alice@example.org",
    recipient="bob@example.net",
)
NETWORK = "192.0.2.0/24"
UNNAMED = Origin(NETWORK, named=False)

PLAIN = Origins(registered_domain, {}, {})
"""Without any list."""
LISTED = Origins(
    registered_domain,
    {
        "example.com": Provider("bigmail", "a reason", "a source"),
        "out.rented.example.net": Provider("smallmail"),
        "both.example.net": Provider("bothmail"),
    },
    {
        "rented.example.net": SharedHost("a reason", "a source"),
        "mx.rented.example.net": SharedHost(exempt=True),
        "bad.mx.rented.example.net": SharedHost(),
        "cloud.example.com": SharedHost(),
        "both.example.net": SharedHost(),
    },
)


def client(name, helo=None, address="192.0.2.77"):
    """A client that says its own name in HELO unless told otherwise."""
    told = None if address is None else ip_address(address)
    return replace(ATTEMPT, client_address=told, client_name=name, helo=name if helo is None else helo)


# --- without lists ---


def test_names_with_some_octets_are_not_generated():
    for name, address, domain in (
        ("mail-ot1-f45.google.com", "209.85.210.45", "google.com"),
        ("a9-36.smtp-out.amazonses.com", "54.240.9.36", "amazonses.com"),
        ("mail-eopbgr1320094.outbound.protection.outlook.com", "40.107.132.94", "outlook.com"),
        ("mail112.suw15.mcsv.net", "198.2.179.112", "mcsv.net"),
    ):
        assert PLAIN.of(client(name, address=address), NETWORK) == Origin(domain, named=True)
        assert not PLAIN.generated(client(name, address=address))


def test_every_client_of_a_pool_has_one_origin():
    pool = [client(f"out{n}.mx.example.org", address=f"203.0.{n}.{n}") for n in range(40)]
    assert {PLAIN.of(attempt, "") for attempt in pool} == {Origin("example.org", named=True)}


@pytest.mark.parametrize("name", [None, ""])
def test_nothing_but_a_verified_name_names(name):
    unverified = client(name, helo="mail.example.org")
    assert PLAIN.of(unverified, NETWORK) == UNNAMED
    assert PLAIN.explained(unverified, NETWORK) == (UNNAMED, Naming.NO_NAME, "")
    assert not PLAIN.generated(unverified)
    assert not PLAIN.helo_mismatch(unverified)
    assert PLAIN.provider_of(unverified) == ""


def test_without_an_address_it_is_nobody():
    nobody = Origin("", named=False)
    for name in ("mail.example.org", "a.example.com"):
        attempt = client(name, address=None)
        assert origin_of(attempt, "") == LISTED.of(attempt, "") == nobody
        assert LISTED.explained(attempt, "") == (nobody, Naming.NO_ADDRESS, "")
    assert PLAIN.generated(client("a.dsl.example.org", address=None))


@pytest.mark.parametrize(("name", "helo"), [("x." * 400, None), ("mail.example.org", "x" * 3000)])
def test_names_that_are_too_long_to_be_any(name, helo):
    attempt = client(name, helo)
    assert PLAIN.of(attempt, NETWORK) == UNNAMED
    assert PLAIN.explained(attempt, NETWORK).origin == UNNAMED
    assert PLAIN.helo_mismatch(attempt)


DETAILS = [
    # name, HELO, why, detail
    ("mail.example.org", None, Naming.NAMED, ""),
    ("x.dsl7.example.org", None, Naming.GENERATED, "the word dsl"),
    ("77-2-0-192.example.org", None, Naming.GENERATED, "octets of the address"),
    ("mail.example.org", "MX.Example.NET.", Naming.HELO_ELSEWHERE, "mx.example.net"),
    ("mail.example.org", "[192.0.2.77]", Naming.HELO_ELSEWHERE, ""),
    ("a.example.com", "localhost", Naming.PROVIDER, "example.com"),
    ("a.rented.example.net", None, Naming.SHARED, "rented.example.net"),
    ("co.uk", None, Naming.NO_DOMAIN, ""),
    ("a b", None, Naming.ODD_NAME, ""),
]


@pytest.mark.parametrize(("name", "helo", "naming", "detail"), DETAILS)
def test_what_decided_is_told(name, helo, naming, detail):
    explained = LISTED.explained(client(name, helo), NETWORK)
    assert (explained.naming, explained.detail) == (naming, detail)


def test_groups_are_told_too():
    explained = PLAIN.explained(client("db8-1-2.example.org", address="2001:db8:1:2::3"), NETWORK)
    assert explained == (UNNAMED, Naming.GENERATED, "groups of the address")


def test_each_reason_has_one_line():
    assert all(naming.meaning.endswith(".") and "\n" not in naming.meaning for naming in Naming)
    assert len({naming.value for naming in Naming}) == len(Naming) == 9


def test_addresses_of_both_kinds_with_one_number_are_told_apart():
    origins = Origins(registered_domain, {}, {})
    name = "h0-2-77.example.org"
    four, six = IPv4Address("192.0.2.77"), IPv6Address(int(IPv4Address("192.0.2.77")))
    assert origins.of(replace(client(name), client_address=four), NETWORK) == UNNAMED
    assert origins.of(replace(client(name), client_address=six), NETWORK).named


def test_the_network_is_not_remembered():
    assert PLAIN.of(client("co.uk"), "192.0.2.0/24").text == "192.0.2.0/24"
    assert PLAIN.of(client("co.uk"), "192.0.2.77/32").text == "192.0.2.77/32"


# --- lists ---

LISTS = [
    # name, HELO, origin ("" unnamed), provider
    ("example.com", "localhost", "bigmail", "bigmail"),
    ("a.b.example.com", "[192.0.2.77]", "bigmail", "bigmail"),
    ("192-0-2-77.dsl.example.com", "x", "bigmail", "bigmail"),
    ("A.B.EXAMPLE.COM.", "x", "bigmail", "bigmail"),
    ("notexample.com", None, "notexample.com", ""),
    ("cloud.example.com", None, "", ""),
    ("a.cloud.example.com", None, "", ""),
    ("rented.example.net", None, "", ""),
    ("a.rented.example.net", "mail.example.org", "", ""),
    ("mx.rented.example.net", None, "example.net", ""),
    ("1.mx.rented.example.net", "2.mx.rented.example.net", "example.net", ""),
    ("192-0-2-77.mx.rented.example.net", None, "", ""),
    ("1.mx.rented.example.net", "localhost", "", ""),
    ("1.bad.mx.rented.example.net", None, "", ""),
    ("1.out.rented.example.net", "localhost", "smallmail", "smallmail"),
    ("a.both.example.net", None, "", ""),
]


@pytest.mark.parametrize(("name", "helo", "origin", "provider"), LISTS)
def test_the_longest_suffix_decides(name, helo, origin, provider):
    attempt = client(name, helo)
    assert LISTED.of(attempt, NETWORK) == (Origin(origin, named=True) if origin else UNNAMED)
    assert LISTED.provider_of(attempt) == provider


def test_a_public_suffix_below_a_provider_is_still_the_providers():
    origins = Origins(registered_domain, {"compute.amazonaws.com": Provider("cloud")}, {})
    attempt = client("ec2-192-0-2-77.eu-west-1.compute.amazonaws.com")
    assert origins.of(attempt, NETWORK) == Origin("cloud", named=True)


# --- traits ---

TRAITS = [
    # name, HELO, generated-name, helo-mismatch
    ("mail.example.org", "mail.example.org", False, False),
    ("mail.example.org", "MX2.Example.ORG.", False, False),
    ("mail.example.org", "mail.example.net", False, True),
    ("mail.example.org", "", False, True),
    ("mail.example.org", "localhost", False, True),
    ("mail.example.org", "192.0.2.77", False, True),
    ("192-0-2-77.example.org", "mail.example.org", True, False),
    ("x.dyn.example.org", "bot", True, True),
    ("x.dyn.example.com", "x.dyn.example.com", False, False),
    ("192-0-2-77.rented.example.net", "192-0-2-77.rented.example.net", True, False),
    ("mail.corp.local", "mail.corp.local", False, False),
    ("mail.corp.local", "exch.corp.local", False, True),
    ("a b", "a b", False, True),
    (None, "localhost", False, False),
]


@pytest.mark.parametrize(("name", "helo", "generated", "mismatch"), TRAITS)
def test_traits_of_names(name, helo, generated, mismatch):
    attempt = client(name, helo)
    assert GeneratedName(LISTED).holds(attempt) is generated
    assert HeloMismatch(LISTED).holds(attempt) is mismatch


HELOS = [
    ("[192.0.2.77]", True),
    ("[IPv6:2001:db8::1]", True),
    ("[999.0.2.77]", True),
    ("192.0.2.77", True),
    ("192.0.2.77.", True),
    (" 192.0.2.77 ", True),
    ("2001:db8::1", True),
    ("IPv6:2001:db8::f", True),
    ("192.0.2", False),
    ("192.0.2.777", False),
    ("mail7", False),
    ("mail.example.org", False),
    ("192-0-2-77", False),
    ("unknown", False),
    ("a:b", False),
    ("", False),
]


@pytest.mark.parametrize(("helo", "holds"), HELOS)
def test_helo_is_an_address(helo, holds):
    assert HeloIsAddress().holds(replace(ATTEMPT, helo=helo)) is holds


# --- properties ---

addresses = st.one_of(st.none(), st.ip_addresses())
labels = st.text(st.sampled_from("abcdefz0129-_"), min_size=1, max_size=8)
suffixes = st.sampled_from(
    ["example.org", "example.com", "example.co.uk", "rented.example.net", "co.uk", "local"]
)
names = st.builds(lambda parts, suffix: ".".join([*parts, suffix]), st.lists(labels, max_size=4), suffixes)
anything = st.one_of(names, st.text(), st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")))


@given(anything, anything, addresses)
def test_no_text_raises(name, helo, address):
    attempt = replace(ATTEMPT, client_name=name, helo=helo, client_address=address)
    explained = LISTED.explained(attempt, NETWORK)
    assert LISTED.of(attempt, NETWORK) == explained.origin
    assert LISTED.of(attempt, NETWORK) == LISTED.of(attempt, NETWORK)
    assert explained.origin.named == (explained.naming in {Naming.NAMED, Naming.PROVIDER})
    assert isinstance(HeloIsAddress().holds(attempt), bool)


@given(names, names, st.ip_addresses())
def test_case_and_a_trailing_dot_do_not_matter(name, helo, address):
    attempt = replace(ATTEMPT, client_name=name, helo=helo, client_address=address)
    loud = replace(attempt, client_name=f"{name.upper()}.", helo=f"{helo.upper()}.")
    assert LISTED.explained(loud, NETWORK) == LISTED.explained(attempt, NETWORK)


@given(anything, addresses)
def test_helo_alone_names_nobody(helo, address):
    attempt = replace(ATTEMPT, client_name=None, helo=helo, client_address=address)
    assert LISTED.of(attempt, NETWORK) == UNNAMED


@given(names, names, st.ip_addresses())
def test_a_name_is_in_its_origin_and_never_generated(name, helo, address):
    attempt = replace(ATTEMPT, client_name=name, helo=helo, client_address=address)
    origin = LISTED.of(attempt, NETWORK)
    if LISTED.provider_of(attempt):
        assert origin.text in {"bigmail", "smallmail", "bothmail"}
    elif origin.named:
        assert name == origin.text or name.endswith(f".{origin.text}")
        assert helo == origin.text or helo.endswith(f".{origin.text}")
        assert "." in origin.text
        assert not LISTED.generated(attempt)
        again = replace(attempt, client_name=origin.text, helo=origin.text)
        assert LISTED.of(again, NETWORK) in {origin, UNNAMED}


V4_FORMS = [
    lambda o: "-".join(map(str, o)),
    lambda o: ".".join(map(str, reversed(o))),
    lambda o: "-".join(f"{octet:03}" for octet in o),
    lambda o: "".join(f"{octet:03}" for octet in o),
    lambda o: "".join(f"{octet:02x}" for octet in o),
    lambda o: "".join(f"{octet:02x}" for octet in reversed(o)),
    lambda o: "x".join(map(str, o[:3])),
    lambda o: "_".join(map(str, o[1:])),
]


@given(st.ip_addresses(v=4), st.sampled_from(V4_FORMS), st.sampled_from(["", "p", "ip-", "static."]))
def test_a_name_made_from_an_ipv4_address_is_generated(address, form, prefix):
    name = f"{prefix}{form(tuple(address.packed))}.example.org"
    attempt = replace(client(name), client_address=address)
    assert PLAIN.generated(attempt)
    assert PLAIN.of(attempt, NETWORK) == UNNAMED


V6_FORMS = [
    lambda a: a.exploded.replace(":", "-"),
    lambda a: str(a).replace(":", "-"),
    lambda a: a.exploded.replace(":", ""),
    lambda a: ".".join(reversed(a.exploded.replace(":", ""))),
    lambda a: "-".join(a.exploded.replace(":", "")),
]


@given(
    st.integers(min_value=1, max_value=2**64 - 1),
    st.integers(min_value=0, max_value=0xFFFF_FFFF),
    st.sampled_from(V6_FORMS),
    st.sampled_from(["", "p.", "ip-"]),
)
def test_a_name_made_from_an_ipv6_address_is_generated(low, middle, form, prefix):
    address = IPv6Address(0x20010DB8 << 96 | middle << 64 | low)
    if sum(1 for group in address.exploded.split(":") if int(group, 16)) < 3:
        return  # too little of it to be told from other numbers
    attempt = replace(client(f"{prefix}{form(address)}.example.org"), client_address=address)
    assert PLAIN.of(attempt, NETWORK) == UNNAMED


# --- the unnamed origin, and trust ---

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
def test_the_unnamed_origin_is_the_client_network(told, ipv4_prefix, ipv6_prefix, text):
    attempt = replace(ATTEMPT, client_address=parse_client_address(told), client_name=None)
    network = network_of(attempt.client_address, ipv4_prefix, ipv6_prefix)
    assert origin_of(attempt, network) == PLAIN.of(attempt, network) == Origin(text, named=False)


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
