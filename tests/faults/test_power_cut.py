"""The power fails: what was answered was synced before, and what becomes of later writes is no matter."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.faults.power_cut import Disk
from tests.faults.shim import LIE, Line, Shim, shim_or_skip
from tests.faults.witness import CONFIG, DELAY, LONG, Witness
from tests.support.daemon import Daemon

CUTS = 400 if LONG else 6
KINDS = ("torn", "mixed", "dropped", "kept")


@pytest.fixture
def shim(short_directory: Path) -> Shim:
    return shim_or_skip(short_directory, short_directory / "state")


def recorded(directory: Path, shim: Shim, *, lies: bool) -> tuple[list[tuple[int, int]], int]:
    """A daemon at work; returns when each sender was answered, by the length of the log, and the clock."""
    witness = Witness(Daemon(directory, CONFIG, user="nobody", env=shim.env))
    answered: list[tuple[int, int]] = []
    witness.seen = lambda number: answered.append((shim.logged, number))
    shim.record()
    with witness.daemon as daemon:
        if lies:
            shim.arm("fdatasync", error=LIE)
        for command in ("verify", "backup", "compact", "reload"):
            witness.attempts(150 if LONG else 40)
            daemon.clock.advance(DELAY)
            witness.attempts(30)
            witness.control(command)
        daemon.kill()
    assert witness.passed
    return answered, daemon.clock.now()


def lost_after_cuts(directory: Path, shim: Shim, cuts: int, *, lies: bool = False) -> list[str]:
    """What daemons lose that start on what may be left at some moments."""
    answered, now = recorded(directory, shim, lies=lies)
    lines, chance = list(shim.lines()), random.Random(cuts)
    moments = sorted(chance.sample(range(1, len(lines)), min(cuts, len(lines) - 1)))
    disk, done, lost = Disk(directory / "state"), 0, []
    for number, moment in enumerate(moments):
        disk.happen(line for _, line in lines[done:moment])
        done = moment
        after = directory / str(number)
        state = after / "state"
        state.mkdir(parents=True)
        after.chmod(0o755)
        disk.cut(state, chance, "dropped" if lies else KINDS[number % len(KINDS)])
        (state / "decisions").unlink(missing_ok=True)  # it is not synced, and may be torn
        # A sender that is here twice was deferred, and then passed.
        told = [sender for length, sender in answered if length <= lines[moment - 1][0]]
        witness = Witness(Daemon(after, CONFIG, user="nobody", now=now))
        witness.deferred.update(told)
        witness.passed.update(sender for sender in set(told) if told.count(sender) > 1)
        try:
            with witness.daemon as daemon:
                lost += witness.lost() + witness.odd_lines()
                daemon.kill()
        except RuntimeError as error:
            lost.append(str(error))
        shutil.rmtree(after)
    return lost


@pytest.mark.timeout(3600 if LONG else 60)
def test_nothing_is_lost(short_directory: Path, shim: Shim):
    assert lost_after_cuts(short_directory, shim, CUTS) == []


def test_a_sync_that_lies_is_found_out(short_directory: Path, shim: Shim):
    """The negative control: a disk that only pretends to sync what is written."""
    lost = lost_after_cuts(short_directory, shim, 3, lies=True)
    assert [line for line in lost if line.endswith("now new") or "damaged" in line], lost


def line(kind: str, inode: int = 1, offset: int = 0, data: bytes = b"") -> Line:
    return Line(kind, inode, offset, data)


@pytest.mark.parametrize(
    ("kind", "content"),
    [("kept", b"newer"), ("dropped", b"old"), ("torn", b""), ("mixed", b"")],
)
def test_the_model_of_a_disk(tmp_path: Path, kind: str, content: bytes):
    disk = Disk(Path("/state"))
    disk.happen([line("c", data=b"/state/a\0\0"), line("w", data=b"old"), line("s"), line("s", 9)])
    disk.happen([line("w", data=b"newer"), line("r", data=b"/state/a\0/state/b\0")])
    disk.cut(tmp_path, random.Random(1), kind)
    (file,) = tmp_path.iterdir()
    assert file.name in {"kept": "b", "dropped": "a"}.get(kind, "ab")
    assert content in file.read_bytes()


def test_sectors_are_torn_one_by_one(tmp_path: Path):
    disk = Disk(Path("/state"))
    disk.happen([line("c", data=b"/state/a\0\0"), line("s", 9), line("w", data=bytes(range(1, 21)) * 512)])
    disk.cut(tmp_path, random.Random(1), "torn")
    data = (tmp_path / "a").read_bytes()
    empty = {data[at : at + 512].count(0) for at in range(0, len(data), 512)}
    assert empty == {0, 512}
