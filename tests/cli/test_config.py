"""check-config and show-config as an administrator runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from man.regions import leaf_commands
from multigrey import __version__
from multigrey.cli import COMMANDS, GROUPS, main
from multigrey.config.origin_lists import shipped
from tests.support.clocks import FakeClock

UNKNOWN = " for root, but that is not known to be the daemon's user: see --as" if os.geteuid() == 0 else ""
ENVIRON = {"STATE_DIRECTORY": "/var/lib/multigrey", "RUNTIME_DIRECTORY": None}


def run(*arguments, now=None):
    clock = FakeClock() if now is None else FakeClock(now)  # the shipped tables get old
    return CliRunner(env=ENVIRON).invoke(
        main, [str(argument) for argument in arguments], obj=clock, prog_name="multigrey"
    )


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "multigrey.toml"
    path.write_text('[greylist]\ndelay = "3m"\n')
    path.chmod(0o644)
    return path


def test_a_good_configuration(config):
    result = run("check-config", "--config", config)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{config}: ok{UNKNOWN}\n", "")
    assert run("check-config", "-c", config).stdout == result.stdout


def test_warnings_are_said_and_forgiven(config):
    config.write_text('[greylist]\ntext = "Service unavailable"\n')
    result = run("check-config", "-c", config)
    assert (result.exit_code, result.stdout) == (0, f"{config}: ok{UNKNOWN}\n")
    assert result.stderr.startswith(f"warning: {config}:2: greylist.text: begins with")


def test_tables_of_providers_that_nobody_looked_over_for_a_year(config):
    updated = shipped()[0].updated
    assert updated is not None
    at = datetime(updated.year, updated.month, updated.day, tzinfo=UTC)
    assert run("check-config", "-c", config, now=int(at.timestamp())).stderr == ""
    later = int((at + timedelta(days=400)).timestamp())
    result = run("check-config", "-c", config, now=later)
    assert (result.exit_code, result.stdout) == (0, f"{config}: ok{UNKNOWN}\n")
    assert "warning: the list of providers that comes with multigrey was last reviewed on" in result.stderr
    told = json.loads(run("check-config", "-c", config, "--json", now=later).stdout)
    assert any("the list of providers" in text for text in told["warnings"])


@pytest.mark.parametrize(
    ("text", "code", "problems", "warnings"),
    [
        ('[greylist]\ndelay = "3m"\n', 0, [], 0),
        ('[greylist]\ntext = "Service unavailable"\n', 0, [], 1),
        ("[greylist]\ndelay = 5\nmax_age = 5\n", 2, [(2, "greylist.delay"), (3, "greylist.max_age")], 0),
        ('[[listen]]\nprotocol = "x"\naddress = "tcp:127.0.0.1:1"\n', 2, [(2, "listen[1].protocol")], 0),
    ],
)
def test_as_json(config, text, code, problems, warnings):
    config.write_text(text)
    result = run("check-config", "-c", config, "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, result.stderr, told["ok"]) == (code, "", code == 0)
    assert told["path"] == str(config)
    assert [(each["line"], each["key"]) for each in told["problems"]] == problems
    assert len(told["warnings"]) == warnings


def test_problems_go_to_standard_error(config):
    config.write_text("[greylist]\ndelay = 5\nmax_age = 5\n")
    for command in ("check-config", "show-config"):
        result = run(command, "-c", config)
        assert (result.exit_code, result.stdout) == (2, "")
        assert [line.split(": ")[0] for line in result.stderr.splitlines()] == [f"{config}:2", f"{config}:3"]


def test_words_nobody_registered_are_problems(config):
    config.write_text('[[listen]]\nprotocol = "postfx"\naddress = "tcp:127.0.0.1:10023"\n')
    result = run("check-config", "-c", config)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{config}:2: listen[1].protocol: ")
    assert "postfix" in result.stderr


def test_show_config(config):
    result = run("show-config", "--config", config)
    assert (result.exit_code, result.stderr) == (0, "")
    assert f'delay = "3m"  # {config}:2' in result.stdout.splitlines()
    copy = config.with_name("copy.toml")
    copy.write_text(result.stdout)
    copy.chmod(0o644)
    assert run("check-config", "-c", copy).exit_code == 0


def test_show_config_as_json(config):
    result = run("show-config", "--config", config, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["settings"]["greylist"]["delay"] == "3m"


@pytest.mark.parametrize(
    "arguments", [["chek-config"], ["check-config", "--confg", "x"], ["check-config", "extra"]]
)
def test_usage_errors_are_status_2(arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


def test_version_and_help():
    assert run("--version").stdout == f"multigrey {__version__}\n"
    result = run("--help")
    assert result.exit_code == 0
    assert all(f"\n  {command} " in result.stdout for command in COMMANDS)
    for command in COMMANDS:
        assert "Exit status: 0" in " ".join(run(command, "-h").stdout.split())


def commands_with(group):
    """The commands of a group, by name."""
    return [(name, group.get_command(click.Context(group), name)) for name in group.list_commands(None)]


def test_help_groups_the_commands_by_what_an_administrator_wants():
    lines = run("--help").stdout.splitlines()
    headings = [line.removesuffix(":") for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Options", *GROUPS]
    assert GROUPS["Where is my mail"]


def test_tests_run_each_command_by_way_of_the_group():
    """Click keeps the help option of a command's first run, and only the group gives it `-h`."""
    tests = Path(__file__).parents[1]
    begun = {
        (path.name, name)
        for path in tests.rglob("test_*.py")
        for name in re.findall(r"\)\.invoke\(\s*(\w+)", path.read_text())
    }
    made_there = {("test_client.py", "command"), ("test_daemon_place.py", "command")}
    assert {each for each in begun if each[1] != "main"} == made_there


