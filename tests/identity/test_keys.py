"""Keys: what they are made of, letter by letter, and that no two attempts share one by accident."""

from __future__ import annotations

import re
from dataclasses import replace
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.identity.components import (
    ClientAddress,
    ClientNetwork,
    Helo,
    OriginText,
    Recipient,
    RecipientDomain,
    Sender,
    SenderDomain,
)
from multigrey.identity.envelope import address_text, envelope_of, sender_key_domain, sender_key_text
from multigrey.identity.keys import NETWORK_KEY, ORIGIN_KEY, KeyScheme
from multigrey.model import Attempt, Origin, Table

SITE_KEY = bytes(range(32))
UNNAMED = Origin("192.0.2.0/24", named=False)
NAMED = Origin("example.org", named=True)

ATTEMPT = Attempt(
    listener="test",
    client_address=IPv4Address("192.0.2.77"),
    client_name="mail.example.org",
    helo="Mail.Example.ORG.",
    sender="Alice@Example.ORG",
    recipient="Bob+Lists@Example.net",
)
V6 = replace(ATTEMPT, client_address=IPv6Address("2001:db8:1:2:3:4:5:6"))
BOUNCE = replace(ATTEMPT, sender="")
NOWHERE = replace(ATTEMPT, client_address=None)

COMPONENTS = {
    "client-address": ClientAddress(),
    "client-network": ClientNetwork(),
    "sender": Sender(),
    "sender-domain": SenderDomain(),
    "recipient": Recipient(),
    "recipient-domain": RecipientDomain(),
    "helo": Helo(),
}


def scheme(*names, site_key=SITE_KEY, network=None, recipient=None):
    components = {**COMPONENTS}
    network = components["client-network"] = network or ClientNetwork()
    recipient = components["recipient"] = recipient or Recipient()
    names = names or NETWORK_KEY
    return KeyScheme(site_key, names, [components[name] for name in names], network, recipient)


def digest_of(text, site_key=SITE_KEY):
    data = text if isinstance(text, bytes) else text.encode()
    return blake2b(data, digest_size=16, key=site_key).digest()


def digests(keys):
    assert all(table is Table.RECORD for table, _ in keys)
    return [digest for _, digest in keys]


# ---------------------------------------------------------------- components

TEXTS = [
    ("client-address", ATTEMPT, "192.0.2.77"),
    ("client-address", V6, "2001:db8:1:2:3:4:5:6"),
    ("client-address", NOWHERE, None),
    ("client-network", ATTEMPT, "192.0.2.0/24"),
    ("client-network", V6, "2001:db8:1:2::/64"),
    ("client-network", NOWHERE, None),
    ("sender", ATTEMPT, "alice@example.org"),
    ("sender", replace(ATTEMPT, sender='"Alice B"@Example.org.'), "alice b@example.org"),
    ("sender", replace(ATTEMPT, sender="alice+tag@example.org"), "alice@example.org"),
    ("sender", replace(ATTEMPT, sender="a=b c@bücher.example"), "a=b c@xn--bcher-kva.example"),
    ("sender", BOUNCE, ""),
    ("sender-domain", ATTEMPT, "example.org"),
    ("sender-domain", replace(ATTEMPT, sender='"a@b"@example.com'), "example.com"),
    ("sender-domain", replace(ATTEMPT, sender="MAILER-DAEMON"), None),
    ("sender-domain", BOUNCE, None),
    ("recipient", ATTEMPT, "bob@example.net"),
    ("recipient", replace(ATTEMPT, recipient="Postmaster"), "postmaster"),
    ("recipient", replace(ATTEMPT, recipient="bob+a+b@example.net"), "bob@example.net"),
    ("recipient", replace(ATTEMPT, recipient="+bob@example.net"), "+bob@example.net"),
    ("recipient", replace(ATTEMPT, recipient="bob-lists@example.net"), "bob-lists@example.net"),
    ("recipient", replace(ATTEMPT, recipient=""), None),
    ("recipient-domain", ATTEMPT, "example.net"),
    ("recipient-domain", replace(ATTEMPT, recipient="postmaster"), None),
    ("recipient-domain", replace(ATTEMPT, recipient=""), None),
    ("helo", ATTEMPT, "mail.example.org"),
    ("helo", replace(ATTEMPT, helo="[192.0.2.77]"), "[192.0.2.77]"),
    ("helo", replace(ATTEMPT, helo=""), None),
]


