"""Builds shim.c and steers it: what happens to the system calls of a daemon under test."""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

__all__ = ["CALLS", "LIE", "SHORT", "SLOW", "Line", "Shim", "shim_or_skip"]

CALLS = (
    "pwrite",
    "write",
    "writev",
    "fdatasync",
    "fsync",
    "ftruncate",
    "rename",
    "unlink",
    "open",
    "fallocate",
    "mmap",
)
"""In the order of shim.c."""
SHORT, LIE, SLOW = 0, -1, -2
"""In place of an errno: half is written; success without anything done; the call waits first."""
_CONTROL = struct.Struct("=IiiiiIII480s")
_LINE = struct.Struct("=QQQQ")
_MET = 6


class Line(NamedTuple):
    """One change of a file."""

    kind: str
    """w(rite), d(urable write), t(runcate), a(llocate), s(ync), c(reate), r(ename), u(nlink)."""
    inode: int
    offset: int
    data: bytes


class Shim:
    """The shim of one daemon, which acts on files below `folder`."""

    def __init__(self, directory: Path, folder: Path) -> None:
        """Builds it in `directory`.  Raises FileNotFoundError where there is no C compiler."""
        library, control, self._log = (directory / name for name in ("shim.so", "shim", "shim.log"))
        source = Path(__file__).with_name("shim.c")
        cc = ["cc", "-O1", "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(library), str(source), "-ldl"]
        subprocess.run(cc, check=True)
        control.write_bytes(bytes(mmap.PAGESIZE))
        self._log.touch()
        with control.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        self._folder = str(folder).encode()
        self._logging = False
        self.env = {
            "LD_PRELOAD": str(library),
            "MULTIGREY_SHIM": str(control),
            "MULTIGREY_SHIM_LOG": str(self._log),
        }
        """The environment of the daemon."""
        self.disarm()

    def arm(self, *calls: str, error: int, skip: int = 0, times: int = -1, delay: int = 0) -> None:
        """From now on `times` (-1: all) of these calls, but for the first `skip`, meet an errno or the like.

        `delay`: milliseconds, for SLOW.
        """
        self.disarm()
        mask = sum(1 << CALLS.index(call) for call in calls)
        self._set(mask, error, skip, times, delay)

    def disarm(self) -> int:
        """Let everything work again; returns how many calls were met."""
        met = self.met
        self._set(0, 0, 0, 0, 0)
        return met

    def record(self) -> None:
        """Write down all changes from now on."""
        self._logging = True
        self.disarm()

    @property
    def met(self) -> int:
        """How many calls were met since `arm`."""
        return _CONTROL.unpack_from(self._page)[_MET]

    @property
    def logged(self) -> int:
        """The length of the log."""
        return self._log.stat().st_size

    def lines(self) -> Iterator[tuple[int, Line]]:
        """The log: each line with the length of the log up to its end."""
        data = memoryview(self._log.read_bytes())
        at = 0
        while at + _LINE.size <= len(data):
            kind, inode, offset, size = _LINE.unpack_from(data, at)
            at += _LINE.size
            yield at + size, Line(chr(kind), inode, offset, bytes(data[at : at + size]))
            at += size

    def _set(self, mask: int, error: int, skip: int, times: int, delay: int) -> None:
        packed = _CONTROL.pack(0, error, skip, times, delay, 0, 0, self._logging, self._folder)
        self._page[: len(packed)] = packed
        self._page[:4] = struct.pack("=I", mask)  # last: from here on it is armed


def shim_or_skip(directory: Path, folder: Path) -> Shim:
    """A shim, or a skip that says what is missing."""
    if shutil.which("cc") is None:
        pytest.skip("needs cc, a C compiler, to build tests/faults/shim.c")
    return Shim(directory, folder)
