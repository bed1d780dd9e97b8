"""kill -9 at any moment of a restore: the next start has the old state or the new one, all of it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.witness import CONFIG, LONG, Witness
from tests.support.daemon import ROOT, Daemon

ROUNDS = 60 if LONG else 6
_SLOWEST = 1.5
"""Seconds until which a restore of this size is done, starting Python included."""


def restore(daemon: Daemon, archive: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "multigrey", "restore", "--replace", str(archive)]
    command += ["--config", str(daemon.config)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)


@pytest.mark.crash
@pytest.mark.timeout(60 + 10 * ROUNDS)
def test_the_old_state_or_the_new_one(short_directory: Path):
    chance, archive = random.Random(1), short_directory / "all.tar.gz"
    witness = Witness(Daemon(short_directory, CONFIG, user="nobody"))
    daemon = witness.daemon
    with daemon:
        before = [number for number in range(1, 40) if witness.ask(number) == "new"]
        command = [sys.executable, "-m", "multigrey", "backup", str(archive), "--config", str(daemon.config)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    for turn in range(ROUNDS):
        later = range(100_000 + 1000 * turn, 100_000 + 1000 * turn + 40)
        with daemon:
            assert {witness.ask(number) for number in later} == {"new"}
            daemon.kill()
        process = restore(daemon, archive)
        try:
            process.wait(_SLOWEST * (0.3 + 0.7 * chance.random()))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        with daemon:
            assert {witness.ask(number) for number in before} == {"early"}
            assert len({witness.ask(number) for number in later}) == 1, "a part of them is known"
            assert witness.odd_lines() == []
    process = restore(daemon, archive)
    assert process.wait(60) == 0
    with daemon:
        assert {witness.ask(number) for number in before} == {"early"}
        assert witness.ask(later[0]) == "new"
