"""The manual pages: well-formed, made from the code where they can be, and true where they show examples."""

from __future__ import annotations

import ast
import inspect
import itertools
import os
import re
import shlex
import socket
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from shutil import rmtree

import pytest
from click.testing import CliRunner

from man import regions
from man.command_regions import SHARED
from multigrey import api, clock
from multigrey.background import supervise
from multigrey.cli import COMMANDS, main, serve
from multigrey.cli import client as asking
from multigrey.cli import config as cli_check
from multigrey.config.files import LARGEST
from multigrey.config.load import load
from multigrey.config.show import options
from multigrey.config.values.types import UNIX_PATH_OCTETS, parse_duration, parse_size
from multigrey.contracts import DialogueOptions, SourceOptions
from multigrey.control import client
from multigrey.daemon import daemon
from multigrey.daemon.assembly import assemble, check
from multigrey.errors import ProtocolError, StoreError
from multigrey.events.line import event_fields, format_event, format_postgrey, parse_line
from multigrey.evidence import name_ledger
from multigrey.greylist import marks, messages, policy, reputation
from multigrey.greylist.policy import Policy
from multigrey.identity.host_names import name_doubt
from multigrey.listeners import commands
from multigrey.listeners.commands import Commands
from multigrey.listeners.server import REQUEST_TIME
from multigrey.log.decision_log import DecisionLog
from multigrey.model import (
    HOUR,
    Action,
    Attempt,
    Command,
    DecisionEvent,
    Ignored,
    Match,
    Origin,
    Reason,
    Signal,
    Stage,
    Verdict,
)
from multigrey.plugins.builtins import BuiltIns
from multigrey.plugins.loader import load_plugins
from multigrey.protocols import greylistd
from multigrey.protocols.wire import TEXT_OCTETS
from multigrey.rules.rules import Rule, Rules
from multigrey.stores.lmdb import commits, rows
from multigrey.stores.lmdb.state_files import StateFiles
from multigrey.stores.lmdb.store import FLUSH_TIME
from multigrey.whitelists import postgrey_clients, postgrey_recipients
from tests.support.clocks import START
from tests.support.daemon import Daemon
from tests.support.debian import library_path, unpack_or_skip
from tests.support.engines import DELAY, MAX_AGE, SITE_KEY, WINDOW, Harness, harness

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE_TIME = int(datetime(2026, 11, 22, 18, 18, 15, tzinfo=UTC).timestamp())


def linewriter_limit():
    return inspect.signature(DecisionLog).parameters["limit"].default


PAGES = {page.name: page for page in regions.PAGES}
NAMES = sorted(PAGES)

_EXAMPLE = re.compile(r'(?m)^\.\\" example: (?P<words>.+)\n\.Bd -literal.*\n(?P<body>(?:.*\n)*?)\.Ed$')


def text_of(name):
    return PAGES[name].read_text()


def section(page, title, until=r"\.Sh "):
    """What stands under a heading of a page, to the next one."""
    return re.search(rf"(?ms)^\.S[hs] {re.escape(title)}\n(.*?)(?=^{until}|\Z)", text_of(page))[1]


def shown(body):
    """What a reader sees of a literal display."""
    body = re.sub(r"(?m)^\\&", "", body)
    return body.replace(r"\e", "\\").replace(r"\-", "-").replace(r"\(aq", "'").replace(r"\(dq", '"')


def examples(page, kind):
    """The examples of one kind: the words after the kind, and the text."""
    for found in _EXAMPLE.finditer(text_of(page)):
        first, *words = found["words"].split()
        if first == kind:
            yield words, shown(found["body"])


def joined(text):
    """Lines that were broken to fit, whole again."""
    return text.replace("\n ", " ")


