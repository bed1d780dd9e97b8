"""What decisions are found by: marks never miss what a test would accept."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.errors import CommandError
from multigrey.events.as_json import hidden
from multigrey.events.query import Query, client_network, marks_of, matches_address, matches_host
from multigrey.identity.redaction import Redactor
from tests.support.clocks import START
from tests.support.decisions import decision

EVENT = decision(
    decision_id="k2p9qx",
    sender='"Anna"@Mail.Example.ORG',
    recipient="bob+list@example.net",
    client="192.0.2.10",
    client_name="mx1.mail.example.org",
    origin="example.org",
)
SIX = decision(
    client="2001:db8:1:2::3",
    client_name=None,
    sender="",
    origin="2001:db8:1:2::/64",
    recipient="c@sub.example.com",
)


def found(event, **words):
    wanted = Query.of(words)
    fits = wanted.fits(event)
    if fits:
        assert all(group & marks_of(event) for group in wanted.marks), "the marks would have hidden it"
    return fits


@pytest.mark.parametrize(
    "words",
    [
        {"about": "anna@mail.example.org"},
        {"about": "ANNA@mail.example.org "},
        {"about": "bob+list@example.net"},
        {"about": "mail.example.org"},
        {"about": "example.org"},
        {"about": "example.net"},
        {"about": "mx1.mail.example.org"},
        {"about": "192.0.2.10"},
        {"about": "[192.0.2.10]"},
        {"about": "192.0.2.0/24"},
        {"about": "192.0.0.0/16"},
        {"about": "192.0.2.8/30"},
        {"sender": "anna@mail.example.org", "recipient": "example.net", "client": "192.0.2.10"},
        {"sender": "@example.org"},
        {"about": "@example.org"},
        {"sender": ".example.org"},
        {"origin": "example.org"},
        {"id": "k2p9qx"},
    ],
)
def test_it_is_found(words):
    assert found(EVENT, **words)


@pytest.mark.parametrize(
    "words",
    [
        {"about": "nna@mail.example.org"},
        {"about": "xample.org"},
        {"about": "mx1.mail.example.org.example"},
        {"about": "192.0.2.11"},
        {"about": "192.0.3.0/24"},
        {"sender": "bob+list@example.net"},
        {"recipient": "example.org"},
        {"recipient": "<>"},
        {"client": "2001:db8::/32"},
        {"origin": "mail.example.org"},
        {"sender": "example.org", "recipient": "example.org"},
        {"id": "k2p9qX"},
    ],
)
def test_it_is_not_found(words):
    assert not found(EVENT, **words)


@pytest.mark.parametrize(
    "words",
    [
        {"about": "<>"},
        {"sender": "<>"},
        {"about": "2001:db8:1:2::3"},
        {"about": "2001:DB8:1:2::/64"},
        {"client": "2001:db8::/32"},
        {"origin": "2001:db8:1:2::/64"},
        {"about": "sub.example.com"},
    ],
)
def test_null_senders_and_ipv6(words):
    assert found(SIX, **words)
    assert not found(EVENT, **words)


def test_raw_keys_are_found():
    raw = decision(raw="x@y", sender="", recipient="", client_address=None, client_name=None, origin="")
    assert found(raw, about="x@y")


def test_since():
    assert Query.of({"about": "example.org"}, START).fits(EVENT)
    assert not Query.of({"about": "example.org"}, START + 1).fits(EVENT)
    assert Query.of({}).fits(EVENT)


@pytest.mark.parametrize(
    "words",
    [
        {"about": "nonsense"},
        {"about": "192.0.0.0/15"},
        {"about": "2001::/31"},
        {"client": "unknown"},
        {"client": "example.org"},
        {"client": "1.2.3.4/40"},
        {"about": "1.2.3.400"},
        {"about": ""},
        {"nonsense": "x"},
    ],
)
def test_what_cannot_be_looked_for(words):
    with pytest.raises(CommandError):
        Query.of(words)


def test_a_very_long_name_is_found_by_its_end_and_by_itself():
    name = ".".join(["a"] * 20) + ".example.org"
    event = decision(sender=f"x@{name}", client_name=None, origin="")
    assert found(event, sender=name)
    assert found(event, sender="example.org")


def test_clients():
    assert client_network("::ffff:192.0.2.1") == ip_network("192.0.2.1")
    assert client_network(" 192.0.2.1/24") == ip_network("192.0.2.0/24")


def test_addresses_and_hosts():
    assert matches_host("example.org", "example.org")
    assert not matches_host("example.org", "badexample.org")
    assert not matches_host("example.org", "")
    assert matches_address("<>", "")
    assert not matches_address("<>", "a@b")
    assert matches_address("example.org", "a@x.example.org")


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40), st.text(max_size=20))
def test_marks_never_hide_anything(sender, recipient, name, helo):
    event = decision(sender=sender, recipient=recipient, client_name=name, helo=helo)
    assert marks_of(event)
    for kind, text in (("sender", sender), ("recipient", recipient), ("about", sender), ("about", name)):
        with suppress(CommandError):
            found(event, **{kind: text})


# --- redacted decisions, and raw keys ---

REDACTOR = Redactor(bytes(32))
HIDDEN = hidden(EVENT, REDACTOR)


@pytest.mark.parametrize(
    "words",
    [
        {"about": "192.0.2.10"},
        {"client": "192.0.2.10"},
        {"about": "mx1.mail.example.org"},
        {"about": REDACTOR.client("192.0.2.10")},
        {"client": REDACTOR.client("192.0.2.10")},
        {"about": REDACTOR.name("mx1.mail.example.org")},
        {"sender": "anna@mail.example.org"},
    ],
)
def test_what_is_redacted_is_found_by_what_it_stands_for(words):
    wanted = Query.of(words, shown_as=REDACTOR.matches)
    assert wanted.fits(HIDDEN)
    assert all(group & marks_of(HIDDEN) for group in wanted.marks)
    assert not Query.of(words, shown_as=REDACTOR.matches).fits(hidden(SIX, REDACTOR))


def test_what_else_may_stand_for_a_word_need_not_be_one_itself():
    assert Query.of({"client": "192.0.2.10"}, shown_as=lambda text: {text, "no client"}).fits(EVENT)


def test_a_raw_key_is_found_as_it_was_told():
    raw = decision(sender="", recipient="", client=None, client_address=None, raw="a@b")
    assert found(raw, about="a@b")
    assert not found(raw, about="a@c")
