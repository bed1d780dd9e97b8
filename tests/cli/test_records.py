"""`multigrey records`, `origins` and `history`, asked of a real daemon and of a stopped one's store."""

from __future__ import annotations

import json
import socket

import pytest
from click.testing import CliRunner

from multigrey.cli import main
from tests.support.clocks import START
from tests.support.daemon import Daemon

CONFIG = """
state_dir = "{dir}/state"
[[listen]]
protocol = "postfix"
address = "unix:{dir}/state/postfix.sock"
name = "smtp"
"""


@pytest.fixture
def daemon(short_directory):
    with Daemon(short_directory, CONFIG, user="nobody") as running:
        yield running


def ask(
    daemon, recipient="b@example.net", sender="a@example.org", client="192.0.2.10", name="mx1.example.org"
):
    text = (
        "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\n"
        f"client_address={client}\nclient_name={name}\nhelo_name={name}\nsender={sender}\nrecipient={recipient}\n\n"
    )
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(daemon.directory / "state" / "postfix.sock"))
        sock.sendall(text.encode())
        return sock.recv(4096).decode().split()[0]


def run(daemon, *arguments):
    command = [*arguments, "-c", str(daemon.config)]
    env = {"RUNTIME_DIRECTORY": None, "COLUMNS": "250"}
    return CliRunner(env=env).invoke(main, command, obj=daemon.clock, prog_name="multigrey")


