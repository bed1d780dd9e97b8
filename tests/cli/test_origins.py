"""`multigrey origins providers`, asked of a real daemon and of a stopped one's store."""

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
address = "unix:{dir}/state/postfix.sock"
[origin]
"""


def run(daemon, *arguments, columns="80"):
    command = ["origins", "providers", *arguments, "-c", str(daemon.config)]
    env = {"RUNTIME_DIRECTORY": None, "COLUMNS": columns}
    return CliRunner(env=env).invoke(main, command, obj=daemon.clock, prog_name="multigrey")


def rows(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize("stopped", [False, True])
def test_who_passes_and_who_is_only_grouped(short_directory, stopped):
    with Daemon(short_directory, CONFIG, user="nobody") as daemon:
        if stopped:
            daemon.stop()
        shown = run(daemon)
        assert shown.exit_code == 0
        assert stopped or not shown.stderr  # without a daemon the machine's clock says how old the tables are
        assert max(map(len, shown.stdout.splitlines())) <= 80
        passing, _, grouped = shown.stdout.partition("\n\n")
        assert passing.startswith("Pass at once: known to retry")
        assert grouped.startswith("Grouped only: delayed like others")
        assert "\ngoogle " in passing
        assert "\nfacebook " in grouped
        assert "retries: for up to 72 hours" in " ".join(passing.split())
        assert "source: Received fields" in " ".join(grouped.split())

        found = rows(run(daemon, "--json"))
        assert {"provider", "passes", "hosts", "reason", "source", "date", "schedule"} <= found[0].keys()
        only = run(daemon, "--passing", "--json")
        assert rows(only) == [row for row in found if row["passes"]]
        assert "Grouped" not in run(daemon, "--passing").stdout


def test_nobody_passes(short_directory):
    with Daemon(short_directory, CONFIG + 'providers = "greylist"\n', user="nobody") as daemon:
        assert run(daemon).stdout.startswith(
            "Grouped only: delayed like others; [origin] providers is greylist"
        )
        none = run(daemon, "--passing")
        assert (none.exit_code, none.stdout) == (1, "")
        assert none.stderr == "no provider passes at once\n"
        assert run(daemon, "--passing", "--json").stdout == ""
