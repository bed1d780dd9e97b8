from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner

from multigrey.cli import check as check_module
from multigrey.cli import main
from multigrey.cli.check import LIMITS, Limit, Measure, measured, verdict
from multigrey.cli.client import EXIT_NO_DAEMON, EXIT_NOT_ALLOWED, AskError
from multigrey.cli.probe import Answer
from tests.support.daemon import Daemon

ANSWER = Answer("exim", 0.002, "action=pass reason=known", trouble=False)
STATUS = {
    "running": True,
    "store": {
        "records": 12,
        "pending": 0,
        "used": 30,
        "map_size": 1000,
        "failing": 0.0,
        "commit_failures": 0,
    },
    "loop_lag": {"latest": 0.0, "worst": 0.01},
    "limits": {"full": False},
    "mode": {"configured": "enforce", "in_effect": "enforce"},
    "connections": {"open": 3},
    "history": {"decisions": 27, "lost": 1, "trouble": ""},
}
FLOOD = {"network": "192.0.2.0/24", "since": 0, "seconds": 9, "attempts": 31_000}
FLOODED = "192.0.2.0/24 is over the limit of new records: 31,000 attempts in the last hour"
INPUT = {
    "listener": "smtp",
    "problem": "x",
    "what": "listener smtp: odd",
    "cause": "a NAT",
    "remedy": "mend it",
}
CONFIG = """\
state_dir = "{dir}/state"
[[listen]]
protocol = "postfix"
address = "unix:{dir}/state/postfix.sock"
[[listen]]
protocol = "exim"
name = "exim"
address = "unix:{dir}/state/exim.sock"
"""


def status(**changes):
    told = dict(STATUS)
    for name, change in changes.items():
        told[name] = {**STATUS[name], **change} if isinstance(change, dict) else change
    return told


class TestMeasure:
    @pytest.mark.parametrize(("value", "state"), [(0, 0), (0.9, 0), (1, 1), (2.9, 1), (3, 2), (100, 2)])
    def test_a_limit_counts_from_its_value_on(self, value, state):
        assert Measure("answer", value, Limit(1, 3)).state == state

    def test_performance_data(self):
        assert Measure("store", 3.5, Limit(80, 95)).performance == "store=3.5%;80;95;0;100"
        assert Measure("lag", 0.25, Limit(0.25, 1)).performance == "lag=0.25s;0.25;1;0;"
        assert Measure("pending", 7, Limit(500, 5000)).performance == "pending=7;500;5000;0;"

    def test_what_a_store_does_not_tell_is_not_measured(self):
        names = [each.name for each in measured({"store": {"pending": 0}}, 0.1, LIMITS)]
        assert names == ["answer", "pending"]


