"""Every command ends with 2 for a wrong command line, whether it or the daemon finds the mistake."""

from __future__ import annotations

import re

import click
import pytest
from click.testing import CliRunner

from man.regions import leaf_commands
from multigrey.cli import main
from tests.support.daemon import Daemon

CONFIG = """
state_dir = "{dir}/state"
[[listen]]
protocol = "postfix"
address = "unix:{dir}/state/postfix.sock"
"""

# fmt: off
WRONG = [
    ["records", "show"],
    ["records", "show", "--client-address", "192.0.2.1"],
    ["records", "show", "--client-address", "mx", "--recipient", "b@example.net"],
    ["records", "list", "--client", "mx"],
    ["records", "list", "--key", "12"],
    ["records", "pass"],
    ["records", "forget", "--key", "xyz"],
    ["rule", "test"],
    ["rule", "test", "--client-address", "mx", "--recipient", "b@example.net"],
    ["rule", "test", "--recipient", "b@example.net", "--stage", "body"],
    ["whitelist", "test", "--client-address", "mx"],
    ["expect", "bob"],
    ["expect", "bob@example.net", "--from", "not a domain"],
    ["expect", "bob@example.net", "--for", "8d"],
    ["expect", "bob", "--cancel"],
    ["mode", "observe", "--for", "367d"],
    ["history", "nonsense"],
    ["history", "0.0.0.0/0"],
    ["origins", "show", "192.0.2.300"],
    ["watch", "--client", "mx one"],
    ["explain", "--client-address", "192.0.2.1", "--recipient", "b@example.net", "--stage", "body"],
]
# fmt: on
"""Command lines whose mistake only the parts behind the command can see, for the most part."""

NO = [
    ["records", "show", "--key", "123456"],
    ["history", "nobody@example.com"],
    ["rule", "test", "--client-address", "192.0.2.1"],
    ["whitelist", "test", "--client-address", "192.0.2.1"],
    ["expect", "bob@example.net", "--cancel"],
    ["explain", "zzzzzz"],
    ["explain", "--line", "not a line of a log"],
]
"""Right command lines to which the answer is no."""


@pytest.fixture(scope="module")
def daemon(module_directory):
    with Daemon(module_directory, CONFIG, user="nobody") as running:
        yield running


def status_of(daemon, words):
    done = CliRunner(env={"RUNTIME_DIRECTORY": None}).invoke(main, [*words, "-c", str(daemon.config)])
    return done.exit_code, done.output


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_a_wrong_command_line(daemon, words):
    code, text = status_of(daemon, words)
    assert code == 2, text


@pytest.mark.parametrize("words", NO, ids=" ".join)
def test_no_is_another_number(daemon, words):
    code, text = status_of(daemon, words)
    assert code == 1, text


@pytest.mark.parametrize("words", [WRONG[1], ["expect", "--list"], ["history", "nonsense"]], ids=" ".join)
def test_the_same_of_a_stopped_daemon(short_directory, words):
    with Daemon(short_directory, CONFIG, user="nobody") as stopped:
        pass
    assert status_of(stopped, words)[0] == (0 if "--list" in words else 2)


@pytest.mark.parametrize(
    ("name", "command"), list(leaf_commands()), ids=[name for name, _ in leaf_commands()]
)
def test_an_unknown_option_and_the_help_say_2(name, command):
    unknown = 3 if name == "check" else 2
    assert CliRunner().invoke(main, [*name.split(), "--no-such-option"]).exit_code == unknown
    status = re.search(r"Exit status: (.*)", " ".join((command.help or "").split()))
    assert status is not None
    assert name == "completions" or re.search(r"\b2\b", status[1])


def test_config_is_called_alike_everywhere():
    for name, command in leaf_commands():
        spelt = {
            each: option.name
            for option in command.params
            if isinstance(option, click.Option)
            for each in option.opts
        }
        assert spelt.get("-c", "config") == "config", name
        assert ("--config" in spelt) is ("-c" in spelt), name
