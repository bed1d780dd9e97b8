"""`multigrey report`, asked of a real daemon and of a stopped one's history."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from dataclasses import replace
from email import message_from_bytes
from email.policy import SMTP

import pytest
from click.testing import CliRunner
from rich.console import Console

from multigrey.analysis.figures import Outlook, Target
from multigrey.analysis.report import make_report
from multigrey.cli import main
from multigrey.cli.report import render, write_page
from multigrey.clock import SystemClock
from multigrey.model import Reason
from tests.support.clocks import START
from tests.support.daemon import ROOT, Daemon
from tests.support.decisions import decision

CONFIG = """
state_dir = "{dir}/state"
[[listen]]
protocol = "postfix"
address = "unix:{dir}/state/postfix.sock"
name = "smtp"

[[class]]
name = "codes"
target = "2m"
owner = "shop"
when.recipient = "b@example.net"
"""


@pytest.fixture
def daemon(short_directory):
    with Daemon(short_directory, CONFIG, user="nobody") as running:
        yield running


def ask(daemon, recipient="b@example.net", client="192.0.2.10", name="mx1.example.org"):
    text = (
        "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\n"
        f"client_address={client}\nclient_name={name}\nhelo_name={name}\nsender=a@example.org\n"
        f"recipient={recipient}\n\n"
    )
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(daemon.directory / "state" / "postfix.sock"))
        sock.sendall(text.encode())
        return sock.recv(4096).decode().split()[0]


def run(daemon, *arguments):
    command = ["report", *arguments, "-c", str(daemon.config)]
    env = {"RUNTIME_DIRECTORY": None, "COLUMNS": "250"}
    return CliRunner(env=env).invoke(main, command, obj=daemon.clock, prog_name="multigrey")


def test_report(daemon, tmp_path):
    empty = run(daemon)
    assert (empty.exit_code, empty.stderr) == (1, "")
    assert "The history holds no decision of this time" in empty.stdout
    assert ask(daemon) == "action=DEFER_IF_PERMIT"
    assert ask(daemon, "c@example.net", "198.51.100.7", "unknown") == "action=DEFER_IF_PERMIT"
    daemon.clock.advance(300)
    assert ask(daemon).startswith("action=PREPEND")

    result = run(daemon)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "2 mails were deferred: 1 came back and was let in, 1 still waits." in result.stdout
    assert "- it is too early to judge whether greylisting is worth it" in result.stdout
    assert "Delay of those that came back: p50 5m, p95 5m, longest 5m." in result.stdout
    lines = [line.split() for line in result.stdout.splitlines()]
    # what never came back is not known yet: that is no 0
    assert ["codes", "shop", "2m", "1", "1", "1", "0", "5m", "5m", "5m"] in lines
    assert ["named", "1", "1", "0", "5m", "5m", "5m"] in lines
    assert ["unnamed", "1", "0", "1"] in lines
    assert ["example.org", "named", "2", "5m", "1", "1", "0", "5m", "5m", "5m"] in lines
    assert "- class codes: 1 mail took longer than its target of 2m" in result.stdout
    assert "codes" not in run(daemon, "--owner", "nobody").stdout

    found = json.loads(run(daemon, "--json").stdout)
    assert (found["delays"]["deferred"], found["classes"][0]["over_target"]) == (2, 1)
    assert json.loads(run(daemon, "--json", "--since", "1m").stdout)["traffic"]["decisions"] == 1
    few = run(daemon, "--limit", "1").stdout
    assert "3 decisions; 0 attempts passed at once.\n2 mails were deferred: 1 came back" in few
    assert "lists are of 1 decision since" in few

    page = tmp_path / "report.html"
    result = run(daemon, "--html", str(page))
    assert (result.exit_code, result.stdout) == (0, "")
    assert "example.org" in page.read_text()
    assert page.stat().st_mode & 0o777 == 0o600
    assert run(daemon, "--html", "-").stdout.startswith("<!DOCTYPE html>")
    wrong = run(daemon, "--html", str(tmp_path / "missing" / "report.html"))
    assert wrong.exit_code == 1
    assert "cannot be written" in wrong.stderr
    assert run(daemon, "--html", str(page), "--json").exit_code == 2
    assert run(daemon, "--since", "long").exit_code == 2


def test_providers_that_passed_at_once(daemon):
    google = {"client": "209.85.210.45", "name": "mail-ot1-f45.google.com"}
    assert [ask(daemon, to, **google) for to in ("b@example.net", "c@example.net", "b@example.net")] == [
        "action=DUNNO"
    ] * 3
    lines = [line.split() for line in run(daemon).stdout.splitlines()]
    (row,) = [line for line in lines if line[:1] == ["google"] and len(line) == 5]
    assert row[1:3] == ["2", "1"]  # the third was known
    (row,) = json.loads(run(daemon, "--json").stdout)["let_in"]
    assert (row["provider"], row["number"], row["domains"]) == ("google", 2, 1)


def test_report_of_a_stopped_daemon(daemon):
    ask(daemon)
    daemon.stop()
    found = json.loads(run(daemon, "--json").stdout)
    assert (found["traffic"]["decisions"], found["classes"][0]["name"]) == (1, "codes")


def test_a_page_is_replaced_at_one_stroke(tmp_path, monkeypatch):
    real, link = tmp_path / "real.html", tmp_path / "link.html"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    write_page(link, "new")
    assert link.is_symlink()
    assert (real.read_text(), real.stat().st_mode & 0o777) == ("new", 0o640)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_page(link, "lost")
    assert real.read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.html", "real.html"]


@pytest.mark.parametrize("width", [60, 80, 100])
def test_tables_keep_what_they_are_sorted_by(width):
    """With figures of a busy host, and longer names than fit."""
    events = []
    for index in range(30):
        domain = f"customer-relations.sales-and-marketing-{index}.example.org"
        who = {"sender": f"a@{domain}", "recipient": f"r{index}@example.net", "origin": domain}
        events += [decision(time=START + index, **who)]
        passed = decision(Reason.RETRY, START + 90_000 + index, **who)
        events += [replace(passed, class_="codes", verdict=replace(passed.verdict, age=90_000))]
    events.sort(key=lambda event: event.time)
    outlook = Outlook(START + 4 * 86_400, START, 172_800, {"codes": Target(60)})
    found = {**make_report(events, outlook).as_mapping(), "recorded_since": START, "unreadable": []}
    for row in (*found["domains"], *found["top_origins"]):
        row["attempts"] = row["delays"]["deferred"] = row["delays"]["never"] = 12_345_678
    out = io.StringIO()
    render(Console(file=out, width=width, markup=False, highlight=False, no_color=True), found)
    lines = out.getvalue().splitlines()
    heads = {title: lines[number + 1].split() for number, title in enumerate(lines) if title in SORTED_BY}
    assert all(sorted_by in " ".join(heads[title]) for title, sorted_by in SORTED_BY.items())
    assert "never" in heads["Sender domains that waited longest"] or width == 60
    tables = lines[lines.index("Delay by kind of origin") : lines.index("Advice")]
    assert all(len(line.rstrip()) <= width for line in tables)


SORTED_BY = {"Sender domains that waited longest": "total wait", "Origins with most attempts": "att"}


def example(name: str) -> str:
    """What the manual shows under this name."""
    found = re.search(
        rf'(?m)^\.\\" example: report {name}\n\.Bd .*\n(?P<body>(?:.*\n)*?)\.Ed$',
        (ROOT / "man/multigrey-report.1").read_text(),
    )
    assert found is not None
    return found["body"]


def in_a_shell(daemon, tmp_path, script: str) -> subprocess.CompletedProcess[bytes]:
    """Run a script with `multigrey` in the PATH; what it would mail is written to standard output."""
    program = tmp_path / "multigrey"
    program.write_text(
        f'#!/bin/sh\nexec env PYTHONPATH={ROOT} {sys.executable} -m multigrey "$@" --config {daemon.config}\n'
    )
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = script.replace("/usr/sbin/sendmail -t", "cat")
    return subprocess.run(["sh", "-c", command], env=environment, capture_output=True, check=False)


def test_the_manuals_weekly_mail(daemon, tmp_path):
    daemon.clock.set(SystemClock().now())
    assert ask(daemon) == "action=DEFER_IF_PERMIT"
    assert "| /usr/sbin/sendmail -t" in example("weekly")
    done = in_a_shell(daemon, tmp_path, example("weekly"))
    assert (done.returncode, done.stderr) == (0, b"")
    mail = message_from_bytes(done.stdout, policy=SMTP)
    assert (mail["To"], mail.get_content_type(), mail.defects) == ("postmaster", "text/html", [])
    assert "1 mail was deferred" in mail.get_content()
    assert max(map(len, done.stdout.splitlines())) <= 998


def test_the_manuals_commands_for_the_telephone(daemon, tmp_path):
    daemon.clock.set(SystemClock().now())
    ask(daemon, recipient="bob@example.net")
    done = in_a_shell(daemon, tmp_path, example("phone"))
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"waiting for" in done.stdout
    assert b"expected: bob@example.net from example.org until" in done.stdout
    assert ask(daemon, recipient="bob@example.net") == "action=DUNNO"


def test_the_commands_of_a_report_can_be_copied(tmp_path):
    """Each is accepted as it stands, and makes an entry."""
    window = 2 * 86_400
    pool = [
        decision(
            time=START + number, client=f"45.1.{number}.9", origin=f"45.1.{number}.0/24", sender="a@p.test"
        )
        for number in range(6)
    ]
    slow = [
        decision(Reason.RETRY, START + number, recipient=f"r{number}@example.net", verdict={"age": 9_000})
        for number in range(3)
    ]
    once = [decision(time=START + 10, recipient="once@example.net", origin="shop.test", sender="o@shop.test")]
    found = make_report([*pool, *slow, *once], Outlook(START + 2 * window, START, window))
    commands = [row.command for row in found.once]
    for text in found.advice:
        commands += re.findall(r"multigrey whitelist add [^;]*?--reason=\.\.\.", text)
    assert len(commands) == 3
    config = tmp_path / "multigrey.toml"
    config.write_text(f'state_dir = "{tmp_path}/state"\n')
    for command in commands:
        words = [*shlex.split(command)[1:], "--no-reload", "--config", str(config)]
        result = CliRunner(env={"RUNTIME_DIRECTORY": None}).invoke(main, words)
        assert (result.exit_code, result.stderr.count("wrong")) == (0, 0), command
    written = (tmp_path / "whitelists" / "local.toml").read_text()
    assert written.count("[[entry]]") == 3
    assert 'client = "45.1.0.0/16"\nsender_domain = "p.test"' in written
