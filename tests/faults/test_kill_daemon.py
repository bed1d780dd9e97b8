"""kill -9 at any moment, with mail of all kinds and commands under way: nothing that was answered is lost."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest

from tests.daemon.test_daemon import eventually
from tests.faults.witness import CONFIG, DELAY, Witness
from tests.support.daemon import ROOT, Daemon

ROUNDS = int(os.environ.get("MULTIGREY_KILL_ROUNDS", "6"))
TOGETHER = 6
"""Kills of one daemon, before another begins with nothing."""
HASTY = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).with_name("hasty")), str(ROOT)])}


def commands(witness: Witness, chance: random.Random, stop: threading.Event) -> None:
    """Commands of all kinds, one after the other, until the daemon has gone."""
    process = witness.daemon.process
    assert process is not None
    while not stop.is_set() and process.poll() is None:  # of one that has gone, nothing can be forgotten
        name = chance.choice(["backup", "compact", "forget", "reload", "verify"])
        if name == "forget":
            witness.forget(2)
        else:
            witness.control(name)


def one_kill(witness: Witness, chance: random.Random) -> None:
    """Kill the daemon after some of its answers, and start it again."""
    daemon, stop = witness.daemon, threading.Event()
    asking = threading.Thread(target=commands, args=(witness, chance, stop))
    goal = witness.answers + chance.choice([0, chance.randrange(30), chance.randrange(600)])
    asking.start()
    try:
        with witness.load():
            eventually(lambda: witness.answers >= goal, "the answers")
            daemon.clock.advance(DELAY)
            goal += chance.randrange(200)
            eventually(lambda: witness.answers >= goal, "the answers after the delay")
            daemon.kill()
    finally:
        stop.set()
        asking.join()
    daemon.start()


def killed(directory: Path, seed: int, rounds: int, env: dict[str, str]) -> tuple[Witness, list[str]]:
    """A daemon killed so often, and what it has lost."""
    chance, lost = random.Random(seed), []
    witness = Witness(Daemon(directory, CONFIG, user="nobody", env=env), seed)
    with witness.daemon:
        for _ in range(rounds):
            one_kill(witness, chance)
            lost += witness.lost()
    return witness, lost


@pytest.mark.crash
@pytest.mark.timeout(60 + 20 * ROUNDS)
def test_nothing_is_lost(short_directory: Path):
    for first in range(0, ROUNDS, TOGETHER):
        directory = short_directory / str(first)
        directory.mkdir(mode=0o755)
        witness, lost = killed(directory, first, min(TOGETHER, ROUNDS - first), {})
        assert lost == []
        assert witness.odd_lines() == []
        assert witness.deferred


@pytest.mark.crash
def test_an_answer_before_the_write_is_found_out(short_directory: Path):
    """The negative control: this daemon does not wait for its journal."""
    witness, lost = killed(short_directory, 1, 2, HASTY)
    assert lost
    assert witness.odd_lines() == []
