"""The keys of [[entry]] and [list]: what is accepted, what is refused, and the messages."""

from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from multigrey.config.error_messages import explain
from multigrey.whitelists.toml_entry import MATCH_KEYS, ListDefaults, ListEntry, ListFile, make_entry


def entry(text, defaults="", owner=""):
    list_ = ListDefaults.model_validate(tomllib.loads(defaults))
    table = ListEntry.model_validate(tomllib.loads(text))
    return make_entry(Path("list.toml"), 7, vars(list_), vars(table), owner)


def problems(text):
    with pytest.raises(ValidationError) as caught:
        ListFile.model_validate(tomllib.loads(text))
    return [(key, message) for key, message in explain(caught.value, ListFile)]


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ('client = "192.0.2.1"', "client=192.0.2.1"),
        ('client = "192.0.2.0/24"', "client=192.0.2.0/24"),
        ('client = "2001:db8::/32"', "client=2001:db8::/32"),
        ('client = "64:ff9b::c000:0201"', "client=192.0.2.1"),
        ('client = "2002:c000:0200::/40"', "client=192.0.2.0/24"),
        ('client = "MX.Example.ORG."', "client=mx.example.org"),
        ('client = ".bücher.example"', "client=.xn--bcher-kva.example"),
        (r"client = '/^mx[0-9]+\.example\.org$/'", r"client=/^mx[0-9]+\.example\.org$/"),
        ('origin = "Example.org"', "origin=example.org"),
        ('origin = "google"', "origin=google"),
        ('sender = "Bob@Example.org"', "sender=bob@example.org"),
        ('sender = "<>"', "sender=<>"),
        ('sender = "bob@"', "sender=bob@"),
        ('sender = "@example.org"', "sender=@example.org"),
        ('sender = "@.example.org"', "sender=@.example.org"),
        ('sender_domain = "example.org"', "sender=@example.org"),
        ('sender_domain = ".example.org"', "sender=@.example.org"),
        ('recipient_domain = "/^x/"', "recipient=@/^x/"),
        ('recipient = "/^on-?call@/"', "recipient=/^on-?call@/"),
        ('recipient = "a@example.org"\nclient = "192.0.2.1"', "client=192.0.2.1 recipient=a@example.org"),
    ],
)
def test_conditions(table, text):
    assert entry(table).text == text


@pytest.mark.parametrize(
    ("table", "key", "message"),
    [
        ('client = ""', "client", "expected a name"),
        ("client = 1", "client", "expected a client such as"),
        ('client = "192.0.2.1/33"', "client", "is not a network"),
        ('client = "192.0.2"', "client", "is not a network"),
        ('client = "192.0.2.1/24"', "client", 'did you mean "192.0.2.0/24"'),
        ('client = "0.0.0.0/0"', "client", "would match every client"),
        ('client = "::/0"', "client", "would match every client"),
        ('client = "*.example.org"', "client", 'write client = ".example.org"'),
        ('client = "/(/"', "client", "cannot be used"),
        ('client = "/x/i"', "client", "written /regex/"),
        ('origin = "192.0.2.0/24"', "origin", "use client for networks"),
        ('origin = ".example.org"', "origin", "is not an origin"),
        ('sender = "example.org"', "sender", "has no @"),
        ('sender_domain = "bob@example.org"', "sender_domain", "is an address"),
        ('client = "a.org"\nreview_by = "2027-01-31"', "review_by", "write dates without quotes"),
        ('client = "a.org"\nadded = 2027-01-31T10:00:00Z', "added", "expected a date"),
        ('client = "a.org"\nexpires = 2027-01-31T10:00:00', "expires", "in any time zone"),
        ('client = "a.org"\nexpires = 20270131', "expires", "expected a date such as"),
        ('client = "a.org"\nexpires = 10:00:00', "expires", "expected a date such as"),
        ('client = "a.org"\nenabled = "no"', "enabled", "expected true or false"),
        ('client = "a.org"\nreason = " "', "reason", "one line of up to 1000"),
        ('client = "a.org"\nreason = "a\\nb"', "reason", "one line of up to 1000"),
        ('client = "a.org"\nowner = ""', "owner", "printable characters"),
        ('client = "a.org"\nownr = "me"', "ownr", 'did you mean "owner"'),
        ('sender-domain = "a.org"\nclient = "a.org"', "sender-domain", 'did you mean "sender_domain"'),
    ],
)
def test_refused(table, key, message):
    ((path, said),) = problems(f"[[entry]]\n{table}\n")
    assert path == ("entry", 0, key)
    assert message in said


def test_an_entry_matches_by_something():
    ((path, said),) = problems('[[entry]]\nowner = "me"\n')
    assert path == ("entry", 0)
    assert all(key in said for key in MATCH_KEYS)


def test_everything_wrong_is_told_at_once():
    found = problems('[list]\nclient = "a"\n[[entry]]\nclient = 1\n[[entry]]\nx = 1\nsender = "a"\n[other]\n')
    assert [path for path, _ in found] == [
        ("list", "client"),
        ("entry", 0, "client"),
        ("entry", 1, "sender"),
        ("entry", 1, "x"),
        ("other",),
    ]


def test_an_entry_says_more_than_its_list():
    defaults = 'owner = "list"\nreason = "r"\nticket = "#1"\nadded = 2026-01-01\n'
    defaults += "enabled = false\nexpires = 2027-01-01"
    plain = entry('client = "a.org"', defaults, owner="config")
    assert (plain.owner, plain.reason, plain.ticket, plain.added) == ("list", "r", "#1", date(2026, 1, 1))
    assert (plain.enabled, plain.expires, plain.review_by) == (False, date(2027, 1, 1), None)
    own = entry('client = "a.org"\nowner = "entry"\nenabled = true\nexpires = 2028-01-01', defaults)
    assert (own.owner, own.enabled, own.expires) == ("entry", True, date(2028, 1, 1))
    assert entry('client = "a.org"', owner="config").owner == "config"
    assert (entry('client = "a.org"').owner, entry('client = "a.org"').enabled) == ("", True)
