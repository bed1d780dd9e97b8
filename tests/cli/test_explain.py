"""`multigrey explain`, `rule`, `expect` and `whitelist` as an administrator runs them, against a daemon."""

from __future__ import annotations

import json
import socket

import pytest
from click.testing import CliRunner

from multigrey.cli import main
from multigrey.clock import SystemClock
from tests.support.clocks import FakeClock
from tests.support.daemon import Daemon

CONFIG = """
state_dir = "{dir}/state"
[[listen]]
protocol = "postfix"
address = "unix:{dir}/state/postfix.sock"
name = "mx"
[[listen]]
protocol = "greylistd"
address = "unix:{dir}/state/g.sock"
name = "words"
[[whitelist]]
source = "list"
path = "{dir}/lists"
owner = "postmaster"
[[rule]]
name = "partner"
action = "greylist"
delay = "30s"
when = { sender_domain = "partner.example" }
[[rule]]
name = "never"
action = "reject"
when = { client_address = "198.51.100.66" }
"""
LIST = """\
# Monitoring
[[entry]]
client = "192.0.2.200"
reason = "each alert is sent once"

[[entry]]
client = "192.0.2.128/25"
reason = "the whole network"
"""
STRANGER = ["--client-address", "192.0.2.1", "--helo", "mail.example.net"]
MAIL = ["--sender", "a@example.net", "--recipient", "b@example.org"]


@pytest.fixture
def house(short_directory):
    """A daemon with a list and rules, and how to run commands against it."""
    lists = short_directory / "lists"
    lists.mkdir()
    lists.chmod(0o755)
    (lists / "ops.toml").write_text(LIST)
    (lists / "ops.toml").chmod(0o644)
    with Daemon(short_directory, CONFIG, user="nobody") as daemon:
        yield daemon


def run(house, *words, stdin=None):
    arguments = [str(word) for word in words]
    config = ["-c", str(house.config)]
    return CliRunner(env={"RUNTIME_DIRECTORY": None, "COLUMNS": None}).invoke(
        main, [*arguments, *config], input=stdin, obj=FakeClock(house.clock.now()), prog_name="multigrey"
    )


def asked(house, **parts):
    """What Postfix is answered."""
    told = {
        "request": "smtpd_access_policy",
        "protocol_state": "RCPT",
        "client_address": "192.0.2.1",
        "client_name": "unknown",
        "helo_name": "mail.example.net",
        "sender": "a@example.net",
        "recipient": "b@example.org",
        **parts,
    }
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(house.directory / "state/postfix.sock"))
        sock.sendall("".join(f"{name}={value}\n" for name, value in told.items()).encode() + b"\n")
        sock.shutdown(socket.SHUT_WR)
        data = b""
        while chunk := sock.recv(65536):
            data += chunk
    return data.decode()


def as_json(result, code=0):
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_where_is_my_mail(house):
    first = as_json(run(house, "explain", *STRANGER, *MAIL, "--json"))
    assert (first["verdict"]["action"], first["verdict"]["reason"]) == ("defer", "new")
    assert "DEFER_IF_PERMIT" in asked(house)
    delay = first["verdict"]["delay"]
    house.clock.advance(delay - 10)
    result = run(house, "explain", *STRANGER, *MAIL)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "192.0.2.1 (HELO mail.example.net): a@example.net -> b@example.org"
    assert lines[1].startswith("DEFER early: ")
    assert lines[1].endswith("A retry passes in 10s.")
    assert any(line.startswith("* records") for line in lines)
    assert any(line.startswith("- a retry passes from ") for line in lines)
    house.clock.advance(10)
    line = (
        "Nov 22 14:03:10 mx postfix/smtpd[9]: NOQUEUE: reject: RCPT from unknown[192.0.2.1]: 450 4.7.1 "
        "<b@example.org>: Recipient address rejected: Greylisted; from=<a@example.net> to=<b@example.org> "
        "proto=ESMTP helo=<mail.example.net>\n"
    )
    for words, stdin in ((["--line", line], None), (["--line", "-"], line), (["-"], line), ([line], None)):
        told = as_json(run(house, "explain", *words, "--json", stdin=stdin))
        assert (told["read"], told["verdict"]["reason"]) == ("postfix", "retry")
    assert asked(house).startswith(("action=DUNNO", "action=PREPEND"))
    assert as_json(run(house, "explain", *STRANGER, *MAIL, "--json"))["verdict"]["reason"] == "known"


