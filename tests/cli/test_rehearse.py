from __future__ import annotations

import json
import os
import socket
import stat

import pytest
from click.testing import CliRunner

from multigrey.cli import main
from tests.support.clocks import START
from tests.support.daemon import Daemon

CONFIG = """\
state_dir = "{dir}/state"
[[listen]]
protocol = "exim"
address = "unix:{dir}/state/exim.sock"
[greylist]
delay = "2m"
unnamed_delay = "5m"
[[rule]]
name = "urgent"
when = { recipient = "oncall@" }
action = "pass"
[[rule]]
name = "abroad"
when = { trait = "from-abroad" }
action = "pass"
"""

FILE = """\
[[attempt]]
client_address = "192.0.2.1"
client_name = "mx1.example.org"
helo = "mx1.example.org"
sender = "a@example.org"
recipient = "b@example.net"
expect = ["defer", "new"]
[[attempt]]
at = "1m"
expect = "early"
[[attempt]]
at = "2m"
client_address = "198.51.100.9"
client_name = "mx2.example.org"
expect = ["pass", "retry"]
[[attempt]]
at = "35d"
expect = "known"
[[attempt]]
recipient = "oncall@example.net"
expect = ["pass", "rule"]
[[attempt]]
recipient = "other@example.net"
client_address = "203.0.113.4"
client_name = ""
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "multigrey.toml"
    path.write_text(CONFIG.replace("{dir}", str(tmp_path)).partition('[[rule]]\nname = "abroad"')[0])
    path.chmod(0o644)
    return path


def play(config, text, *arguments):
    file = config.parent / "steps"
    file.write_text(text)
    return CliRunner().invoke(main, ["rehearse", str(file), "--config", str(config), *arguments])


class TestWithoutStore:
    def test_everything_as_expected(self, config):
        done = play(config, FILE)
        assert done.exit_code == 0, done.output
        assert "6 steps, 5 with an expectation, 0 not as expected" in done.stdout
        lines = [line.split() for line in done.stdout.splitlines() if line.strip()[:1].isdigit()]
        assert [line[-1] for line in lines[:4]] == ["new", "early", "retry", "known"]

    def test_the_first_that_is_not_so_fails(self, config):
        done = play(config, FILE.replace('expect = "early"', 'expect = "pass"'))
        assert done.exit_code == 1
        assert next(line for line in done.stdout.splitlines() if "NOT MET" in line).split()[0] == "2"

    def test_json(self, config):
        done = play(config, FILE, "--json")
        told = json.loads(done.stdout)
        assert told["as_expected"] is True
        assert [(row["action"], row["reason"], row["retry_after"]) for row in told["steps"]] == [
            ("defer", "new", 120),
            ("defer", "early", 60),
            ("pass", "retry", 0),
            ("pass", "known", 0),
            ("pass", "rule", 0),
            ("defer", "new", 300),
        ]
        assert told["steps"][4]["detail"] == "rule urgent"
        assert told["steps"][2]["origin"] == "example.org"

    def test_nothing_is_left_behind(self, config):
        before = sorted(config.parent.iterdir())
        play(config, FILE)
        assert sorted(config.parent.iterdir()) == sorted([*before, config.parent / "steps"])

    def test_standard_input(self, config):
        text = '{"client_address": "192.0.2.1", "sender": "a@example.org", "recipient": "b@example.net"}'
        done = CliRunner().invoke(main, ["rehearse", "-", "--config", str(config)], input=text)
        assert (done.exit_code, "defer new" in done.stdout) == (0, True)

    def test_hostile_text_is_shown_harmless(self, config):
        text = json.dumps(
            {"client_address": "192.0.2.1", "sender": "\x1b[31m@x", "recipient": "b@example.net"}
        )
        assert "\\x1b[31m@x" in play(config, text).stdout

    def test_a_wrong_file(self, config):
        done = play(config, "[[attempt]]\n")
        assert (done.exit_code, "steps: line 1: the recipient is missing" in done.stderr) == (2, True)

    def test_a_wrong_configuration(self, config):
        config.write_text("[greylist]\ndelay = 7\n")
        done = play(config, FILE)
        assert (done.exit_code, "greylist.delay" in done.stderr) == (2, True)


class TestSlowSources:
    PLUGIN = """
from multigrey.api import hookimpl
from multigrey.model import Findings
class Slow:
    traits = frozenset({"from-abroad"})
    async def ask(self, attempt):
        return Findings(traits=frozenset({"from-abroad"}))
@hookimpl
def multigrey_register(registry, settings):
    registry.slow_source("slow", Slow())
