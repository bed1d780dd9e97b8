"""Which daemon a command asks: named by an option, by the environment, or found beside a checkout."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from multigrey.cli import daemon_place, main
from multigrey.cli.client import own_command
from multigrey.cli.daemon_place import others, place_options
from tests.support.daemon import Daemon

CONFIG = """
state_dir = "{dir}/state"
[[listen]]
protocol = "postfix"
address = "unix:{dir}/p.sock"
"""


@pytest.fixture(scope="module")
def daemon(module_directory):
    with Daemon(module_directory, CONFIG, user="nobody") as daemon:
        yield daemon


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """A user whose own daemon does not run, on a host without a configuration."""
    if Path("/etc/multigrey/multigrey.toml").exists():
        pytest.skip("this machine has a configuration")
    monkeypatch.delenv("MULTIGREY_CONTROL", raising=False)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "own"))
    monkeypatch.setattr(daemon_place, "_CHECKOUT", tmp_path)
    monkeypatch.setattr(daemon_place, "_SERVE_STATE", tmp_path / "serve")
    monkeypatch.chdir(tmp_path)


def status(*arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(main, [*arguments])
    assert done.exit_code == status, done.output
    return done.stdout if not status else done.stderr


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("option", ["--state-dir=state", "--control=state/control.sock", "-c=multigrey.toml"])
def test_each_option_leads_to_the_daemon_also_before_the_command(
    daemon, elsewhere, monkeypatch, before, option
):
    if before and option.startswith("-c"):
        pytest.skip("the configuration is named behind the command")
    monkeypatch.chdir(daemon.directory)
    words = [*option.split("=")]
    told = json.loads(status(*(words if before else ()), "status", "--json", *(() if before else words)))
    assert told["state_dir"] == str(daemon.directory / "state")


def test_the_environment_leads_to_it_and_an_option_outdoes_the_environment(daemon, elsewhere, monkeypatch):
    monkeypatch.setenv("MULTIGREY_CONTROL", f"unix:{daemon.directory}/state/control.sock")
    assert json.loads(status("status", "--json"))["running"] is True
    monkeypatch.setenv("MULTIGREY_CONTROL", "/nonexistent")
    assert (
        json.loads(status("status", "--json", "--state-dir", f"{daemon.directory}/state"))["running"] is True
    )
    assert "unix:/nonexistent" in status("status", status=3)


def test_a_daemon_of_the_checkout_is_found_and_only_without_options(daemon, elsewhere, monkeypatch, tmp_path):
    (tmp_path / ".state").symlink_to(daemon.directory / "state")
    assert "no daemon answers" in status("status", status=3)  # this is not a checkout
    for name in ("Makefile", "pyproject.toml"):
        (tmp_path / name).write_text("")
    assert json.loads(status("status", "--json"))["running"] is True
    assert "no daemon answers at unix:/nonexistent/" in status("status", "--state-dir=/nonexistent", status=3)


def test_where_none_answers_the_others_of_the_host_are_named_with_their_option(daemon, elsewhere):
    said = status("status", status=3)
    assert f"another multigrey runs on this host: ask it with --state-dir {daemon.directory}/state\n" in said


def test_the_store_of_a_stopped_daemon_is_found_by_its_directory(short_directory, elsewhere):
    with Daemon(short_directory, CONFIG, user="nobody"):
        pass
    done = CliRunner().invoke(main, ["verify", "--state-dir", f"{short_directory}/state", "--json"])
    assert json.loads(done.stdout)["unreadable"] == 0


def proc(directory: Path, sockets: str = "", **processes: tuple[str, Path]) -> Path:
    (directory / "net").mkdir()
    (directory / "net" / "unix").write_text("Num RefCount Protocol Flags Type St Inode Path\n" + sockets)
    for pid, (words, where) in processes.items():
        (directory / pid[1:]).mkdir()
        (directory / pid[1:] / "cmdline").write_text(words.replace(" ", "\0"))
        (directory / pid[1:] / "cwd").symlink_to(where)
    return directory


def test_what_proc_shows(tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    (state / "site.key").write_text("")
    row = "0000: 00000002 00000000 {} 0001 01 12 {}\n"
    sockets = [
        row.format("00010000", f"{state}/control.sock"),
        row.format("00000000", "/x/control.sock"),  # a connection
        row.format("00010000", "/other/control.sock"),  # another program's
        row.format("00010000", "@abstract/control.sock"),
        row.format("00010000", f"{state}/site.key"),
        "0000: 00000002 00000000 00010000 0001 01 13\n",
    ]
    shown = proc(tmp_path, "".join(sockets), p1=("python -P /opt/bin/multigrey serve -c ./my.toml", tmp_path))
    assert others(None, shown) == [f"--state-dir {state}"]
    assert others(state / "control.sock", shown) == [f"--config {tmp_path}/my.toml"]


def test_a_host_that_shows_nothing(tmp_path):
    assert others(None, tmp_path / "nothing") == []
    other = ("tail -f multigrey.log", tmp_path)
    assert others(None, proc(tmp_path, p1=other, p2=("vi serve", tmp_path))) == []


def test_a_command_to_copy_reaches_the_same_daemon(monkeypatch, tmp_path):
    @click.command()
    @place_options
    def command() -> None:
        click.echo(own_command(None))

    def said(*words: str) -> str:
        return CliRunner().invoke(command, words).stdout.strip()

    program = tmp_path / "multigrey"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.argv", [str(program)])
    monkeypatch.setenv("PATH", "/nonexistent")
    assert said() == str(program)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert said() == "multigrey"
    assert said("--state-dir", "a b") == "multigrey --state-dir 'a b'"
    assert said("--control", "/x") == "multigrey --control /x"
