"""`multigrey status`: is my whitelist really loaded?  And what needs attention."""

from __future__ import annotations

import io
import json
import os
import pwd
import socket
from copy import deepcopy
from datetime import datetime

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


NOON = int(datetime(2026, 11, 30, 12).astimezone().timestamp())
FLOOD = {"network": "94.102.49.0/24", "since": NOON, "seconds": 9, "attempts": 31_000}
FLOODED = """\
! 94.102.49.0/24 is over the limit of new records since 12:00: 31,000 attempts in the last hour; \
its retries still pass"""
INPUT = {
    "listener": "smtp",
    "problem": "x",
    "what": "listener smtp: odd",
    "cause": "a NAT",
    "remedy": "mend it",
}
LIMITS = {"full": False, "lags": False, "forgotten": 0, "fits": None, "max_records": 9}
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
            "name": "postfix",
            "protocol": "postfix",
            "address": f"unix:{daemon.directory}/p.sock",
            "on_error": "pass",
            "connections": 1,
            "peers": [{"peer": f"uid {os.getuid()}", "connections": 1}],
            "trouble": "",
        }
    ]
    assert told["config"] == str(daemon.config)
    assert told["control"]["connections"] == 1
    assert told["needs_restart"] == []
    assert (told["floods"], told["input"], told["clock_believed"]) == ([], [], True)
    assert told["now"] - told["since"] == told["uptime"]
    assert told["history"]["trouble"] == ""
    assert told["state_trouble"] == ""
    (row,) = [line for line in before.stdout.splitlines() if line.startswith("postfix ")]
    assert row.split()[-2:] == ["user", pwd.getpwuid(os.getuid()).pw_name]
    assert "decisions recorded" in before.stdout


def test_columns_in_which_nothing_stands_are_not_shown(stopped):
    _, told, before, _ = stopped
    heads = {"connections  from", "owner", "file", "changed"}
    assert all(head in before.stdout for head in heads)
    listener = {**told["listeners"][0], "peers": []}
    bare = {**told["lists"][0], "owner": "", "path": None, "changed": None}
    words = _words({**told, "listeners": [listener], "lists": [bare], "plugins": []})
    heads_of = [
        line.split() for line in words.splitlines() if line.split()[-1:] in (["connections"], ["state"])
    ]
    assert heads_of == [["protocol", "address", "on", "error", "connections"], ["source", "entries", "state"]]


