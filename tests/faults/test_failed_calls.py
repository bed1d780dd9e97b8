"""System calls fail whatever the daemon does: nothing that was answered is lost, and the daemon lives on."""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemon.test_daemon import eventually
from tests.faults.shim import CALLS, LIE, SHORT, Shim, shim_or_skip
from tests.faults.witness import CONFIG, DELAY, LONG, Witness
from tests.support.daemon import Daemon

ERRORS = (errno.EIO, errno.ENOSPC, errno.EMFILE, errno.ENOMEM, errno.EACCES, errno.EINTR, SHORT)
MODES = {"once": (0, 1), "the third": (2, 1), "for good": (0, -1)}
"""How many calls go well before, and how many are met."""


PHASES: dict[str, Callable[[Witness], object]] = {
    "commit": lambda w: w.attempts(16),
    "checkpoint": lambda w: (w.attempts(8), w.control("verify")),
    "compact": lambda w: (w.attempts(4), w.control("compact")),
    "backup": lambda w: (w.attempts(4), w.control("backup")),
    "reload": lambda w: (w.control("reload"), w.attempts(4)),
    "forget": lambda w: (w.attempts(4), w.forget(2)),
    "log reopened": lambda w: (w.daemon.send(signal.SIGUSR1), w.attempts(4)),
}
"""What the daemon does while the calls fail."""


def cells(turn: int) -> Iterator[tuple[str, int, str]]:
    """(call, error, mode): all in the long form; in the short one each pair meets another phase and mode."""
    for c, call in enumerate(CALLS):
        for e, error in enumerate(ERRORS):
            if LONG:
                yield from ((call, error, mode) for mode in MODES)
            elif (c + 2 * e) % len(PHASES) == turn:
                yield call, error, list(MODES)[(c + e) % len(MODES)]


def arm(shim: Shim, call: str, error: int, mode: str) -> None:
    skip, times = MODES[mode]
    # Python repeats an interrupted call by itself: for good would be for ever.
    shim.arm(call, error=error, skip=skip, times=20 if error == errno.EINTR and times < 0 else times)


@pytest.fixture
def shim(short_directory: Path) -> Shim:
    return shim_or_skip(short_directory, short_directory / "state")


@pytest.fixture
def witness(short_directory: Path, shim: Shim) -> Witness:
    return Witness(Daemon(short_directory, CONFIG, user="nobody", env=shim.env))


def settled(witness: Witness) -> None:
    """Wait until new senders are deferred again, as nothing fails any more."""
    eventually(lambda: witness.stranger() == "new", "a deferral")
    assert witness.daemon.process is not None
    assert witness.daemon.process.poll() is None


@pytest.mark.timeout(3600 if LONG else 60)
@pytest.mark.parametrize("phase", PHASES)
def test_while_it_runs(witness: Witness, shim: Shim, phase: str):
    daemon = witness.daemon
    with daemon:
        witness.attempts(20)
        met = 0
        for call, error, mode in cells(list(PHASES).index(phase)):
            daemon.clock.advance(DELAY)
            arm(shim, call, error, mode)
            PHASES[phase](witness)
            met += shim.disarm()
            settled(witness)
            assert witness.odd_lines() == [], (call, error, mode)
            if LONG:
                daemon.kill()
                daemon.start()
                assert witness.lost() == [], (call, error, mode)
        assert met, "no call was met"
        daemon.kill()
        daemon.start()
        assert witness.lost() == []
        assert witness.odd_lines() == []


# fmt: off
STARTS = [
    ("open", errno.EMFILE, 1),
    ("mmap", errno.ENOMEM, 0),
    ("fallocate", errno.ENOSPC, 0),
    ("rename", errno.EIO, 0),
    ("fsync", errno.EIO, 0),
    ("pwrite", errno.ENOSPC, 0),
    ("pwrite", SHORT, 0),
    ("fdatasync", errno.EIO, 1),
]
# fmt: on
"""Calls that fail for good after some that went well."""
ALL_STARTS = [(call, error, skip) for call in CALLS for error in ERRORS for skip in range(5)]


@pytest.mark.timeout(3600 if LONG else 60)
def test_at_the_start(witness: Witness, shim: Shim):
    """It starts, or says in one line why not; and it starts once nothing fails any more."""
    daemon, refused = witness.daemon, 0
    with daemon:
        witness.attempts(20)
        for number, (call, error, skip) in enumerate(ALL_STARTS if LONG else STARTS):
            # An orderly end leaves another state behind: no journal.
            (daemon.stop if number % 4 == 3 else daemon.kill)()
            before = len(daemon.stderr())
            shim.arm(call, error=error, skip=skip, times=20 if error == errno.EINTR else -1)
            try:
                daemon.start()
                witness.attempts(2)
            except RuntimeError:
                said = daemon.stderr()[before:].splitlines()
                assert [line.partition(" ")[0] for line in said].count("multigrey:") == 1, (
                    call,
                    error,
                    skip,
                    said,
                )
                refused += 1
                shim.disarm()
                daemon.start()
            shim.disarm()
            settled(witness)
            assert witness.odd_lines() == [], (call, error, skip)
        assert refused
        daemon.kill()
        daemon.start()
        assert witness.lost() == []


def test_a_disk_that_lies_is_found_out(witness: Witness, shim: Shim):
    """The negative control: what was never written is lost, and the witness says so."""
    with witness.daemon as daemon:
        witness.attempts(10)
        shim.arm("pwrite", error=LIE)
        assert "new" in witness.attempts(10)
        shim.disarm()
        daemon.kill()
        daemon.start()
        assert witness.lost()


@pytest.mark.parametrize("line", ["Traceback (most recent call last):", "action=pass forged"])
def test_an_odd_line_is_found_out(witness: Witness, line: str):
    with witness.daemon as daemon:
        with (daemon.directory / "stderr").open("a") as stderr:
            stderr.write(f"{line}\n")
        assert line in witness.odd_lines()
        witness.attempts(3)
        decisions = daemon.directory / "state" / "decisions"
        eventually(lambda: decisions.exists() and decisions.stat().st_size, "a line")
        assert witness.odd_lines() == []
        with decisions.open("a") as log:
            log.write("action=pass half a li\n")
        assert witness.odd_lines()


def test_every_call_is_known_to_both_sides():
    source = Path(__file__).with_name("shim.c").read_text()
    named = source.split("enum { ")[1].split(" };")[0]
    assert named.lower().split(", ") == list(CALLS)