def rows(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_where_addresses_are_redacted_single_ones_are_found_and_of_networks_it_is_said(short_directory):
    with Daemon(short_directory, CONFIG + "[log]\nredact = true\n", user="nobody") as daemon:
        ask(daemon)
        ask(daemon, client="192.0.2.11", name="mx2.example.org")
        found = run(daemon, "history", "a@example.org")
        assert "2 attempts from 2 client addresses" in found.stdout
        assert "192.0.2" not in found.stdout
        assert run(daemon, "history", "192.0.2.10").exit_code == 0
        for words in (
            ["history", "192.0.2.0/24"],
            ["records", "list", "--client", "192.0.2.0/24"],
            ["records", "forget", "--client", "192.0.2.0/24"],
            ["records", "pass", "--client", "192.0.2.0/24"],
        ):
            result = run(daemon, *words)
            assert (result.exit_code, "not for a network" in result.stderr) == (1, True), words
        assert "redacted" not in run(daemon, "history", "192.0.2.99").stderr


def test_the_story_of_a_delayed_mail(daemon):
    assert run(daemon, "history", "a@example.org").exit_code == 1
    assert ask(daemon) == "action=DEFER_IF_PERMIT"
    daemon.clock.advance(60)
    assert ask(daemon, client="192.0.2.11", name="mx2.example.org") == "action=DEFER_IF_PERMIT"
    waiting = run(daemon, "history", "b@example.net")
    assert "waiting for 1m: 2 attempts from 2 client addresses; a retry passes in 1m" in waiting.stdout
    daemon.clock.advance(240)
    assert ask(daemon, client="198.51.100.3", name="mx3.example.org").startswith("action=PREPEND")
    daemon.clock.advance(10)
    assert ask(daemon) == "action=DUNNO"
    for about in ("a@example.org", "example.net", "192.0.2.0/24", "mx3.example.org"):
        assert run(daemon, "history", about).exit_code == 0, about
    result = run(daemon, "history", "example.org")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "a@example.org -> b@example.net"
    assert lines[1] == "  accepted after 5m: 3 attempts from 3 client addresses"
    assert [line.split()[3:6] for line in lines[2:5]] == [
        ["defer", "new", "mx1.example.org"],
        ["defer", "early", "mx2.example.org"],
        ["pass", "retry", "mx3.example.org"],
    ]
    assert all("listener smtp" in line for line in lines[2:5])
    assert lines[6:8] == ["a@example.org -> b@example.net", "  passed at once: 1 attempt"]
    head, story, later = rows(run(daemon, "history", "example.org", "--json"))
    assert (head["decisions"], head["more"]) == (4, False)
    assert (story["ending"], story["delay"], story["clients"], story["first"]) == ("accepted", 300, 3, START)
    assert [row["reason"] for row in story["decisions"]] == ["new", "early", "retry"]
    assert later["decisions"][0]["attributes"]["protocol_name"] == "ESMTP"
    assert run(daemon, "history", "example.org", "--since", "5s").stdout.count("->") == 1
    limited = run(daemon, "history", "example.org", "--limit", "1")
    assert "only the latest 1 decision was read" in limited.stderr
    assert run(daemon, "history", "nobody@example.com").exit_code == 1
    assert run(daemon, "history", "nonsense").exit_code == 2
    assert run(daemon, "history").exit_code == 2
    two = run(daemon, "history", "a@example.org", "b@example.net")
    assert (two.exit_code, "multigrey where takes several" in two.stderr) == (2, True)
    by_id = run(daemon, "explain", story["decisions"][0]["id"])
    assert by_id.exit_code == 0, by_id.output


def test_records_are_listed_shown_let_in_and_forgotten(daemon):
    assert run(daemon, "records", "list").exit_code == 1
    ask(daemon)
    ask(daemon, recipient="c@example.net")
    result = run(daemon, "records", "list", "--state", "waiting")
    assert (result.exit_code, result.stderr) == (0, "")
    heads, *lines = result.stdout.splitlines()
    assert heads.split()[0] == "STATE"
    assert sorted(line.split()[8] for line in lines) == ["b@example.net", "c@example.net"], lines
    found = rows(run(daemon, "records", "list", "--recipient", "b@example.net", "--json"))
    assert [(row["state"], row["origin"]) for row in found] == [("waiting", "example.org")]
    shown = run(daemon, "records", "show", "--key", found[0]["key"][:10])
    assert shown.exit_code == 0
    assert "a@example.org -> b@example.net from 192.0.2.10 (origin example.org)" in shown.stdout
    assert "passes      in 2m" in shown.stdout
    options = (
        "--client-address",
        "192.0.2.10",
        "--client-name",
        "mx1.example.org",
        "--sender",
        "a@example.org",
    )
    assert run(daemon, "records", "show", *options, "--recipient", "b@example.net").exit_code == 0
    assert run(daemon, "records", "show", *options, "--recipient", "nobody@example.net").exit_code == 1
    assert run(daemon, "records", "show", *options, "--key", "123456").exit_code == 2
    assert run(daemon, "records", "pass", "--recipient", "b@example.net", "--dry-run").exit_code == 0
    passed = run(daemon, "records", "pass", "--recipient", "b@example.net")
    assert passed.stdout == "1 record (2 keys) let in\n"
    assert run(daemon, "records", "pass", "--recipient", "b@example.net").exit_code == 1
    assert ask(daemon) == "action=DUNNO"
    forgotten = run(daemon, "records", "forget", "--recipient", "b@example.net")
    assert forgotten.stdout == "1 record (2 keys), 0 entries of trust, 2 decisions forgotten\n"
    assert run(daemon, "records", "forget", "--recipient", "b@example.net").exit_code == 1
    assert run(daemon, "history", "b@example.net").exit_code == 1
    assert run(daemon, "history", "c@example.net").exit_code == 0
    assert ask(daemon) == "action=DEFER_IF_PERMIT"
    for wrong in (
        ("forget",),
        ("pass",),
        ("forget", "--all", "--sender", "a@b"),
        ("list", "--state", "grey"),
    ):
        assert run(daemon, "records", *wrong).exit_code == 2, wrong
    log = daemon.stderr()
    assert "records forgotten by" in log
    assert "records let in by" in log


def test_origins(daemon):
    assert run(daemon, "origins", "list").exit_code == 1
    ask(daemon)
    daemon.clock.advance(200)
    ask(daemon)
    (row,) = rows(run(daemon, "origins", "list", "--json"))
    assert (row["origin"], row["standing"]["proven"]) == ("example.org", False)
    assert [(each["domain"], each["passes"], each["trusted"]) for each in row["domains"]] == [
        ("example.org", 1, False)
    ]
    heads, cells = (line.split() for line in run(daemon, "origins", "list").stdout.splitlines())
    assert heads == ["ORIGIN", "PROVEN", "RETURNED", "DOMAINS", "TRUSTED", "FOR"]
    assert cells == ["example.org", "no", "0", "of", "0", "1", "0", "of", "1"]
    shown = run(daemon, "origins", "show", "example.org")
    assert shown.exit_code == 0
    assert "for mail from example.org: not trusted (1 of 5 counted passes, under one key only" in shown.stdout
    assert run(daemon, "origins", "list", "--trusted").exit_code == 1
    assert run(daemon, "origins", "show", "example.com").exit_code == 1
    assert run(daemon, "origins", "forget", "example.org", "--dry-run").stdout.startswith(
        "2 entries of trust would"
    )
    assert run(daemon, "origins", "forget", "example.org").stdout == "2 entries of trust forgotten\n"
    assert run(daemon, "origins", "forget", "example.org").exit_code == 1
    assert run(daemon, "records", "list").exit_code == 0


def test_without_the_daemon_its_store_is_asked(daemon):
    ask(daemon)
    ask(daemon, recipient="c@example.net")
    daemon.stop()
    assert len(rows(run(daemon, "records", "list", "--json"))) == 2
    result = run(daemon, "history", "b@example.net")
    assert (result.exit_code, result.stderr) == (0, "")
    forgotten = run(daemon, "records", "forget", "--recipient", "b@example.net")
    assert "2 keys" in forgotten.stdout
    assert "1 decision forgotten" in forgotten.stdout
    daemon.start()
    assert run(daemon, "history", "b@example.net").exit_code == 1
    assert run(daemon, "history", "c@example.net").exit_code == 0


def test_history_survives_kill_9_but_for_the_last_second(daemon):
    ask(daemon)
    assert run(daemon, "history", "b@example.net").exit_code == 0, "asking writes what waits"
    ask(daemon, recipient="c@example.net")
    daemon.kill()
    daemon.start()
    assert run(daemon, "history", "b@example.net").exit_code == 0
    ask(daemon, recipient="d@example.net")
    assert run(daemon, "history", "d@example.net").exit_code == 0


def test_what_a_terminal_might_obey_is_not_printed(daemon):
    ask(daemon, sender="\x1b[31m@example.org", recipient="b\x07@example.net")
    for command in (
        ("records", "list"),
        ("history", "example.org"),
        (
            "records",
            "show",
            "--client-address",
            "192.0.2.10",
            "--client-name",
            "mx1.example.org",
            "--sender",
            "\x1b[31m@example.org",
            "--recipient",
            "b\x07@example.net",
        ),
    ):
        result = run(daemon, *command)
        assert result.exit_code == 0, command
        assert not {"\x1b", "\x07"} & set(result.stdout)


@pytest.mark.parametrize("group", ["records", "origins"])
def test_help(group):
    result = CliRunner().invoke(main, [group, "--help"], prog_name="multigrey")
    assert "Exit status: 0" in result.stdout
    for word in ("list", "show", "forget"):
        told = CliRunner().invoke(main, [group, word, "--help"], prog_name="multigrey").stdout
        assert "Exit status: 0" in told


@pytest.fixture
def forgetful(short_directory):
    with Daemon(short_directory, CONFIG + "[history]\nenabled = false\n", user="nobody") as running:
        yield running


def test_history_switched_off(forgetful):
    ask(forgetful)
    result = run(forgetful, "history", "example.org")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "[history] enabled" in result.stderr
    assert not (forgetful.directory / "state" / "history.mdb").exists()
    assert run(forgetful, "records", "forget", "--sender", "a@example.org").exit_code == 0


def test_a_person_is_forgotten_and_what_is_left_is_named(daemon):
    ask(daemon)
    ask(daemon, recipient="c@example.net")
    assert run(daemon, "expect", "b@example.net").exit_code == 0
    dry = run(daemon, "records", "forget", "--person", "b@example.net", "--dry-run")
    assert "1 expectation would be forgotten\n" in dry.stdout
    done = run(daemon, "records", "forget", "--person", "b@example.net", "--scrub")
    assert done.stdout.startswith(
        "1 record (2 keys), 0 marks, 1 decision, 1 expectation forgotten\nnot reached"
    )
    assert "  the logs of the mail servers\n" in done.stdout
    state = daemon.directory / "state"
    named = [
        path.name for path in state.iterdir() if path.is_file() and b"b@example.net" in path.read_bytes()
    ]
    assert named == []
    assert run(daemon, "history", "c@example.net").exit_code == 0
    again = run(daemon, "records", "forget", "--person", "b@example.net")
    assert (again.exit_code, "--scrub removes that, too" in again.stdout) == (1, True)
    wrong = run(daemon, "records", "forget", "--person", "b@example.net", "--sender", "a@example.org")
    assert (wrong.exit_code, run(daemon, "records", "forget", "--person", "b").exit_code) == (2, 2)


def test_that_the_history_goes_too_is_said_before(daemon):
    ask(daemon)
    for options, said in ((["--dry-run"], ""), ([], "their decisions in the history are forgotten, too\n")):
        done = run(daemon, "records", "forget", "--recipient", "b@example.net", *options)
        assert (done.exit_code, done.stderr) == (0, said)


@pytest.mark.parametrize(("state", "left"), [("known", False), ("waiting", True)])
def test_a_list_at_80_columns_shows_times_and_no_empty_column(monkeypatch, state, left):
    row = {
        "state": state, "first_seen": START, "last_seen": START + 86_400, "attempts": 3,
        "client": "203.0.113.209", "sender": "newsletter-bounces@mail.example.org",
        "recipient": "somebody.with.a.long.name@example.net", "origin": "example.org",
        "ready": START + 86_500 if left else None,
    }  # fmt: skip
    items = [{"records": [row]}, {"found": 1, "more": False, "time": START + 86_410}]
    monkeypatch.setattr("multigrey.cli.records.stream", lambda *_: iter(items))
    result = CliRunner(env={"COLUMNS": "80", "TZ": "UTC"}).invoke(main, ["records", "list"])
    assert result.exit_code == 0
    head, *lines = result.stdout.splitlines()
    assert ("LEFT" in head) is left
    assert "LAST SEEN" in head
    assert "09-10 01:46" in lines[0]
    assert all(len(line.rstrip()) <= 80 for line in lines)
