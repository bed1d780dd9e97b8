"""Hostile DNS: a sender's own name server decides neither when nor how its mail is answered."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.daemon.test_daemon import eventually
from tests.faults.figures import figures
from tests.faults.hostile_dns import KINDS, hostile_dns
from tests.faults.installed import installed
from tests.faults.witness import CONFIG, LONG, talk
from tests.support.daemon import Daemon

ROUNDS = 300 if LONG else 6
MOST_MEMORY = 16 << 20
SPF = """
[plugins.spf]
nameservers = ["127.0.0.1"]
port = {port}
budget = 0.3
failures = 1000000
"""


def ask(directory: Path, word: str, number: int) -> str:
    lines = [f"client_address=192.0.2.{number % 250}", f"sender=a@{word}-{number}-example.org"]
    lines = ["multigrey/1", *lines, f"recipient=r{number}@example.net", "", ""]
    return talk(directory / "state" / "exim.sock", "\n".join(lines).encode())


@pytest.fixture
def daemon(short_directory: Path) -> Iterator[Daemon]:
    with hostile_dns() as port:
        config = CONFIG + SPF.format(port=port)
        env = installed(short_directory, "spf")
        with Daemon(short_directory, config, user="nobody", env=env) as daemon:
            yield daemon


@pytest.mark.timeout(3600 if LONG else 60)
def test_a_hostile_server_gains_nothing(daemon: Daemon):
    directory, decisions = daemon.directory, daemon.directory / "state" / "decisions"
    assert daemon.process is not None
    # The negative control: this server is asked, and what an honest domain says counts.
    assert "reason=new" in ask(directory, "good", 0)
    eventually(lambda: "origin=spf:good-0-example.org" in decisions.read_text(), "an origin by SPF")
    before = figures(daemon.process.pid, directory / "state")
    with ThreadPoolExecutor(16) as pool:
        numbers = range(len(KINDS) * ROUNDS)
        told = list(pool.map(lambda number: ask(directory, KINDS[number % len(KINDS)], number), numbers))
    assert [answer for answer in told if "action=defer reason=new" not in answer] == []
    eventually(lambda: len(decisions.read_text().splitlines()) == len(told) + 1, "all lines")
    origins = {line.partition(" origin=")[2].split()[0] for line in decisions.read_text().splitlines()}
    assert {origin for origin in origins if "-example" in origin} == {"spf:good-0-example.org"}
    assert "Traceback" not in daemon.stderr()
    after = figures(daemon.process.pid, directory / "state")
    assert after.anonymous - before.anonymous < MOST_MEMORY
    eventually(
        lambda: figures(daemon.process.pid, directory / "state").descriptors <= before.descriptors + 4,
        "the end of all look-ups",
    )
