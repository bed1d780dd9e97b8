"""What the programs administrators already run make of our log, and of Postfix's log about us.

The programs are Debian's own: logwatch's Postfix script, logcheck's patterns, postgrey's report,
fail2ban with its stock filter.  What they read was written by a daemon that a real Postfix asked.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio

from multigrey.clock import SystemClock
from multigrey.log.decision_log import DecisionLog
from multigrey.model import Action, Match, Reason, Verdict
from tests.events.test_line import PLAIN
from tests.mta import shipped
from tests.mta.harness import GID, UID, folder, place, until, wrapped
from tests.mta.postfix import Postfix
from tests.support.daemon import ROOT, Daemon
from tests.support.debian import library_path, unpack_or_skip

pytestmark = pytest.mark.mta

DELAY = 120
CONFIG = f"""\
state_dir = "{{dir}}/state"

[log]
format = "postgrey"
to = "{{dir}}/state/decisions"

[greylist]
delay = "{DELAY}s"
unnamed_delay = "{DELAY}s"

[[whitelist]]
source = "postgrey-clients"
path = "{{dir}}/clients"

[[whitelist]]
source = "postgrey-recipients"
path = "{{dir}}/recipients"

"""
STRANGER = "198.51.100.7"
FRIEND = "198.51.100.25"
BOUNCER = "198.51.100.40"
FORGER = "198.51.100.66"
PROBER = "203.0.113.66"
FORGERY = '"a, recipient=forged@test.example"@sender.example'
BOB = "bob@test.example"
WELCOME = "welcome@test.example"

MORNING = [
    (
        "action=greylist, reason=new, client_name=mail.sender.example, client_address=198.51.100.7,"
        " sender=alice@sender.example, recipient=bob@test.example"
    ),
    (
        "action=greylist, reason=early-retry (90s missing), client_name=mail.sender.example,"
        " client_address=198.51.100.7, sender=alice@sender.example, recipient=bob@test.example"
    ),
    (
        "action=pass, reason=triplet found, delay=130, client_name=mail.sender.example,"
        " client_address=198.51.100.7, sender=alice@sender.example, recipient=bob@test.example"
    ),
    (
        "action=pass, reason=triplet found, client_name=mail.sender.example,"
        " client_address=198.51.100.7, sender=alice@sender.example, recipient=bob@test.example"
    ),
    (
        "action=greylist, reason=new, client_name=unknown, client_address=198.51.100.66,"
        " sender=a\\x2c\\x20recipient=forged@test.example@sender.example, recipient=bob@test.example"
    ),
    (
        "action=pass, reason=client whitelist, client_name=unknown, client_address=198.51.100.25,"
        " sender=alice@sender.example, recipient=bob@test.example"
    ),
    (
        "action=pass, reason=recipient whitelist, client_name=mail.sender.example,"
        " client_address=198.51.100.7, sender=alice@sender.example, recipient=welcome@test.example"
    ),
    (
        "action=greylist, reason=new, client_name=unknown, client_address=198.51.100.40,"
        " recipient=bob@test.example"
    ),
]
"""What the daemon logs of it, after the time and its name."""


@dataclass(frozen=True)
class Logs:
    """Files as the readers get them."""

    decisions: Path
    maillog: Path


@contextmanager
def running(directory: Path) -> Iterator[Daemon]:
    """A daemon with the shipped Postfix table, the default text, and postgrey's form of the log."""
    folder(directory)
    (directory / "clients").write_text(f"{FRIEND}\n")
    (directory / "recipients").write_text(f"{WELCOME}\n")
    users = {}
    if os.getuid() == 0:
        os.chown(directory, 0, 0)
        users = {"multigrey": UID + 1}
    config = CONFIG + shipped.text("postfix/multigrey.toml", directory)
    names = wrapped(folder(directory / "names"), users=users, groups={"postfix": GID, "Debian-exim": GID})
    with Daemon(directory, config, user="multigrey", env=names) as daemon:
        yield daemon


def morning(daemon: Daemon, mta: Postfix) -> None:
    """A stranger comes back, a forger and a bounce do not, friends pass, somebody looks for an open relay."""

    def send(client: str, sender: str, recipient: str, name: str = "") -> int:
        with mta.session(client, name=name) as session:
            sent = session.send(sender, [recipient], "hello")
            return sent.end.code or sent.codes[0]

    alice, name = "alice@sender.example", "mail.sender.example"
    assert send(STRANGER, alice, BOB, name) == 450
    daemon.clock.advance(30)
    assert send(STRANGER, alice, BOB, name) == 450
    daemon.clock.advance(100)
    assert send(STRANGER, alice, BOB, name) == 250
    assert send(STRANGER, alice, BOB, name) == 250
    assert send(FORGER, FORGERY, BOB) == 450
    assert send(FRIEND, alice, BOB) == 250
    assert send(STRANGER, alice, WELCOME, name) == 250
    assert 450 <= send(BOUNCER, "", BOB) <= 451
    assert send(PROBER, alice, "bob@elsewhere.example") == 554


