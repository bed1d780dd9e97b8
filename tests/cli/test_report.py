"""`multigrey report`, asked of a real daemon and of a stopped one's history."""

from __future__ import annotations

import json
import socket

import pytest
from click.testing import CliRunner

from multigrey.cli import main
from multigrey.cli.report import write_page
from tests.support.daemon import Daemon

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
    assert "No decision is remembered of this time" in empty.stdout
    assert ask(daemon) == "action=DEFER_IF_PERMIT"
    assert ask(daemon, "c@example.net", "198.51.100.7", "unknown") == "action=DEFER_IF_PERMIT"
    daemon.clock.advance(300)
    assert ask(daemon).startswith("action=PREPEND")

    result = run(daemon)
    assert (result.exit_code, result.stderr) == (0, "")
    assert (
        "2 mails were deferred: 1 came back and were let in, 1 still wait, 0 never came back."
        in result.stdout
    )
    assert "Delay of those that came back: p50 5m, p95 5m, longest 5m." in result.stdout
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["codes", "shop", "2m", "1", "1", "1", "0", "0", "5m", "5m", "5m"] in lines
    assert ["named", "1", "1", "0", "0", "5m", "5m", "5m"] in lines
    assert ["unnamed", "1", "0", "1", "0"] in lines
    assert ["example.org", "named", "2", "5m", "1", "1", "0", "0", "5m", "5m", "5m"] in lines
    assert "- class codes: 1 mail took longer than its target of 2m" in result.stdout
    assert "codes" not in run(daemon, "--owner", "nobody").stdout

    found = json.loads(run(daemon, "--json").stdout)
    assert (found["delays"]["deferred"], found["classes"][0]["over_target"]) == (2, 1)
    assert json.loads(run(daemon, "--json", "--since", "1m").stdout)["traffic"]["decisions"] == 1
    assert "only the latest 1 were looked at" in run(daemon, "--limit", "1").stdout

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