@pytest.mark.parametrize(("name", "attempt", "text"), TEXTS)
def test_component(name, attempt, text):
    assert COMPONENTS[name].text(attempt) == text


def test_prefixes_of_the_network():
    narrow = ClientNetwork(32, 128)
    assert narrow.text(ATTEMPT) == "192.0.2.77/32"
    assert narrow.text(V6) == "2001:db8:1:2:3:4:5:6/128"
    assert ClientNetwork(16, 48).text(V6) == "2001:db8:1::/48"


@pytest.mark.parametrize(
    ("delimiters", "given", "text"),
    [
        ("", "bob+a@example.net", "bob+a@example.net"),
        ("+-", "bob-a+b@example.net", "bob@example.net"),
        ("-", "bob-a+b@example.net", "bob@example.net"),
        ("+", "postmaster+a@example.net", "postmaster@example.net"),
    ],
)
def test_recipient_delimiters(delimiters, given, text):
    assert Recipient(delimiters).text(replace(ATTEMPT, recipient=given)) == text


# ---------------------------------------------------------------- the pinned keys
# A change here forgets every sender of every installation.

NET = "client-network=12:192.0.2.0/24;"
NETWORK_TEXT = f"{NET}sender=17:alice@example.org;recipient=15:bob@example.net;"

PINNED = [
    # name, scheme, attempt, origin, texts
    ("default", scheme(), ATTEMPT, UNNAMED, [NETWORK_TEXT]),
    (
        "IPv6",
        scheme(),
        V6,
        UNNAMED,
        ["client-network=17:2001:db8:1:2::/64;sender=17:alice@example.org;recipient=15:bob@example.net;"],
    ),
    ("null sender", scheme(), BOUNCE, UNNAMED, [f"{NET}sender=0:;recipient=15:bob@example.net;"]),
    (
        "no recipient (DATA, several recipients): the network stands in",
        scheme(),
        replace(BOUNCE, recipient=""),
        UNNAMED,
        [f"{NET}sender=0:;recipient=12:192.0.2.0/24;"],
    ),
    (
        "exact addresses",
        scheme("client-address", "sender", "recipient"),
        ATTEMPT,
        UNNAMED,
        [
            "client-address=10:192.0.2.77;sender=17:alice@example.org;recipient=15:bob@example.net;",
            NETWORK_TEXT,
        ],
    ),
    (
        "another order is another key",
        scheme("recipient", "sender", "client-network"),
        ATTEMPT,
        UNNAMED,
        [f"recipient=15:bob@example.net;sender=17:alice@example.org;{NET}", NETWORK_TEXT],
    ),
    (
        "domains",
        scheme("client-network", "sender-domain", "recipient-domain"),
        ATTEMPT,
        UNNAMED,
        [f"{NET}sender-domain=11:example.org;recipient-domain=11:example.net;", NETWORK_TEXT],
    ),
    (
        "the null sender has no domain: the network stands in",
        scheme("sender-domain", "recipient"),
        BOUNCE,
        UNNAMED,
        [
            "sender-domain=12:192.0.2.0/24;recipient=15:bob@example.net;",
            f"{NET}sender=0:;recipient=15:bob@example.net;",
        ],
    ),
    (
        "no HELO: the network stands in",
        scheme("helo"),
        replace(ATTEMPT, helo=""),
        UNNAMED,
        ["helo=12:192.0.2.0/24;", NETWORK_TEXT],
    ),
    (
        "prefix and delimiter of the configuration, under both keys",
        scheme("recipient", network=ClientNetwork(16, 48), recipient=Recipient("")),
        ATTEMPT,
        UNNAMED,
        [
            "recipient=21:bob+lists@example.net;",
            "client-network=12:192.0.0.0/16;sender=17:alice@example.org;recipient=21:bob+lists@example.net;",
        ],
    ),
    (
        "nothing known of the client",
        scheme("client-address"),
        NOWHERE,
        Origin("", named=False),
        ["client-address=0:;", "client-network=0:;sender=17:alice@example.org;recipient=15:bob@example.net;"],
    ),
    (
        "a named origin has a key of its own",
        scheme(),
        ATTEMPT,
        NAMED,
        [NETWORK_TEXT, "origin=11:example.org;sender=17:alice@example.org;recipient=15:bob@example.net;"],
    ),
    (
        "a named origin, another key, no recipient",
        scheme("helo"),
        replace(BOUNCE, recipient=""),
        NAMED,
        [
            "helo=16:mail.example.org;",
            f"{NET}sender=0:;recipient=12:192.0.2.0/24;",
            "origin=11:example.org;sender=0:;recipient=12:192.0.2.0/24;",
        ],
    ),
    (
        "a key the asker made",
        scheme(),
        replace(ATTEMPT, raw="any old text"),
        UNNAMED,
        ["raw=12:any old text;"],
    ),
    ("the same, whatever is configured", scheme("helo"), replace(ATTEMPT, raw="x"), NAMED, ["raw=1:x;"]),
    (
        "lengths are in bytes",
        scheme("sender"),
        replace(ATTEMPT, sender="jürgen@example.org"),
        UNNAMED,
        [
            "sender=19:jürgen@example.org;",
            f"{NET}sender=19:jürgen@example.org;recipient=15:bob@example.net;",
        ],
    ),
    (
        "bytes that are not UTF-8 come back",
        scheme("sender"),
        replace(ATTEMPT, sender=b"j\xfcrgen@example.org".decode("utf-8", "surrogateescape")),
        UNNAMED,
        [
            b"sender=18:j\xfcrgen@example.org;",
            b"client-network=12:192.0.2.0/24;sender=18:j\xfcrgen@example.org;recipient=15:bob@example.net;",
        ],
    ),
]