# --- form ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mandoc():
    root = unpack_or_skip("mandoc", "mandoc")

    def run(*arguments):
        environment = {"LD_LIBRARY_PATH": library_path(root), "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
        command = [root / "usr/bin/mandoc", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout

    return run


@pytest.mark.mta
@pytest.mark.parametrize("name", NAMES)
def test_mandoc_has_nothing_to_say(mandoc, name):
    """But that pages are not installed here: `test_references` looks after ours."""
    said = mandoc("-T", "lint", "-W", "style", PAGES[name]).splitlines()
    assert [line for line in said if "referenced manual not found" not in line] == []


@pytest.mark.mta
@pytest.mark.parametrize("name", NAMES)
def test_pages_fit_a_terminal(mandoc, name):
    shown_lines = re.sub(r".\x08", "", mandoc("-T", "utf8", PAGES[name])).splitlines()
    widest = 84 if "begin integrations/" in text_of(name) else 80  # files are shown as they are
    assert [line for line in shown_lines if len(line) > widest] == []
    assert len(shown_lines) > 80


@pytest.mark.mta
@pytest.mark.parametrize("name", NAMES)
def test_a_synopsis_fits_a_screen(mandoc, name):
    shown_page = re.sub(r".\x08", "", mandoc("-T", "utf8", PAGES[name]))
    synopsis = re.search(r"(?ms)^SYNOPSIS\n(.*?)^\S", shown_page)
    assert bool(synopsis) == (name[-1] in "18")
    assert synopsis is None or len(synopsis[1].rstrip().splitlines()) <= SCREEN


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_called_what_its_file_is_called(name):
    title, number = name.rpartition(".")[::2]
    assert f".Dt {title.upper()} {number}\n" in text_of(name)
    assert f".Sh NAME\n.Nm {title}\n.Nd " in text_of(name)


@pytest.mark.parametrize("name", NAMES)
def test_references(name):
    for title, number in re.findall(r"(?m)^\.Xr (multigrey\S*) (\d)", text_of(name)):
        assert f"{title}.{number}" in PAGES
        assert f"{title}.{number}" != name, "a page does not refer to itself"
    for title, number in re.findall(r"(multigrey[\w.-]*)\((\d)\)", text_of(name)):
        assert f"{title}.{number}" in PAGES


def test_every_page_refers_to_the_daemon_and_is_referred_to():
    for name in NAMES:
        title, number = name.rpartition(".")[::2]
        others = [text_of(other) for other in NAMES if other != name]
        assert any(f".Xr {title} {number}" in other for other in others)
        assert name == "multigrey.8" or ".Xr multigrey 8" in section(name, "SEE ALSO")


def test_sections_that_are_named_exist():
    for name in NAMES:
        titles = re.findall(r"(?m)^\.S[hs] (.*)$", text_of(name))
        for named in re.findall(r"(?m)^\.Sx (.*?)(?: [.,;:)])?$", text_of(name)):
            assert named in titles, name


def test_the_wheel_installs_every_page():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    installed = build["targets"]["wheel"]["shared-data"]
    pages = {source: target for source, target in installed.items() if source.startswith("man/")}
    assert pages == {f"man/{name}": f"share/man/man{name[-1]}/{name}" for name in NAMES}


# --- regions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_regions_are_up_to_date(name):
    assert regions.generate(text_of(name)) == text_of(name), "run: python -m man.regions"


@pytest.mark.parametrize("name", NAMES)
def test_regions_have_an_end(name):
    begun = re.findall(r'(?m)^\.\\" generated: (.*)$', text_of(name))
    assert begun == re.findall(r'(?m)^\.\\" end: (.*)$', text_of(name))
    assert all(words.split()[0] in regions.REGIONS for words in begun)


def test_a_changed_region_is_written_anew():
    page = '.\\" generated: reasons\nout of date\n.\\" end: reasons\nkept\n'
    assert "out of date" not in regions.generate(page)
    assert ".It Cm new Pq defer\n" in regions.generate(page)
    assert regions.generate(page).endswith('.\\" end: reasons\nkept\n')


def test_every_reason_is_explained():
    assert re.findall(r"(?m)^\.It Cm (\S+) Pq", section("multigrey.8", "REASONS")) == [
        r.value for r in Reason
    ]


def test_every_reason_has_its_actions():
    assert list(regions.ACTIONS) == [reason.value for reason in Reason]
    sources = (
        path for path in (ROOT / "multigrey").rglob("*.py") if path.name not in {"model.py", "logline.py"}
    )
    used = {word for path in sources for word in re.findall(r"Reason\.([A-Z_]+)", path.read_text())}
    assert used == {Reason(word).name for word, actions in regions.ACTIONS.items() if actions}


PROVIDER = {
    "origin_of": lambda *_: Origin("google", named=True),
    "retrying": frozenset({"google"}),
    "retries": lambda _: True,
}


async def test_reasons_come_with_these_actions():
    """Histories that lead to every reason there is, with every action it comes with."""
    seen = set()
    anybody = {"client_address": "192.0.2.1"}
    for changes, fields, on_error in (
        ({}, {"authenticated": "alice", **anybody}, "pass"),
        ({"sources": (lambda attempt: Match("source", "entry"),)}, anybody, "pass"),
        ({"rules": Rules([Rule("rule", (), "pass")])}, anybody, "pass"),
        ({"rules": Rules([Rule("rule", (), "defer")])}, anybody, "pass"),
        ({"rules": Rules([Rule("rule", (), "reject")])}, anybody, "pass"),
        ({"mode": "off"}, anybody, "pass"),
        ({}, {"sender": "", **anybody}, "pass"),
        ({}, {"sender": "double-bounce@example.org", "message": "id", **anybody}, "pass"),
        ({}, {"client_address": "127.0.0.1"}, "pass"),
        (PROVIDER, {"client_address": "209.85.210.45", "client_name": "mail-ot1-f45.google.com"}, "pass"),
        ({}, {}, "pass"),
        ({"broken": True}, anybody, "pass"),
        ({"broken": True}, anybody, "defer"),
    ):
        h = Harness(BrokenStore(), **{name: value for name, value in changes.items() if name != "broken"})
        await h.engine.judge(attempt_of(**fields), on_error)
        seen |= pairs(h)
    async with harness() as h:
        h.engine.shared._is_full = lambda: True
        for seconds in (0, DELAY):
            h.clock.advance(seconds)
            await h.engine.judge(attempt_of(**anybody), "pass")
        seen |= pairs(h)
    async with harness(unnamed_policy=Policy(DELAY, WINDOW, MAX_AGE, 2)) as h:
        for seconds, recipient, message in (
            (0, "a", ""),
            (0, "b", ""),
            (1, "a", ""),
            (DELAY, "a", ""),
            (1, "a", ""),
            (HOUR, "a", "id"),
            (0, "c", "id"),
            (HOUR, "b", ""),
            (0, "d", ""),
            (MAX_AGE + 1, "a", ""),
        ):
            h.clock.advance(seconds)
            told = {"recipient": f"{recipient}@example.net", "message": message, **anybody}
            await h.engine.judge(attempt_of(**told), "pass")
        seen |= pairs(h)
    assert seen == {(word, action) for word, actions in regions.ACTIONS.items() for action in actions}


class BrokenStore:
    def peek(self, keys):
        raise StoreError("broken")

    async def apply(self, keys, decide):
        raise StoreError("no space left on device")


def pairs(h):
    return {(event.verdict.reason.value, event.verdict.action.value) for event in h.events}


# --- commands --------------------------------------------------------------------------------------

SCREEN = 24
COMMAND_PAGES = [name for name in NAMES if name.endswith(".1") and name != "multigrey.1"]
GUIDES = ["multigrey-tutorial.7", "multigrey-faq.7"]
LEAVES = dict(regions.leaf_commands())


def commands_of(page):
    """The commands that a page describes, in its order; `serve` is described by all of multigrey(8)."""
    return re.findall(r"(?m)^\.Ss (.+)$", section(page, "COMMANDS"))


def options_in(text):
    """The names of all options that a text describes."""
    tags = re.findall(r"(?m)^\.It (Fl .*)$", text)
    return {f"-{flag}" for tag in tags for flag in re.findall(r"Fl (\S+)", tag)}


def test_every_command_is_described_on_one_page():
    described = [name for page in COMMAND_PAGES for name in commands_of(page)]
    assert sorted([*described, "serve"]) == sorted(LEAVES)
    assert {name.split()[0] for name in LEAVES} == set(COMMANDS)


def test_the_overview_names_every_command_with_its_page():
    groups = re.split(r"(?m)^\.Ss .*\n", section("multigrey.1", "COMMANDS"))[1:]
    listed = {}
    for group in groups:
        ((title, number),) = re.findall(r"(?m)^\.Xr (\S+) (\d) \.$", group)
        listed[f"{title}.{number}"] = re.findall(r"(?m)^\.It Cm (.+)$", group)
    assert listed == {"multigrey.8": ["serve"], **{page: commands_of(page) for page in COMMAND_PAGES}}


@pytest.mark.parametrize("page", COMMAND_PAGES)
def test_every_command_and_option_of_a_page_is_described(page):
    synopsis = section(page, "SYNOPSIS")
    assert re.findall(r"(?m)^\.Nm multigrey\n\.Cm (.+)$", synopsis)[: len(commands_of(page))] == commands_of(
        page
    )
    assert re.findall(r"(?m)^\.It Cm (.+)$", section(page, "EXIT STATUS")) == commands_of(page)
    shared = f".Sh {SHARED}\n" in text_of(page)
    common = options_in(section("multigrey.1", "COMMON OPTIONS"))
    for name in commands_of(page):
        told = section(page, name, until=r"\.S[hs] ")
        flags = {flag for option in LEAVES[name].params for flag in option.opts if flag.startswith("-")}
        described = options_in(told)
        if shared:
            also = re.search(rf"(?m)^\.Sx {SHARED}\nfor\n\.Fl (.*) \.$", told)
            named = {f"-{flag}" for flag in also[1].split(" , ")} if also else set()
            assert named <= options_in(section(page, SHARED))
            described |= named
        assert {flag for flag in flags if flag.startswith("--")} - described <= common, name
        assert described - common <= flags, name


def test_options_of_the_daemon_are_described():
    flags = {flag for option in LEAVES["serve"].params for flag in option.opts}
    assert options_in(section("multigrey.8", "OPTIONS")) == flags


@pytest.mark.parametrize("page", COMMAND_PAGES)
def test_common_options_are_described_once(page):
    """Only what the JSON of one command holds is described with that command."""
    assert "Common options are in\n.Xr multigrey 1 .\n" in text_of(page)
    told = {flag for name in commands_of(page) for flag in options_in(section(page, name, until=r"\.S[hs] "))}
    assert not told & {"--config", "--state-dir", "--control", "--help", "--version"}
    for text in re.findall(r"(?m)^\.It Fl -json\n(.*)", text_of(page)):
        assert text.startswith("Write JSON: ")
    assert not re.search(r"Fl -(config|state-dir|control|json)\b", section(page, "SYNOPSIS"))


def test_common_options_are_those_that_commands_have():
    assert options_in(section("multigrey.1", "COMMON OPTIONS")) == {
        "--config",
        "-c",
        "--state-dir",
        "--control",
        "--json",
        "--help",
        "-h",
        "--version",
    }


def test_every_key_is_told():
    told = {}
    for option in options():
        title = (option.table or "The top of the file") + ("\\&" if option.table else "")
        told.setdefault(title, []).append(option.key)
    for title, keys in told.items():
        listed = re.findall(r"(?m)^\.It Ic (\S+) Ar ", section("multigrey.toml.5", title, until=r"\.S[hs] "))
        assert listed == keys


def test_every_built_in_word_is_told():
    registered = regions.registered()
    assert set(registered) == {"key_component", "whitelist_source", "trait", "store", "protocol"}
    assert callable(BuiltIns().multigrey_register)
    pages = text_of("multigrey.toml.5") + text_of("multigrey-protocols.7")
    for kind, words in registered.items():
        for word in words:
            assert re.search(rf"(?<![\w-]){word}(?![\w-])", pages), f"{kind} {word}"


def test_hooks_and_contracts_are_told():
    page = text_of("multigrey-plugins.7")
    for name in (*api.__all__, *client.__all__):
        assert f".It Li {name}\n" in page
        if isinstance(getattr(api, name, None), type) and not name.endswith("Endpoint") and name != "Reason":
            assert f".It Sy {name}\n" in page
    methods = [name for name in vars(api.Registry) if not name.startswith("_")]
    assert all(f'.It Li "def {method}(' in page for method in methods)


def test_a_shipped_plugin_uses_every_hook():
    shipped = (ROOT / "plugins/multigrey-geoip/multigrey_geoip/__init__.py").read_text()
    for name in api.__all__:
        assert f"@hookimpl\ndef {name}(" in shipped or not name.startswith("multigrey_")


def test_every_signal_is_told():
    handled = set(re.findall(r"signal\.(SIG[A-Z0-9]+)", Path(daemon.__file__).read_text()))
    told = " ".join(re.findall(r"(?m)^\.It Dv (.*)$", section("multigrey.8", "SIGNALS")))
    assert set(told.replace(",", " ").split()) == handled


def test_exit_status_is_told():
    told = re.findall(r"(?m)^\.It (\d)$", section("multigrey.8", "EXIT STATUS"))
    assert told == [*map(str, (0, serve.EXIT_START, serve.EXIT_CONFIG))]
    told = re.findall(r"(?m)^\.It (\d)$", section("multigrey.1", "EXIT STATUS"))
    codes = (0, asking.EXIT_NO, asking.EXIT_CONFIG, asking.EXIT_NO_DAEMON, asking.EXIT_NOT_ALLOWED)
    assert told == [*map(str, codes)]
    assert serve.EXIT_CONFIG == cli_check.EXIT_CONFIG


def test_every_field_of_the_log_is_told():
    told = section("multigrey.8", "THE LOG", until=r"\.Ss ")
    listed = [word for tag in re.findall(r"(?m)^\.It Cm (.*)$", told) for word in tag.split(" , ")]
    match = Match("source", "entry", "owner")
    verdict = Verdict(
        Action.DEFER, Reason.NEW, 1, 1, 1, 1, match=match, rule="rule", detail="detail", observed=True
    )
    values = {"client_name": "a", "helo": "a", "message": "a", "authenticated": "a", "stage": Stage.DATA}
    attempts = [
        Attempt(listener="a", client_address=None, sender="", recipient="a", raw=raw, **values)
        for raw in ("", "raw")
    ]
    fields = {
        field
        for each in attempts
        for field in event_fields(DecisionEvent(0, "id", each, verdict, "a", "class"))
    }
    assert sorted(listed) == sorted(fields)


def test_postgrey_has_a_word_for_every_reason_that_is_given():
    listed = re.findall(r"(?m)^\.It Cm (\S+)$", section("multigrey.8", "postgrey's form", until=r"\.S[hs] "))
    assert listed == [word for word, actions in regions.ACTIONS.items() if actions]


def test_every_environment_variable_is_told():
    source = "".join(path.read_text() for path in (ROOT / "multigrey").rglob("*.py"))
    both = section("multigrey.1", "ENVIRONMENT") + section("multigrey.8", "ENVIRONMENT")
    told = " ".join(re.findall(r"(?m)^\.It Ev (.*)$", both))
    asked = re.findall(r"""environ(?:\.get\(|, |\[)"([A-Z_]+)\"""", source)
    assert set(told.replace(",", " ").split()) == set(asked)


def said_by_the_code():
    """Every text in the code, with {} for what is filled in."""
    for path in (ROOT / "multigrey").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(p.value) if isinstance(p, ast.Constant) else "{}" for p in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.sub(r"%[ds]", "{}", node.value)


PLACEHOLDER = r"\.\.\.|[;()]|\bN\b|\b[A-Z_]{4,}\b|tcp:\S+:|unix:|store\.mdb:|site\.key|No space[^:]*|\d+"


def test_diagnostics_are_what_the_code_says():
    texts = list(said_by_the_code())
    told = re.findall(r'(?m)^\.It Li "(.*)"$', section("multigrey.8", "DIAGNOSTICS"))
    assert len(told) > 8
    for message in told:
        if message.startswith("FILE:LINE:"):
            continue
        parts = re.split(PLACEHOLDER, message)
        for part in (part.strip(" :;") for part in parts):
            assert any(part in text for text in texts), part


DEFAULTS = [(option.key, option.default.strip('"')) for option in options() if option.default]
"""A key may stand in several tables."""


@pytest.mark.parametrize("name", NAMES)
def test_defaults_in_the_prose_are_the_defaults(name):
    for key, told in re.findall(
        r"(?m)^\.Ic (\w+)(?: No .*)?\n\.Pq ([\d.]+(?: \w+)?)(?: .*)?$", text_of(name)
    ):
        defaults = [default for known, default in DEFAULTS if known == key]
        assert any(is_told(default, told) for default in defaults), key


def is_told(default, told):
    number, _, unit = told.partition(" ")
    if unit in {"MiB", "KiB"}:
        return parse_size(default) == parse_size(told)
    if unit:
        return parse_duration(default) == float(number) * UNITS[unit.rstrip("s")]
    return default == number


UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}

NUMBERS = [
    ("multigrey.8", "The last {:,} messages are remembered", messages.MOST_MESSAGES),
    ("multigrey.8", "that {} MiB of them wait", linewriter_limit() >> 20),
    ("multigrey.8", "written within a second", commits.LAZY == 1),
    ("multigrey.8", "waiting at most {:.0f} seconds for that", FLUSH_TIME),
    ("multigrey.8", "set by more than an hour", clock.JUMP == 3600),
    ("multigrey.8", "more than 30 days behind", clock._BEHIND == 30 * 86_400),
    ("multigrey.8", "ahead by more than seven days", clock._ASLEEP == 7 * 86_400),
    ("multigrey.8", "has run steadily for an hour", clock.TRUST_AFTER == 3600),
    ("multigrey.8", "has opened has layout {}", rows.LAYOUT),
    ("multigrey-store.1", "has opened has layout {}", rows.LAYOUT),
    ("multigrey.8", "to run steadily for a day", clock.TRUST_FAR_AFTER == 86_400),
    ("multigrey.8", "at most {:,} domains", name_ledger.MOST_DOMAINS),
    ("multigrey.8", "written once a minute", name_ledger.FLUSH_EVERY == 60),
    ("multigrey.8", "five clients that announced five different foreign", name_doubt._FOREIGN == 5),
    ("multigrey.8", "of ten resolved deferrals", name_doubt._RESOLVED == 10),
    ("multigrey.8", "resolved deferrals, five or more", name_doubt._ENOUGH == 5),
    ("multigrey.8", "mail of two sender domains", name_doubt._PROTECTING == 2),
    ("multigrey.8", "Ten others are carried by those", messages.MOST_CARRIED == 10),
    ("multigrey.8", "in at most {:,} rows", marks.BUCKETS),
    ("multigrey.8", "rows of up to {}:", marks.CELLS),
    ("multigrey.8", "one that is older than six hours", marks.PATIENCE == 6 * 3600),
    ("multigrey.8", "after six hours, until", reputation.RESOLVED_AFTER == 6 * 3600),
    ("multigrey.8", "until {} returns have shown", reputation._ENOUGH_RETURNS),
    ("multigrey.8", "never less than 4 hours and a half", reputation._STEPS[0] == 4.5 * 3600),
    ("multigrey.8", "ten sender domains that came back", reputation.FORWARDED_DOMAINS == 10),
    ("multigrey.8", "{} of a hundred are enough", reputation._FORWARDED_PERCENT),
    ("multigrey.8", "Two are enough for an organisation", policy.OWN_HOSTS_AFTER == 2),
    ("multigrey.8", "opened has layout {},", rows.LAYOUT),
    ("multigrey-metrics.7", "at most {:,} rows", marks.BUCKETS),
    ("multigrey-metrics.7", "up to {} each", marks.CELLS),
    ("multigrey.toml.5", "of at most {} MiB", LARGEST >> 20),
    ("multigrey.toml.5", "absolute path of at most {} octets", UNIX_PATH_OCTETS),
    ("multigrey.toml.5", "have at most {} octets", TEXT_OCTETS),
    ("multigrey-protocols.7", "of at most {} octets", TEXT_OCTETS),
    ("multigrey-protocols.7", "takes longer than {:.0f} seconds to arrive", REQUEST_TIME),
    ("multigrey-protocols.7", "at most {:,} records", commands._MOST_ROWS),
    ("multigrey-protocols.7", "half a second of silence", greylistd._PATIENCE == 0.5),
    ("multigrey-plugins.7", "again after {:.0f} second, then 2, 4", supervise._FIRST_PAUSE),
    ("multigrey-plugins.7", "up to a minute", supervise._LONGEST_PAUSE == 60),
]


@pytest.mark.parametrize(("page", "told", "number"), NUMBERS)
def test_numbers_in_the_prose_are_those_of_the_code(page, told, number):
    assert number
    assert told.format(number) in re.sub(r"\n(?:\.\w\w )?", " ", text_of(page))


# --- examples --------------------------------------------------------------------------------------


def lay_out(page, text, tmp_path):
    """A configuration example in a directory of its own, with the files it names."""
    tmp_path.chmod(0o755)
    plugins = tmp_path / "plugins"
    plugins.mkdir(mode=0o755)
    for (name,), code in examples(page, "plugin"):
        (plugins / name).write_text(code)
        (plugins / name).chmod(0o644)
    for kind in ("clients", "recipients"):
        path = tmp_path / kind
        path.write_text("".join(code for _, code in examples("multigrey.toml.5", kind)))
        path.chmod(0o644)
    for kind in ("providers", "shared-hosts"):
        path = tmp_path / f"{kind}.toml"
        path.write_text("".join(code for _, code in examples("multigrey.toml.5", kind)))
        path.chmod(0o644)
    config = tmp_path / "multigrey.toml"
    config.write_text(text.replace("/etc/multigrey", str(tmp_path)))
    config.chmod(0o644)
    return config


CONFIGS = [(name, words, text) for name in NAMES for words, text in examples(name, "config")]


@pytest.mark.parametrize(
    ("page", "words", "text"), CONFIGS, ids=[f"{page}-{number}" for number, (page, *_) in enumerate(CONFIGS)]
)
def test_config_examples_load(page, words, text, tmp_path):
    config = lay_out(page, text, tmp_path)
    loaded = load(config, {"STATE_DIRECTORY": "/var/lib/multigrey"})
    assert check(loaded) == ([], ())
    assert loaded.warnings == ()
    if words == ["complete"]:
        given = {(option.table, option.key) for option in options()} - {("[control]", "address")}
        raw = tomllib.loads(text)
        for table, key in given:
            name = table.strip("[]")
            tables = [raw] if not table else raw[name] if table.startswith("[[") else [raw[name]]
            assert any(key in each for each in tables), f"{table} {key}"


def test_there_are_config_examples():
    assert len(CONFIGS) >= 6
    assert {page for page, _, _ in CONFIGS} >= {"multigrey.8", "multigrey.toml.5", "multigrey-plugins.7"}


@pytest.mark.parametrize(
    ("kind", "source", "hits"),
    [
        (
            "clients",
            postgrey_clients,
            [
                {"client_name": "mail.example.org"},
                {"client_address": "192.0.2.1"},
                {"client_address": "198.51.100.200"},
                {"client_address": "203.0.113.9"},
                {"client_address": "2001:db8::1"},
                {"client_address": "2001:db8:1:2::3"},
                {"client_name": "mx7.example.net"},
            ],
        ),
        (
            "recipients",
            postgrey_recipients,
            [
                {"recipient": "info+shop@example.net"},
                {"recipient": "bob+list@example.net"},
                {"recipient": "anyone@mail.example.com"},
                {"recipient": "list-owner@example.net"},
            ],
        ),
    ],
)
def test_whitelist_examples(kind, source, hits, tmp_path):
    ((_, text),) = examples("multigrey.toml.5", kind)
    path = tmp_path / kind
    path.write_text(text)
    built = source(SourceOptions(path))
    assert built.warnings == ()
    matched = [built.match(attempt_of(**hit)).entry for hit in hits]
    assert matched == [line.partition("#")[0].strip() for line in text.splitlines()]
    assert built.match(attempt_of(client_address="192.0.2.77", recipient="bob@example.net.invalid")) is None


def attempt_of(**fields):
    values = {"listener": "postfix", "helo": "mail.example.org", "client_name": None, "client_address": None}
    values |= {"sender": "alice@example.org", "recipient": "carol@example.net", **fields}
    if isinstance(values["client_address"], str):
        values["client_address"] = ip_address(values["client_address"])
    return Attempt(**values)


@pytest.mark.parametrize(
    ("name", "sender", "action"),
    [
        ("mail.example.org", "alice@example.org", Action.PASS),
        ("mail.example.net", "alice@example.org", Action.DEFER),
        ("mail.notexample.org", "alice@example.org", Action.DEFER),
        ("mail.example.org", "alice@example.com", Action.DEFER),
        (None, "alice@example.org", Action.DEFER),
    ],
)
async def test_the_plugin_example_decides(name, sender, action, tmp_path):
    ((_, text),) = examples("multigrey-plugins.7", "config")
    config = lay_out("multigrey-plugins.7", text, tmp_path)
    setup = assemble(load(config, {"STATE_DIRECTORY": "/var/lib/multigrey"}), SITE_KEY).setup
    async with harness() as h:
        h.engine.setup = setup
        await h.engine.judge(attempt_of(client_name=name, sender=sender, client_address="192.0.2.1"), "pass")
    (event,) = h.events
    assert event.verdict.action is action
    assert event.verdict.rule == ("partners need not wait" if action is Action.PASS else "")


def test_the_plugin_example_is_tested_as_it_says(tmp_path, monkeypatch):
    lay_out("multigrey-plugins.7", "", tmp_path)
    ((_, code),) = examples("multigrey-plugins.7", "test")
    monkeypatch.syspath_prepend(tmp_path / "plugins")
    names = {}
    exec(compile(code, "multigrey-plugins.7", "exec"), names)
    names["test_a_partner"]()


def test_the_packaging_example_is_toml_and_like_the_shipped_plugin():
    ((_, text),) = examples("multigrey-plugins.7", "pyproject")
    assert tomllib.loads(text)["project"]["entry-points"]["multigrey"] == {"partner": "multigrey_partner"}
    shipped = tomllib.loads((ROOT / "plugins/multigrey-geoip/pyproject.toml").read_text())
    assert shipped["project"]["entry-points"]["multigrey"] == {"geoip": "multigrey_geoip"}


def test_plugin_files_are_found_as_told(tmp_path):
    lay_out("multigrey-plugins.7", "", tmp_path)
    assert "partner" in {info.name for info in load_plugins(tmp_path / "plugins").infos}


def test_the_restore_example_restores_what_was_lost(short_directory):
    ((_, script),) = examples("multigrey-store.1", "restore")
    user = 'user = "nobody"' if os.geteuid() == 0 else ""
    daemon = Daemon(short_directory, f"{user}\n{COMMANDS_CONFIG}", user="nobody")
    (short_directory / "whitelists").mkdir(mode=0o755)
    archive = short_directory / script.split()[-1]
    multigrey = [sys.executable, "-m", "multigrey"]
    with daemon:
        ask(daemon, "alice@example.org")
        subprocess.run([*multigrey, "backup", archive, "-c", daemon.config], check=True)
    rmtree(short_directory / "state")
    daemon.config.unlink()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [*multigrey, *script.split()[1:], "-c", daemon.config]
    subprocess.run(words, check=True, cwd=short_directory, env=environment)
    daemon.clock.advance(DELAY)
    with daemon:
        ask(daemon, "alice@example.org")
    assert " reason=retry " in daemon.log()[-1]


def test_files_are_called_what_the_page_says(tmp_path):
    files = StateFiles(tmp_path)
    names = {path.name for path in (files.data, files.readers, files.lock)}
    names |= {"history.mdb", "history.mdb-lock", "history.mdb.bad", files.starts.name}
    told = section("multigrey.8", "FILES")
    assert names | {"site.key", "run", "control.sock"} == set(re.findall(r"(?m)^\.It Pa ([^/\n]+)$", told))


COMMANDS_CONFIG = """\
state_dir = "{dir}/state"
[[listen]]
protocol = "postfix"
address = "unix:{dir}/state/postfix.sock"
[[listen]]
protocol = "exim"
address = "unix:{dir}/state/exim.sock"
[[whitelist]]
source = "list"
path = "{dir}/whitelists"
[[rule]]
name = "fax gateway"
when = { recipient = "fax@", client_address = "192.0.2.0/28" }
action = "pass"
"""


@pytest.fixture
def running(short_directory):
    """A daemon that accepted a retry of alice@example.org and deferred carol@example.org ten minutes ago."""
    (short_directory / "whitelists").mkdir(mode=0o755)
    with Daemon(short_directory, COMMANDS_CONFIG, user="nobody") as started:
        for seconds, sender in ((0, "alice"), (0, "carol"), (300, "alice"), (600, "")):
            started.clock.set(START + seconds)
            if sender:
                ask(started, f"{sender}@example.org")
        yield started


def ask(running, sender):
    fields = {
        "protocol_state": "RCPT",
        "client_address": "192.0.2.10",
        "client_name": "mx1.example.org",
        "helo_name": "mx1.example.org",
        "sender": sender,
        "recipient": "bob@example.net",
    }
    text = "".join(f"{name}={value}\n" for name, value in fields.items())
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(running.directory / "state/postfix.sock"))
        sock.sendall(f"request=smtpd_access_policy\n{text}\n".encode())
        assert sock.recv(4096)


