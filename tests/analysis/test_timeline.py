"""Decisions as stories: a table of what happened and how it ended."""

from __future__ import annotations

import pytest

from multigrey.analysis.timeline import Ending, stories
from multigrey.events.as_json import hidden
from multigrey.identity.redaction import Redactor
from multigrey.model import Action, Reason
from tests.support.clocks import START
from tests.support.decisions import decision

WINDOW = 2 * 86_400
HOUR = 3600
N, E, X, R, K, W = Reason.NEW, Reason.EARLY, Reason.EXPIRED, Reason.RETRY, Reason.KNOWN, Reason.WHITELISTED
OVER = Reason.OVER_LIMIT
DAY = 86_400


def told(*happened, now=START + HOUR):
    """`happened`: (seconds after START, reason[, age])."""
    events = [
        decision(reason, START + at, verdict={"age": age[0] if age else 0}) for at, reason, *age in happened
    ]
    return [(story.ending, len(story.events), story.delay) for story in stories(events, now, WINDOW)]


@pytest.mark.parametrize(
    ("happened", "expected"),
    [
        ([], []),
        ([(0, N)], [(Ending.WAITING, 1, 0)]),
        ([(0, N), (60, E, 60), (200, R, 200)], [(Ending.ACCEPTED, 3, 200)]),
        ([(0, N), (60, N), (300, R, 240)], [(Ending.ACCEPTED, 3, 300)]),  # it came from two networks
        ([(0, N), (200, R, 200), (300, K), (400, K)], [(Ending.ACCEPTED, 2, 200), (Ending.PASSED, 2, 0)]),
        ([(0, K), (10, N)], [(Ending.PASSED, 1, 0), (Ending.WAITING, 1, 0)]),
        ([(0, W), (10, W), (20, K)], [(Ending.PASSED, 3, 0)]),
        (
            [(0, K), (10, N), (20, W), (30, K)],
            [(Ending.PASSED, 1, 0), (Ending.ACCEPTED, 2, 10), (Ending.PASSED, 1, 0)],
        ),
        ([(100, R, 150)], [(Ending.ACCEPTED, 1, 150)]),  # its deferral is not remembered
        ([(100, E, 50), (200, R, 150)], [(Ending.ACCEPTED, 2, 150)]),
        ([(100, R, 150), (200, R, 10)], [(Ending.ACCEPTED, 1, 150), (Ending.ACCEPTED, 1, 10)]),
        ([(0, N), (WINDOW + 1, N)], [(Ending.NEVER, 1, 0), (Ending.WAITING, 1, 0)]),
        ([(0, N), (WINDOW + 1, X)], [(Ending.NEVER, 1, 0), (Ending.WAITING, 1, 0)]),
        ([(0, N), (WINDOW - 1, E, WINDOW - 1)], [(Ending.WAITING, 2, 0)]),
        ([(0, N), (3 * DAY, W)], [(Ending.NEVER, 1, 0), (Ending.PASSED, 1, 0)]),
        ([(0, Reason.NULL_SENDER), (5, N), (9, Reason.NULL_SENDER)], [(Ending.WAITING, 1, 0)]),
        ([(0, Reason.PROBE), (5, N), (9, Reason.PROBE)], [(Ending.WAITING, 1, 0)]),
        ([(0, OVER), (200, R, 200)], [(Ending.ACCEPTED, 2, 200)]),
        ([(0, OVER), (WINDOW + 1, OVER)], [(Ending.NEVER, 1, 0), (Ending.WAITING, 1, 0)]),
        ([(0, Reason.PROVIDER), (9, Reason.PROVIDER)], [(Ending.PASSED, 2, 0)]),
        ([(0, Reason.OWN_NETWORK)], [(Ending.PASSED, 1, 0)]),
    ],
)
def test_how_it_ended(happened, expected):
    last = happened[-1][0] if happened else 0
    assert told(*happened, now=START + last + 1) == expected


@pytest.mark.parametrize("redactor", [None, Redactor(bytes(32))])
def test_clients_are_counted_also_where_they_are_redacted(redactor):
    events = [decision(N, client="192.0.2.1"), *(decision(E, client=f"192.0.2.{n}") for n in (2, 3, 2))]
    if redactor is not None:
        events = [hidden(event, redactor) for event in events]
    (story,) = stories(events, START, WINDOW)
    assert story.clients == 3


def test_after_the_window_nobody_waits():
    assert told((0, N), now=START + WINDOW) == [(Ending.WAITING, 1, 0)]
    assert told((0, N), now=START + WINDOW + 1) == [(Ending.NEVER, 1, 0)]


def test_refusals():
    refused = decision(Reason.RULE, START + 5, verdict={"action": Action.REJECT})
    assert [story.ending for story in stories([refused], START, WINDOW)] == [Ending.REFUSED]
    assert [story.ending for story in stories([decision(), refused], START, WINDOW)] == [Ending.REFUSED]


def test_each_sender_and_recipient_has_a_story_whatever_the_client():
    events = [
        decision(),
        decision(recipient="c@example.net"),
        decision(E, START + 5, client="198.51.100.1", origin="198.51.100.0/24", sender="A@EXAMPLE.org"),
        decision(raw="x", sender="", recipient=""),
    ]
    first, second, raw = stories(events, START, WINDOW)
    assert (len(first.events), first.clients, first.origins, first.last) == (2, 2, 2, START + 5)
    assert (len(second.events), second.clients, raw.clients) == (1, 1, 1)
