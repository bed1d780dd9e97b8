"""What happens next to a mail, and what can be done."""

from __future__ import annotations

import shlex

import pytest

from multigrey.analysis.outlook import outlook, remedies, remedies_without_attempt
from multigrey.analysis.timeline import Ending, Story
from multigrey.identity.addresses import parse_client_address
from multigrey.model import Action, Attempt, DecisionEvent, Reason, Verdict

NOW, WINDOW = 10_000, 5_000
DEFER = Verdict(Action.DEFER, Reason.EARLY, retry_after=60)
OVER = Verdict(Action.DEFER, Reason.NEW, retry_after=20)
REJECT = Verdict(Action.REJECT, Reason.RULE, rule="no")
PASS = Verdict(Action.PASS, Reason.WHITELISTED)


def story(ending: Ending, verdict: Verdict = DEFER, origin: str = "example.org", **parts) -> Story:
    values = {"sender": "a@example.org", "recipient": "b@example.net", **parts}
    client = parse_client_address(values.pop("client", "192.0.2.1"))
    attempt = Attempt("mx", client, None, "", **values)
    return Story([DecisionEvent(NOW - 20, "7f3k2q", attempt, verdict, origin)], ending, NOW - 100)


@pytest.mark.parametrize(
    ("of", "now", "text", "at", "until"),
    [
        (story(Ending.WAITING), None, "a retry passes", NOW + 40, 0),
        (story(Ending.WAITING), DEFER, "a retry passes", NOW + 40, 0),
        (story(Ending.WAITING, OVER), DEFER, "a retry passes", NOW + 60, 0),
        (story(Ending.WAITING), Verdict(Action.DEFER, Reason.NEW), "deferred again", 0, 0),
        (story(Ending.WAITING), PASS, "the next attempt passes: ", 0, 0),
        (
            story(Ending.WAITING, Verdict(Action.DEFER, Reason.NEW)),
            None,
            "has to make it",
            0,
            NOW - 100 + WINDOW,
        ),
        (story(Ending.NEVER), DEFER, "deferred again", 0, 0),
        (story(Ending.NEVER), PASS, "the next attempt passes: ", 0, 0),
        (
            story(Ending.REFUSED, Verdict(Action.REJECT, Reason.RULE, rule="no")),
            None,
            "the rule no refuses",
            0,
            0,
        ),
        (story(Ending.ACCEPTED, Verdict(Action.PASS, Reason.RETRY)), None, "mail server's log says", 0, 0),
        (story(Ending.PASSED, PASS), None, "let it pass: ", 0, 0),
        (story(Ending.PASSED, Verdict(Action.PASS, Reason.NEW, observed=True)), None, "only observed", 0, 0),
    ],
)
def test_what_happens_next(of, now, text, at, until):
    found = outlook(of, NOW, WINDOW, now)
    assert text in found.text
    assert (found.at, found.until) == (at, until)


def commands(of: Story) -> list[list[str]]:
    return [shlex.split(each.command)[1:] for each in remedies(of)]


PASSED = ["records", "pass", "--sender=a@example.org", "--recipient=b@example.net"]
EXPECTED = ["expect", "b@example.net", "--from=example.org"]
WHY = ["explain", "7f3k2q"]


def test_what_can_be_done():
    listed = ["whitelist", "add", "--origin=example.org", "--reason=..."]
    assert commands(story(Ending.WAITING)) == [PASSED, EXPECTED, listed, WHY]
    assert commands(story(Ending.NEVER)) == [EXPECTED, listed, WHY]
    assert commands(story(Ending.ACCEPTED)) == [WHY]
    assert commands(story(Ending.PASSED)) == []
    client = ["whitelist", "add", "--client=192.0.2.1", "--reason=..."]
    assert commands(story(Ending.NEVER, origin="192.0.2.0/24")) == [EXPECTED, client, WHY]
    assert commands(story(Ending.NEVER, origin="", client="unknown")) == [EXPECTED, WHY]


def test_a_bounce_and_what_cannot_stand_in_a_command():
    passed, expected, *_ = commands(story(Ending.WAITING, sender=""))
    assert (passed[2], expected) == ("--sender=<>", ["expect", "b@example.net"])
    for parts in (
        {"recipient": "b\x1b@example.net"},
        {"raw": "key"},
        {"sender": "h:abcdefghij234567@x.example"},
    ):
        assert commands(story(Ending.WAITING, **parts)) == [WHY]
    assert ["expect", "--force@example.net"] not in [
        words[:2] for words in commands(story(Ending.NEVER, recipient="--force@example.net"))
    ]


def test_what_can_be_done_for_mail_that_was_never_tried():
    told = [each.command for each in remedies_without_attempt("b@example.net", "a@example.org")]
    assert told == ["multigrey expect b@example.net --from=example.org"]
    assert [each.command for each in remedies_without_attempt("b@example.net", "")] == [
        "multigrey expect b@example.net"
    ]
    assert not [*remedies_without_attempt("<>", "")]
    assert not [*remedies_without_attempt("b\x1b@example.net", "")]