def test_no_sentence_of_help_is_cut_at_80_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    groups = [[name] for name, command in commands_with(main) if isinstance(command, click.Group)]
    for words in ([], *groups):
        text = run(*words, "--help").stdout
        assert "..." not in text.partition("\nOptions:")[2]
        assert all(len(line) < 80 for line in text.splitlines())
    for name, command in (*commands_with(main), *leaf_commands()):
        sentence = command.get_short_help_str(200)
        assert sentence.endswith("."), name
        assert len(sentence) <= 62, name


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("statsu", "status"),
        ("whitlist", "whitelist"),
        ("chek-config", "check-config"),
        ("expalin", "explain"),
    ],
)
def test_a_mistyped_command_is_answered_with_the_nearest_one(typed, meant):
    told = run(typed).stderr
    assert f"No such command '{typed}'." in told
    assert "Did you mean" in told
    assert f"'{meant}'" in told
    assert "Did you mean" not in run("qwertz").stderr


READERS = {"check-config", "show-config", "personal-data", "whitelist lint"}
"""Commands that read files and ask no daemon."""


def test_every_command_that_asks_takes_a_configuration_and_writes_json():
    for name, command in leaf_commands():
        if name not in {"serve", "setup", "completions"}:
            names = {each for option in command.params for each in option.opts}
            assert {"--config", "--json"} <= names, name
            if name not in READERS:
                assert {"--state-dir", "--control"} <= names, name


def test_a_command_is_imported_only_when_it_is_asked_for(config):
    code = (
        "import sys, multigrey.__main__; print([m for m in ('pydantic', 'trio', 'lmdb') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_as_a_program_of_its_own(config):
    environ = {**os.environ, "STATE_DIRECTORY": "/var/lib/multigrey"}

    def start(*arguments):
        command = [sys.executable, "-W", "error", "-m", "multigrey", *arguments]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    done = start("check-config", "--config", str(config))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{config}: ok{UNKNOWN}\n", "")
    config.write_text("[greylist]\ndelay = 5\n")
    done = start("check-config", "--config", str(config))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f'{config}:2: greylist.delay: 5 has no unit; write "5s" for 5 seconds\n'
