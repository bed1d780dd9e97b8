"""A clock that is wrong for a while, a process that stands still: nobody is lost, nobody slips through."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from multigrey.model import DAY, HOUR
from tests.daemon.test_daemon import select_nothing
from tests.faults.shim import SLOW, shim_or_skip
from tests.faults.witness import CONFIG, DELAY, LONG, Witness
from tests.support.clocks import START
from tests.support.daemon import Daemon

YEAR = 365 * DAY
KNOWN = 8
STOPS = 10 if LONG else 2
ANSWER_WITHIN = 1


@pytest.fixture
def witness(short_directory: Path) -> Witness:
    config = CONFIG + f'[limits]\nanswer_within = "{ANSWER_WITHIN}s"\nslow = "500ms"\n'
    return Witness(Daemon(short_directory, config, user="nobody"))


def passed(witness: Witness) -> None:
    """A few senders that pass, and whose last mail was two hours ago: the next one is written down."""
    for _ in range(KNOWN):
        witness.stranger()
    witness.daemon.clock.advance(DELAY)
    assert [witness.ask(number) for number in sorted(witness.deferred)] == ["retry"] * KNOWN
    witness.daemon.clock.advance(2 * HOUR)


JUMPS = [
    pytest.param(HOUR, id="an hour ahead"),
    pytest.param(-DAY, id="a day behind"),
    pytest.param(10 * YEAR, id="ten years ahead"),
    pytest.param(-START, id="1970"),
]
MORE_JUMPS = [
    pytest.param(-HOUR, id="an hour behind"),
    pytest.param(DAY, id="a day ahead"),
    pytest.param(-10 * YEAR, id="ten years behind"),
    pytest.param(2**32 - START, id="2106"),
]


@pytest.mark.parametrize("jump", JUMPS + MORE_JUMPS * LONG)
def test_a_clock_that_is_wrong_for_a_while(witness: Witness, jump: int):
    with witness.daemon as daemon:
        passed(witness)
        known = sorted(witness.passed)
        for _ in range(2):
            daemon.clock.step(jump)
            assert witness.stranger() == "new"
            assert [witness.ask(number) for number in known] == ["known"] * len(known)
            daemon.clock.step(-jump)
            assert witness.stranger() == "new"
        daemon.kill()
        daemon.start()
        assert witness.odd_lines() == []
        # (the strangers of the wrong time may have to wait once more)
        assert [witness.ask(number) for number in known] == ["known"] * len(known)


def test_a_stop_lets_nobody_through(witness: Witness):
    """All answers are late, and that is the network's affair: the daemon itself has lost no time."""
    with witness.daemon as daemon, ThreadPoolExecutor(50) as pool:
        for _ in range(STOPS):
            daemon.send(signal.SIGSTOP)
            answers = [pool.submit(witness.stranger) for _ in range(50)]
            select_nothing(2 * ANSWER_WITHIN)
            daemon.send(signal.SIGCONT)
            assert {answer.result() for answer in answers} == {"new"}
        assert witness.lost() == []
        assert witness.odd_lines() == []


def test_who_waits_for_the_disk_for_too_long_is_counted(witness: Witness, short_directory: Path):
    """The negative control of the stop: the same time, lost inside the daemon, is noticed."""
    shim = shim_or_skip(short_directory, short_directory / "state")
    with Daemon(short_directory, witness.daemon.config.read_text(), user="nobody", env=shim.env) as daemon:
        witness.daemon = daemon
        shim.arm("fdatasync", error=SLOW, delay=2_500 * ANSWER_WITHIN)
        assert witness.stranger() == "error"
        shim.disarm()
        assert witness.errors
