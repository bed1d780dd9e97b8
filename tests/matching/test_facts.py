"""What conditions ask of an attempt."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.matching.facts import Facts, Surroundings, forwarded_note, sender_forms
from multigrey.model import Origin
from tests.support.plugins import Trait, attempt

NOW = int(datetime(2026, 11, 20, 23, 30, tzinfo=UTC).timestamp())
"""A Friday."""


def facts(origin=None, delimiters="+", zone=UTC, **fields):
    surroundings = Surroundings(zone, delimiters)
    origin = origin or Origin("192.0.2.0/24", named=False)
    return Facts(attempt(**fields), origin, "", NOW, None, frozenset(), surroundings)


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"client_name": "MX.Example.Org."}, "client_name", "mx.example.org"),
        ({"client_name": None}, "client_name", None),
        ({"helo": "[192.0.2.1]"}, "helo", "[192.0.2.1]"),
        ({"helo": ""}, "helo", ""),
        ({"sender": "Alice@Example.Org"}, "sender", "alice@example.org"),
        ({"sender": ""}, "sender", ""),
        ({"sender": "", "raw": "some text"}, "sender", None),
        ({"sender": "Alice@Example.Org"}, "senders", ("alice@example.org",)),
        (
            {"sender": "PRVS=1234abcdef=Alice@Example.Org"},
            "senders",
            ("prvs=1234abcdef=alice@example.org", "alice@example.org"),
        ),
        ({"sender": ""}, "senders", ("",)),
        ({"sender": "", "raw": "some text"}, "senders", ()),
        ({"sender": "alice@Example.Org"}, "sender_domain", "example.org"),
        ({"sender": ""}, "sender_domain", None),
        ({"sender": "nobody"}, "sender_domain", None),
        ({"recipient": "Bob@Example.Net"}, "recipients", ("bob@example.net",)),
        ({"recipient": "bob+list@example.net"}, "recipients", ("bob+list@example.net", "bob@example.net")),
        ({"recipient": "", "raw": "some text"}, "recipients", ()),
        ({"recipient": "bob+list@Example.Net"}, "recipient_domain", "example.net"),
        ({"recipient": "postmaster"}, "recipient_domain", None),
        ({"recipient": "", "raw": "some text"}, "recipient_domain", None),
        ({"authenticated": "alice"}, "authenticated", "alice"),
        ({}, "authenticated", None),
        ({"attributes": {"policy_context": "mx"}}, "policy_context", "mx"),
        ({"attributes": {"policy_context": ""}}, "policy_context", None),
        ({}, "policy_context", None),
        ({"attributes": {"encryption_protocol": "TLSv1.3"}}, "encrypted", True),
        ({"attributes": {"encryption_protocol": ""}}, "encrypted", False),
        ({}, "encrypted", None),
        ({"attributes": {"size": "1234"}}, "size", 1234),
        ({"attributes": {"size": "0"}}, "size", None),
        ({"attributes": {"size": "-1"}}, "size", None),
        ({"attributes": {"size": "\u0663"}}, "size", None),
        ({"attributes": {"size": "9" * 5000}}, "size", None),
        ({}, "size", None),
        ({"origin": Origin("example.org", named=True)}, "origin_domain", "example.org"),
        ({"origin": Origin("spf:example.org", named=True)}, "origin_domain", "example.org"),
        ({"origin": Origin("2001:db8::/64", named=False)}, "origin_domain", None),
    ],
)
def test_parts_of_an_attempt(fields, name, value):
    assert getattr(facts(**fields), name) == value


def test_the_forms_of_a_long_sender():
    long = "a" * 400 + "@example.org"
    assert sender_forms(attempt(sender=long)) == (long,)
    assert sender_forms(attempt(sender="alice@example.org", recipient="b" * 400)) == ("alice@example.org",)


@pytest.mark.parametrize(
    ("sender", "by", "inner"),
    [
        ("SRS0=hh=tt=p.example=alice@Forward.Example", "SRS of forward.example", "alice@p.example"),
        ("srs0=hh=tt=p.example=a\nb@forward.example", "SRS of forward.example", "a\\x0ab@p.example"),
        ("info=a.example__x@y.bnc.salesforce.com", "Salesforce of y.bnc.salesforce.com", "info@a.example"),
    ],
)
def test_what_to_know_of_a_forwarders_sender(sender, by, inner):
    note = f"the sender is wrapped by {by}; entries never match the inner address {inner}"
    assert forwarded_note(attempt(sender=sender)) == note
    assert forwarded_note(attempt(sender=sender, raw="some text")) == ""


@pytest.mark.parametrize("sender", ["alice@example.org", "", "prvs=1234abcdef=alice@example.org", "alice"])
def test_there_is_nothing_to_know_of_other_senders(sender):
    assert forwarded_note(attempt(sender=sender)) == ""


def test_other_delimiters():
    assert facts(delimiters="-", recipient="bob-list@example.net").recipients[-1] == "bob@example.net"
    assert facts(delimiters="", recipient="bob+list@example.net").recipients == ("bob+list@example.net",)


@pytest.mark.parametrize(
    ("zone", "moment"),
    [("UTC", (4, 23 * 60 + 30)), ("Europe/Vienna", (5, 30)), ("America/New_York", (4, 18 * 60 + 30))],
)
def test_the_moment_is_that_of_the_zone(zone, moment):
    assert facts(zone=ZoneInfo(zone)).moment == moment


def test_summer_time_is_heeded():
    surroundings = Surroundings(ZoneInfo("Europe/Vienna"))
    before = int(datetime(2026, 3, 29, 0, 59, tzinfo=UTC).timestamp())
    assert surroundings.moment(before) == (6, 1 * 60 + 59)
    assert surroundings.moment(before + 1) == (6, 1 * 60 + 59)
    assert surroundings.moment(before + 60) == (6, 3 * 60)
    assert surroundings.moment(before) == (6, 1 * 60 + 59)


def test_without_a_zone_it_is_the_systems():
    local = datetime.fromtimestamp(NOW, UTC).astimezone()
    assert Surroundings().moment(NOW) == (local.weekday(), local.hour * 60 + local.minute)


def test_a_trait_is_asked_once():
    trait = Trait(answer=True)
    found = facts()
    assert found.holds("trait", trait)
    assert found.holds("trait", trait)
    assert trait.asked == 1


NAMES = [
    "client_name",
    "helo",
    "sender",
    "sender_domain",
    "recipients",
    "recipient_domain",
    "size",
    "encrypted",
]
TEXT = st.text(max_size=40) | st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@given(TEXT, TEXT, TEXT, TEXT, TEXT)
def test_whatever_was_told_nothing_raises(name, helo, sender, recipient, attribute):
    told = facts(
        client_name=name,
        helo=helo,
        sender=sender,
        recipient=recipient,
        attributes={"size": attribute, "encryption_protocol": attribute},
    )
    for each in NAMES:
        getattr(told, each)
