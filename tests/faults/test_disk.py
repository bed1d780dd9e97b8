"""A disk that is full, fails, is taken away or is slow: real file systems, and nothing answered is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.daemon.test_daemon import eventually
from tests.faults.shim import LIE, SLOW, Shim, shim_or_skip
from tests.faults.witness import CONFIG, DELAY, LONG, Witness
from tests.support.daemon import ROOT, Daemon

OCTETS = 12 << 20
TIMES = 20 if LONG else 1
PROGRAMS = ("unshare", "nsenter", "mkfs.ext4", "mount", "umount")


class Disk:
    """An ext4 in a file, mounted at a folder, in a mount namespace that holds nothing else of its own."""

    def __init__(self, directory: Path, folder: Path) -> None:
        self._image, self._folder = directory / "image", folder
        folder.mkdir()
        with self._image.open("wb") as file:
            file.truncate(OCTETS)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(self._image)], check=True)
        self._holder = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", "echo; cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()  # from here on it has its namespace
        script = f'cd {ROOT}; exec "$@"'
        self.wrapper = ("nsenter", "-m", f"--target={self._holder.pid}", "sh", "-c", script, "sh")
        """Runs the command behind it where it sees the disk."""

    def run(self, script: str) -> int:
        """Run a shell script where it sees the disk."""
        return subprocess.run(
            [*self.wrapper, "sh", "-c", script], check=False, capture_output=True
        ).returncode

    def mount(self) -> None:
        assert self.run(f"mount -o loop {self._image} {self._folder}") == 0

    def unmount(self) -> None:
        """Nothing uses it any more, but perhaps the kernel for a moment."""
        eventually(lambda: self.run(f"umount {self._folder}") == 0, "the end of the disk's use")

    def end(self) -> None:
        self._holder.communicate()


@pytest.fixture
def disk(short_directory: Path) -> Iterator[Disk]:
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a disk")
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        pytest.skip(f"needs {', '.join(missing)}")
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs a mount namespace, which this machine does not give")
    disk = Disk(short_directory, short_directory / "state")
    try:
        disk.mount()
    except AssertionError:
        disk.end()
        pytest.skip("needs a loop device, which this machine does not have")
    yield disk
    disk.end()


@pytest.fixture
def shim(short_directory: Path) -> Shim:
    return shim_or_skip(short_directory, short_directory / "state")


@pytest.fixture
def witness(short_directory: Path, disk: Disk, shim: Shim) -> Iterator[Witness]:
    """A daemon with its state on the disk, and its sockets beside it."""
    run = short_directory / "run"
    run.mkdir()
    shutil.chown(run, "nobody")
    config = CONFIG.replace("/state/exim", "/run/exim").replace("/state/postfix", "/run/postfix")
    config = config.replace("[log]", f'[control]\naddress = "unix:{run}/control.sock"\n[log]')
    witness = Witness(Daemon(short_directory, config, user="nobody", env=shim.env, wrapper=disk.wrapper))
    witness.sockets = run
    with witness.daemon:
        yield witness


FULL = "make room on that file system"


def fill(disk: Disk, state: Path) -> Callable[[], None]:
    disk.run(f"dd if=/dev/zero of={state}/filler bs=4k")
    return lambda: disk.run(f"rm {state}/filler")


def fail(disk: Disk, state: Path) -> Callable[[], None]:
    """Like a disk that reports errors: nothing can be written any more, and what was not synced is gone."""
    assert disk.run(f"mount -o remount,abort {state}") == 0
    return lambda: None


def take_away(disk: Disk, state: Path) -> Callable[[], None]:
    assert disk.run(f"umount -l {state}") == 0
    return lambda: None


def start_again(witness: Witness, disk: Disk, *, mounted: bool) -> None:
    witness.daemon.kill()
    if mounted:
        disk.unmount()
    disk.mount()
    witness.daemon.start()


@pytest.mark.timeout(600 if LONG else 60)
@pytest.mark.parametrize("trouble", [fill, fail, take_away])
def test_nothing_is_lost(witness: Witness, disk: Disk, trouble: Callable[[Disk, Path], Callable[[], None]]):
    daemon = witness.daemon
    state = daemon.directory / "state"
    for _ in range(TIMES):
        witness.attempts(40)
        daemon.clock.advance(DELAY)
        witness.attempts(10)
        mend = trouble(disk, state)
        for _ in range(20 if trouble is fill else 1):
            witness.attempts(24)
            witness.control("verify")  # everything goes into the store, which has to grow sooner or later
            if FULL in daemon.stderr():
                break
        mend()
        assert daemon.process is not None
        assert daemon.process.poll() is None
        if trouble is fill:
            assert FULL in daemon.stderr()
            eventually(lambda: witness.stranger() == "new", "a deferral")
        start_again(witness, disk, mounted=trouble is not take_away)
        assert witness.lost() == []
        assert witness.odd_lines() == []
    assert trouble is not fail or witness.errors


def test_a_slow_disk_delays_answers_and_nothing_else(witness: Witness, disk: Disk, shim: Shim):
    shim.arm("fdatasync", error=SLOW, delay=150)
    witness.attempts(40)
    assert shim.disarm()
    assert witness.errors == 0
    start_again(witness, disk, mounted=True)
    assert witness.lost() == []


def test_a_disk_that_lies_is_found_out(witness: Witness, disk: Disk, shim: Shim):
    """The negative control: no sync ever reaches this disk before it fails."""
    witness.attempts(10)
    shim.arm("fdatasync", error=LIE)
    witness.attempts(40)
    fail(disk, witness.daemon.directory / "state")
    shim.disarm()
    with suppress(RuntimeError):  # the store itself may be gone
        start_again(witness, disk, mounted=True)
    assert "damaged" in witness.daemon.stderr() or witness.lost()