def command_lines(page):
    """Each command of the examples of a page, as words, and its exit status."""
    for expected, text in examples(page, "commands"):
        status = int("".join(expected).removeprefix("exit=") or 0)
        for line in re.sub(r"\\\n\s*|\n (?=\S)", " ", text).replace("  ", " ").splitlines():
            program, *words = shlex.split(line, comments=True)
            assert program == "multigrey"
            yield words, status


def test_every_page_of_commands_has_examples():
    for page in ("multigrey.1", *GUIDES, *COMMAND_PAGES):
        assert any(command_lines(page)), page


def test_the_examples_of_commands_work(running, monkeypatch):
    """Runs them all on one daemon; multigrey-records(1) comes last, because it forgets."""
    monkeypatch.chdir(running.directory)
    ((_, rehearsal),) = examples("multigrey-rehearse.1", "rehearsal")
    Path("rehearsal.toml").write_text(rehearsal)
    here = ["--config", str(running.config)]
    runner = CliRunner(env={"STATE_DIRECTORY": None, "RUNTIME_DIRECTORY": None, "COLUMNS": "200"})
    past = runner.invoke(main, ["history", "bob@example.net", "--json", *here], obj=running.clock)
    replaced = {
        "7f3k2q": re.search(r'"id": ?"(\w+)"', past.stdout)[1],
        "/var/lib/multigrey": str(running.directory / "state"),
        "/etc/postfix": str(running.directory),
        "/var/backups": str(running.directory),
    }
    others = [page for page in COMMAND_PAGES if page != "multigrey-records.1"]
    for page in ("multigrey.1", *others, *GUIDES, "multigrey-records.1"):
        for words, status in command_lines(page):
            arguments = [*itertools.takewhile(lambda word: word != ">", words)]
            for text, ours in replaced.items():
                arguments = [word.replace(text, ours) for word in arguments]
            arguments += here if words[0] != "completions" else []  # the last --config counts
            if words[0] == "watch":
                assert main.make_context("multigrey", arguments) is not None
                continue
            done = runner.invoke(main, arguments, obj=running.clock, prog_name="multigrey")
            assert done.exit_code == status, f"{page}: {' '.join(words)}: {done.output}"
            assert done.stdout.strip() or words[0] == "export", f"{page}: {' '.join(words)}"


