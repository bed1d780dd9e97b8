"""The report on decisions: tables of what happened, and its sentences."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from multigrey.analysis.figures import DELAY_BOUNDS, Due, Outlook, Target
from multigrey.analysis.report import make_report
from multigrey.model import Action, Match, Reason
from tests.support.clocks import START
from tests.support.decisions import decision

WINDOW = 2 * 86_400
HOUR, DAY = 3600, 86_400
N, E, R, K, W = Reason.NEW, Reason.EARLY, Reason.RETRY, Reason.KNOWN, Reason.WHITELISTED


def event(at, reason, who="a", *, age=0, class_="", match=None, observed=False, **changes):
    """`at`: seconds after START; `who`: the local part of the recipient, which distinguishes mails."""
    verdict = {"age": age, "match": match, "observed": observed}
    if observed:
        verdict["action"] = Action.PASS
    recipient = f"{who}@example.net"
    found = decision(reason, START + at, recipient=recipient, verdict=verdict, **changes)
    return replace(found, class_=class_)


def report(*events, at=HOUR, **outlook):
    made = Outlook(now=START + at, since=outlook.pop("since", START), retry_window=WINDOW, **outlook)
    return make_report(events, made)


@pytest.mark.parametrize(
    ("events", "at", "expected"),
    [
        ([], HOUR, (0, 0, 0, 0, None, None, None)),
        ([event(0, N)], HOUR, (1, 0, 1, 0, None, None, None)),
        ([event(0, N)], WINDOW, (1, 0, 1, 0, None, None, None)),
        ([event(0, N)], WINDOW + 1, (1, 0, 0, 1, None, None, None)),
        ([event(0, N), event(60, E), event(200, R)], HOUR, (1, 1, 0, 0, 200, 200, 200)),
        ([event(0, N), event(0, N, "b"), event(300, R, "b")], HOUR, (2, 1, 1, 0, 300, 300, 300)),
        ([event(100, R, age=150)], HOUR, (1, 1, 0, 0, 150, 150, 150)),
        ([event(0, K), event(5, W)], HOUR, (0, 0, 0, 0, None, None, None)),
        (
            [event(0, N, observed=True), event(0, R, age=50, observed=True)],
            HOUR,
            (0, 0, 0, 0, None, None, None),
        ),
        (
            [event(i, R, str(i), age=100 * (i + 1)) for i in range(20)],
            HOUR,
            (20, 20, 0, 0, 1000, 1900, 2000),
        ),
    ],
)
def test_what_came_of_deferred_mail(events, at, expected):
    found = report(*events, at=at).delays
    assert (
        found.deferred, found.returned, found.waiting, found.never, found.p50, found.p95, found.longest
    ) == expected  # fmt: skip


def test_traffic():
    refused = event(4, Reason.RULE, "r")
    refused = replace(refused, verdict=replace(refused.verdict, action=Action.REJECT))
    found = report(
        event(-5, K),  # before the time that is looked at
        event(1, K),
        event(2, N, "b"),
        event(3, N, "c", observed=True),
        refused,
        event(5, W),
    ).traffic
    assert (found.decisions, found.first, found.passed_at_once) == (5, START + 1, 2)
    assert (found.refused, found.observed) == (1, 1)
    assert found.by_reason == {"new": 2, "known": 1, "rule": 1, "whitelisted": 1}


def test_classes_against_their_targets():
    events = [
        event(0, R, "a", age=100, class_="codes"),
        event(0, R, "b", age=400, class_="codes"),
        event(0, N, "c", class_="codes"),  # waits longer than the target already
        event(3500, N, "d", class_="codes"),
        event(0, R, "e", age=900, class_="orders"),
        event(0, R, "f", age=900, class_="gone"),
        event(0, R, "g", age=9000),
    ]
    targets = {"codes": Target(300, "shop"), "orders": Target(), "idle": Target(60, "it")}
    rows = report(*events, targets=targets).classes
    assert [(row.name, row.owner, row.target, row.over_target, row.delays.returned) for row in rows] == [
        ("codes", "shop", 300, 2, 2),
        ("orders", "", None, 0, 1),
        ("idle", "it", 60, 0, 0),
        ("gone", "", None, 0, 1),
    ]
    assert rows[0].delays.p95 == 400
    found = report(*events, targets=targets, owner="it")
    assert [row.name for row in found.classes] == ["idle"]
    assert not any("class codes" in each for each in found.advice)
    advice = report(*events, targets=targets).advice
    assert any(each.startswith("class codes: 2 mails took longer than its target of 5m") for each in advice)


def test_kinds_of_origins():
    events = [
        event(0, R, "a", age=100),
        event(0, R, "b", age=300, origin="192.0.2.0/24"),
        event(0, N, "c", origin="2001:db8::/64"),
        event(0, K, "d", origin="198.51.100.0/24"),
    ]
    rows = report(*events).origins
    assert [(row.name, row.delays.deferred, row.delays.p50) for row in rows] == [
        ("named", 1, 100),
        ("unnamed", 2, 300),
    ]
    rows = report(*events, origin_class=lambda _: "provider").origins
    assert [(row.name, row.delays.deferred) for row in rows] == [("provider", 3)]


def test_providers_that_passed_at_once():
    events = [
        event(i, Reason.PROVIDER, str(i), origin="google", sender=f"x@d{i % 2}.example") for i in range(3)
    ]
    events += [
        event(9, Reason.PROVIDER, "b", origin="amazon-ses", sender=""),
        event(9, K, "c", origin="google"),
    ]
    rows = report(*events).let_in
    assert [(row.provider, row.number, row.domains, row.last) for row in rows] == [
        ("google", 3, 2, START + 2),
        ("amazon-ses", 1, 1, START + 9),
    ]
    assert [row.provider for row in report(*events, most=1).let_in] == ["google"]


def test_domains_that_waited_longest():
    events = [
        event(0, R, "a", age=100, sender="x@slow.example.org"),
        event(0, R, "b", age=500, sender="y@Slow.example.org"),
        event(0, R, "c", age=300, sender="z@example.com"),
        event(0, N, "d", sender="spam@never.example.com"),
        event(0, R, "e", age=9000, sender=""),
        event(0, K, "f", sender="quick@fast.example.com"),
    ]
    rows = report(*events).domains
    assert [(row.name, row.kind, row.waited, row.delays.p95) for row in rows] == [
        ("slow.example.org", "named", 600, 500),
        ("example.com", "named", 300, 300),
    ]
    assert [row.name for row in report(*events, most=1).domains] == ["slow.example.org"]


def test_origins_by_attempts():
    events = [event(i, K, str(i), origin="example.org") for i in range(3)]
    events += [event(9, N, "n", origin="192.0.2.0/24"), event(10, E, "n", origin="192.0.2.0/24")]
    events += [event(11, K, "k", origin="example.com")]
    rows = report(*events, most=2).top_origins
    assert [(row.name, row.kind, row.attempts, row.delays.waiting) for row in rows] == [
        ("example.org", "named", 3, 0),
        ("192.0.2.0/24", "unnamed", 2, 1),
    ]


def test_hits_and_what_is_due():
    ours, theirs = Match("list", "/l:1 client=a", "me"), Match("list", "/l:9 client=b", "you")
    events = [event(i, W, str(i), match=theirs if i == 0 else ours) for i in range(3)]
    due = [
        Due("you", "stale", "/l:9", "client=b", "was to be reviewed"),
        Due("", "no-owner", "/l:2", "client=c", "has no owner"),
        Due("me", "expired", "/l:1", "client=a", "expired"),
        Due("me", "unused", "/l:3", "client=d", "never matched"),
    ]
    found = report(*events, due=due)
    assert [(row.owner, row.number) for row in found.hits] == [("me", 2), ("you", 1)]
    told = found.as_mapping()
    assert [(group["owner"], len(group["entries"])) for group in told["due"]] == [
        ("me", 2),
        ("you", 1),
        ("", 1),
    ]
    assert json.loads(json.dumps(told))["hits"][0]["entry"] == "/l:1 client=a"
    found = report(*events, due=due, owner="you")
    assert [row.entry for row in found.hits] == ["/l:9 client=b"]
    assert [each.kind for each in found.due] == ["stale"]


def test_what_never_came_back():
    found = report(
        event(0, N),
        event(60, E),
        event(10, N, "b", sender="z@example.com", origin="example.com"),
        event(20, N, "c"),
        event(300, R, "c"),
        event(WINDOW + 100, N, "d"),
        at=WINDOW + 200,
    )
    assert [(row.recipient, row.first, row.last, row.attempts, row.id) for row in found.lost] == [
        ("a@example.net", START, START + 60, 2, "abcdef"),
        ("b@example.net", START + 10, START + 10, 1, "abcdef"),
    ]
    assert (found.lost[1].sender, found.lost[1].origin) == ("z@example.com", "example.com")
    assert [row.recipient for row in report(event(0, N), event(1, N, "b"), at=WINDOW + 9, most=1).lost] == [
        "b@example.net"
    ]


def test_over_time():
    events = [event(60, N), event(700, R, age=640), event(2 * HOUR, K), event(2 * HOUR + 1, N, "b")]
    found = report(*events, at=3 * HOUR)
    assert found.slot == HOUR
    first = START - START % HOUR
    assert [(slot.begin - first, slot.deferred, slot.returned, slot.passed) for slot in found.slots] == [
        (0, 1, 1, 0),
        (HOUR, 0, 0, 0),
        (2 * HOUR, 1, 0, 1),
        (3 * HOUR, 0, 0, 0),
    ]
    # first seen before the time that is looked at: only its return is reported
    found = report(event(10, R, age=9000), at=HOUR)
    assert [(slot.deferred, slot.returned) for slot in found.slots] == [(0, 1), (0, 0)]
    assert len(report(since=0).slots) == 1
    assert len(report(event(0, N), at=365 * DAY).slots) <= 61


@pytest.mark.parametrize("offset", [0, HOUR, -5 * HOUR, 19_800])
def test_slots_begin_with_whole_hours_and_days_of_local_time(offset):
    slots = report(event(0, N), at=30 * DAY, utc_offset=offset).slots
    assert {(slot.begin + offset) % DAY for slot in slots} == {0}
    assert slots[-1].begin <= START + 30 * DAY < slots[-1].begin + DAY


@pytest.mark.parametrize("changes", [{"recorded_since": START + 5 * HOUR}, {"more": True}])
def test_what_is_not_remembered_is_no_empty_time(changes):
    slots = report(event(5 * HOUR, N), since=START, at=6 * HOUR, **changes).slots
    assert slots[0].begin <= START + 5 * HOUR < slots[0].begin + HOUR


def test_histogram():
    delays = [1, 300, 301, 86_400, 86_401]
    counts = report(*(event(0, R, str(age), age=age) for age in delays)).histogram
    assert len(counts) == len(DELAY_BOUNDS) + 1
    assert (counts[0], counts[1], counts[-2], counts[-1], sum(counts)) == (2, 1, 1, 1, 5)


def test_first_contacts_that_never_came_back():
    """Named origins of which other mail came back stand first, each with its command."""
    known = {"origin": "shop.example", "sender": "order@shop.example"}
    events = [
        event(0, N, "back", **known), event(10, N, "once", **known), event(20, N, "twice", **known),
        event(30, N, "bot", origin="45.1.2.0/24", client="45.1.2.3"), event(40, N, "b", origin="b.example"),
        event(50, N, "c", origin="b.example"), event(300, R, "back", age=300, **known),
        event(320, Reason.EARLY, "twice", **known), event(330, N, "nameless", origin=""),
    ]  # fmt: skip
    found = report(*events, at=WINDOW + 400).once
    assert [(row.origin, row.kind, row.mails, row.last, row.recipient) for row in found] == [
        ("shop.example", "named", 1, START + 10, "once@example.net"),
        ("b.example", "named", 2, START + 50, "c@example.net"),
        ("45.1.2.0/24", "unnamed", 1, START + 30, "bot@example.net"),
    ]
    assert [row.command for row in found] == [
        "multigrey whitelist add --origin=shop.example --reason=...",
        "multigrey whitelist add --origin=b.example --reason=...",
        "multigrey whitelist add --client=45.1.2.3 --reason=...",
    ]
    assert report(*events, at=WINDOW - 1).once == []
