"""Who is sending, why, and for whom trust is counted."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.config.origin_lists import registered_domain
from multigrey.identity.addresses import network_of, parse_client_address
from multigrey.identity.origin import Naming, Origins, Provider, SharedHost, origin_of, trust_text
from multigrey.identity.traits import GeneratedName, HeloIsAddress, HeloMismatch
from multigrey.model import Attempt, Origin

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
    """A client that gives its own name in HELO, unless another is passed."""
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
    ("77-2-0-192.example.net", None, Naming.GENERATED, "octets of the address"),
    ("77-2-0-192.example.org", None, Naming.FOLDED, "octets of the address"),
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
    explained = PLAIN.explained(client("db8-1-2.example.net", address="2001:db8:1:2::3"), NETWORK)
    assert explained == (UNNAMED, Naming.GENERATED, "groups of the address")


def test_each_reason_has_one_line():
    assert all(naming.meaning.endswith(".") and "\n" not in naming.meaning for naming in Naming)
    assert len({naming.value for naming in Naming}) == len(Naming) == 11


def test_addresses_of_both_kinds_with_one_number_are_told_apart():
    origins = Origins(registered_domain, {}, {})
    name = "h0-2-77.example.net"
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
    ("mail.corp.local", "exch.corp.local", False, False),
    ("mail.corp.local", "exch.other.local", False, True),
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
    named = {Naming.NAMED, Naming.PROVIDER, Naming.FOLDED, Naming.CLAIMED}
    assert explained.origin.named == (explained.naming in named)
    assert explained.origin.claimed == (explained.naming is Naming.CLAIMED)
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
    elif "#" in origin.text:
        assert LISTED.generated(attempt)
        assert origin.text.endswith(f".{LISTED.home_of(attempt.sender)}")
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
    assert PLAIN.of(replace(attempt, sender="alice@example.net"), NETWORK) == UNNAMED
    folded = PLAIN.of(attempt, NETWORK)
    assert folded.named
    assert not any(digit in folded.text for digit in "0123456789")


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
        return  # too little of it to differ from other numbers
    attempt = replace(client(f"{prefix}{form(address)}.example.org"), client_address=address)
    assert PLAIN.of(replace(attempt, sender="alice@example.net"), NETWORK) == UNNAMED
    if max(map(len, attempt.client_name.split("."))) <= 63:
        assert "#" in PLAIN.of(attempt, NETWORK).text


# --- folded names: generated ones of real senders ---

FOLDED = [
    # name, HELO ("": the name), sender, address, origin ("": unnamed)
    (
        "69-171-232-143.mail-mail.facebook.com",
        "",
        "x@facebook.com",
        "69.171.232.143",
        "#-#-#-#.mail-mail.facebook.com",
    ),
    (
        "66-220-144-147.mail-mail.facebook.com",
        "",
        "y@sub.Facebook.COM",
        "66.220.144.147",
        "#-#-#-#.mail-mail.facebook.com",
    ),
    ("66-220-144-147.mail-mail.facebook.com", "", "y@example.org", "66.220.144.147", ""),
    ("66-220-144-147.mail-mail.facebook.com", "", "", "66.220.144.147", ""),
    (
        "66-220-144-147.mail-mail.facebook.com",
        "mx.example.org",
        "y@facebook.com",
        "66.220.144.147",
        "",
    ),
    ("c-73-1-2-3.hsd1.example.org", "", "x@example.org", "73.1.2.3", ""),
    ("c-73-1-2-3.net1.example.org", "", "x@example.org", "73.1.2.3", "c-#-#-#-#.net#.example.org"),
    ("ns3012345.ip-51-68-1.eu", "", "x@ip-51-68-1.eu", "51.68.1.9", ""),
    ("p5ddb3ec9.out.example.org", "", "x@example.org", "93.219.62.201", "p#.out.example.org"),
    ("192-0-2-77.rented.example.net", "", "x@example.net", "192.0.2.77", ""),
    ("192-0-2-77.example.org", "mail.example.org", "x@example.org", "192.0.2.77", "#-#-#-#.example.org"),
    ("2001-db8-1-2--3.out.example.org", "", "x@example.org", "2001:db8:1:2::3", "#.out.example.org"),
]


@pytest.mark.parametrize(("name", "helo", "sender", "address", "text"), FOLDED)
def test_agreement_gives_a_generated_name_an_origin_of_its_own(name, helo, sender, address, text):
    attempt = replace(client(name, helo or None, address), sender=sender)
    assert LISTED.of(attempt, NETWORK) == (Origin(text, named=True) if text else UNNAMED)
    assert LISTED.explained(attempt, NETWORK).origin == LISTED.of(attempt, NETWORK)
    assert (LISTED.explained(attempt, NETWORK).naming is Naming.FOLDED) == bool(text)
    assert GeneratedName(LISTED).holds(attempt)


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), st.sampled_from(V4_FORMS[:6]))
def test_a_folded_name_says_nothing_of_the_address(one, other, form):
    attempts = [
        client(f"{form(tuple(each.packed))}.out.example.org", address=str(each)) for each in (one, other)
    ]
    assert len({PLAIN.of(attempt, NETWORK) for attempt in attempts}) == 1


def test_a_generated_name_never_has_the_origin_of_its_domain():
    good = PLAIN.of(client("mx1.example.org"), NETWORK)
    bad = PLAIN.of(client("192-0-2-77.example.org"), NETWORK)
    assert good == Origin("example.org", named=True) != bad
    assert bad.named


# --- claimed providers ---

CLAIMS = [
    # reverse name, HELO, origin ("": unnamed)
    ("a.example.com", "b.example.com", "bigmail?"),
    ("A.EXAMPLE.COM", "B.Example.Com", "bigmail?"),
    ("a.example.com", "mail.example.org", ""),
    ("mail.example.org", "a.example.com", ""),
    ("a.example.com", "1.out.rented.example.net", ""),
    ("1.out.rented.example.net", "2.out.rented.example.net", "smallmail?"),
    ("a.cloud.example.com", "a.cloud.example.com", ""),
    ("unknown", "a.example.com", ""),
    ("", "a.example.com", ""),
    ("a.example.com." + "x" * 600, "a.example.com", ""),
]


@pytest.mark.parametrize(("reverse", "helo", "text"), CLAIMS)
def test_a_provider_that_nothing_verifies_is_only_claimed(reverse, helo, text):
    attempt = replace(client(None, helo), attributes={"reverse_client_name": reverse})
    expected = Origin(text, named=True, claimed=True) if text else UNNAMED
    assert LISTED.of(attempt, NETWORK) == expected
    explained = LISTED.explained(attempt, NETWORK)
    assert explained == (expected, Naming.CLAIMED if text else Naming.NO_NAME, "")
    assert LISTED.provider_of(attempt) == ""
    assert LISTED.provider_entry(attempt) is None
    assert LISTED.judged_domain(attempt) == ("", False, "")


def test_nothing_is_claimed_beside_a_verified_name_or_without_an_address():
    claim = {"reverse_client_name": "a.example.com"}
    for attempt in (client("mail.example.org", "a.example.com"), client(None, "a.example.com", address=None)):
        assert not LISTED.of(replace(attempt, attributes=claim), NETWORK).claimed


def test_claims_of_providers_with_short_domains():
    origins = Origins(registered_domain, {"x.de": Provider("short"), "mx#.example.org": Provider("long")}, {})
    for name, word in (("a.x.de", "short?"), ("mx17.example.org", "long?")):
        attempt = replace(client(None, name), attributes={"reverse_client_name": name})
        assert origins.of(attempt, NETWORK) == Origin(word, named=True, claimed=True)


# --- what others ask ---


def test_the_entry_of_a_provider():
    retrying = Provider("bigmail", retries=True, spf=("_spf.example.com", "_spf2.example.com"))
    origins = Origins(registered_domain, {"example.com": retrying}, {})
    assert origins.provider_entry(client("a.example.com", "x")) is retrying
    assert origins.provider_entry(client("mail.example.org")) is None
    assert origins.provider_entry(client("a.example.com", address=None)) is None
    assert origins.provider_by_spf("_spf2.example.com") is retrying
    assert origins.provider_by_spf("example.com") is None
    assert origins.word_by_spf("_spf.example.com") == "bigmail"
    assert origins.word_by_spf("example.com") == ""


def test_who_is_known_to_retry():
    origins = Origins(
        registered_domain,
        {"example.com": Provider("bigmail", retries=True), "example.org": Provider("smallmail")},
        {},
    )
    assert origins.retries(client("a.example.com"))
    assert not origins.retries(client("a.example.org"))
    assert not origins.retries(client("mail.example.net"))
    assert not origins.retries(client(None, "a.example.com"))


JUDGED = [
    # name, HELO, what is said of it
    ("mail.example.org", None, ("example.org", False, "example.org")),
    ("mail.example.org", "other.example.org", ("example.org", False, "example.org")),
    ("mail.example.org", "mx.example.co.uk", ("example.org", True, "example.co.uk")),
    ("mail.example.org", "localhost", ("example.org", True, "")),
    ("mail.example.org", "[192.0.2.77]", ("example.org", True, "")),
    ("192-0-2-77.example.org", None, ("", False, "")),
    ("a.dsl.example.org", None, ("", False, "")),
    ("192-0-2-77.example.org", "mx.example.co.uk", ("example.org", True, "example.co.uk")),
    ("a.example.com", "mail.example.org", ("", False, "")),
    ("a.rented.example.net", None, ("", False, "")),
    ("1.mx.rented.example.net", None, ("example.net", False, "example.net")),
    ("co.uk", None, ("", False, "")),
    (None, "mail.example.org", ("", False, "")),
]


@pytest.mark.parametrize(("name", "helo", "judged"), JUDGED)
def test_in_which_domain_a_client_is_judged(name, helo, judged):
    assert LISTED.judged_domain(client(name, helo)) == judged


HOMES = [
    ("alice@Mail.Example.co.uk", "example.co.uk"),
    ("alice@example.org.", "example.org"),
    ("alice@bücher.de", "xn--bcher-kva.de"),
    ("alice@co.uk", ""),
    ("alice", ""),
    ("", ""),
    ("@", ""),
    ("alice@[192.0.2.1]", ""),
    ("x" * 600 + "@example.org", ""),
]


@pytest.mark.parametrize(("sender", "home"), HOMES)
def test_the_registered_domain_of_a_sender(sender, home):
    assert PLAIN.home_of(sender) == home


# --- the unnamed origin, and trust ---

ORIGINS = [
    # address as sent, IPv4 and IPv6 prefix, origin
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