@pytest.mark.parametrize(
    ("name", "made_by", "attempt", "origin", "texts"), PINNED, ids=[row[0] for row in PINNED]
)
def test_pinned_texts(name, made_by, attempt, origin, texts):
    assert digests(made_by.record_keys(attempt, origin)) == [digest_of(text) for text in texts]


def test_pinned_digests():
    assert scheme().record_keys(ATTEMPT, UNNAMED) == (
        (Table.RECORD, bytes.fromhex("78702f181ce076636498853201432c0c")),
    )
    assert scheme().record_keys(replace(ATTEMPT, raw="any old text"), UNNAMED) == (
        (Table.RECORD, bytes.fromhex("1f6a0476d72e5e23f0d0465619772a2d")),
    )
    assert scheme().origin_key("192.0.2.77/32", "example.org") == (
        Table.ORIGIN,
        bytes.fromhex("7043eb9e8ff45ad5130267979b77d422"),
    )


def test_pinned_origin_text():
    table, digest = scheme().origin_key("192.0.2.77/32", "example.org")
    assert table is Table.ORIGIN
    assert digest == digest_of("origin=13:192.0.2.77/32;sender-domain=11:example.org;")


def test_another_site_has_other_keys():
    other = scheme(site_key=b"another site").record_keys(ATTEMPT, UNNAMED)
    assert digests(other) == [digest_of(NETWORK_TEXT, b"another site")]
    assert other != scheme().record_keys(ATTEMPT, UNNAMED)


def test_as_many_components_as_names():
    with pytest.raises(ValueError, match="as many names"):
        KeyScheme(SITE_KEY, ("sender", "helo"), [Sender()], ClientNetwork(), Recipient())


# ---------------------------------------------------------------- what makes the same key, and what does not

