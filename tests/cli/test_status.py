"""`multigrey status`: is my whitelist really loaded?  And what needs attention."""

from __future__ import annotations

import io
import json
import os
import pwd
import socket
from copy import deepcopy

import pytest
from click.testing import CliRunner
from rich.console import Console

from multigrey.cli import main
from multigrey.cli.status import _show
from tests.support.daemon import Daemon

CONFIG = """
state_dir = "{dir}/state"
[[listen]]
protocol = "postfix"
address = "unix:{dir}/p.sock"
[[whitelist]]
source = "postgrey-clients"
path = "{dir}/clients"
owner = "mail desk"
"""


PLUGIN = {"name": "geo", "distribution": "geo 1", "calls": 9, "failures": 5, "timeouts": 2}


@pytest.fixture(scope="module")
def stopped(module_directory):
    """A daemon that ran; what it said of itself as JSON, and in words before and after a list changed."""
    clients = module_directory / "clients"
    clients.write_text("192.0.2.1\n192.0.2.2\n")
    with Daemon(module_directory, CONFIG, user="nobody") as daemon:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(module_directory / "p.sock"))
            told = json.loads(_status(daemon, "--json").stdout)
            before = _status(daemon)
        clients.write_text("192.0.2.1\n")
        os.utime(clients, (2_000_000_000, 2_000_000_000))
        after = _status(daemon)
    return daemon, told, before, after


def _status(daemon, *arguments: str):
    return CliRunner().invoke(main, ["status", *arguments, "-c", str(daemon.config)])


def _words(told) -> str:
    out = io.StringIO()
    _show(Console(file=out, width=200, markup=False, highlight=False), told)
    return out.getvalue()


def test_of_a_daemon_that_runs(stopped):
    daemon, told, before, _ = stopped
    assert before.exit_code == 0
    assert "!" not in before.stdout
    (row,) = [line for line in before.stdout.splitlines() if "postgrey-clients" in line]
    for word in ("2", "mail desk", str(daemon.directory / "clients"), "loaded"):
        assert word in row
    assert told["listeners"] == [
        {
            "name": f"postfix@unix:{daemon.directory}/p.sock",
            "protocol": "postfix",
            "address": f"unix:{daemon.directory}/p.sock",
            "on_error": "pass",
            "connections": 1,
            "peers": [{"peer": f"uid {os.getuid()}", "connections": 1}],
        }
    ]
    assert told["config"] == str(daemon.config)
    assert told["control"]["connections"] == 1
    assert told["needs_restart"] == []
    assert told["history"]["trouble"] == ""
    (row,) = [line for line in before.stdout.splitlines() if line.startswith("postfix@")]
    assert row.split()[-2:] == ["user", pwd.getpwuid(os.getuid()).pw_name]
    assert "decisions remembered" in before.stdout


def test_a_list_that_changed_is_not_read_yet(stopped):
    *_, after = stopped
    assert "has changed since it was read: multigrey reload" in after.stdout
    assert "changed, not read yet" in after.stdout


def test_of_a_stopped_one(stopped):
    daemon, *_ = stopped
    result = _status(daemon)
    assert result.exit_code == 3
    assert "no daemon is running" in result.stdout
    assert "known" in result.stdout


def test_the_mode_of_a_stopped_one(stopped):
    daemon, *_ = stopped
    result = CliRunner().invoke(main, ["mode", "-c", str(daemon.config)])
    assert (result.exit_code, result.stdout) == (3, "mode: enforce, as configured\n")
    assert CliRunner().invoke(main, ["mode", "off", "-c", str(daemon.config)]).exit_code == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mode": {"configured": "enforce", "in_effect": "off"}}, "nobody is deferred: the mode is off"),
        ({"store": {"error": "disk gone"}}, "! store: disk gone"),
        ({"store": {"commit_failures": 3}}, "3 commits failed"),
        ({"store": {"used": 95, "map_size": 100}}, "nearly full"),
        ({"limits": {"full": True, "forgotten": 0, "max_records": 1}}, "raise [limits] max_records"),
        ({"limits": {"full": False, "forgotten": 7, "max_records": 1}}, "7 waiting records were forgotten"),
        ({"loop_lag": {"latest": 0, "worst": 0.3}}, "event loop is late"),
        ({"connections": {"open": 9, "most": 9}}, "no more connections"),
        ({"internal_errors": 1}, "ended by a bug"),
        ({"log_lines_lost": 2}, "2 decision lines"),
        (
            {"history": {"decisions": 3, "lost": 9, "trouble": "disk full"}},
            "! decisions are made as ever, but",
        ),
        ({"history": {"decisions": 3, "lost": 9, "trouble": ""}}, "9 since the start"),
        ({"history": None}, "none: [history] enabled is false"),
        ({"needs_restart": ["user", "store"]}, "! store has changed in the configuration"),
        ({"plugins": [PLUGIN]}, "plugin geo failed 5 times"),
        ({"warnings": ["a\x1b[31mb"]}, "! a\\x1b[31mb"),
        ({"records": {"known": 7, "waiting": 1, "estimated": True}}, "about 7"),
        ({"overrides": [{"slot": "mode", "word": "off", "until": 2**31, "by": "root"}]}, "(asked by root)"),
    ],
)
def test_what_needs_attention(stopped, change, words):
    told = deepcopy(stopped[1])
    for name, value in change.items():
        told[name] = {**told[name], **value} if isinstance(value, dict) and name == "store" else value
    assert words in _words(told)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"missing": True}, "is gone or cannot be read"),
        ({"newer_on_disk": True}, "multigrey reload"),
        ({"entries": 0}, "is empty"),
    ],
)
def test_lists_that_need_attention(stopped, change, words):
    told = deepcopy(stopped[1])
    told["lists"][-1].update(change)
    assert words in _words(told)