PROTOCOLS = ("postfix", "exim", "greylistd")
CONVERSATIONS = [name for name in NAMES if any(list(examples(name, kind)) for kind in PROTOCOLS)]


@pytest.mark.parametrize("page", CONVERSATIONS)
async def test_conversations_go_as_shown(page):
    """All examples of a page in their order, over one store."""
    async with harness() as h:
        h.clock.step(EXAMPLE_TIME - START)
        carrying_out = Commands(h.engine, h.blocks, host="mx.example.org", reload=None)
        said = ""
        for kind, (what, *more), text in conversation(page):
            if what == "answer":
                assert neutral(said) == neutral(joined(text)), text
                continue
            for word in more:
                h.clock.advance(int(word.removeprefix("after=")))
            said = await answer(h, carrying_out, kind, from_shell(text) if what == "shell" else text.encode())


def conversation(page):
    for found in _EXAMPLE.finditer(text_of(page)):
        kind, *words = found["words"].split()
        if kind in PROTOCOLS:
            yield kind, words, shown(found["body"])


def from_shell(text):
    """What the command of an example writes into its pipe."""
    command, pipe, rest = text.rpartition("|")
    assert pipe
    assert rest.split()[:1] == ["nc"]
    return subprocess.run(["sh", "-c", command], capture_output=True, check=True).stdout


