"""Notes of starts: whether the daemon died before, and whether that may be the store's fault.

    STATE_DIR/starts    a line for each start that has not ended in an orderly way, nor served for a minute
                        yet; what Python reports when a signal ends the process; damage that was met

The file is written without a sync: of a machine that lost its power it says nothing, and need not.
"""

from __future__ import annotations

import faulthandler
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from multigrey.stores.lmdb.state_files import StateFiles

__all__ = ["SERVED", "Starts", "note_damage", "noted_signals"]

SERVED = 60.0
"""Seconds of service after which a start no longer counts."""
_DEAD = 2
"""Dead starts in a row after which the store is walked."""
_MOST = 1 << 20
_APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_START, _DAMAGE, _SIGNAL = "start", "damage: ", "Fatal Python error: "

logger = logging.getLogger(__name__)


class Starts:
    """The notes of one process.  What cannot be noted is logged, and prevents nothing."""

    def __init__(self, files: StateFiles) -> None:
        """The lock must be held."""
        self._path = files.starts
        self._file = -1
        self._watches = False
        self.suspicion = ""
        """Why the store has to be walked before it is opened; "" if it need not."""

    def begin(self) -> None:
        """Read the notes, and note this start.  From now on a signal that ends the process is noted."""
        try:
            self._file = os.open(self._path, _APPEND, 0o600)
            self.suspicion = _suspicion(os.pread(self._file, _MOST, 0).decode(errors="replace"))
            os.write(self._file, f"{_START} {os.getpid()}\n".encode())
        except OSError as error:
            logger.warning("%s: %s: this start cannot be noted", self._path, error.strerror)
        if self._file >= 0 and not faulthandler.is_enabled():
            faulthandler.enable(self._file)
            self._watches = True

    def walked(self) -> None:
        """Forget all starts but this one: the store was walked since."""
        self._write(f"{_START} {os.getpid()}\n")

    def served(self) -> None:
        """Forget this start as well: it has served for a minute, or is asked to end."""
        try:
            told = "" if self._file < 0 else os.pread(self._file, _MOST, 0).decode(errors="replace")
        except OSError:
            told = ""
        # Damage that this very process has met stays noted: the next start has to walk the store.
        self._write("".join(f"{line}\n" for line in told.splitlines() if line.startswith(_DAMAGE)))

    def close(self) -> None:
        """Close the file; what it says stays."""
        if self._watches:
            faulthandler.disable()
        if self._file >= 0:
            os.close(self._file)
        self._file, self._watches = -1, False

    def _write(self, text: str) -> None:
        if self._file < 0:
            return
        try:
            os.ftruncate(self._file, 0)
            os.write(self._file, text.encode())
        except OSError as error:
            logger.warning("%s: %s: this start stays noted", self._path, error.strerror)


def _suspicion(told: str) -> str:
    lines = told.splitlines()
    for line in reversed(lines):
        if line.startswith(_SIGNAL):
            return f"an earlier run was ended by a signal ({line.removeprefix(_SIGNAL).strip()})"
        if line.startswith(_DAMAGE):
            return line.removeprefix(_DAMAGE)
    dead = sum(line.startswith(_START) for line in lines)
    return f"the last {dead} starts ended early" if dead >= _DEAD else ""


@contextmanager
def noted_signals(files: StateFiles) -> Iterator[None]:
    """Have a signal that ends the process meanwhile noted, so that the next start walks the store."""
    try:
        file = os.open(files.starts, _APPEND, 0o600)
    except OSError:
        yield
        return
    faulthandler.enable(file)
    try:
        yield
    finally:
        faulthandler.disable()
        os.close(file)


def note_damage(files: StateFiles, what: str) -> None:
    """Have the next start walk the store."""
    try:
        file = os.open(files.starts, _APPEND, 0o600)
        try:
            os.write(file, f"{_DAMAGE}{what.splitlines()[0]}\n".encode())
        finally:
            os.close(file)
    except OSError as error:
        logger.warning("%s: %s: damage cannot be noted", files.starts, error.strerror)
