"""Tokens: the same for the same, telling nothing else, and decisions go as without them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.codec import decode_record
from multigrey.events.line import event_fields, format_event, format_json, format_postgrey
from multigrey.greylist.decision import decide
from multigrey.greylist.policy import Case, Policy
from multigrey.greylist.policy import hidden as redacted
from multigrey.greylist.reputation import Proof
from multigrey.greylist.stored_decision import StoredDecision
from multigrey.identity.redaction import TOKEN, Redactor
from multigrey.model import Action, Attempt, DecisionEvent, Origin, Reason, Verdict
from tests.support.engines import SITE_KEY

R = Redactor(SITE_KEY)
NOW = 1_000_000_000

PINNED = [
    ("anna@example.org", "h:TOKEN@example.org"),
    ("Anna@EXAMPLE.org", "h:TOKEN@example.org"),
    ("192.0.2.10", "h:TOKEN"),
    ("192.0.2.0/24", "h:TOKEN"),
    ("2001:db8::/64", "h:TOKEN"),
    ("a@[192.0.2.1]", "h:TOKEN"),
    ("example.org", "example.org"),
    ("not/a/network", "not/a/network"),
    ("", ""),
    ("unknown", "unknown"),
    ("<>", "<>"),
]


@pytest.mark.parametrize(("given_", "shape"), PINNED)
def test_what_is_shown(given_, shape):
    assert TOKEN.sub("h:TOKEN", R.text(given_)) == shape


def test_tokens_are_pinned():
    """Others would no longer be found by an address given in clear."""
    assert R.text("anna@example.org") == "h:inuuzz7vrrluwhzf@example.org"


def test_a_filter_finds_what_the_log_shows():
    assert R.text("ANNA@example.org") == R.field("sender", "anna@example.org")
    assert R.text("::ffff:192.0.2.10") == R.field("client_address", "192.0.2.10")
    assert R.text(R.text("anna@example.org")) == R.text("anna@example.org")
    assert R.field("client_name", "MX.example.org.") in R.matches("mx.example.org")
    assert R.field("origin", "example.org") in R.matches("example.org")
    assert R.field("origin", "192.0.2.0/24") in R.matches("192.0.2.0/24")


def test_other_keys_other_tokens():
    assert Redactor(bytes(32)).text("192.0.2.10") != R.text("192.0.2.10")


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_any_text_has_a_token_and_nothing_of_it_is_left(text):
    for shown in (R.address(text), R.name(text), R.client(text), R.token(text)):
        if text and shown not in {"", "<>", "unknown"}:
            assert TOKEN.fullmatch(shown.partition("@")[0])


EVENT = DecisionEvent(
    NOW,
    "7f3k2q",
    Attempt(
        listener="postfix",
        client_address=ip_address("192.0.2.10"),
        client_name="dsl-192-0-2-10.example.com",
        helo="annas-laptop",
        sender="anna@example.org",
        recipient="bob@example.net",
        authenticated="bob",
    ),
    Verdict(Action.DEFER, Reason.NEW, retry_after=120, delay=120, attempts=1),
    "192.0.2.0/24",
)
PERSONAL = ("192.0.2", "192-0-2", "anna", "bob")


@pytest.mark.parametrize("form", [format_event, format_json, format_postgrey])
@pytest.mark.parametrize("raw", ["", "anna bob"])
def test_no_line_names_anybody(form, raw):
    event = replace(EVENT, attempt=replace(EVENT.attempt, raw=raw))
    line = form(event, R.fields)
    assert not [text for text in PERSONAL if text in line]
    assert any(text in form(event) for text in PERSONAL)
    assert raw or "example.org" in line


def test_postgrey_s_unknown_stays():
    event = replace(EVENT, attempt=replace(EVENT.attempt, client_name=None, client_address=None))
    assert "client_name=unknown, client_address=unknown" in format_postgrey(event, R.fields)


def test_the_rest_of_a_line_stays():
    clear, hidden = event_fields(EVENT), R.fields(event_fields(EVENT))
    changed = {key for key in clear if clear[key] != hidden[key]}
    expected = {"client_address", "client_name", "helo", "sender", "recipient", "origin", "authenticated"}
    assert changed == expected


def case(named: bool) -> Case:
    origin = Origin("example.org" if named else "192.0.2.0/24", named)
    return Case(
        origin,
        b"k" * 16,
        client=ip_address("192.0.2.10"),
        sender="anna@example.org",
        recipient="bob@example.net",
    )


@pytest.mark.parametrize("named", [True, False])
def test_decisions_are_the_same_with_tokens(named):
    """Also what a named origin has returned is counted, which compares the origin of the record."""
    proof = Proof(resolved=20, domains=10, percent=95)
    policy = Policy(120, 172_800, 36 * 86_400, 5, proof=proof)
    clear, hidden = case(named), redacted(case(named), R)
    one, other = None, None
    for now in (NOW, NOW + 60, NOW + 120):
        one = decide(policy, now, clear, None, [one and one.record])
        other = decide(policy, now, hidden, None, [other and other.record])
        assert other.verdict == one.verdict
        assert other.standing == one.standing
        assert (one.standing is not None) is (now == NOW + 120 or (named and now == NOW))
    shown = other.record
    assert not [text for text in PERSONAL if text in f"{shown.client} {shown.sender} {shown.recipient}"]
    assert shown.origin == ("example.org" if named else R.text("192.0.2.0/24"))


def test_a_record_made_in_clear_goes_on_with_tokens_and_back():
    policy = Policy(120, 172_800, 36 * 86_400, 5)
    for before, after in ((case(True), redacted(case(True), R)), (redacted(case(True), R), case(True))):
        begun = decide(policy, NOW, before, None, [None])
        ended = decide(policy, NOW + 120, after, None, [begun.record])
        assert ended.verdict.reason is Reason.RETRY


def test_what_is_stored_shows_tokens():
    question = StoredDecision(
        Policy(120, 172_800, 36 * 86_400, 5), NOW, redacted(case(False), R), (("t", b"k"),), None
    )
    (entry,) = question([None]).puts.values()
    assert not [text for text in PERSONAL if text.encode() in entry.value]
    assert decode_record(entry.value).sender.endswith("@example.org")