async def answer(h, carrying_out, protocol, data):
    make = regions.registered()["protocol"][protocol]
    dialogue = make(DialogueOptions(protocol, 65536, administer=True))
    said = b""
    for piece in (data, b""):
        dialogue.receive(piece)
        try:
            while not isinstance(request := dialogue.next_request(), Signal):
                if isinstance(request, Attempt):
                    dialogue.answer(request, await h.engine.judge(request, "pass"))
                elif isinstance(request, Command):
                    dialogue.answer(request, await carrying_out.run(request))
                else:
                    assert isinstance(request, Ignored)
                said += dialogue.data_to_send()
        except ProtocolError as error:
            said += error.reply or b""
    return said.decode()


def neutral(text):
    """An answer without its id and the version."""
    text = re.sub(r"\bid=\w+", "id=...", text)
    return re.sub(r"multigrey-[\d.]+ at", "multigrey-... at", text).rstrip("\n") + "\n"


def test_there_are_conversations():
    kinds = {kind for page in CONVERSATIONS for kind, words, _ in conversation(page) if words == ["answer"]}
    assert kinds == set(PROTOCOLS)
    for page in CONVERSATIONS:
        words = [words[0] for _, words, _ in conversation(page)]
        assert [b for a, b in itertools.pairwise(words) if a != "answer"] == ["answer"] * words.count(
            "answer"
        )


async def test_the_log_examples_are_lines_of_the_log():
    (line,) = [
        joined(text).rstrip("\n") for words, text in examples("multigrey.8", "log") if words == ["multigrey"]
    ]
    fields = parse_line(line)
    attempt = attempt_of(
        **{key: fields[key] for key in ("listener", "helo", "client_name", "sender", "recipient", "message")},
        client_address=fields["client_address"],
    )
    async with harness() as h:
        h.clock.step(EXAMPLE_TIME - START)
        await h.engine.judge(attempt, "pass")
    (event,) = h.events
    assert neutral(format_event(event)) == neutral(line)
    (other,) = [
        joined(text).rstrip("\n") for words, text in examples("multigrey.8", "log") if words == ["postgrey"]
    ]
    assert format_postgrey(event) == other
