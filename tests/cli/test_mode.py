"""The commands that change the daemon as a whole, against one that runs."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from multigrey.cli import main
from tests.support.daemon import Daemon

CONFIG = """
state_dir = "{dir}/state"
[[listen]]
protocol = "postfix"
address = "unix:{dir}/p.sock"
[[whitelist]]
source = "postgrey-clients"
path = "{dir}/clients"
"""


@pytest.fixture(scope="module")
def daemon(module_directory):
    (module_directory / "clients").write_text("192.0.2.1\n")
    with Daemon(module_directory, CONFIG, user="nobody") as running:
        yield running


def _run(daemon, *arguments: str):
    return CliRunner().invoke(main, [*arguments, "-c", str(daemon.config)])


def _json(daemon, *arguments: str):
    result = _run(daemon, *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_reload_says_what_changed_or_why_it_was_refused(daemon):
    result = _run(daemon, "reload")
    assert (result.exit_code, "nothing changed" in result.stdout) == (0, True)
    text = daemon.config.read_text()
    try:
        daemon.config.write_text(text + '[greylist]\ndelay = "5m"\n[control]\nread_group = "daemon"\n')
        (daemon.directory / "clients").write_text("192.0.2.1\n192.0.2.2\n")
        result = _run(daemon, "reload")
        assert result.exit_code == 0
        assert "greylist.delay: 2m -> 5m" in result.stdout
        assert "control.read_group: (not set) -> daemon" in result.stdout
        assert "control: takes effect only after a restart of the daemon" in result.stdout
        assert "2 entries (1 before)" in result.stdout
        daemon.config.write_text(text + "[greylist]\ndelay = 5\n")
        result = _run(daemon, "reload")
        assert result.exit_code == 1
        assert "greylist.delay" in result.stderr
        assert result.stderr.endswith("reload refused: the daemon keeps its old configuration\n")
        assert _json(daemon, "status")["delays"]["named"] == 300
    finally:
        daemon.config.write_text(text)
        assert _run(daemon, "reload").exit_code == 0


def test_what_waits_for_a_restart_is_told_until_it_is_taken_back(daemon):
    text = daemon.config.read_text()
    try:
        daemon.config.write_text(text + '[history]\nmap_size = "64MiB"\n')
        assert _json(daemon, "reload")["needs_restart"] == ["history.map_size"]
        assert _json(daemon, "reload")["needs_restart"] == ["history.map_size"]
        assert "! history.map_size has changed" in _run(daemon, "status").stdout
    finally:
        daemon.config.write_text(text)
    assert _json(daemon, "reload")["needs_restart"] == []
    assert _json(daemon, "status")["needs_restart"] == []


def test_another_mode_for_a_while(daemon):
    assert _run(daemon, "mode").stdout == "mode: enforce, as configured\n"
    assert "mode: observe until" in _run(daemon, "mode", "observe", "--for", "7d").stdout
    now = _run(daemon, "mode").stdout
    assert now.startswith("mode: observe until ")
    assert now.endswith("\nconfigured: enforce\n")
    assert ", set by " in now
    told = _json(daemon, "status")
    assert told["mode"] == {"configured": "enforce", "in_effect": "observe"}
    (override,) = told["overrides"]
    assert override["until"] - override["since"] == 7 * 86_400
    assert _run(daemon, "reload").exit_code == 0
    assert _json(daemon, "status")["mode"]["in_effect"] == "observe"
    assert "observe has ended" in _run(daemon, "mode", "configured").stdout
    assert "no override to end" in _run(daemon, "mode", "configured").stdout
    assert _json(daemon, "status")["mode"]["in_effect"] == "enforce"


def test_tighten_takes_the_place_of_relax_and_ends(daemon):
    assert _json(daemon, "relax")["override"]["word"] == "relax"
    assert _json(daemon, "status")["delays"] == {"named": 120, "unnamed": 120}
    assert _json(daemon, "tighten", "--for", "30m")["override"]["word"] == "tighten"
    assert _json(daemon, "status")["delays"] == {"named": 240, "unnamed": 900}
    assert _json(daemon, "tighten", "--end")["ended"]["word"] == "tighten"
    assert _json(daemon, "status")["delays"] == {"named": 120, "unnamed": 180}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["mode", "loud"], 2),
        (["mode", "off", "--for", "7"], 2),
        (["mode", "off", "--for", "500ms"], 2),
        (["tighten", "--for", "0s"], 2),
        (["mode", "off", "--for", "400d"], 2),
        (["backup"], 2),
    ],
)
def test_command_lines_that_make_no_sense(daemon, arguments, code):
    result = _run(daemon, *arguments)
    assert result.exit_code == code
    assert _json(daemon, "status")["overrides"] == []


def test_the_store_is_looked_after(daemon):
    result = _run(daemon, "verify")
    assert (result.exit_code, "none cannot be read" in result.stdout) == (0, True)
    result = _run(daemon, "compact")
    assert (result.exit_code, " before, " in result.stdout) == (0, True)