"""

    @pytest.mark.parametrize(("arguments", "answer"), [([], "defer"), (["--ask"], "pass")])
    def test_are_asked_only_when_told(self, tmp_path, arguments, answer):
        (tmp_path / "plugins").mkdir(mode=0o755)
        (tmp_path / "plugins" / "slow.py").write_text(self.PLUGIN)
        config = tmp_path / "multigrey.toml"
        text = CONFIG.replace("{dir}", str(tmp_path))
        config.write_text(f'{text}[plugins]\ndir = "plugins"\n')
        config.chmod(0o644)
        steps = json.dumps({"client_address": "192.0.2.1", "sender": "a@b.org", "recipient": "b@example.net"})
        done = play(config, steps, "--json", *arguments)
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["steps"][0]["action"] == answer


def ask(path, recipient):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        question = (
            "multigrey/1\nclient_address=192.0.2.1\nclient_name=mx1.example.org\nhelo=mx1.example.org\n"
            f"sender=a@example.org\nrecipient={recipient}\n\n"
        )
        client.sendall(question.encode())
        return client.makefile().read()


def contents(directory):
    """Every file and what is in it, but for LMDB's table of readers."""
    return {
        path.name: path.read_bytes()
        for path in directory.iterdir()
        if path.is_file() and path.suffix != ".mdb-lock"
    }


class TestWithStore:
    def test_beside_a_running_daemon(self, short_directory):
        """What was answered a moment ago is known, whether the journal or LMDB has it; nothing changes."""
        text = CONFIG.partition("[[rule]]")[0]
        with Daemon(short_directory, text, user="nobody") as daemon:
            assert "reason=new" in ask(short_directory / "state/exim.sock", "b@example.net")
            steps = f"start = {START + 100}\n" + FILE.partition("expect")[0] + 'expect = "early"\n'
            steps += '[[attempt]]\nat = "1m"\nexpect = "retry"\n'
            for _ in range(2):
                done = play(daemon.config, steps, "--store")
                assert done.exit_code == 0, done.output
            done = play(daemon.config, steps)
            assert done.exit_code == 1  # nobody is known without the store
            daemon.clock.set(START + 60)
            assert "reason=early" in ask(short_directory / "state/exim.sock", "b@example.net")

    def test_of_a_stopped_daemon(self, short_directory):
        with Daemon(short_directory, CONFIG.partition("[[rule]]")[0], user="nobody") as daemon:
            ask(short_directory / "state/exim.sock", "b@example.net")
        before = contents(short_directory / "state")
        steps = f"start = {START + 120}\n" + FILE.partition("expect")[0] + 'expect = "retry"\n'
        done = play(daemon.config, steps, "--store")
        assert done.exit_code == 0, done.output
        assert contents(short_directory / "state") == before

    def test_there_is_none(self, config):
        done = play(config, FILE, "--store")
        assert (done.exit_code, "site.key" in done.stderr) == (2, True)

    def test_one_that_cannot_be_copied(self, config):
        config.write_text(config.read_text() + '[store]\nbackend = "memory"\n')
        done = play(config, FILE, "--store")
        assert (done.exit_code, "only a store of kind lmdb can be copied" in done.stderr) == (2, True)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_one_that_may_not_be_read(self, config):
        state = config.parent / "state"
        state.mkdir()
        (state / "site.key").write_bytes(bytes(32))
        (state / "site.key").chmod(0)
        done = play(config, FILE, "--store")
        assert (done.exit_code, "sudo -u" in done.stderr) == (4, True)

    def test_a_damaged_one(self, config):
        state = config.parent / "state"
        state.mkdir()
        (state / "site.key").write_bytes(bytes(32))
        (state / "store.mdb").write_bytes(b"no store at all")
        done = play(config, FILE, "--store")
        assert (done.exit_code, "store.mdb" in done.stderr) == (2, True), done.output
        assert stat.S_ISREG((state / "store.mdb").stat().st_mode)


def test_a_flood_is_deferred_whatever_its_size(tmp_path):
    """1,200 fresh triplets of one /24 within two minutes, then 300 others; nobody ever retries."""
    lines = []
    for number in range(1500):
        at = number // 10 if number < 1200 else 300 + number - 1200
        lines.append(
            {
                "at": f"{at}s",
                "client_address": f"94.102.49.{number % 256}",
                "helo": f"h{number}.example.com",
                "sender": f"s{number}@spam{number % 97}.example",
                "recipient": f"r{number}@example.net",
                "expect": "defer",
            }
        )
    file = tmp_path / "flood.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = tmp_path / "multigrey.toml"
    config.write_text(f'state_dir = "{tmp_path}/state"\n')
    result = CliRunner().invoke(main, ["rehearse", "-c", str(config), "--json", str(file)])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    reasons = [step["reason"] for step in told["steps"]]
    assert (reasons.count("new"), reasons.count("over-limit")) == (1000, 500)
    assert {step["action"] for step in told["steps"]} == {"defer"}
