"""What multigrey-whitelists(5) shows and says."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest

from multigrey.background.hits import FLUSH_EVERY, MOST_COUNTED
from multigrey.cli.whitelist import EXIT_CONFIG, EXIT_FINDINGS
from multigrey.config.tables.whitelist import WhitelistSettings
from multigrey.contracts import SourceOptions
from multigrey.events.line import format_event
from multigrey.model import Action, Attempt, DecisionEvent, Match, Reason, Verdict
from multigrey.whitelists.checks.lint import LintedList, LintOutlook, lint
from multigrey.whitelists.checks.regexes import loose_ends
from multigrey.whitelists.list_source import SOURCE, entry_list
from multigrey.whitelists.toml_file import LARGEST_LIST, read_lists

PAGE = (Path(__file__).resolve().parents[2] / "man/multigrey-whitelists.5").read_text()
PROSE = " ".join(re.sub(r"(?m)^\.\w\w ?|\\e", lambda found: "\\" if found[0] == r"\e" else "", PAGE).split())


def example(kind):
    return re.search(rf'(?m)^\.\\" example: {kind}\n\.Bd .*\n(?P<body>(?:.*\n)*?)\.Ed$', PAGE)["body"]


def attempt(**fields):
    values = {"listener": "test", "client_address": None, "client_name": None, "helo": ""}
    return Attempt(**{**values, "sender": "a@example.com", "recipient": "b@example.org", **fields})


@pytest.fixture
def shown(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(example("whitelist"))
    path.chmod(0o644)
    return path


def test_the_configuration_names_a_list():
    (table,) = tomllib.loads(example("whitelist-config"))["whitelist"]
    assert table["source"] == SOURCE
    settings = WhitelistSettings.model_validate(table, context={"directory": Path("/etc/multigrey")})
    assert settings.path == Path("/etc/multigrey/whitelists")


DAY = {"now": lambda: int(datetime(2026, 11, 22, tzinfo=UTC).timestamp())}
LATER = {"now": lambda: int(datetime(2027, 1, 1, tzinfo=UTC).timestamp())}


@pytest.mark.parametrize(
    ("fields", "options", "owner"),
    [
        ({"client_name": "mx1.relay.example.com"}, DAY, "helpdesk@example.org"),
        ({"client_name": "mx1.relay.example.com", "sender": "a@example.net"}, DAY, None),
        (
            {"client_address": ip_address("198.51.100.17"), "recipient": "oncall@example.org"},
            DAY,
            "operations",
        ),
        ({"client_address": ip_address("198.51.100.17")}, DAY, None),
        ({"client_name": "mx.example.net"}, DAY, "helpdesk@example.org"),
        ({"client_name": "mx.example.net"}, LATER, None),
    ],
)
def test_the_list_lets_in_what_it_says(shown, fields, options, owner):
    found = entry_list(SourceOptions(shown, **options)).match(attempt(**fields))
    assert (found and found.owner) == owner


def test_the_list_is_clean_but_for_its_example_names(shown):
    lists = [LintedList(shown, SOURCE, each.entries) for each in read_lists(shown)]
    assert {finding.kind for finding in lint(lists, LintOutlook(DAY["now"]()))} == {"example"}


def test_the_log_looks_like_that():
    match = Match(SOURCE, "a.toml:3 client=.example.com", "ops")
    event = DecisionEvent(0, "id", attempt(), Verdict(Action.PASS, Reason.WHITELISTED, match=match))
    told = re.search(r"(?m)^\.Dl (source=.*)$", PAGE)[1].replace(r"\(dq", '"')
    assert told in format_event(event)


def test_patterns_are_as_loose_as_told():
    paragraph = re.search(r"(?s)^Anchor regular .*?^\.Pp", PAGE, re.MULTILINE)[0]
    loose, firm = re.findall(r"(?m)^\.Ql /(.*)/(?: ,)?$", paragraph.replace(r"\e", "\\"))
    assert loose_ends(loose)
    assert not loose_ends(firm)


def test_numbers():
    assert f"at most {LARGEST_LIST >> 20} MiB" in PROSE
    assert f"At most {MOST_COUNTED:,} entries are counted" in PROSE
    assert "once a minute" in PROSE
    assert FLUSH_EVERY == 60
    assert "0 when lint has no warnings, 1 when it has some, and 2 when the configuration" in PROSE
    assert (EXIT_FINDINGS, EXIT_CONFIG) == (1, 2)
