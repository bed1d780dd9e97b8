from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from multigrey.cli import main
from multigrey.cli import top as top_module
from multigrey.cli import watch as watch_module
from multigrey.cli.client import EXIT_NO_DAEMON, AskError
from multigrey.cli.watch import decision_line
from tests.support.clocks import START
from tests.support.daemon import Daemon

ROW = {
    "time": START,
    "action": "defer",
    "reason": "early",
    "id": "abc234",
    "listener": "exim",
    "client_address": "192.0.2.1",
    "client_name": "mx1.example.org",
    "sender": "a@example.org",
    "recipient": "b@example.net",
    "origin": "example.org",
    "retry_after": 60,
    "observed": False,
}
CONFIG = 'state_dir = "{dir}/state"\n[[listen]]\nprotocol = "exim"\naddress = "unix:{dir}/state/exim.sock"\n'


class TestLine:
    def test_says_who_from_where_to_whom_and_how_long_still(self):
        assert decision_line(ROW).split(" ", 1)[1] == (
            "defer  early            abc234 mx1.example.org[192.0.2.1] a@example.org -> b@example.net "
            "origin=example.org retry after 1m"
        )

    @pytest.mark.parametrize(
        ("changes", "end"),
        [
            (
                {"action": "pass", "reason": "retry", "retry_after": 0, "age": 130},
                "origin=example.org after 2m10s",
            ),
            ({"retry_after": 0, "rule": "urgent", "class": "orders"}, "rule=urgent class=orders"),
            ({"retry_after": 0, "entry": "mx1.example.org", "owner": "mail team"}, "owner=mail team"),
            ({"observed": True}, "(observed) retry after 1m"),
        ],
    )
    def test_says_why(self, changes, end):
        assert decision_line({**ROW, **changes}).endswith(end)

    def test_raw_keys_have_no_addresses(self):
        row = {name: value for name, value in ROW.items() if name not in {"sender", "recipient"}}
        assert "free text" in decision_line({**row, "raw": "free text"})

    def test_hostile_text_is_shown_harmless(self):
        line = decision_line({**ROW, "sender": "\x1b]0;x\x07\n@e\udcff", "client_name": "a\u202eb"})
        assert line.isprintable()
        assert "\\x1b]0;x\\x07\\x0a@e\\xff" in line


def test_watch_prints_and_passes_filters_on(monkeypatch):
    asked: list[object] = []

    def stream(config, name, options):
        asked.append((name, options))
        yield {"decisions": [], "lost": 0}
        yield {"decisions": [ROW, ROW], "lost": 3}

    monkeypatch.setattr(watch_module, "stream", stream)
    done = CliRunner().invoke(
        main, ["watch", "--action", "defer", "--sender", "a@example.org", "--sender", "example.net"]
    )
    assert done.exit_code == 0
    assert asked == [("watch", {"action": ["defer"], "sender": ["a@example.org", "example.net"]})]
    assert done.stdout.splitlines()[:2] == [decision_line(ROW)] * 2
    assert "... 3 decisions left out" in done.stdout
    done = CliRunner().invoke(main, ["watch", "--json"])
    assert [json.loads(line) for line in done.stdout.splitlines()] == [ROW, ROW, {"lost": 3}]


@pytest.mark.parametrize(("module", "command"), [(watch_module, "watch"), (top_module, "top")])
def test_without_a_daemon(monkeypatch, module, command):
    def stream(config, name, options):
        raise AskError("no daemon answers", EXIT_NO_DAEMON)
        yield {}

    monkeypatch.setattr(module, "stream", stream)
    done = CliRunner().invoke(main, [command])
    assert (done.exit_code, done.stderr) == (3, "multigrey: no daemon answers\n")


def ask(path: Path, recipient: str) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(
            f"multigrey/1\nclient_address=192.0.2.1\nsender=a@example.org\nrecipient={recipient}\n\n".encode()
        )
        return client.makefile().read()


_INTERRUPTIBLE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
from multigrey.cli import main
main()
"""


def test_a_real_daemon(short_directory):
    """Watched live by a process of its own, then the busiest origins, then who came back."""
    exim = short_directory / "state/exim.sock"
    with Daemon(short_directory, CONFIG, user="nobody") as daemon:
        config = ["--config", str(daemon.config)]
        watching = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _INTERRUPTIBLE,
                "watch",
                *config,
                "--recipient",
                "wanted@example.net",
                "--json",
            ],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            text=True,
        )
        assert watching.stdout is not None
        try:
            told = first_line(
                watching, lambda: [ask(exim, f"{word}@example.net") for word in ("other", "wanted")]
            )
        finally:
            watching.send_signal(signal.SIGINT)
            watching.stdout.close()
            assert watching.wait(20) == 0
        assert (told["recipient"], told["action"]) == ("wanted@example.net", "defer")
        picture = json.loads(CliRunner().invoke(main, ["top", *config, "--once", "--json"]).stdout)
        (only,) = picture["origins"]
        assert only["origin"] == "192.0.2.0/24"
        attempts, deferred, passed = only["counts"][2]
        assert attempts == deferred >= 2
        assert passed == 0
        assert CliRunner().invoke(main, ["export", "postscreen", *config]).exit_code == 1
        daemon.clock.set(START + 300)
        assert "reason=retry" in ask(exim, "wanted@example.net")
        done = CliRunner().invoke(main, ["export", "postscreen", *config])
        assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "192.0.2.1 permit")


def first_line(process: subprocess.Popen[str], again) -> dict[str, object]:
    """The first line it writes; until it is there `again` is called now and then (it may not follow yet)."""
    import selectors

    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        for _ in range(200):
            again()
            if selector.select(0.1):
                return dict(json.loads(process.stdout.readline()))
    raise AssertionError("nothing was told")
