"""`multigrey where`, against a daemon: a person's mail is found, and what is said then happens."""

from __future__ import annotations

import importlib
import json
import shlex

import pytest

from multigrey.cli.client import ask
from tests.cli.test_explain import asked, house, run

__all__ = ["house"]

module = importlib.import_module("multigrey.cli.where")


@pytest.mark.parametrize(
    "words",
    [
        ["b@example.org"],
        ["A. N. <a@example.net>"],
        ["to=<b@example.org>,", "from=<a@example.net>"],
        ["a@example.net, b@example.org"],
        ["b@example.org", "--from", "example.net"],
        ["x@example.org", "b@example.org", "--from", "<a@example.net>"],
        ["b@example.org", "x@example.org"],
    ],
    ids=" ".join,
)
def test_a_mail_is_found_by_what_a_person_knows(house, words):
    asked(house)
    house.clock.advance(60)
    asked(house, client_address="192.0.2.9")
    done = run(house, "where", *words)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "a@example.net -> b@example.org"
    assert lines[1].startswith("  waiting for 1m: 2 attempts from 2 client addresses")
    assert [line.split()[3:6] for line in lines[2:4]] == [
        ["defer", "new", "192.0.2.1"],
        ["defer", "early", "192.0.2.9"],
    ]
    assert lines[4].startswith("  next: the sender's server tries again by itself, and a retry passes in ")
    control = house.directory / "state" / "control.sock"
    assert f"      multigrey --control {control} expect b@example.org --from=example.net" in lines


def test_what_it_says_happens_and_its_commands_work(house):
    asked(house)
    told = json.loads(run(house, "where", "b@example.org", "--json").stdout)
    (story,) = told["stories"]
    house.clock.advance(story["next"]["at"] - told["time"] - 1)
    assert "DEFER" in asked(house)
    house.clock.advance(1)
    assert "the next retry passes" in run(house, "where", "b@example.org").stdout
    by_purpose = {row["purpose"]: shlex.split(row["command"])[1:] for row in story["do"]}
    assert run(house, *by_purpose["see every step of the decision"]).exit_code == 0
    assert run(house, *by_purpose["let its next retry pass at once"]).exit_code == 0
    assert "DEFER" not in asked(house)
    said = run(house, "where", "b@example.org").stdout
    assert "accepted after " in said
    assert "the mail server's log says what became of it" in said


def test_what_changed_since_the_attempt_is_known(house):
    asked(house)
    (story,) = json.loads(run(house, "where", "b@example.org", "--json").stdout)["stories"]
    allowed = next(row["command"] for row in story["do"] if "expect" in row["command"])
    assert run(house, *shlex.split(allowed)[1:]).exit_code == 0
    assert "next: the next attempt passes: " in run(house, "where", "b@example.org").stdout


def test_a_story_that_began_before_the_time_looked_at_is_completed(house):
    asked(house)
    house.clock.advance(60)
    asked(house)
    (story,) = json.loads(run(house, "where", "b@example.org", "--since", "30s", "--json").stdout)["stories"]
    assert [row["reason"] for row in story["decisions"]] == ["new", "early"]
    cut = run(house, "history", "b@example.org", "--limit", "1").stdout
    assert "at least 1 attempt;" in cut
    assert "first attempt (before what was looked at)" in cut


def test_many_mails_and_many_attempts_are_shortened(house):
    for number in range(12):
        asked(house, sender=f"a{number}@example.net")
    for _ in range(12):
        house.clock.advance(1)
        asked(house, sender="a11@example.net")
    said = run(house, "where", "b@example.org").stdout
    assert said.startswith("(2 earlier mails not shown: see multigrey history)\n")
    assert "  ... and 6 more ...\n" in said
    assert said.count(" -> b@example.org") == 10


def test_mail_of_which_nothing_is_known(house):
    done = run(house, "where", "b@example.org", "--from", "a@example.net")
    assert done.exit_code == 1
    assert "b@example.org from a@example.net: no attempt was found" in done.stdout
    assert "the history is empty" in done.stdout
    assert "expect b@example.org --from=example.net" in done.stdout


@pytest.mark.parametrize(
    "words", [[], ["bob"], ["b@example.org", "--from", "bob"], ["<>", "--from", "x.example"]]
)
def test_what_is_not_an_address_is_a_wrong_command_line(house, words):
    assert run(house, "where", *words).exit_code == 2


def test_what_was_not_recorded_is_said(house, monkeypatch):
    """A mail whose deferral was not recorded is not told to be one that was never sent."""
    asked(house)
    sentence = "not recorded: 1 decision of the time looked at"

    def lacking(words):
        monkeypatch.setattr(module, "ask", lambda *options: {**ask(*options), "not_recorded": sentence})
        return run(house, "where", words).stdout.splitlines()

    assert lacking("b@example.org")[-2:] == ["", f"({sentence})"]
    lines = lacking("lost@example.org")
    assert f"  {sentence}" in lines
    assert any(line.startswith("  next: it was not recorded, was not sent yet, ") for line in lines)
