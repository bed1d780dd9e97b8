"""Every kind of finding, with the day before and the day after."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from multigrey.codec import Hits
from multigrey.errors import Problem
from multigrey.whitelists.checks.lint import KINDS, HitRecords, LintedList, LintOutlook, lint
from multigrey.whitelists.list_source import entry_hit_name
from multigrey.whitelists.toml_entry import ListFile, make_entry

NOW = int(datetime(2027, 6, 15, 12, tzinfo=UTC).timestamp())
DAY = 86_400
GOOD = 'owner = "ops"\nreason = "r"\nreview_by = 2028-01-01\n'
FILE = Path("/lists/a.toml")


def linted(text, path=FILE, **fields):
    table = ListFile.model_validate(tomllib.loads(text))
    entries = [
        make_entry(path, number, vars(table.list), vars(each), "")
        for number, each in enumerate(table.entry, 1)
    ]
    return LintedList(path, "list", tuple(entries), **fields)


def kinds(text, *, of=1, **outlook):
    found = lint([linted(text)], LintOutlook(NOW, **outlook))
    assert {each.kind for each in found} <= set(KINDS)
    return [each.kind for each in found if each.line == of]


def one(conditions, more=""):
    return f"[[entry]]\n{GOOD}{more}\n{conditions}\n"


def test_nothing_wrong():
    assert lint([linted(one('client = "mx.example-partner.org"'))], LintOutlook(NOW)) == []


CLIENT = 'client = "mx.partner.se"'


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (f"{GOOD}expires = 2027-06-14\n{CLIENT}", ["expired"]),
        (f"{GOOD}expires = 2027-06-15\n{CLIENT}", ["expires-soon"]),
        (f"{GOOD}expires = 2027-06-15T12:00:00Z\n{CLIENT}", ["expired"]),
        (f"{GOOD}expires = 2027-06-15T12:00:01Z\n{CLIENT}", ["expires-soon"]),
        (f"{GOOD}expires = 2027-07-14\n{CLIENT}", ["expires-soon"]),
        (f"{GOOD}expires = 2027-07-15\n{CLIENT}", []),
        (f"owner = 'o'\nreason = 'r'\nreview_by = 2027-06-14\n{CLIENT}", ["stale"]),
        (f"owner = 'o'\nreason = 'r'\nreview_by = 2027-06-15\n{CLIENT}", ["review-soon"]),
        (f"owner = 'o'\nreason = 'r'\nreview_by = 2027-07-14\n{CLIENT}", ["review-soon"]),
        (f"owner = 'o'\nreason = 'r'\nreview_by = 2027-07-15\n{CLIENT}", []),
        (f"owner = 'o'\nreason = 'r'\nexpires = 2028-01-01\n{CLIENT}", []),
        (f"owner = 'o'\nreason = 'r'\n{CLIENT}", ["no-review"]),
        (f"reason = 'r'\nreview_by = 2028-01-01\n{CLIENT}", ["no-owner"]),
        (f"owner = 'o'\nreview_by = 2028-01-01\n{CLIENT}", ["no-reason"]),
        (f"{GOOD}enabled = false\n{CLIENT}", ["disabled"]),
        (f"{GOOD}enabled = false\nexpires = 2027-01-01\n{CLIENT}", ["disabled"]),
        (f"{GOOD}added = 2027-06-16\n{CLIENT}", []),
        (f"{GOOD}added = 2027-06-17\n{CLIENT}", ["dates"]),
        (
            f"owner = 'o'\nreason = 'r'\nreview_by = 2027-12-01\nadded = 2027-12-02\n{CLIENT}",
            ["dates", "dates"],
        ),
        (f"{GOOD}expires = 2028-01-01\nadded = 2029-01-01\n{CLIENT}", ["dates", "dates", "dates"]),
    ],
)
def test_dates_and_papers(table, expected):
    assert kinds(f"[[entry]]\n{table}\n") == expected


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ('sender = "bob@partner.se"', ["unverifiable"]),
        ('sender_domain = "partner.se"\nrecipient = "a@b.se"', ["unverifiable"]),
        ('sender = "bob@partner.se"\nclient = "9.9.9.9"', []),
        ('sender = "bob@partner.se"\norigin = "partner.se"', []),
        ('recipient = "bob@partner.se"', []),
        ('recipient_domain = ".co.uk"', []),
        ('client = "9.9.0.0/16"', []),
        ('client = "9.8.0.0/15"', ["too-wide"]),
        ('client = "10.0.0.0/8"', []),
        ('client = "192.168.0.0/16"', []),
        ('client = "192.0.0.0/8"', ["too-wide"]),
        ('client = "2a00::/31"', ["too-wide"]),
        ('client = "2a00::/32"', []),
        ('client = "fc00::/7"', []),
        ('client = "192.0.2.1"', ["example"]),
        ('client = "2001:db8:1::/48"', ["example"]),
        ('client = "mx.example.org"', ["example"]),
        ('client = ".test"', ["example"]),
        ('client = "notexample.org"', []),
        ('origin = "partner.se"\nsender = "bob@example.com"', ["example"]),
        ('origin = "partner.se"\nsender = "bob@"', []),
        ('origin = "partner.se"\nsender = "<>"', []),
        ('origin = "partner.se"\nsender = "bob@[9.9.9.9]"', []),
        ('client = ".co.uk"', ["public-suffix"]),
        ('client = ".partner.co.uk"', []),
        ('client = ".my.lan"', []),
        ('client = ".se"', ["public-suffix"]),
        ('client = "co.uk"', []),
        ('origin = "partner.se"\nsender_domain = ".co.uk"', ["public-suffix"]),
        ('client = ".rented.se"', ["shared-hosts"]),
        ('client = "vm1.rented.se"', ["shared-hosts"]),
        ("client = '/partner\\.se/'", ["loose-pattern"]),
        ("client = '/\\.partner\\.se$/'", []),
        ("origin = 'partner.se'\nsender = '/bob/'", []),
    ],
)
def test_conditions(conditions, expected):
    def suffixes(name):
        labels = name.removesuffix(".co.uk").removesuffix(".lan").removesuffix(".se").split(".")
        if name in {"co.uk", "uk", "se", "org", "com"} or name.endswith("lan"):
            return None
        return labels[-1]

    shared = "rented.se"
    found = kinds(one(conditions), registered_domain=suffixes, shared_host=lambda name: name.endswith(shared))
    assert found == expected


def test_superfluous_entries_of_all_lists():
    first = linted(one('client = ".partner.se"') + one('client = "mx.partner.se"', "enabled = false\n"))
    text = one('client = "mx.partner.se"') + one('client = ".partner.se"')
    text += one('client = "a.org"', "expires = 2020-01-01")
    second = linted(text + one('client = "a.org"'), Path("/lists/b.toml"))
    found = lint([first, second], LintOutlook(NOW))
    assert [(each.kind, each.path.name, each.line) for each in found] == [
        ("disabled", "a.toml", 2),
        ("shadowed", "b.toml", 1),
        ("duplicate", "b.toml", 2),
        ("expired", "b.toml", 3),
    ]
    assert found[1].message == "is covered by /lists/a.toml:1 (client=.partner.se)"


HITS = Hits(3, NOW - 400 * DAY, NOW - 200 * DAY, "list", "a.toml client=mx.partner.se")


@pytest.mark.parametrize(
    ("since", "last", "more", "expected"),
    [
        (400, None, "", ["unused"]),
        (180, None, "", []),
        (181, None, "", ["unused"]),
        (400, 181, "", ["unused"]),
        (400, 180, "", []),
        (400, -1, "", []),
        (400, None, "added = 2027-06-01", []),
        (400, None, "added = 2026-01-01", ["unused"]),
        (400, None, "enabled = false", ["disabled"]),
    ],
)
def test_unused(since, last, more, expected):
    tallies = {}
    if last is not None:
        tallies["list", "a.toml client=mx.partner.se"] = HITS._replace(last=NOW - last * DAY)
    records = HitRecords(NOW - since * DAY, tallies)
    assert kinds(one(CLIENT, more), hits=records, hit_name=entry_hit_name) == expected


def test_unused_words():
    for tallies, words in (
        ({}, "has never matched in 400 days of counting"),
        ({("list", "a.toml client=mx.partner.se"): HITS}, "last matched 200 days ago (3 times in all)"),
    ):
        records = HitRecords(NOW - 400 * DAY, tallies)
        (found,) = lint([linted(one(CLIENT))], LintOutlook(NOW, hits=records, hit_name=entry_hit_name))
        assert found.message == words


def test_whole_lists():
    old = linted(one(CLIENT, "added = 2026-06-14"), owner="ops", ignored=(Path("/lists/README"),))
    found = lint([old], LintOutlook(NOW))
    assert [(each.kind, str(each.path), each.owner, each.severity) for each in found] == [
        ("old-list", "/lists/a.toml", "ops", "note"),
        ("ignored-file", "/lists/README", "ops", "note"),
    ]
    assert found[0].message == "its newest entry was added 366 days ago (2026-06-14)"
    assert lint([linted(one(CLIENT, "added = 2026-06-15"))], LintOutlook(NOW))[0].kind == "old-list"
    assert lint([linted(one(CLIENT, "added = 2026-06-16"))], LintOutlook(NOW)) == []


def test_lists_without_papers():
    entries = linted("[[entry]]\nclient = 'mx.partner.se'\n[[entry]]\nclient = '9.0.0.0/8'\n").entries
    problem = Problem("/lists/clients", 3, "", "not an address; the line is ignored")
    each = LintedList(Path("/lists/clients"), "postgrey-clients", entries, "", (problem,), dated=False)
    found = sorted(finding.kind for finding in lint([each], LintOutlook(NOW)))
    assert found == ["ignored", "no-owner", "too-wide"]
    owned = LintedList(Path("/lists/clients"), "postgrey-clients", entries, "ops", dated=False)
    assert [finding.kind for finding in lint([owned], LintOutlook(NOW))] == ["too-wide"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("review_by = 2027-06-14", "was to be reviewed by 2027-06-14, 1 day ago"),
        ("review_by = 2027-06-05", "was to be reviewed by 2027-06-05, 10 days ago"),
        ("review_by = 2027-06-15", "is to be reviewed by 2027-06-15, within a day"),
        ("review_by = 2027-06-20", "is to be reviewed by 2027-06-20, in 5 days"),
        (
            "expires = 2027-06-14",
            "expired within the last day (2027-06-14) and matches nothing: remove or renew it",
        ),
        ("expires = 2027-06-10", "expired 4 days ago (2027-06-10) and matches nothing: remove or renew it"),
        ("expires = 2027-06-20", "expires in 5 days (2027-06-20)"),
    ],
)
def test_words(table, message):
    text = f"[[entry]]\nowner = 'o'\nreason = 'r'\n{CLIENT}\n{table}\n"
    assert [each.message for each in lint([linted(text)], LintOutlook(NOW))] == [message]
