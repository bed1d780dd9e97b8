"""The shipped list of critical senders: what its entries rest on, and whom they let in."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest

from multigrey.config.origin_lists import registered_domain
from multigrey.contracts import SourceOptions
from multigrey.model import Attempt
from multigrey.whitelists.checks.lint import LintedList, LintOutlook, lint
from multigrey.whitelists.list_source import entry_list, match_of
from multigrey.whitelists.toml_file import read_lists

PATH = Path(__file__).parents[2] / "integrations/whitelists/critical-senders.toml"
REVIEWED = int(datetime(2026, 12, 1, tzinfo=UTC).timestamp())
(LIST,) = read_lists(PATH, "postmaster@example.org")
SOURCE = entry_list(SourceOptions(PATH, "postmaster@example.org"))
SHARED = re.compile(
    r"(^|\.)(amazonses|constantcontact|createsend|exacttarget|google|hubspotemail|icloud|mailchannels|mailgun"
    r"|mailjet|mandrillapp|mcdlv|mcsv|messagingengine|mtasv|outlook|rsgsv|salesforce|sendgrid|sendinblue"
    r"|sparkpostmail|yahoo|zdsys)\.(com|net|org)$"
)
"""Providers whose servers carry mail of everybody."""


def part(entry, subject):
    return next((each for each in entry.conditions if each.subject == subject), None)


def matched(name, sender):
    return SOURCE.match(Attempt("test", ip_address("192.0.2.1"), name, "", sender, "b@example.net"))


def address(entry):
    condition = part(entry, "sender")
    return f"a@{condition.text if condition else 'whoever.example'}"


def seen(entry):
    """The hosts that the reason names in full, as far as this entry lets them in."""
    hosts = re.findall(r"\b[a-z0-9-]+(?:\.[a-z0-9-]+)+\b", entry.reason)
    return [host for host in hosts if matched(host, address(entry)) == match_of(entry)]


EACH = pytest.mark.parametrize("entry", LIST.entries, ids=lambda entry: entry.text)


def test_at_least_thirty_entries():
    assert len(LIST.entries) >= 30


def test_lint_finds_nothing_on_the_day_of_the_review():
    outlook = LintOutlook(REVIEWED, registered_domain=registered_domain)
    assert lint([LintedList(PATH, "list", LIST.entries, "postmaster@example.org")], outlook) == []


@EACH
def test_each_entry_says_what_it_rests_on(entry):
    assert entry.added is not None
    assert entry.review_by is not None
    assert re.match(r"\w.*?: .*; ", entry.reason), "who: which mail; where it was seen"
    assert re.search(r"\b20[012]\d\b", entry.reason), "the year of a sighting"
    words = re.split(r"[\s,;:]+", entry.reason)
    assert any(_is_address(word) for word in words), "the address of a server that was seen"
    assert re.search(r"Received field|'s issue \d+|manual|program", entry.reason), "what shows it"
    assert entry.enabled
    assert entry.expires is None


def _is_address(word):
    try:
        return ip_address(word).is_global
    except ValueError:
        return False


@EACH
def test_each_entry_asks_for_a_name_of_one_organisation(entry):
    client, sender = part(entry, "client"), part(entry, "sender")
    assert client is not None
    assert client.how in {"below", "regex"}
    if client.how == "regex":
        assert re.fullmatch(r"\^.*\$", client.text)
    if SHARED.search(client.text.replace("\\", "").rstrip("$")):
        assert sender is not None, "a provider of many: name the envelope sender that only one of them has"
        assert sender.how == "domain"
        assert not re.search(r"^(amazonses|sendgrid|gmail|outlook)\.", sender.text)


@EACH
def test_each_entry_lets_in_what_was_seen_and_nobody_who_only_says_so(entry):
    hosts = seen(entry)
    assert hosts, "the reason names no host in full that the entry lets in"
    assert not matched(None, address(entry))
    assert not any(matched(f"{host}.attacker.example", address(entry)) for host in hosts)
    assert not any(matched(f"attacker-{registered_domain(host)}", address(entry)) for host in hosts)
    if part(entry, "sender"):
        assert not any(matched(host, "a@attacker.example") for host in hosts)


@pytest.mark.parametrize(
    ("name", "sender", "passes"),
    [
        ("out-21.smtp.github.com", "noreply@github.com", True),
        ("mail-sor-f73.google.com", "3upnbyggtdb8@gaia.bounces.google.com", True),
        ("mail-sor-f73.google.com", "someone@gmail.com", False),
        ("mx15.slc.paypal.com", "service@paypal.com", True),
        (None, "service@paypal.com", False),
        ("spruce-goose-bn.x.com", "n01665ec6c8-9c43-alice===example.org@bounce.x.com", True),
        ("a13-78.smtp-out.amazonses.com", "20240816-C1MH0WGB67NIL9@bounces.amazon.com", True),
        ("a13-78.smtp-out.amazonses.com", "0100018f-6aff-000000@amazonses.com", False),
        ("a13-78.smtp-out.amazonses.com", "alice@amazon.com", False),
        ("blysik-imac.apple.com", "alice@apple.com", False),
        ("proxy-gw-l.booking.com", "alice@booking.com", False),
    ],
)
def test_whom_the_list_lets_in(name, sender, passes):
    assert bool(matched(name, sender)) is passes
