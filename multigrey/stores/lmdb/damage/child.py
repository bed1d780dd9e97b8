"""The process that walks or saves a store, and its parent's side.

LMDB is ended by a signal when it meets some kinds of damage.  So what is suspected is walked by a process of
its own.  A process with one thread (a start, a command) forks it, which works even where Python itself cannot
be read any more because root was given up.  A running daemon starts a new Python.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import logging
import os
import resource
import select
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any, NoReturn

import lmdb
import trio
from lmdb.verify import VerifyError, verify

from multigrey.errors import StoreError
from multigrey.stores.lmdb.damage.salvage import save
from multigrey.stores.lmdb.state_files import DamagedStoreError, StateFiles, check_file, trouble

__all__ = ["Job", "NoProcessError", "main", "run", "run_aside", "seconds_for"]

_RUN = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from multigrey.stores.lmdb.damage.child import main; main(sys.argv[1:])"
)
_LEAST_SECONDS = 30.0
_SECONDS_A_GIB = 120.0
_GIB = 1 << 30
_LONGEST_VALUE = 64 << 20
_ITS_FAULT = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL})
"""Signals that end a process because of what it reads."""

_PR_SET_PDEATHSIG = 1

logger = logging.getLogger(__name__)

Job = Sequence[str]
"""`walk PATH`, `walk-beside PATH` (while others have the file open) or `save STATE_DIR MAP_SIZE`."""


def seconds_for(path: Path) -> float:
    """How long a process may take that reads the whole file."""
    try:
        size = path.stat().st_size
    except OSError:
        size = 0
    return _LEAST_SECONDS + _SECONDS_A_GIB * size / _GIB


class NoProcessError(StoreError):
    """A process to read the file cannot be started."""


def run(job: Job, about: Path, within: float) -> Mapping[str, Any]:
    """Do a job in a fork, and wait for it.  Only for a process with one thread.

    Raises DamagedStoreError when that file is damaged, StoreError when the job could not be done.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_the_child(job, write)
    os.close(write)
    try:
        outcome = _all_of(read, within)
        if outcome is None:
            raise StoreError(f"{about}: not read within {within:.0f} s")
        _, status = os.waitpid(pid, 0)
        pid = 0
    finally:
        os.close(read)
        if pid:  # also when a signal ends this process in an orderly way
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return _outcome(about, os.waitstatus_to_exitcode(status), outcome)


def _all_of(pipe: int, within: float) -> bytes | None:
    """What comes out of a pipe until its end; None: the time was over before."""
    found = b""
    until = perf_counter() + within
    while select.select([pipe], [], [], max(until - perf_counter(), 0))[0]:
        data = os.read(pipe, 65536)
        if not data:
            return found
        found += data
    return None


def _be_the_child(job: Job, write: int) -> NoReturn:
    status = 1
    try:
        faulthandler.disable()  # its end by a signal is not the daemon's
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        with suppress(OSError, AttributeError):  # Linux only: do not outlive the parent
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.write(write, _answer(job))
        status = 0
    except BaseException:
        logger.exception("%s", job)
    finally:
        os._exit(status)


async def run_aside(job: Job, about: Path) -> Mapping[str, Any]:
    """Do a job in a new Python, beside other tasks, for as long as it takes; ended when cancelled.

    Raises the same, and NoProcessError.
    """
    try:
        done = await trio.run_process(_command(job), capture_stdout=True, capture_stderr=True, check=False)
    except OSError as error:
        raise NoProcessError(f"{about}: no process can be started: {error.strerror or error}") from error
    return _outcome(about, done.returncode, done.stdout)


def _command(job: Job) -> list[str]:
    # -P: Python must not import from the current directory.  The path makes it import this very package.
    return [sys.executable, "-P", "-c", _RUN, str(Path(__file__).resolve().parents[4]), *job]


def _outcome(about: Path, status: int, outcome: bytes) -> Mapping[str, Any]:
    if -status in _ITS_FAULT:
        raise DamagedStoreError(about, f"a process that read it was ended by {signal.Signals(-status).name}")
    if status:
        raise NoProcessError(f"{about}: the process that reads it failed ({status})")
    answer: Mapping[str, Any] = json.loads(outcome)
    if "damage" in answer:
        raise DamagedStoreError(about, answer["damage"])
    if "trouble" in answer:
        raise StoreError(answer["trouble"])
    return answer


# --- in the child ----------------------------------------------------------------------------------


def main(job: Job) -> None:
    """Do a job, and write its outcome to standard output."""
    sys.stdout.buffer.write(_answer(job))


def _answer(job: Job) -> bytes:
    """Do a job; returns its outcome as JSON."""
    with suppress(OSError, ValueError):  # it may well die: no image of it is needed
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    what, path = job[0], Path(job[1])
    answer: dict[str, Any] = {}
    try:
        if what == "save":
            answer = asdict(save(StateFiles(path), int(job[2])))
        else:
            answer = {"rows": _walked(path, beside=what == "walk-beside")}
    except DamagedStoreError as error:
        answer = {"damage": error.what}
    except StoreError as error:
        answer = {"trouble": str(error)}
    except (OSError, lmdb.Error) as error:
        answer = {"trouble": str(trouble(path, error))}
    return json.dumps(answer).encode()


def _walked(path: Path, *, beside: bool) -> int:
    """Read every row as a reader of the store does; then check every page, if the file is at rest."""
    check_file(path)
    try:
        # Without its table of readers no process has the file open.  None is made: it would be our user's.
        rows = _read_all(path, lock=beside and path.with_name(path.name + "-lock").exists())
    except lmdb.Error as error:
        if getattr(error, "code", 0) > 0:  # of the system, not of the file
            raise
        raise DamagedStoreError(path, str(error)) from error
    if not beside:
        try:
            problems = verify(path)  # type: ignore[no-untyped-call]  # (lmdb has no types)
        except VerifyError as error:
            raise DamagedStoreError(path, str(error)) from error
        if problems:
            raise DamagedStoreError(path, problems[0])
    return rows


def _read_all(path: Path, *, lock: bool) -> int:
    rows = 0
    with (
        lmdb.open(
            str(path), subdir=False, readonly=True, create=False, lock=lock, max_dbs=16, lib_version=0
        ) as env,
        env.begin(buffers=True) as txn,
    ):
        names = [bytes(name) for name, _ in txn.cursor()]
        for name in names:
            table = env.open_db(name, txn=txn, create=False)
            expected, last = txn.stat(table)["entries"], b""
            for found, (key, value) in enumerate(txn.cursor(table), 1):
                digest = bytes(key)
                # A page that leads back to one above it would never come to an end.
                if found > expected or digest < last or len(value) > _LONGEST_VALUE:
                    table_name = name.decode(errors="replace")
                    raise DamagedStoreError(path, f"table {table_name}: row {found} is out of order")
                value.tobytes()
                last = digest
            rows += expected
    return rows