SAME = [
    ("case", replace(ATTEMPT, sender="ALICE@EXAMPLE.ORG", recipient="BOB@EXAMPLE.NET")),
    ("quotes", replace(ATTEMPT, sender='"alice"@example.org')),
    ("trailing dot", replace(ATTEMPT, sender="alice@example.org.")),
    ("extension", replace(ATTEMPT, recipient="bob+another@example.net")),
    ("neighbour in the network", replace(ATTEMPT, client_address=IPv4Address("192.0.2.1"))),
    (
        "what the key does not ask for",
        replace(ATTEMPT, helo="x", client_name=None, message="7", listener="y"),
    ),
]
DIFFERENT = [
    ("another network", replace(ATTEMPT, client_address=IPv4Address("192.0.3.77"))),
    ("another sender", replace(ATTEMPT, sender="alicf@example.org")),
    ("another recipient", replace(ATTEMPT, recipient="bobb@example.net")),
    ("null sender", BOUNCE),
    ("no recipient", replace(ATTEMPT, recipient="")),
    ("swapped", replace(ATTEMPT, sender="bob@example.net", recipient="alice@example.org")),
    ("no address", NOWHERE),
    ("raw", replace(ATTEMPT, raw=NETWORK_TEXT)),
]


@pytest.mark.parametrize(("name", "attempt"), SAME, ids=[row[0] for row in SAME])
def test_same_key(name, attempt):
    assert scheme().record_keys(attempt, UNNAMED) == scheme().record_keys(ATTEMPT, UNNAMED)


@pytest.mark.parametrize(("name", "attempt"), DIFFERENT, ids=[row[0] for row in DIFFERENT])
def test_another_key(name, attempt):
    mine, theirs = (set(scheme().record_keys(a, UNNAMED)) for a in (ATTEMPT, attempt))
    assert not mine & theirs


def test_a_pool_under_one_name_shares_a_key_over_networks():
    elsewhere = replace(ATTEMPT, client_address=IPv4Address("198.51.100.9"))
    one, two = (set(scheme().record_keys(a, NAMED)) for a in (ATTEMPT, elsewhere))
    assert len(one & two) == 1
    assert not one & set(scheme().record_keys(elsewhere, UNNAMED))


def test_named_and_unnamed_sightings_of_one_client_match():
    named, unnamed = (scheme().record_keys(ATTEMPT, origin) for origin in (NAMED, UNNAMED))
    assert set(unnamed) < set(named)


def test_configured_key_comes_first():
    keys = scheme("helo").record_keys(ATTEMPT, NAMED)
    assert len(keys) == 3
    assert keys[0][1] == digest_of("helo=16:mail.example.org;")
    assert keys[1] == scheme().record_keys(ATTEMPT, UNNAMED)[0]


SRS = "SRS0=hhhh=tt=example.com=anna@forwarder.example"


@pytest.mark.parametrize(
    ("sender", "text", "domain"),
    [
        (SRS, "anna@example.com/forwarder.example", "forwarder.example"),
        (SRS.replace("hhhh=tt", "kkkk=uu"), "anna@example.com/forwarder.example", "forwarder.example"),
        ("anna@example.com", "anna@example.com", "example.com"),
        ("bounce-mc.us1_7.9-a@mail12.suw15.mcsv.net", "bounce-mc.us1_7.#@mcsv.net", "mcsv.net"),
        ("", "", ""),
    ],
)
def test_a_wrapped_up_sender_is_known_by_its_forwarder_too(sender, text, domain):
    """A sender chooses the local part freely: it must not choose whose records and trust are used."""
    attempt = replace(ATTEMPT, sender=sender)
    assert (sender_key_text(attempt), sender_key_domain(attempt)) == (text, domain)


def by_origin(*names):
    network, recipient = ClientNetwork(), Recipient()
    parts = {"origin": OriginText(), "sender": Sender(), "recipient": recipient, "helo": Helo()}
    return KeyScheme(SITE_KEY, names, [parts[name] for name in names], network, recipient)