REFUSED = [
    (["explain"], 2, "expected one of"),
    (["explain", "x", "--line", "y"], 2, "expected one of"),
    (["explain", "nosuchid"], 1, "nosuchid"),
    (["explain", "--line", "hello"], 1, "no attempt found"),
    (["explain", "--sender", "a@example.net"], 2, "recipient is missing"),
    (["explain", *MAIL, "--client-address", "x"], 2, "not an IP address"),
    (["explain", *MAIL, "--attribute", "size"], 2, "NAME=VALUE"),
    (["rule", "test"], 2, "expected the options"),
    (["whitelist", "test"], 2, "expected the options"),
    (["expect"], 2, "expected a RECIPIENT"),
    (["expect", "b@example.org", "--list"], 2, "--list takes neither"),
    (["expect", "b@example.org", "--for", "8d"], 2, "whitelist add"),
    (["expect", "b@example.org", "--for", "soon"], 2, "soon"),
    (["expect", "nobody"], 2, "is not an address"),
    (["expect", "b@example.org", "--cancel"], 1, "no such mail"),
]


def test_what_is_refused(house):
    for words, code, told in REFUSED:
        result = run(house, *words)
        assert (words, result.exit_code) == (words, code)
        assert told in result.output


def test_what_strangers_type_cannot_write_on_the_terminal(house):
    words = ["--client-address", "192.0.2.1", "--helo", "x\x1b[31m", "--sender", "a\u202e@example.net"]
    result = run(house, "explain", *words, "--recipient", "b@example.org")
    assert result.exit_code == 0
    assert "\x1b" not in result.output
    assert "\u202e" not in result.output
    assert r"x\x1b[31m" in result.output


def test_rules(house):
    listed = run(house, "rule", "list")
    assert listed.stdout.splitlines() == [
        "  1 partner: greylist (delay = 30 s)",
        '      sender_domain = "partner.example"',
        "  2 never: reject",
        '      client_address = "198.51.100.66"',
    ]
    tested = run(
        house, "rule", "test", *STRANGER, "--sender", "a@partner.example", "--recipient", "b@x.example"
    )
    assert tested.exit_code == 0
    assert '* partner (greylist): holds: sender_domain = "partner.example"' in tested.stdout
    assert tested.stdout.splitlines()[-1] == "decides: partner"
    none = run(house, "rule", "test", *STRANGER, *MAIL)
    assert none.exit_code == 1
    assert none.stdout.splitlines()[-1] == "no rule matches"
    rejected = as_json(run(house, "explain", *MAIL, "--client-address", "198.51.100.66", "--json"))
    assert (rejected["verdict"]["rule"], rejected["decided_by"]) == ("never", "rules")


def test_whitelists_are_tested_as_loaded(house):
    tested = run(house, "whitelist", "test", "--client-address", "192.0.2.200")
    assert tested.exit_code == 0
    assert "ops.toml:2 client=192.0.2.200, owner postmaster" in tested.stdout
    assert "hides ops.toml:6 client=192.0.2.128/25" in tested.stdout
    assert run(house, "whitelist", "test", "--client-address", "192.0.2.1").exit_code == 1
    srs = run(house, "whitelist", "test", "--sender", "SRS0=hhhh=tt=partner.example=alice@forwarder.example")
    assert srs.stdout.splitlines()[-2] == "no entry matches"
    assert "never match the inner address alice@partner.example" in srs.stdout.splitlines()[-1]
    told = as_json(run(house, "explain", *MAIL, "--client-address", "192.0.2.200", "--json"))
    assert (told["verdict"]["owner"], told["decided_by"]) == ("postmaster", "whitelists")


