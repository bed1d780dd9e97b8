"""What a person knows of a mail leads to the attempt: against a daemon, by the commands."""

from __future__ import annotations

import json
import re
from datetime import datetime

import pytest

from multigrey.events.line import format_event, format_json, format_postgrey
from multigrey.identity.addresses import parse_client_address
from multigrey.model import Action, Attempt, DecisionEvent, Reason, Verdict
from tests.cli.test_explain import as_json, asked, house, run

__all__ = ["house"]

PAIR = ["--sender", "a@example.net", "--recipient", "b@example.org"]
SMTPD = "postfix/smtpd[9]: NOQUEUE: reject: RCPT from "
END = "; from=<a@example.net> to=<b@example.org> proto=ESMTP helo=<mail.example.net>"


@pytest.fixture
def tried(house):
    """A daemon that was asked three times about one mail, from two clients, a minute apart."""
    for client in ("192.0.2.1", "192.0.2.9", "192.0.2.9"):
        asked(house, client_address=client)
        house.clock.advance(60)
    return house


def stamp(house, before: int) -> str:
    """The time so many seconds ago as syslog writes it."""
    return f"{datetime.fromtimestamp(house.clock.now() - before).astimezone():%b %d %H:%M:%S}"


def decisions(house) -> list[dict]:
    found = run(house, "history", "b@example.org", "--json")
    return json.loads(found.stdout.splitlines()[1])["decisions"]


@pytest.mark.parametrize(
    "words",
    [
        PAIR,
        ["a@example.net", "b@example.org"],
        ["to=<b@example.org>, from=<a@example.net>"],
        ["<b@example.org>", "A. N. <a@example.net>"],
        ["b@example.org"],
    ],
    ids=" ".join,
)
def test_the_client_comes_from_the_history(tried, words):
    told = as_json(run(tried, "explain", *words, "--json"))
    assert told["attempt"]["client_address"] == "192.0.2.9"
    assert told["attempt"]["helo"] == "mail.example.net"
    assert (told["past"]["attempts"], told["past"]["clients"]) == (3, ["192.0.2.9", "192.0.2.1"])
    assert told["verdict"]["reason"] in {"early", "retry"}
    said = run(tried, "explain", *words).stdout
    assert "3 attempts from 192.0.2.9, 192.0.2.1; this is the latest, of " in said
    assert "no-identity" not in said


def test_records_show_takes_it_from_there_too(tried):
    shown = run(tried, "records", "show", *PAIR)
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.startswith("3 attempts from 192.0.2.9, 192.0.2.1; this is the latest")
    assert "a@example.net -> b@example.org from 192.0.2." in shown.stdout


def test_what_the_history_does_not_know_is_said(tried):
    for words in (
        ["explain", "--sender", "x@example.net", "--recipient", "b@example.org"],
        ["explain", "x@y.z"],
    ):
        done = run(tried, *words)
        assert done.exit_code == 1
        assert "is in the history" in done.stderr
    assert run(tried, "explain", "a@x.example", "b@x.example", "c@x.example").exit_code == 2
    assert run(tried, "explain", "a@x..example").exit_code == 2
    told = as_json(run(tried, "explain", *PAIR, "--client-address", "unknown", "--json"))
    assert (told["verdict"]["reason"], told["past"]) == ("no-identity", None)


def test_a_line_without_an_id_is_matched_by_its_time(tried):
    first, second, third = decisions(tried)
    for before, client, row in (
        (180, "192.0.2.1", first),
        (119, "192.0.2.9", second),
        (62, "192.0.2.9", third),
    ):
        line = (
            f"{stamp(tried, before)} mx {SMTPD}unknown[{client}]: 450 4.7.1 <b@example.org>: Greylisted{END}"
        )
        told = as_json(run(tried, "explain", line, "--json"))
        assert (told["then"]["id"], told["then"]["reason"]) == (row["id"], row["reason"])
        assert told["attempt"]["listener"] == "mx"
        assert f"(id {row['id']})" in run(tried, "explain", line).stdout
    far = f"{stamp(tried, 86_400)} mx {SMTPD}unknown[192.0.2.1]: 450 4.7.1 <b@example.org>: Greylisted{END}"
    assert as_json(run(tried, "explain", far, "--json"))["then"] is None


@pytest.mark.parametrize(
    "line",
    [
        (
            "out postfix/smtp[3]: 3F2A1C0042: to=<b@example.org>, relay=mx[192.0.2.25]:25, dsn=4.7.1, "
            "status=deferred (host mx[192.0.2.25] said: 450 4.7.1 <b@example.org>: Recipient rejected: "
            "Greylisted, please try again later (in reply to RCPT TO command))"
        ),
        "<b@example.org>: host mx[192.0.2.250] said: 450 4.7.1 Greylisted, please try again later",
    ],
)
def test_the_senders_side_is_found_by_its_recipient(tried, line):
    told = as_json(run(tried, "explain", f"{stamp(tried, 121)} {line}", "--json"))
    assert (told["read"], told["then"]["id"]) == ("sender", decisions(tried)[1]["id"])
    assert "(read from a line of the sender's side)" in run(tried, "explain", line).stdout
    other = run(tried, "explain", line.replace("<b@", "<nobody@"))
    assert (other.exit_code, "no attempt of this mail is in the history" in other.stderr) == (1, True)


def test_the_header_of_a_message_leads_to_its_retry(tried):
    tried.clock.advance(600)
    answer = asked(tried)
    header = re.search(r"PREPEND (X-Greylist: .*)", answer)[1]
    for text in (header, f"Return-Path: <a@example.net>\nDelivered-To: b@example.org\n{header}"):
        told = as_json(run(tried, "explain", text, "--json"))
        assert (told["read"], told["then"]["reason"], told["then"]["age"]) == ("header", "retry", 780)
    assert run(tried, "explain", header.replace("780", "781")).exit_code == 1


def test_own_lines_in_every_form_are_read(house):
    asking = Attempt("mx", parse_client_address("192.0.2.1"), None, "h", "a@example.net", "b@example.org")
    event = DecisionEvent(house.clock.now(), "7f3k2q", asking, Verdict(Action.DEFER, Reason.NEW))
    for form in (format_event, format_json, format_postgrey):
        told = as_json(run(house, "explain", f"Nov 22 14:03:10 mx multigrey[1]: {form(event)}", "--json"))
        assert told["read"] == "multigrey"
        assert told["attempt"]["client_address"] == "192.0.2.1"
        assert told["attempt"]["recipient"] == "b@example.org"


def test_a_refusal_that_is_not_ours_is_named_as_whose_it_is(tried):
    line = f"mx {SMTPD}unknown[192.0.2.1]: 550 5.1.1 <b@example.org>: User unknown{END}"
    told = as_json(run(tried, "explain", line, "--json"))
    assert told["foreign"] == "the mail server's own: it has no such recipient"
    assert "this refusal is not multigrey's, but the mail server's own" in run(tried, "explain", line).stdout
    done = run(tried, "explain", "<b@example.org> rejected: 451 4.3.5 Server configuration error reject")
    assert done.exit_code == 1


def test_a_bounce_of_exim_is_found_by_its_id(house):
    asked(house, sender="", protocol_state="DATA")
    (row,) = decisions(house)
    line = (
        "2026-11-22 14:03:10 1tEXAM-000000001Ab-0Cde H=(mail.example.net) [192.0.2.1] F=<> temporarily "
        f"rejected after DATA: multigrey new id={row['id']}"
    )
    told = as_json(run(house, "explain", line, "--json"))
    assert (told["then"]["id"], told["attempt"]["recipient"]) == (row["id"], "b@example.org")