def test_by_default_a_named_origin_has_two_keys_and_an_unnamed_one_the_network_key_alone():
    made_by = by_origin(*ORIGIN_KEY)
    named, unnamed = (made_by.record_keys(ATTEMPT, origin) for origin in (NAMED, UNNAMED))
    assert unnamed == scheme().record_keys(ATTEMPT, UNNAMED)
    assert named[1:] == unnamed
    assert named[0] == made_by.named_key(ATTEMPT, NAMED, "192.0.2.0/24")
    assert named == tuple(reversed(scheme().record_keys(ATTEMPT, NAMED)))


def test_a_configured_key_with_the_origin_in_it():
    made_by = by_origin("origin", "helo")
    named, unnamed = (made_by.record_keys(ATTEMPT, origin) for origin in (NAMED, UNNAMED))
    assert named[0][1] == digest_of("origin=11:example.org;helo=16:mail.example.org;")
    assert unnamed[0][1] == digest_of("origin=12:192.0.2.0/24;helo=16:mail.example.org;")
    assert (len(named), len(unnamed)) == (3, 2)
    assert OriginText().text(ATTEMPT) is None


def test_keys_of_an_origin_as_a_whole():
    made_by = scheme()
    assert made_by.standing_key("example.org") == (Table.ORIGIN, digest_of("origin=11:example.org;"))


def test_keys_of_a_host_that_may_come_back_by_the_other_ip_version():
    made_by = scheme()
    attempt = replace(ATTEMPT, helo="Mail.Example.ORG.", sender="a@example.org", recipient="b+x@example.net")
    assert made_by.version_key(attempt, 4) == (
        Table.RECORD,
        digest_of(
            "ip-version=1:4;announced=16:mail.example.org;sender=13:a@example.org;recipient=13:b@example.net;"
        ),
    )
    assert made_by.version_key(attempt, 4) != made_by.version_key(attempt, 6)


@pytest.mark.parametrize("names", [NETWORK_KEY, ("helo", "sender")])
def test_a_mark_is_made_of_the_named_key_if_there_is_one_else_of_the_network_key(names):
    made_by = scheme(*names)
    digests = {key[1] for key in made_by.record_keys(ATTEMPT, NAMED, "192.0.2.0/24")}
    named = made_by.mark_digest(ATTEMPT, NAMED, "192.0.2.0/24")
    unnamed = made_by.mark_digest(ATTEMPT, UNNAMED, "192.0.2.0/24")
    assert {named, unnamed} <= digests
    assert named == made_by.named_key(ATTEMPT, NAMED, "192.0.2.0/24")[1]
    assert unnamed == made_by.network_key(ATTEMPT, "192.0.2.0/24")[1]
    assert unnamed != named


def test_the_mark_of_a_domain_is_the_same_for_every_origin():
    assert scheme().domain_mark("example.org") == digest_of("domain=11:example.org;")


# ---------------------------------------------------------------- properties

PART = re.compile(rb"([a-z-]+)=([0-9]+):", re.DOTALL)
FROM_THE_WIRE = st.binary(max_size=30).map(lambda data: data.decode("utf-8", "surrogateescape"))
TRICKY = st.sampled_from(
    ["", ";", "=", ":", "sender=1:a;", "1:a;recipient=1:b;", "é;", "\udcc3\udca9", "é" * 9]
)
VALUES = st.one_of(FROM_THE_WIRE, TRICKY, st.lists(TRICKY, max_size=4).map("".join))
NAMES = st.sampled_from(["sender", "recipient", "helo", "client-network"])


def read_back(data):
    """Parts of a key text, by a reader that knows only the rule of multigrey-plugins(7)."""
    parts = []
    while data:
        head = PART.match(data)
        start, length = head.end(), int(head[2])
        assert data[start + length : start + length + 1] == b";"
        parts.append((head[1].decode(), data[start : start + length]))
        data = data[start + length + 1 :]
    return parts


@given(st.lists(st.tuples(NAMES, VALUES), max_size=4))
def test_no_value_can_pretend_to_be_two(parts):
    """The text says where each value ends, so two lists of values never make the same text."""
    in_bytes = [(name, value.encode("utf-8", "surrogateescape")) for name, value in parts]
    text = b"".join(b"%s=%d:%s;" % (name.encode(), len(value), value) for name, value in in_bytes)
    assert read_back(text) == in_bytes
    assert scheme().digest(*parts) == digest_of(text)