def test_an_entry_is_added_used_reviewed_and_removed(house):
    added = run(house, "whitelist", "add", "--client", "192.0.2.1", "--reason", "asked for", "--for", "2h")
    assert added.exit_code == 0, added.output
    path = house.directory / "lists/local.toml"
    assert f"added {path}:1: client=192.0.2.1 (owner postmaster, expires" in added.stdout
    assert added.stdout.splitlines()[-1].startswith("in effect: ")
    assert asked(house) == "action=DUNNO\n\n"
    for words in (["whitelist", "test"], ["explain", *MAIL]):
        tested = run(house, *words, "--client-address", "192.0.2.1")
        assert (tested.exit_code, "because: asked for; expires " in tested.stdout) == (0, True)
    house.clock.advance(7_200)
    assert "DEFER_IF_PERMIT" in asked(house)
    reviewed = run(house, "whitelist", "review", "local.toml:1", "--until", "2030-01-31")
    assert reviewed.exit_code == 0, reviewed.output
    assert "review_by = 2030-01-31\n" in path.read_text()
    removed = as_json(run(house, "whitelist", "remove", "--client", "192.0.2.1", "--json"))
    assert (removed["changed"], removed["reloaded"]) == ("removed", True)
    assert path.read_text() == ""


def test_somebody_waits_for_a_code(house):
    made = run(
        house, "expect", "b@example.org", "--from", "example.net", "--for", "15m", "--reason", "a code"
    )
    assert made.exit_code == 0, made.output
    assert "expected: b@example.org from example.net until " in made.stdout
    assert "(a code)" in made.stdout
    assert asked(house) == "action=DUNNO\n\n"
    house.stop()
    assert "source=expect" in house.log()[-1]
    house.start()
    assert "set by" in run(house, "expect", "--list").stdout
    assert asked(house) == "action=DUNNO\n\n"
    gone = run(house, "expect", "b@example.org", "--cancel")
    assert gone.exit_code == 0
    assert run(house, "expect", "--list").stdout == "no mail is expected\n"
    assert "DEFER_IF_PERMIT" in asked(house)
    assert "mail is expected: recipient=b@example.org from=example.net for 900 s, asked by" in house.stderr()


def test_what_holds_for_a_while_is_told_of_a_stopped_daemon_as_of_one_that_runs(house):
    house.clock.set(SystemClock().now())  # which is what a stopped daemon's store is looked at with
    assert run(house, "expect", "code@example.org").exit_code == 0
    assert run(house, "mode", "observe").exit_code == 0
    mail = ["--sender", "a@example.net", "--recipient"]

    def told():
        expected = as_json(run(house, "explain", *STRANGER, *mail, "code@example.org", "--json"))["verdict"]
        other = as_json(run(house, "explain", *STRANGER, *mail, "b@example.org", "--json"))["verdict"]
        assert "code@example.org" in run(house, "expect", "--list").stdout
        return expected["source"], other["reason"], other["observed"]

    running = told()
    house.stop()
    assert told() == running == ("expect", "new", True)
    assert run(house, "expect", "code@example.org", "--cancel").exit_code == 3


def test_blocks_are_known_of_a_stopped_daemon_too(house):
    house.clock.set(SystemClock().now())
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(house.directory / "state/g.sock"))
        client.sendall(b"add --black 192.0.2.1 a@example.net b@example.org\n")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1000)

    def told():
        return as_json(run(house, "explain", *STRANGER, *MAIL, "--json"))

    running = told()
    assert (running["decided_by"], running["verdict"]["action"]) == ("blocked", "reject")
    house.stop()
    assert told()["decided_by"] == "blocked"
    assert told()["verdict"] == running["verdict"]


def test_the_store_of_a_stopped_daemon(house):
    asked(house)
    house.stop()
    told = as_json(run(house, "explain", *STRANGER, *MAIL, "--json"))
    assert any(row["record"] for row in next(s for s in told["steps"] if s["step"] == "records")["details"])
    assert run(house, "rule", "list").exit_code == 0
    assert run(house, "expect", "b@example.org").exit_code == 3
