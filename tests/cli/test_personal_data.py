"""personal-data as an administrator runs it; every kind of stored row is either in it or holds nobody."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from multigrey.cli import main
from multigrey.cli.personal_data import statements
from multigrey.config.load import load
from multigrey.model import Table
from multigrey.stores.meta import KINDS

ENVIRON = {"STATE_DIRECTORY": "/var/lib/multigrey", "RUNTIME_DIRECTORY": None}
IMPERSONAL = {"site-key", "hits-since", "growth", "hours", "flow", "metrics-deferrals", "health-check"}
"""Kinds of META rows that hold only numbers and times."""


@pytest.fixture
def told(tmp_path):
    """What the command prints for a configuration, as one line."""

    def tell(text, *arguments):
        path = tmp_path / "multigrey.toml"
        path.write_text(text)
        path.chmod(0o644)
        result = CliRunner(env=ENVIRON).invoke(main, ["personal-data", "-c", str(path), *arguments])
        assert (result.exit_code, result.stderr) == (0, "")
        return result.stdout

    return tell


def flat(text):
    return " ".join(text.split())


def test_every_kind_of_row_is_described_or_holds_nobody(tmp_path):
    path = tmp_path / "multigrey.toml"
    path.write_text("")
    path.chmod(0o644)
    described = [row for one in statements(load(path, {}).settings) for row in one.rows]
    assert len(described) == len(set(described))
    tables = {table.name for table in Table} - {Table.META.name}
    assert {*described} | IMPERSONAL == tables | {kind.name.decode() for kind in KINDS}
    assert not {*described} & IMPERSONAL


# fmt: off
CASES = [
    ("", "the mail never came back, else 36d after the last mail.", "token"),
    ("", "which only root and the daemon's user can read, and in the decision log. Records", "Members"),
    ("", "recipient and origin, in clear, host name, HELO and login.", "token"),
    ("", "Kept: 35d, and at most 2,000,000 decisions.", "in the form json"),
    ('[greylist]\nretry_window = "1d"', "Kept: 1d after the first attempt", "Kept: 2d"),
    (
        '[greylist]\nmax_age = "10d"',
        "10d after the last mail, and of an origin as a whole at least 36d",
        "\0",
    ),
    (
        '[greylist]\nmax_age = "60d"',
        "60d after the last mail, and of an origin as a whole at least 60d",
        "\0",
    ),
    ('[[rule]]\nname = "slow"\naction = "greylist"\nwhen = {}\nretry_window = "5d"', "Kept: 5d.", "Kept: 2d"),
    ('[history]\nmax_age = "7d"', "Kept: 7d, and at most", "35d"),
    ("[history]\nenabled = false", "Decision log", "history.mdb"),
    ("[log]\nredact = true", "unnamed origin as tokens", "in clear, host"),
    ('[log]\nformat = "json"\nto = "/var/log/x.log"', "to /var/log/x.log in the form json", "stderr"),
    ('[control]\nread_group = "desk"', "Members of these groups may ask the daemon for it: desk.", "\0"),
    ('[control]\nread_group = "desk"\naddress = "off"', "and in the decision log. Records", "Members"),
]
# fmt: on


@pytest.mark.parametrize(("text", "expected", "absent"), CASES)
def test_it_follows_the_configuration(told, text, expected, absent):
    shown = flat(told(text))
    assert expected in shown
    assert absent not in shown


def test_it_fits_a_terminal(told):
    lines = told("[log]\nredact = true").splitlines()
    assert max(map(len, lines)) <= 79
    assert [line for line in lines if line != line.rstrip()] == []


def test_as_json(told):
    rows = json.loads(told("", "--json"))
    assert [row["title"] for row in rows][:2] == ["Records", "Origin records"]
    assert {*rows[0]} == {"title", "data", "purpose", "kept", "rows"}


def test_a_wrong_configuration(tmp_path):
    path = tmp_path / "multigrey.toml"
    path.write_text("[histry]\n")
    path.chmod(0o644)
    result = CliRunner(env=ENVIRON).invoke(main, ["personal-data", "-c", str(path)])
    assert result.exit_code == 2
    assert f"{path}:1: histry: " in result.stderr