class TestVerdict:
    @pytest.mark.parametrize(
        ("changes", "problems", "state", "text"),
        [
            ({}, [], 0, ""),
            ({"store": {"used": 850}}, [], 1, "store 85%"),
            ({"store": {"used": 960}, "loop_lag": {"worst": 0.5}}, [], 2, "store 96%, lag 0.5s"),
            ({"store": {"failing": 5.0}}, [], 1, "failing 5s"),
            ({"store": {"error": "disk full"}}, [], 2, "store: disk full"),
            ({"store": {"damaged": "page 7"}}, [], 1, "store: page 7"),
            ({"state_trouble": "state directory gone"}, [], 2, "state directory gone"),
            ({}, ["exim could not decide: x"], 2, "exim could not decide: x"),
            (
                {"limits": {"full": True, "fits": None, "max_records": 9}},
                [],
                1,
                "the store is full of records: raise [limits] max_records",
            ),
            (
                {"limits": {"full": True, "lags": True, "fits": None, "max_records": 9}},
                [],
                1,
                "the disk does not keep up with new records",
            ),
            (
                {"limits": {"full": True, "fits": 8, "max_records": 9}},
                [],
                1,
                "the store is full of records: raise [store] map_size",
            ),
            ({"floods": [FLOOD]}, [], 1, FLOODED),
            ({"floods": [FLOOD] * 5}, [], 1, f"{FLOODED}, {FLOODED}, {FLOODED}, 2 more over the limit"),
            (
                {"input": [INPUT], "store": {"used": 960}},
                [],
                2,
                "store 96%, listener smtp: odd (usually a NAT)",
            ),
            (
                {"history": {"trouble": "disk full"}},
                [],
                1,
                "decisions are not recorded in the history: disk full",
            ),
            (
                {"listeners": [{"name": "exim", "trouble": ""}, {"name": "mx2", "trouble": "no memory"}]},
                [],
                1,
                "mx2 cannot accept connections: no memory",
            ),
            (
                {"plugins": [{"name": "geo", "trouble": ""}, {"name": "spf", "trouble": "trait x: no"}]},
                [],
                1,
                "plugin spf does not work: trait x: no",
            ),
            (
                {"lists": [{"path": "/a", "trouble": ""}, {"path": "/b", "trouble": "does not exist"}]},
                [],
                1,
                "whitelist /b does not exist",
            ),
            (
                {"log_trouble": "decisions cannot be logged to /x: full"},
                [],
                1,
                "decisions cannot be logged to /x: full",
            ),
            ({"reload_refused": "a.toml:1: b: c\nd"}, [], 1, "the latest reload was refused: a.toml:1: b: c"),
            ({"mode": {"in_effect": "off"}}, [], 0, "mode off by an override"),
        ],
    )
    def test_is_the_worst_of_everything(self, changes, problems, state, text):
        told = status(**changes)
        assert verdict(list(measured(told, 0.01, LIMITS)), told, problems) == (state, text)


@pytest.fixture
def run(monkeypatch, tmp_path):
    config = tmp_path / "multigrey.toml"
    config.write_text(CONFIG.replace("{dir}", str(tmp_path)))
    config.chmod(0o644)

    def run(told, *arguments, answer=ANSWER):
        def ask(config, name, options, timeout):
            if isinstance(told, Exception):
                raise told
            return told

        monkeypatch.setattr(check_module, "ask", ask)
        monkeypatch.setattr("multigrey.cli.probe.probe", lambda listens, timeout: answer)
        return CliRunner().invoke(main, ["check", *arguments, "--config", str(config)])

    return run


LINE = re.compile(
    r"MULTIGREY (OK|WARNING|CRITICAL|UNKNOWN) - [^|\n]+"
    r"( \|( \S+=[0-9.]+[s%]?;[0-9.]*;[0-9.]*;0(;(100)?)?)+)?\n"
)
"""One line as the guidelines of monitoring plugins want it."""


