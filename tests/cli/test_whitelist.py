"""`multigrey whitelist lint` as an administrator runs it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from multigrey.background.hits import HitCounter
from multigrey.cli import main
from multigrey.contracts import StoreOptions
from multigrey.model import Action, Attempt, DecisionEvent, Match, Reason, Verdict
from multigrey.stores.lmdb.store import LmdbStore
from tests.support.clocks import FakeClock
from tests.support.stores import running

NOW = int(datetime(2027, 6, 15, 12, tzinfo=UTC).timestamp())
DAY = 86_400

CONFIG = """
state_dir = "{state}"
[[whitelist]]
source = "list"
path = "lists"
owner = "all"
[[whitelist]]
source = "postgrey-clients"
path = "clients"
owner = "old"
"""
CLEAN = '[[entry]]\nclient = "mx.partner.se"\nreason = "r"\nreview_by = 2028-01-01\n'


@pytest.fixture
def site(tmp_path):
    for name in ("lists", "state"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o755)
    write(tmp_path / "multigrey.toml", CONFIG.format(state=tmp_path / "state"))
    write(tmp_path / "lists/a.toml", CLEAN)
    write(tmp_path / "clients", "partner.com\n")
    return tmp_path


def write(path, text):
    path.write_text(text)
    path.chmod(0o644)
    return path


def run(site, *arguments, now=NOW):
    command = ["whitelist", "lint", "-c", str(site / "multigrey.toml"), *map(str, arguments)]
    return CliRunner(env={"RUNTIME_DIRECTORY": None}).invoke(
        main, command, obj=FakeClock(now), prog_name="multigrey"
    )


def test_nothing_to_do(site):
    result = run(site)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"{site}/lists/a.toml (list): 1 of 1 entry in use",
        f"{site}/clients (postgrey-clients): 1 of 1 entry in use",
        f"hits: not known: {site}/state/store.mdb: No such file or directory",
        "0 warnings, 0 notes",
    ]


def test_findings_are_grouped_by_owner(site):
    text = (
        "[list]\nadded = 2027-01-01\n"
        + CLEAN
        + CLEAN.replace("mx.", "mx2.").replace('r"\n', 'r"\nowner = "ops"\n')
    )
    write(site / "lists/a.toml", text.replace("2028-01-01", "2027-01-31"))
    write(site / "clients", ".partner.se\n10.0.0.0/8\n9.0.0.0/8\n")
    result = run(site)
    assert (result.exit_code, result.stderr) == (1, "")
    late = "was to be reviewed by 2027-01-31, 135 days ago"
    wide = "holds 16,777,216 addresses, which do not all have one owner: name a smaller network"
    dot = "'.partner.se': sub-domains always match: write partner.se; the line is ignored"
    assert result.stdout.replace(f"{site}/", "").splitlines() == [
        "all",
        f"  warning  stale  lists/a.toml:3: client=mx.partner.se: {late}",
        "",
        "old",
        f"  warning  ignored   clients:1: {dot}",
        f"  warning  too-wide  clients:3: client=9.0.0.0/8: {wide}",
        "",
        "ops",
        f"  warning  stale  lists/a.toml:7: client=mx2.partner.se: {late}",
        "",
        "lists/a.toml (list): 2 of 2 entries in use, the newest added on 2027-01-01",
        "clients (postgrey-clients): 2 of 2 entries in use",
        "hits: not known: state/store.mdb: No such file or directory",
        "4 warnings, 0 notes",
    ]
    mine = run(site, "--owner", "ops").stdout
    assert mine.startswith("ops\n")
    assert mine.endswith("\n1 warning, 0 notes\n")
    assert run(site, "--owner", "nobody").exit_code == 0


def test_notes_do_not_fail(site):
    write(site / "lists/a.toml", CLEAN.replace("review_by = 2028-01-01", ""))
    write(site / "lists/README", "")
    result = run(site)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "0 warnings, 2 notes"


def test_json(site):
    write(
        site / "lists/a.toml",
        '[[entry]]\nclient = "mx.partner.se"\nadded = 2027-06-01\nreview_by = 2028-01-01\n',
    )
    result = run(site, "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["time"] == NOW
    assert told["hits"]["since"] is None
    assert "store.mdb" in told["hits"]["unknown"]
    assert told["lists"][0] == {
        "file": f"{site}/lists/a.toml",
        "source": "list",
        "owner": "all",
        "entries": 1,
        "in_use": 1,
        "newest": "2027-06-01",
    }
    assert told["findings"] == [
        {
            "kind": "no-reason",
            "severity": "warning",
            "file": f"{site}/lists/a.toml",
            "line": 1,
            "owner": "all",
            "entry": "client=mx.partner.se",
            "message": "has no reason: add one, to know whether it is still needed",
        }
    ]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [((), 0), (("--within", "200d"), 0), (("--within", "201d"), 1), (("--within", "1w"), 0)],
)
def test_within(site, arguments, code):
    write(site / "lists/a.toml", CLEAN.replace("2028-01-01", "2028-01-01\nexpires = 2028-01-01"))
    result = run(site, *arguments)
    assert result.exit_code == code, result.stdout


@pytest.mark.parametrize("arguments", [("--within", "30"), ("--unused", "soon"), ("--nonsense",)])
def test_wrong_arguments(site, arguments):
    result = run(site, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")


def test_lists_that_are_not_in_use(site):
    new = write(site / "new.toml", CLEAN.replace('r"', 'r"\nowner = "me"').replace("2028", "2026"))
    result = run(site, new)
    assert result.exit_code == 1
    assert result.stdout.startswith(f"me\n  warning  stale  {new}:1: ")
    assert "clients" not in result.stdout
    assert run(site, site / "lists").exit_code == 1  # here nobody in the configuration answers for them


def test_everything_wrong_is_told(site):
    write(site / "lists/a.toml", '[[entry]]\nclint = "a.org"\n[[entry]]\nclient = 5\n')
    (site / "clients").unlink()
    result = run(site)
    assert (result.exit_code, result.stdout) == (2, "")
    assert [line.split(": ")[0] for line in result.stderr.splitlines()] == [
        f"{site}/lists/a.toml:2",
        f"{site}/lists/a.toml:4",
        f"{site}/clients",
    ]
    write(site / "multigrey.toml", "nonsense")
    assert run(site).exit_code == 2
    assert run(site, site / "missing.toml").exit_code == 2


def test_what_a_terminal_might_obey_is_not_printed(site):
    write(site / "clients", "/\x1b[31m|\udcff$/\n".encode("utf-8", "surrogateescape").decode("latin-1"))
    result = run(site)
    assert "\x1b" not in result.stdout
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_a_source_of_a_plugin_is_left_out(site):
    write(site / "multigrey.toml", '[[whitelist]]\nsource = "sql"\n[store]\nbackend = "memory"\n')
    result = run(site)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "source sql belongs to a plugin and is not checked",
        "hits: not known: only a store of kind lmdb can be read, not memory",
        "0 warnings, 0 notes",
    ]
    write(site / "multigrey.toml", '[store]\nbackend = "memory"\n')
    assert run(site).stdout.startswith("no whitelists are configured\n")


def test_shared_hosts_and_public_suffixes_are_known(site):
    entries = [
        CLEAN.replace("mx.partner.se", name) for name in (".co.uk", ".contaboserver.net", ".partner.se")
    ]
    write(site / "lists/a.toml", "".join(entries))
    result = run(site)
    assert [line.split()[1] for line in result.stdout.splitlines() if "warning  " in line] == [
        "public-suffix",
        "shared-hosts",
    ]


async def count_hits(site, began, *events):
    store = LmdbStore(StoreOptions(site / "state", 1 << 20))
    counter = HitCounter()
    attempt = Attempt("test", None, None, "", "a@example.org", "b@example.org")
    async with running(store):
        await counter.begin(store, began)
        for match, time in events:
            verdict = Verdict(Action.PASS, Reason.WHITELISTED, match=match)
            counter(DecisionEvent(time, "id", attempt, verdict))
        await counter.flush(store)


async def test_unused_entries(site):
    hit = Match("list", "a.toml:7 client=mx.partner.se", "whoever")
    await count_hits(site, NOW - 400 * DAY, (hit, NOW - 100 * DAY))
    result = run(site)
    assert result.exit_code == 1
    (unused,) = [line for line in result.stdout.splitlines() if "warning  unused" in line]
    assert unused.endswith("clients:1: client=.partner.com: has never matched in 400 days of counting")
    assert "hits: counted since 2026-05-11 12:00Z\n" in result.stdout
    told = [line for line in run(site, "--unused", "99d").stdout.splitlines() if "a.toml:1:" in line]
    assert told[0].endswith("client=mx.partner.se: last matched 100 days ago (1 time in all)")
    assert json.loads(run(site, "--json").stdout)["hits"] == {"since": NOW - 400 * DAY, "unknown": None}


async def test_hits_that_were_never_counted(site):
    async with running(LmdbStore(StoreOptions(site / "state", 1 << 20))):
        pass
    result = run(site)
    assert result.exit_code == 0
    assert "hits: not known: none were counted yet\n" in result.stdout


def test_help():
    result = CliRunner().invoke(main, ["whitelist", "--help"], prog_name="multigrey")
    assert result.exit_code == 0
    assert "lint" in result.stdout
    told = CliRunner().invoke(main, ["whitelist", "lint", "--help"], prog_name="multigrey").stdout
    assert "Exit status: 0" in told
