"""Sentences of advice, and the figures from which they come."""

from __future__ import annotations

import pytest

from multigrey.analysis.figures import Due, Outlook
from multigrey.analysis.report import make_report
from multigrey.model import Action, Reason
from tests.support.clocks import START
from tests.support.decisions import decision

WINDOW = 2 * 86_400
N, E, R = Reason.NEW, Reason.EARLY, Reason.RETRY


def event(at, reason, who="a", **changes):
    return decision(reason, START + at, recipient=f"{who}@example.net", **changes)


def pool(clients, ending=R, origins=2):
    """A sender who retries from everywhere."""
    found = []
    for index in range(clients):
        reason = N if index < clients - 1 else ending
        origin = f"192.0.2.{index % origins}/32"
        found.append(event(index * 600, reason, client=f"192.0.2.{index + 1}", origin=origin))
    return found


@pytest.mark.parametrize(
    ("events", "at", "expected"),
    [
        ([], 1, []),
        ([event(0, N)], 1, []),
        (
            pool(15),
            9000,
            ["sender a@example.org retried from 15 addresses of 2 origins and got in after 2h 20m"],
        ),
        (pool(5, E), 9000, ["sender a@example.org retried from 5 addresses of 2 origins and is not in yet"]),
        (
            pool(5, E),
            WINDOW * 2,
            ["sender a@example.org retried from 5 addresses of 2 origins and never got in"],
        ),
        (pool(4), 9000, []),
        (pool(15, origins=1), 9000, []),
        (
            [event(0, R, str(i), verdict={"age": 2 * 3600 + i}) for i in range(3)],
            9000,
            ["mail from example.org came back late (3 times, half of it after 2h or more)"],
        ),
        ([event(0, R, str(i), verdict={"age": 3600}) for i in range(3)], 9000, []),
        ([event(0, R, str(i), verdict={"age": 7200}) for i in range(2)], 9000, []),
        (
            [event(0, N, str(i)) for i in range(20)],
            WINDOW + 1,
            ["of 20 mails that were deferred, 20 never came back"],
        ),
        ([event(0, N, str(i)) for i in range(19)], WINDOW + 1, []),
        (
            [event(0, R, str(i), verdict={"age": 300}) for i in range(20)],
            1,
            ["20 of 20 mails that were deferred came back"],
        ),
        (
            [event(0, N, verdict={"action": Action.PASS, "observed": True})],
            1,
            ["greylisting was only observed for 1 attempts"],
        ),
        ([event(0, Reason.ERROR)], 1, ["1 attempts were answered without the store"]),
    ],
)
def test_advice(events, at, expected):
    found = make_report(events, Outlook(now=START + at, since=START, retry_window=WINDOW)).advice
    assert [text[: len(begin)] for text, begin in zip(found, expected, strict=True)] == expected


def test_entries_that_are_due():
    due = [Due("me", "stale", "/l:1", "x", "y"), Due("", "no-owner", "/l:2", "x", "y")]
    due.append(Due("me", "expired", "/l:3", "x", "y"))
    mine, nobodys = make_report([], Outlook(now=START, since=0, retry_window=WINDOW, due=due)).advice
    assert mine == '2 findings about whitelist entries of me: multigrey whitelist lint --owner "me"'
    assert nobodys.startswith("1 finding about whitelist entries that nobody answers for")
