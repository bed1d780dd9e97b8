"""The story of a mail: what became of it, what happens next, and commands that can be run as they are."""

from __future__ import annotations

import shlex

import pytest
from canned import NOW, decided, told, waits
from click.testing import CliRunner
from multigrey_web.stories import commands_of_record, meaning_of, stories_of
from sites import HOSTILE

from multigrey.cli import main
from multigrey.model import Reason

PASSED = {"ending": "passed"}


def only(*decisions, **changes):
    (story,) = stories_of(told(*decisions, **changes))
    return story


@pytest.mark.parametrize(
    ("changes", "look", "outcome", "next_"),
    [
        ({"ending": "waiting"}, "wait", "Waiting for 1m: 1 attempt", "a retry passes in 1m"),
        (
            {"ending": "waiting", "first": NOW - 600, "time": NOW - 300},
            "wait", "Waiting for 10m: 1 attempt", "The next retry passes for another 1d 23h",
        ),
        ({"ending": "waiting", "clients": 3, "origins": 2}, "wait", "from 3 client addresses of 2", "passes"),
        ({"ending": "never came back"}, "never", "Never came back: 1 attempt", "count as a first one"),
        ({"ending": "refused", "rule": "no bots"}, "reject", "Refused: 1 attempt", "The rule no bots"),
        ({"ending": "accepted", "reason": "retry", "delay": 150}, "pass", "after 2m 30s", "is known now"),
        (
            {**PASSED, "reason": "whitelisted", "entry": "client=x", "source": "list", "owner": "ann"},
            "pass", "Passed at once: 1 attempt", "as long as client=x is in list, owner ann",
        ),
        ({**PASSED, "reason": "rule", "rule": "friends"}, "pass", "Passed at once", "by the rule friends"),
        ({**PASSED, "reason": "provider"}, "pass", "Passed at once", meaning_of("provider")),
        ({**PASSED, "reason": "new", "observed": True}, "pass", "Passed at once", "only observed"),
    ],
)  # fmt: skip
def test_what_became_of_it_and_what_happens_next(changes, look, outcome, next_):
    decision = {name: changes.pop(name) for name in [*changes] if name in decided()}
    story = only(decided(**decision), **changes)
    assert story.look == look
    assert outcome in story.outcome
    assert next_ in story.next


def test_the_latest_story_is_first_and_long_ones_are_cut():
    items = told(decided(time=NOW - 500))
    items += told(*(decided(time=NOW - 90 + number) for number in range(40)))[1:]
    first, second = stories_of(items)
    assert (first.last, second.last) == (NOW - 51, NOW - 500)
    assert (len(first.decisions), first.hidden, first.decisions[0]["time"]) == (12, 28, NOW - 90)
    assert stories_of([]) == []


def test_an_attempt_before_the_history_is_told():
    assert only(decided(), first=NOW - 900).before == NOW - 900
    assert only(decided(), first=NOW - 60).before is None
    assert only(decided(reason="known"), first=NOW - 900, ending="passed").before is None


@pytest.mark.parametrize(
    ("changes", "commands"),
    [
        (
            {"ending": "waiting"},
            [
                "multigrey records pass --sender=s@example.org --recipient=r@example.net",
                "multigrey expect r@example.net --from=example.org",
                "multigrey whitelist add --origin=example.org --reason=...",
                "multigrey explain abcdef",
            ],
        ),
        ({"ending": "accepted"}, ["multigrey explain abcdef"]),
        ({"ending": "waiting", "raw": "k"}, ["multigrey explain abcdef"]),
    ],
)
def test_commands(changes, commands):
    assert [each.text for each in only(decided(), **changes).commands] == commands


def test_an_origin_without_a_name_is_whitelisted_by_its_client():
    texts = [each.text for each in only(decided(origin="192.0.2.0/24")).commands]
    assert "multigrey whitelist add --client=192.0.2.1 --reason=..." in texts
    waiting = [each.text for each in commands_of_record(waits(origin="192.0.2.0/24"))]
    assert waiting[0] == "multigrey records pass --sender=s0@example.org --recipient=r@example.net"
    assert waiting[1] == "multigrey whitelist add --client=192.0.2.1 --reason=..."
    assert commands_of_record(waits(state="known")) == []
    assert commands_of_record(waits(client="", sender="")) == []


def test_the_null_sender_has_commands_of_its_own():
    texts = [each.text for each in only(decided(sender=""), sender="").commands]
    assert texts[:2] == [
        "multigrey records pass '--sender=<>' --recipient=r@example.net",
        "multigrey expect r@example.net",
    ]


@pytest.mark.parametrize(
    "text", [*HOSTILE, "$(reboot)@example.org", "-x@example.org", "a b;reboot@example.org"]
)
def test_a_stranger_cannot_put_anything_into_a_command(text):
    story = only(decided(sender=text), sender=text)
    for each in story.commands:
        words = shlex.split(each.text)
        assert words[0] == "multigrey"
        assert all(character.isprintable() for character in each.text)
        assert {word for word in words if text in word} <= {f"--sender={text}"}


def test_tokens_are_in_no_command():
    token = "h:abcdefghabcdefgh"
    story = only(decided(origin=token, client_address=token), sender=token + "@example.org", recipient=token)
    assert [each.text for each in story.commands] == ["multigrey explain abcdef"]


def test_commands_are_commands():
    for each in [*only(decided(), ending="waiting").commands]:
        _, *words = shlex.split(each.text)
        name = [word for word in words if not word.startswith("-") and "@" not in word and word != "abcdef"]
        found = CliRunner().invoke(main, [*name, "--help"])
        assert found.exit_code == 0
        assert all(word.partition("=")[0] in found.output for word in words if word.startswith("--"))


def test_every_reason_has_a_meaning():
    assert all(meaning_of(reason.value) for reason in Reason)
    assert meaning_of("of a later version") == ""