def test_digests_do_not_depend_on_what_was_digested_before():
    made_by = scheme()
    first = made_by.digest(("sender", "a"))
    made_by.digest(("sender", "b"))
    assert made_by.digest(("sender", "a")) == first


ATTEMPTS = st.builds(
    Attempt,
    listener=st.just("test"),
    client_address=st.none() | st.ip_addresses(),
    client_name=st.none(),
    helo=FROM_THE_WIRE,
    sender=FROM_THE_WIRE,
    recipient=FROM_THE_WIRE,
    raw=st.just("") | FROM_THE_WIRE,
)


@given(
    ATTEMPTS,
    st.lists(st.sampled_from(sorted(COMPONENTS)), min_size=1, max_size=4),
    st.sampled_from([UNNAMED, NAMED]),
)
def test_whatever_is_asked_has_keys(attempt, names, origin):
    made_by = scheme(*names)
    keys = made_by.record_keys(attempt, origin)
    assert all(table is Table.RECORD and len(digest) == 16 for table, digest in keys)
    assert keys == made_by.record_keys(attempt, origin)
    if attempt.raw:
        assert len(keys) == 1
    else:
        assert len(keys) == 1 + (tuple(names) != NETWORK_KEY) + origin.named
        assert keys[len(keys) - 1 - origin.named] == scheme().record_keys(attempt, UNNAMED)[0]


@given(ATTEMPTS, st.sampled_from([UNNAMED, NAMED]))
def test_the_usual_keys_are_digests_of_their_components(attempt, origin):
    """The quick way to them says what the components say one by one."""
    attempt = replace(attempt, raw="")
    of_network, recipient = ClientNetwork(), Recipient()
    made_by = KeyScheme(SITE_KEY, ORIGIN_KEY, (OriginText(), Sender(), recipient), of_network, recipient)
    network = of_network.text(attempt) or ""
    who = (
        (("origin", origin.text), ("client-network", network))
        if origin.named
        else (("client-network", network),)
    )
    envelope = (("sender", Sender().text(attempt)), ("recipient", recipient.text(attempt) or network))
    digests = [(Table.RECORD, made_by.digest(one, *envelope)) for one in who]
    # A recipient without text is stood in for by the network.
    assert list(made_by.record_keys(attempt, origin)) == digests


@given(ATTEMPTS)
def test_the_texts_of_an_envelope_are_those_of_its_parts(attempt):
    told = envelope_of(attempt, "+")
    assert scheme().envelope(attempt) == told
    assert (told.sender, told.domain) == (sender_key_text(attempt), sender_key_domain(attempt))
    assert told.shown == address_text(attempt.sender)
    assert told.recipient == (Recipient("+").text(attempt) or "")


@given(st.ip_addresses(v=4), st.integers(0, 255))
def test_only_the_network_counts_by_default(address, last):
    other = ip_address(int(address) & ~255 | last)
    one, two = (replace(ATTEMPT, client_address=a) for a in (address, other))
    assert scheme().record_keys(one, UNNAMED) == scheme().record_keys(two, UNNAMED)


def test_very_long_addresses_have_keys_of_their_own():
    """They are not kept in memory, but judged like others."""
    long = "x" * 5000
    one = replace(ATTEMPT, sender=f"{long}@example.org", recipient=f"{long}+1@example.net")
    same = replace(one, sender=f"{long}@EXAMPLE.org", recipient=f"{long}+2@example.net")
    other = replace(one, sender=f"{long}=y@example.org")
    assert scheme().record_keys(one, UNNAMED) == scheme().record_keys(same, UNNAMED)
    assert scheme().record_keys(one, UNNAMED) != scheme().record_keys(other, UNNAMED)


def test_the_network_may_be_told_by_whoever_knows_it():
    assert scheme().record_keys(ATTEMPT, UNNAMED, "192.0.2.0/24") == scheme().record_keys(ATTEMPT, UNNAMED)
