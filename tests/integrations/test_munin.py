from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemon import Daemon

PLUGIN = Path(__file__).parents[2] / "integrations/munin/multigrey"
STATUS = {
    "decisions": {"defer new": 7, "defer over-limit": 1, "pass known": 90, "pass own-network": 2},
    "store": {"used": 123, "map_size": 1000},
    "records": {"known": 5, "waiting": 3, "observed": 0, "expired": 1, "unreadable": 0, "total": 9},
    "floods": [{}, {}],
    "input": [],
    "loop_lag": {"latest": 0.001, "worst": 0.0123456},
}


@pytest.fixture
def munin(tmp_path):
    """Runs the plugin with a program that answers as `multigrey status` does."""

    def run(told: object, *arguments: str, status: int = 0, **environment: str):
        program = tmp_path / "multigrey"
        program.write_text(
            f"#!{sys.executable}\nimport sys\nassert sys.argv[1:3] == ['status', '--json'], sys.argv\n"
            f"open({str(tmp_path / 'asked')!r}, 'w').write(repr(sys.argv))\n"
            f"print({json.dumps(told)!r})\nprint('trouble', file=sys.stderr)\nsys.exit({status})\n"
        )
        program.chmod(0o755)
        return subprocess.run(
            [sys.executable, PLUGIN, *arguments],
            env={"PATH": os.environ["PATH"], "multigrey": str(program), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def values(text: str) -> dict[str, dict[str, str]]:
    """Fields by graph."""
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "multigraph":
            graph = found.setdefault(value, {})
        else:
            graph[name] = value
    return found


def test_values(munin):
    done = munin(STATUS)
    assert done.returncode == 0
    assert values(done.stdout) == {
        "multigrey": {"pass.value": "92", "defer.value": "8", "reject.value": "0"},
        "multigrey_reasons": {
            "known.value": "90",
            "new.value": "7",
            "over_limit.value": "1",
            "own_network.value": "2",
        },
        "multigrey_records": {
            "known.value": "5",
            "waiting.value": "3",
            "expired.value": "1",
            "observed.value": "0",
        },
        "multigrey_store": {"used.value": "12.3"},
        "multigrey_floods": {"networks.value": "2"},
        "multigrey_input": {"problems.value": "0"},
        "multigrey_lag": {"worst.value": "0.0123"},
    }


def test_every_value_is_declared(munin):
    declared, told = values(munin(STATUS, "config").stdout), values(munin(STATUS).stdout)
    assert declared.keys() == told.keys()
    for graph, fields in told.items():
        assert {"graph_title", "graph_vlabel", "graph_category"} <= declared[graph].keys()
        assert {f"{name.partition('.')[0]}.label" for name in fields} <= declared[graph].keys()
    assert declared["multigrey"]["pass.type"] == "DERIVE"


def test_what_is_not_known_is_unknown(munin):
    told = values(munin({}).stdout)
    assert told["multigrey_store"] == {"used.value": "U"}
    assert told["multigrey"] == {"pass.value": "0", "defer.value": "0", "reject.value": "0"}
    assert "multigrey_reasons" not in told


def test_the_configuration_is_handed_on(munin, tmp_path):
    munin(STATUS, config="/etc/multigrey/other.toml")
    assert (tmp_path / "asked").read_text().endswith("'--config', '/etc/multigrey/other.toml']")


@pytest.mark.parametrize("status", [3, 4])
def test_a_daemon_that_does_not_answer(munin, status):
    done = munin(STATUS, status=status)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "trouble\n")
    assert munin(STATUS, "autoconf", status=status).stdout.startswith("no (")


def test_autoconf(munin):
    assert munin(STATUS, "autoconf").stdout == "yes\n"


def test_a_real_daemon(short_directory):
    program = short_directory / "multigrey"
    program.write_text(f"#!{sys.executable}\nfrom multigrey.__main__ import main\nmain()\n")
    program.chmod(0o755)
    config = (
        'state_dir = "{dir}/state"\n[[listen]]\nprotocol = "exim"\naddress = "unix:{dir}/state/exim.sock"\n'
    )
    with Daemon(short_directory, config, user="nobody") as daemon:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(PLUGIN.parents[2]),
            "multigrey": str(program),
            "config": str(daemon.config),
        }
        done = subprocess.run(
            [sys.executable, PLUGIN], env=environment, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    told = values(done.stdout)
    assert told["multigrey"] == {"pass.value": "0", "defer.value": "0", "reject.value": "0"}
    assert 0 < float(told["multigrey_store"]["used.value"]) < 5
