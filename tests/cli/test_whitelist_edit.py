"""`multigrey whitelist add`, `remove` and `review` on list files, without a daemon."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from multigrey.cli import main
from tests.support.clocks import FakeClock

NOW = int(datetime(2026, 11, 22, 14, tzinfo=UTC).timestamp())
CONFIG = """
state_dir = "{dir}/state"
[[whitelist]]
source = "list"
path = "lists"
owner = "postmaster"
"""
LIST = """\
# Ours, all of them

# The alarm
[[entry]]
client = "192.0.2.1"   # the box
recipient = "oncall@example.org"
reason = "alarms"

[[entry]]
client = ".partner.example"
reason = "partner"
"""


@pytest.fixture
def site(tmp_path):
    for name in ("lists", "state"):
        (tmp_path / name).mkdir(mode=0o755)
    write(tmp_path / "multigrey.toml", CONFIG.replace("{dir}", str(tmp_path)))
    write(tmp_path / "lists/a.toml", LIST)
    return tmp_path


def write(path, text):
    path.write_text(text)
    path.chmod(0o644)
    return path


def run(site, *words):
    arguments = ["whitelist", *map(str, words), "-c", str(site / "multigrey.toml")]
    return CliRunner(env={"RUNTIME_DIRECTORY": None, "COLUMNS": None}).invoke(
        main, arguments, obj=FakeClock(NOW), prog_name="multigrey"
    )


def test_an_addition_goes_to_a_file_of_its_own_in_a_directory(site):
    result = run(
        site, "add", "--sender-domain", "news.example", "--reason", "news", "--review-by", "2027-01-31"
    )
    assert result.exit_code == 0, result.output
    path = site / "lists/local.toml"
    assert path.read_text() == (
        '[[entry]]\nsender_domain = "news.example"\nreason = "news"\nadded = 2026-11-22\n'
        "review_by = 2027-01-31\n"
    )
    assert f"added {path}:1: sender=@news.example (owner postmaster, review_by 2027-01-31)" in result.stdout
    assert "not in effect yet: " in result.stdout


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (["--for", "2h"], "expires = 2026-11-22T16:00:00Z\n"),
        (["--until", "2026-12-24"], "expires = 2026-12-24\n"),
        (["--until", "2026-12-24T18:00+01:00"], "expires = 2026-12-24T17:00:00Z\n"),
        (["--owner", "ops", "--ticket", "T-7"], 'owner = "ops"\nticket = "T-7"\n'),
    ],
)
def test_what_an_addition_says(site, words, written):
    path = site / "lists/a.toml"
    result = run(site, "add", "--client", "198.51.100.1", *words, "--file", path, "--no-reload")
    assert result.exit_code == 0, result.output
    text = path.read_text()
    assert text.startswith(LIST + '\n[[entry]]\nclient = "198.51.100.1"\n')
    assert written in text
    assert "not in use" not in result.stdout


def test_an_addition_that_changes_nothing_is_told(site):
    result = run(site, "add", "--client", "mx.partner.example", "--file", site / "lists/a.toml", "--json")
    told = json.loads(result.stdout)
    assert told["covered_by"] == f"{site}/lists/a.toml:9"
    assert (told["line"], told["entry"], told["reloaded"]) == (13, "client=mx.partner.example", False)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["add"], "expected at least one of"),
        (["add", "--client", "x", "--for", "1h", "--until", "2027-01-01"], "exclude each other"),
        (["add", "--client", "0.0.0.0/0"], "would match every client"),
        (["add", "--client", "192.0.2.1/99"], "local.toml:"),
        (["add", "--client", "x.example", "--until", "soon"], "expected a date such as 2027-01-31"),
        (["add", "--client", "x.example", "--review-by", "2027-13-01"], "expected a date such as 2027-01-31"),
        (["add", "--client", "x.example", "--file", "/nonexistent/x.toml"], "no list of the configuration"),
        (["remove"], "either FILE:LINE"),
        (["remove", "a.toml:4", "--client", "x.example"], "either FILE:LINE"),
        (["remove", "a.toml"], "expected FILE:LINE"),
        (["remove", "other.toml:4"], "cannot be read"),
        (["remove", "--client", "192.0.2.1/99"], "client"),
        (["review", "a.toml:4"], "--until"),
    ],
)
def test_a_wrong_command_changes_nothing(site, words, told):
    result = run(site, *words)
    assert result.exit_code == 2, result.output
    assert told in result.output
    assert (site / "lists/a.toml").read_text() == LIST
    assert [path.name for path in (site / "lists").iterdir()] == ["a.toml"]


@pytest.mark.parametrize(
    "words",
    [
        ["remove", "a.toml:1"],
        ["remove", "a.toml:99"],
        ["remove", "--client", "192.0.2.1"],
        ["review", "a.toml:2", "--until", "2027-01-01"],
    ],
)
def test_an_entry_that_is_not_there(site, words):
    result = run(site, *words)
    assert result.exit_code == 1, result.output
    assert (site / "lists/a.toml").read_text() == LIST


@pytest.mark.parametrize(
    "words",
    [
        ["a.toml:4"],
        ["a.toml:6"],
        ["--recipient", "oncall@example.org", "--client", "192.0.2.1/32"],
    ],
)
def test_a_removal_by_place_or_by_what_it_asks_for(site, words):
    result = run(site, "remove", *words)
    assert result.exit_code == 0, result.output
    text = (site / "lists/a.toml").read_text()
    assert text.startswith("# Ours, all of them\n\n# The alarm\n")
    assert text.endswith('[[entry]]\nclient = ".partner.example"\nreason = "partner"\n')
    assert "192.0.2.1" not in text
    assert "removed " in result.stdout


def test_a_removal_with_its_comments(site):
    assert run(site, "remove", "a.toml:4", "--comments").exit_code == 0
    text = (site / "lists/a.toml").read_text()
    assert "The alarm" not in text
    assert "Ours, all of them" in text


def test_several_equal_entries_are_not_guessed_at(site):
    write(site / "lists/b.toml", '[[entry]]\nclient = ".partner.example"\n')
    result = run(site, "remove", "--client", ".partner.example")
    assert result.exit_code == 1
    assert "a.toml:9" in result.output
    assert "b.toml:1" in result.output


def test_a_review(site):
    result = run(site, "review", f"{site}/lists/a.toml:9", "--until", "2027-06-30")
    assert result.exit_code == 0, result.output
    assert (site / "lists/a.toml").read_text() == LIST + "review_by = 2027-06-30\n"


def test_several_lists_need_a_file(site):
    config = site / "multigrey.toml"
    (site / "more").mkdir(mode=0o755)
    text = config.read_text()
    write(config, text + text[text.index("[[") :].replace("lists", "more"))
    result = run(site, "add", "--client", "x.example")
    assert result.exit_code == 2
    assert "--file" in result.output