@pytest.fixture(scope="module")
def readers() -> Path:
    packages = ("logwatch", "logcheck-database", "fail2ban", "postgrey")
    perl = ("libberkeleydb-perl", "libnet-server-perl", "libnet-dns-perl", "libdb5.3")
    return unpack_or_skip("log-readers", *packages, *perl, dependencies=False)


@pytest.fixture(scope="module")
def logs() -> Iterator[Logs]:
    """The logs of that morning."""
    with (
        place() as directory,
        running(directory / "daemon") as daemon,
        Postfix(directory / "postfix", shipped.text("postfix/main.cf.multigrey", daemon.directory)) as mta,
    ):
        morning(daemon, mta)
        logs = Logs(daemon.directory / "state/decisions", mta.log_directory / "maillog")
        until(lambda: lines(logs.decisions)[len(MORNING) - 1 :], "the last decision is in the log")
        mta.wait_for_log(f"NOQUEUE: reject: RCPT from unknown[{PROBER}]")
        yield logs


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def run(*command: str | Path, stdin: str = "", **environment: str) -> str:
    """What a program prints; it has to end well."""
    done = subprocess.run(
        [str(word) for word in command],
        input=stdin,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_daemon_wrote_postgreys_lines(logs: Logs) -> None:
    begin = re.compile(r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d [\w-]+ postgrey\[\d+\]: ")
    said = lines(logs.decisions)
    assert all(begin.match(line) for line in said)
    assert [begin.sub("", line) for line in said] == MORNING


# --- logwatch ---


def logwatch(readers: Path, log: Path) -> str:
    folder = readers / "usr/share/logwatch"
    config = folder / "default.conf/services/postfix.conf"
    return run("perl", folder / "scripts/services/postfix", "-f", config, "--detail", "10", log)


def figures(report: str) -> dict[str, int]:
    """Labels and numbers of logwatch's detailed report, as far as it is about postgrey."""
    section = report.partition("Detail (10)")[2].partition("===")[0]
    return {
        label: int(number)
        for number, label in re.findall(r"^ +(\d+) {3,9}(\S[^\n]*?)(?: -+)?$", section, re.MULTILINE)
    }


def test_logwatch_counts_what_was_deferred_and_passed(readers: Path, logs: Logs) -> None:
    report = logwatch(readers, logs.decisions)
    counted = figures(report)
    expected = {
        "Postgrey": 8,
        "Greylist": 4,
        "New": 3,
        "Early-retry": 1,
        "Pass": 4,
        "Triplet found": 2,
        "Client whitelist": 1,
        "Recipient whitelist": 1,
    }
    assert {label: counted.get(label) for label in expected} == expected
    assert "forged" not in {label.partition("@")[0] for label in counted}
    assert re.search(r"^Total +130\.00( +130\.00){7}$", report, re.MULTILINE)  # percentiles of delays
    assert "Unmatched" not in report


def test_logwatch_does_not_count_other_lines(readers: Path, tmp_path: Path) -> None:
    """The check above can fail: the same program finds a wrong line."""
    wrong = tmp_path / "log"
    wrong.write_text("Nov 22 18:18:15 mx postgrey[1]: action=pass, reason=known, client=192.0.2.1\n")
    report = logwatch(readers, wrong)
    assert "Unmatched" in report
    assert "Postgrey" not in figures(report)


# --- logcheck ---


def left_by_logcheck(readers: Path, said: list[str]) -> list[str]:
    """The lines an administrator would get by mail: those that Debian's patterns do not take away."""
    patterns = readers / "etc/logcheck/ignore.d.server/postgrey"
    text = "".join(f"{line}\n" for line in said)
    done = subprocess.run(
        ["grep", "-E", "-v", "-f", patterns], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode in {0, 1}, done.stderr
    return done.stdout.splitlines()


def test_logcheck_is_content_with_the_morning(readers: Path, logs: Logs) -> None:
    assert left_by_logcheck(readers, lines(logs.decisions)) == []


async def test_logcheck_is_content_with_every_reason(readers: Path, tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = DecisionLog(
        form="postgrey",
        to=str(path),
        ident="postgrey",
        facility="mail",
        host="mx.example.org",
        clock=SystemClock(),
    )
    odd = replace(
        PLAIN.attempt,
        sender="\udcff, x\n",
        recipient="é\u2028@example.net",
        client_name=None,
        client_address=None,
    )
    raw = replace(PLAIN.attempt, sender="", recipient="", raw="some words")
    for attempt in (PLAIN.attempt, replace(PLAIN.attempt, sender=""), odd, raw):
        for reason in Reason:
            for action in Action:
                match = Match("postgrey-recipients", "entry") if reason is Reason.WHITELISTED else None
                log.write(replace(PLAIN, attempt=attempt, verdict=Verdict(action, reason, 9, 9, match=match)))
    async with trio.open_nursery() as nursery:
        await nursery.start(log.run)
        nursery.cancel_scope.cancel()
    said = lines(path)
    assert len(said) == 4 * (len(Reason) * len(Action) - 2)  # the null sender and probes at RCPT have none
    assert left_by_logcheck(readers, said) == []


def test_logcheck_lets_other_lines_through(readers: Path) -> None:
    """The checks above can fail."""
    wrong = "Nov 22 18:18:15 mx postgrey[1]: time=2026-11-22T18:18:15Z lost=3"
    assert left_by_logcheck(readers, [wrong]) == [wrong]


# --- postgreyreport ---


MAKE_DATABASE = """
    tie(%db, "BerkeleyDB::Btree", -Filename => $ARGV[0], -Flags => DB_CREATE) or die;
    $db{$ARGV[1]} = "1,131";
"""
"""A database in which one triplet was seen at second 1 and again at second 131."""


def test_postgreys_report_finds_who_never_came_back(readers: Path, logs: Logs, tmp_path: Path) -> None:
    """It takes Postfix's rejects by the text `Greylisted`, and drops those its database knows better."""
    made = {"PERL5LIB": perl_library(readers), "LD_LIBRARY_PATH": library_path(readers)}
    key = "198.51.100.7/alice@sender.example/bob@test.example"
    run(
        "perl",
        "-MBerkeleyDB",
        "-e",
        MAKE_DATABASE,
        tmp_path / "postgrey.db",
        key,
        **made,
    )
    report = run(
        "perl",
        readers / "usr/bin/postgreyreport",
        "--dbdir",
        tmp_path,
        f"--user={os.geteuid()}",
        f"--delay={DELAY}",
        stdin=logs.maillog.read_text(),
        **made,
    )
    assert [line.split()[0] for line in report.splitlines() if line.strip()] == [FORGER]


def test_the_manual_says_what_has_become_of_each_option_of_postgreys_report(readers: Path) -> None:
    made = {"PERL5LIB": perl_library(readers), "LD_LIBRARY_PATH": library_path(readers)}
    command = ["perl", str(readers / "usr/bin/postgreyreport"), "--help"]
    done = subprocess.run(command, env={**os.environ, **made}, capture_output=True, text=True, check=False)
    options = set(re.findall(r"(?m)^\s+(?:-h, )?--([\w-]+)", done.stdout + done.stderr))
    assert {"delay", "skip_dnsbl", "separate_by_ip"} <= options
    page = (ROOT / "man/multigrey-report.1").read_text()
    section = page.partition(".Sh FROM POSTGREYREPORT\n")[2].partition(".Sh ")[0]
    tags = re.findall(r"(?m)^\.It Fl (.*)$", section)
    assert {name for tag in tags for name in re.findall(r"-([a-z][\w-]*)", tag)} == options


def perl_library(root: Path) -> str:
    """Where Perl finds the modules of `root`."""
    found = {next(root.rglob(name)).parent for name in ("BerkeleyDB.pm", "Net")}
    return ":".join(str(directory) for directory in found)


# --- fail2ban ---


def banned(readers: Path, log: Path) -> list[str]:
    """The addresses that Debian's stock Postfix jail counts, one for each line it counts."""
    said = run(
        sys.executable,
        readers / "usr/bin/fail2ban-regex",
        "-c",
        readers / "etc/fail2ban",
        "-o",
        "ip",
        log,
        "postfix[mode=more]",
        PYTHONPATH=str(readers / "usr/lib/python3/dist-packages"),
        PYTHONDONTWRITEBYTECODE="1",
    )
    return said.split()


def test_fail2ban_bans_nobody_for_being_greylisted(readers: Path, logs: Logs) -> None:
    """Only who looked for an open relay is counted, which shows that the jail works."""
    rejects = [line for line in lines(logs.maillog) if "Greylisted, please try again later" in line]
    assert {re.search(r"\[([\d.]+)\]: 45", line)[1] for line in rejects} == {STRANGER, FORGER, BOUNCER}  # type: ignore[index]
    assert len(rejects) == 4
    assert banned(readers, logs.maillog) == [PROBER]
    assert banned(readers, logs.decisions) == []
