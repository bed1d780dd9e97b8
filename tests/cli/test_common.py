"""Arguments that several commands read alike."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from man.command_regions import leaf_commands
from multigrey.cli import main
from multigrey.cli.common import AddressType
from tests.support.daemon import Daemon

CONFIG = """
state_dir = "{dir}/state"
[[listen]]
protocol = "postfix"
address = "unix:{dir}/p.sock"
[[whitelist]]
source = "list"
path = "{dir}/list.toml"
"""


def test_every_option_that_takes_an_address_reads_it_alike():
    for name, command in leaf_commands():
        for option in command.params:
            if isinstance(option, click.Option) and option.metavar == "ADDRESS":
                assert isinstance(option.type, AddressType), f"{name} {option.name}"


@pytest.mark.parametrize(
    "words",
    [
        ["history", "bob"],
        ["history", "<bob@example.net"],
        ["history", "bob@example.net, ann@example.net"],
        ["history", "--sender", "bob"],
        ["records", "list", "--recipient", "bob example.net"],
        ["records", "show", "--sender", "example.org"],
        ["explain", "--client-address", "192.0.2.1", "--sender", "ann", "--recipient", "bob@example.net"],
        ["rule", "test", "--recipient", "bob"],
        ["whitelist", "test", "--sender", "a@x.example, b@x.example"],
        ["whitelist", "add", "--recipient", "a@x.example, b@x.example"],
        ["expect", "bob"],
        ["expect", "bob@example.net", "bob"],
        ["expect", "bob@example.net", "--from", "bob"],
    ],
    ids=" ".join,
)
def test_what_is_no_address_is_a_wrong_command_line(tmp_path, words):
    config = tmp_path / "multigrey.toml"
    config.write_text(CONFIG.replace("{dir}", str(tmp_path)))
    config.chmod(0o644)
    done = CliRunner().invoke(main, [*words, "-c", str(config)])
    assert done.exit_code == 2, done.output
    assert "Usage:" in done.stderr


@pytest.fixture(scope="module")
def daemon(module_directory):
    (module_directory / "list.toml").write_text("")
    with Daemon(module_directory, CONFIG, user="nobody") as daemon:
        yield daemon


def test_pasted_spellings_reach_the_daemon_as_addresses(daemon):
    def run(*words: str) -> str:
        done = CliRunner().invoke(main, [*words, "-c", str(daemon.config)])
        assert done.exit_code in {0, 1}, done.output
        return done.output

    said = run("expect", "Ann <ann@x.example>, to=<bob@x.example>", "--from", "<carol@y.example>")
    assert said.count("expected: ann@x.example from y.example") == 1
    assert said.count("expected: bob@x.example from y.example") == 1
    assert run("expect", "--cancel", "ann@x.example", "<bob@x.example>").count("no longer expected") == 2
    mail = ["--sender", "from=<carol@y.example>,", "--recipient", "<bob@x.example>"]
    assert "carol@y.example -> bob@x.example" in run("explain", "--client-address", "192.0.2.1", *mail)
    run("whitelist", "add", "--sender", "<carol@y.example>")
    assert 'sender = "carol@y.example"' in (daemon.directory / "list.toml").read_text()
    assert "carol@y.example" in run("whitelist", "test", *mail)