class TestCommand:
    def test_ok(self, run):
        done = run(STATUS)
        assert done.exit_code == 0
        assert LINE.fullmatch(done.stdout)
        assert done.stdout.startswith(
            "MULTIGREY OK - exim answered in 2 ms | answer=0.002s;1;3;0; failing=0s;1;60;0; "
        )
        assert (
            "records=12;;;0 commit_failures=0;;;0 connections=3;;;0 remembered=27;;;0 not_remembered=1;;;0"
            in done.stdout
        )

    @pytest.mark.parametrize(
        ("arguments", "state"),
        [
            (["--warning", "2"], 1),
            (["--warning", "2", "--critical", "3"], 2),
            (["--limit", "lag=0.01,1"], 1),
            (["--limit", "lag=0.001,0.01"], 2),
        ],
    )
    def test_limits(self, run, arguments, state):
        done = run(STATUS, *arguments)
        assert (done.exit_code, bool(LINE.fullmatch(done.stdout))) == (state, True)

    @pytest.mark.parametrize(
        "arguments",
        [["--limit", "lag=1"], ["--limit", "mail=1,2"], ["--warning", "x"], ["-t", "5"], ["-w", "1"]],
    )
    def test_a_wrong_command_line_is_unknown(self, run, arguments):
        done = run(STATUS, *arguments)
        assert (done.exit_code, bool(LINE.fullmatch(done.stdout))) == (3, True)

    @pytest.mark.parametrize(
        ("error", "state", "text"),
        [
            (
                AskError("no daemon\nanswers | there", EXIT_NO_DAEMON),
                2,
                "CRITICAL - no daemon, answers / there\n",
            ),
            (AskError("not allowed", EXIT_NOT_ALLOWED), 3, "UNKNOWN - not allowed\n"),
        ],
    )
    def test_without_figures(self, run, error, state, text):
        done = run(error)
        assert (done.exit_code, done.stdout) == (state, f"MULTIGREY {text}")

    def test_only_the_store_of_a_stopped_daemon(self, run):
        done = run({**STATUS, "running": False})
        assert (done.exit_code, "does not run" in done.stdout) == (2, True)

    def test_a_history_that_is_switched_off(self, run):
        done = run({**STATUS, "history": None})
        assert (done.exit_code, "remembered" in done.stdout) == (0, False)

    def test_trouble(self, run):
        done = run(STATUS, answer=Answer("exim", 0.1, "action=pass reason=error", trouble=True))
        assert done.exit_code == 2
        assert "CRITICAL - exim could not decide: action=pass reason=error |" in done.stdout

    def test_json(self, run):
        done = run(STATUS, "--json")
        told = json.loads(done.stdout)
        assert (told["state"], told["figures"]["store"], told["figures"]["records"]) == ("OK", 3.0, 12)

    def test_a_listener_that_is_not_there(self, run):
        done = run(STATUS, "--listener", "smtp")
        assert (done.exit_code, done.stdout) == (
            3,
            "MULTIGREY UNKNOWN - unknown listener smtp (there are: postfix, exim)\n",
        )

    def test_a_wrong_configuration(self, tmp_path):
        (tmp_path / "wrong").write_text("[greylist]\ndelay = 7\n")
        (tmp_path / "wrong").chmod(0o644)
        done = CliRunner().invoke(main, ["check", "--config", str(tmp_path / "wrong")])
        assert (done.exit_code, LINE.fullmatch(done.stdout) is not None) == (3, True)


def test_a_real_daemon(short_directory):
    with Daemon(short_directory, CONFIG, user="nobody") as daemon:
        for listener in ("exim", "postfix"):
            done = CliRunner().invoke(main, ["check", "--config", str(daemon.config), "--listener", listener])
            assert done.exit_code == 0, done.output
            assert LINE.fullmatch(done.stdout)
    assert [line.split(" reason=")[1].split()[0] for line in daemon.log()] == ["new", "early"]
    done = CliRunner().invoke(main, ["check", "--config", str(daemon.config)])
    assert (done.exit_code, done.stdout.startswith("MULTIGREY CRITICAL - exim does not answer")) == (2, True)


def test_a_state_directory_is_that_of_the_daemon_to_check(short_directory):
    """Where none runs, that is said, and no listener of another daemon is asked."""
    (short_directory / "empty").mkdir()
    with Daemon(short_directory, CONFIG, user="nobody") as daemon:
        state = daemon.directory / "state"
        for arguments in (["--config", str(daemon.config)], []):
            done = CliRunner().invoke(main, ["check", "--state-dir", str(state), *arguments])
            assert (done.exit_code, done.stdout.startswith("MULTIGREY OK - exim answered in ")) == (0, True)
        for name in ("empty", "missing"):
            other = str(daemon.directory / name)
            done = CliRunner().invoke(main, ["check", "--state-dir", other, "--config", str(daemon.config)])
            assert done.exit_code == 2
            assert done.stdout.startswith(
                f"MULTIGREY CRITICAL - no daemon answers at unix:{other}/control.sock "
            )
    done = CliRunner().invoke(main, ["check", "--state-dir", str(state)])
    said = f"MULTIGREY CRITICAL - no daemon runs with the state directory {state}\n"
    assert (done.exit_code, done.stdout) == (2, said)
