"""`multigrey whitelist list` (the test of entries is in test_explain.py, with a daemon)."""

from __future__ import annotations

import json

import pytest

from tests.cli.test_whitelist_edit import run, site, write

__all__ = ["site"]


def rows(result):
    return [
        (row["file"].rpartition("/")[2], row["line"], row["entry"], row["owner"], row["state"])
        for row in json.loads(result.stdout)["entries"]
    ]


@pytest.fixture
def more(site):
    entry = '[[entry]]\nclient = "192.0.2.9"\nowner = "ops"\nexpires = 2020-01-01\n'
    write(site / "lists/b.toml", entry + '[[entry]]\norigin = "example.org"\nenabled = false\n')
    write(site / "clients", "partner.example\n")
    with (site / "multigrey.toml").open("a") as config:
        config.write('[[whitelist]]\nsource = "postgrey-clients"\npath = "clients"\nowner = "old"\n')
    return site


def test_every_entry_of_every_list(more):
    assert rows(run(more, "list", "--json")) == [
        ("a.toml", 4, "client=192.0.2.1 recipient=oncall@example.org", "postmaster", "in use"),
        ("a.toml", 9, "client=.partner.example", "postmaster", "in use"),
        ("b.toml", 1, "client=192.0.2.9", "ops", "expired"),
        ("b.toml", 5, "origin=example.org", "postmaster", "disabled"),
        ("clients", 1, "client=.partner.example", "old", "in use"),
    ]


def test_those_of_one_owner(more):
    assert [row[0] for row in rows(run(more, "list", "--owner", "old", "--json"))] == ["clients"]
    nobody = run(more, "list", "--owner", "nobody")
    assert (nobody.exit_code, nobody.stdout) == (1, "no entries found\n")


def test_as_text(more):
    lines = run(more, "list", "--owner", "ops").stdout.splitlines()
    assert lines == [f"{more}/lists/b.toml:1: client=192.0.2.9 [expired] (owner ops, expires 2020-01-01)"]


def test_a_list_that_is_wrong(site):
    write(site / "lists/b.toml", "[[entry]]\nclient = 7\n")
    result = run(site, "list")
    assert result.exit_code == 2
    assert "b.toml:2: entry[1].client: " in result.output