def test_a_list_that_changed_is_not_read_yet(stopped):
    *_, after = stopped
    assert "has changed since it was read: run multigrey reload" in after.stdout
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
        ({"mode": {"configured": "enforce", "in_effect": "off"}}, "no mail is deferred: the mode is off"),
        ({"store": {"error": "disk gone"}}, "! store: disk gone"),
        ({"store": {"commit_failures": 3}}, "3 commits failed"),
        ({"store": {"damaged": "page 7"}}, "! store: page 7"),
        ({"store": {"used": 95, "map_size": 100}}, "nearly full"),
        ({"limits": {**LIMITS, "full": True}}, "raise [limits] max_records"),
        ({"limits": {**LIMITS, "full": True, "lags": True}}, "the disk does not keep up with new records"),
        (
            {"limits": {**LIMITS, "forgotten": 7}},
            "7 waiting records were evicted early: raise [limits] max_records",
        ),
        (
            {"limits": {**LIMITS, "full": True, "fits": 8}},
            "new senders get only a mark: raise [store] map_size",
        ),
        ({"limits": {**LIMITS, "forgotten": 7, "fits": 8}}, "evicted early: raise [store] map_size"),
        ({"limits": {**LIMITS, "forgotten": 7, "fits": 99}}, "evicted early: raise [limits] max_records"),
        ({"limits": {**LIMITS, "forgotten": 7, "fits": 8, "max_records": 0}}, "raise [store] map_size"),
        ({"loop_lag": {"latest": 0, "worst": 0.3}}, "event loop is late"),
        ({"connections": {"open": 9, "most": 9}}, "! all connections are in use"),
        ({"internal_errors": 1}, "ended by a bug"),
        ({"state_trouble": "state directory gone"}, "! state directory gone"),
        ({"clock_believed": False}, "! the clock was set by more than an hour"),
        (
            {"now": NOON + 600, "floods": [FLOOD]},
            FLOODED,
        ),
        ({"now": NOON + 2 * 86_400, "floods": [FLOOD]}, "since 2026-11-30 12:00: 31,000 attempts"),
        ({"now": NOON, "floods": [FLOOD] * 6}, "! 1 more is over the limit"),
        ({"input": [INPUT]}, "! listener smtp: odd; usually a NAT: mend it"),
        ({"uptime": 90, "since": 5, "now": 3}, "has been running for 1m30s (since 1970-01-01"),
        (
            {"now": 0, "overrides": [{"slot": "mode", "word": "off", "until": 2**31 - 1, "by": "root"}]},
            "mode: off until 2038-01-",
        ),
        ({"log_lines_lost": 2}, "2 decision lines"),
        (
            {"log_trouble": "decisions cannot be logged to /x: full"},
            "! decisions cannot be logged to /x: full",
        ),
        ({"reload_refused": "a.toml:1: b: c\nd"}, "the old configuration stays: a.toml:1: b: c (and more)"),
        (
            {"history": {"decisions": 3, "lost": 9, "trouble": "disk full"}},
            "! decisions are made, but not recorded",
        ),
        ({"history": {"decisions": 3, "lost": 9, "trouble": ""}}, "9 since the start"),
        ({"history": None}, "none: [history] enabled is false"),
        ({"needs_restart": ["user", "store"]}, "! store has changed in the configuration"),
        ({"plugins": [PLUGIN]}, "plugin geo failed 5 times"),
        (
            {"plugins": [{**PLUGIN, "trouble": "trait x: no"}]},
            "! plugin geo does not work now, and has no vote: trait x: no",
        ),
        (
            {
                "listeners": [
                    {
                        **dict.fromkeys(("protocol", "address", "on_error"), "x"),
                        "name": "exim",
                        "connections": 0,
                        "peers": [],
                        "trouble": "Too many open files",
                    }
                ]
            },
            "! exim cannot accept connections: Too many open files",
        ),
        ({"warnings": ["a\x1b[31mb"]}, "! a\\x1b[31mb"),
        ({"records": {"known": 7, "waiting": 1, "estimated": True}}, "about 7"),
        ({"overrides": [{"slot": "mode", "word": "off", "until": 2**31, "by": "root"}]}, "(set by root)"),
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
        ({"missing": True, "trouble": "does not exist"}, "does not exist; its old entries are still in use"),
        ({"trouble": "cannot be read: permission denied"}, "cannot be read: permission denied; its old"),
        ({"newer_on_disk": True}, "multigrey reload"),
        ({"entries": 0}, "is empty"),
    ],
)
def test_lists_that_need_attention(stopped, change, words):
    told = deepcopy(stopped[1])
    told["lists"][-1].update(change)
    assert words in _words(told)


FLOODED_CONFIG = """
state_dir = "{dir}/state"
[[listen]]
protocol = "postfix"
address = "unix:{dir}/p.sock"
name = "mx"
[limits]
new_records = 10
new_records_named = 10
"""


def _ask(peer: socket.socket, sender: str, client: str, helo: str = "bot") -> str:
    peer.sendall(
        f"request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address={client}\nclient_name=unknown\n"
        f"helo_name={helo}\nsender={sender}\nrecipient=bob@example.net\n\n".encode()
    )
    return peer.recv(4096).decode()


def test_a_flood_and_clients_behind_a_nat_are_seen_and_again_after_a_restart(short_directory):
    with Daemon(short_directory, FLOODED_CONFIG, user="nobody") as daemon:
        for restarted in (False, True):
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(str(short_directory / "p.sock"))
                for index in range(50):
                    answer = _ask(peer, f"{restarted}{index}@example.org", f"94.102.49.{index}")
                    assert "DEFER_IF_PERMIT" in answer
                for index in range(300):
                    host = f"{restarted}{index}.d{index % 50}.example"
                    _ask(peer, f"a@{host}", "172.18.0.1", host)
            told = json.loads(_status(daemon, "--json").stdout)
            nat, flood = sorted(told["floods"], key=lambda row: row["attempts"], reverse=True)
            assert (nat["network"], flood["network"]) == ("172.18.0.0/24", "94.102.49.0/24")
            assert 35 <= flood["attempts"] <= 40
            shown = _status(daemon).stdout
            assert "! 94.102.49.0/24 is over the limit of new records since" in shown
            (alarm,) = told["input"]
            assert (alarm["listener"], alarm["problem"]) == ("mx", "one-address")
            daemon.stop()
            daemon.start()
