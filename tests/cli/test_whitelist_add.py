"""`multigrey whitelist add`: on a fresh installation, with and without a daemon, and what it refuses."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from multigrey.cli import main
from tests.cli.test_whitelist_edit import NOW, write
from tests.support.clocks import FakeClock
from tests.support.daemon import Daemon

FRESH = """
state_dir = "{dir}/state"
[[listen]]
protocol = "postfix"
address = "unix:{dir}/p.sock"
"""


@pytest.fixture
def fresh(tmp_path):
    """A configuration that names no list."""
    tmp_path.chmod(0o755)
    write(tmp_path / "multigrey.toml", FRESH.replace("{dir}", str(tmp_path)))
    return tmp_path


def run(directory, *words, now=NOW):
    arguments = [*map(str, words), "-c", str(directory / "multigrey.toml")]
    return CliRunner(env={"RUNTIME_DIRECTORY": None, "COLUMNS": None}).invoke(
        main, arguments, obj=FakeClock(now), prog_name="multigrey"
    )


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_the_first_thing_an_administrator_does(fresh):
    before = os.umask(0o077)
    try:
        result = run(fresh, "whitelist", "add", "--client", ".partner.de")
    finally:
        os.umask(before)
    assert result.exit_code == 0, result.output
    path = fresh / "whitelists/local.toml"
    assert (mode(path.parent), mode(path)) == (0o755, 0o644)
    assert f"added {path}:1: client=.partner.de" in result.stdout
    assert "not in effect yet: no daemon answers" in result.stdout
    assert ".partner.de" in run(fresh, "whitelist", "list").stdout
    assert run(fresh, "check-config").exit_code == 0


def test_a_wrong_entry_makes_no_directory(fresh):
    assert run(fresh, "whitelist", "add", "--client", "192.0.2.1/99").exit_code == 2
    assert not (fresh / "whitelists").exists()


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("elsewhere.toml", 'source = "list"\npath = "{dir}/elsewhere.toml"'),
        ("whitelists/local.txt", "no list of the configuration names this file"),
        ("whitelists/.local.toml", "no list of the configuration names this file"),
        ("clients", "has source postgrey-clients, which is not edited by commands"),
    ],
)
def test_a_file_that_the_daemon_would_not_read_is_refused(fresh, file, told):
    config = fresh / "multigrey.toml"
    table = '[[whitelist]]\nsource = "postgrey-clients"\npath = "clients"\n'
    write(config, config.read_text() + table)
    write(fresh / "clients", "192.0.2.1\n")
    result = run(fresh, "whitelist", "add", "--client", ".partner.de", "--file", fresh / file)
    assert result.exit_code == 2
    assert told.replace("{dir}", str(fresh)) in result.output
    assert not (fresh / "whitelists").exists()


def test_the_refused_lines_of_toml_are_those_that_help(fresh):
    config, file = fresh / "multigrey.toml", fresh / "elsewhere.toml"
    words = ("whitelist", "add", "--client", ".partner.de", "--file", file)
    told = run(fresh, *words).output
    write(config, config.read_text() + told.partition("multigrey.toml:\n")[2])
    assert run(fresh, *words).exit_code == 0
    assert ".partner.de" in file.read_text()


def test_a_file_in_the_default_directory(fresh):
    file = fresh / "whitelists/partners.toml"
    assert run(fresh, "whitelist", "add", "--client", ".partner.de", "--file", file).exit_code == 0
    assert ".partner.de" in file.read_text()


def test_doubts_and_entries_that_cover_each_other(fresh):
    def add(*words):
        return run(fresh, "whitelist", "add", *words, "--no-reload").stdout

    file = fresh / "whitelists/local.toml"
    assert "note: covers only the host outlook.com; write .outlook.com for its hosts too" in add(
        "--client", "outlook.com"
    )
    assert f"note: it makes {file}:1 superfluous" in add("--client", ".outlook.com")
    write(fresh / "whitelists/whitelist_clients", "partner.de\n")
    told = add("--client", "mx.partner.de")
    assert f"note: {fresh}/whitelists/whitelist_clients:1 already lets all of this mail pass" in told
    checked = run(fresh, "check-config")
    assert checked.exit_code == 0
    covered = f"warning: {file}:1: client=outlook.com is covered by {file}:5 (client=.outlook.com)"
    assert covered in checked.stderr
    assert f"client=mx.partner.de is covered by {fresh}/whitelists/whitelist_clients:1" in checked.stderr


def test_a_running_daemon_is_asked_back(module_directory):
    with Daemon(module_directory, FRESH, user="nobody", now=NOW) as daemon:

        def add(*words):
            result = run(module_directory, "whitelist", "add", *words, "--json")
            return result.exit_code, json.loads(result.stdout)

        def matches(*words):
            return run(module_directory, "whitelist", "test", *words).exit_code == 0

        # The directory appears only now, long after the daemon has confined itself.
        code, told = add("--client", ".partner.de")
        assert (code, told["in_effect"], told["why"]) == (0, True, None)
        assert told["config"] == str(daemon.config)
        assert matches("--client-address", "192.0.2.1", "--client-name", "mx.partner.de")
        shown = run(module_directory, "whitelist", "add", "--client", ".partner.at").stdout
        assert "in effect: the daemon has read its lists again, and has this entry" in shown

        # Near misses: what the entry was meant for is shown by `test` and by `explain`.
        assert add("--client", "outlook.com")[0] == 0
        words = ("--client-address", "192.0.2.1", "--client-name", "mail-1.mx.outlook.com")
        near = "client=outlook.com: covers only the host outlook.com; write .outlook.com for its hosts"
        assert not matches(*words)
        assert f"near miss: local.toml:9 {near}" in run(module_directory, "whitelist", "test", *words).stdout
        mail = ("--sender", "a@example.org", "--recipient", "b@example.net")
        assert near in " ".join(run(module_directory, "explain", *words, *mail).stdout.split())

        gone = str(datetime.fromtimestamp(NOW - 86_400, UTC).date())
        code, told = add("--client", "mx.partner.example", "--until", gone)
        assert (code, told["in_effect"], told["why"]) == (1, False, "it has expired already")
        shown = run(module_directory, "whitelist", "add", "--client", "mx.example.at", "--until", gone).stdout
        assert "NOT in effect: it has expired already" in shown

        code, told = add("--client", ".partner.ch", "--no-reload")
        assert (code, told["in_effect"]) == (0, None)

        # A reload that the daemon refuses: the entry is in the file, and nowhere else.
        (module_directory / "whitelists/wrong.toml").write_text("[[entry]]\n")
        code, told = add("--client", ".partner.fr")
        assert (code, told["in_effect"]) == (1, False)
        assert "has no condition" in told["why"]
        assert not matches("--client-address", "192.0.2.1", "--client-name", "mx.partner.fr")
        (module_directory / "whitelists/wrong.toml").unlink()

        # Another configuration with the same daemon.
        other = module_directory / "other"
        other.mkdir(mode=0o755)
        write(other / "multigrey.toml", daemon.config.read_text())
        result = run(other, "whitelist", "add", "--client", ".partner.it")
        assert result.exit_code == 1
        assert (
            f"NOT in effect: the running daemon does not read {other}/whitelists/local.toml" in result.stdout
        )
        assert f"started with {daemon.config}" in result.stdout
