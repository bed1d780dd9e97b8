"""What happens before the store is opened: the start is noted, and files that may end the daemon are walked.

LMDB maps its files, and some kinds of damage end the process that meets them by a signal.  Left alone, such a
daemon would die at every start.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from multigrey.config.settings import Settings
from multigrey.daemon.systemd import Notifier
from multigrey.history.file import NAME, move_aside
from multigrey.stores.lmdb.damage.rescue import rescue, walk
from multigrey.stores.lmdb.damage.starts import Starts
from multigrey.stores.lmdb.state_files import StateFiles, take_lock

__all__ = ["begin"]

logger = logging.getLogger(__name__)


def begin(settings: Settings, environ: Mapping[str, str]) -> Starts:
    """Note this start; after dead ones, walk the files, and save what can be read of a damaged store.

    It is to be called as the daemon's user.  Raises StoreError when another daemon uses the directory, or it
    cannot be written.
    """
    files = StateFiles(settings.state_dir)
    lock = take_lock(files.lock)
    try:
        starts = Starts(files)
        starts.begin()
        if starts.suspicion:
            with _stopped_by_term(starts):
                _walk(settings, files, starts.suspicion, Notifier(environ).starting)
            starts.walked()
    finally:
        os.close(lock)
    return starts


def _walk(settings: Settings, files: StateFiles, why: str, tell: Callable[[float, str], None]) -> None:
    if settings.store.backend == "lmdb":
        rescue(files, settings.store.map_size, why, tell)
    history = settings.state_dir / NAME
    if problem := walk(history, why, tell):
        logger.error("%s: damaged (%s): moved to %s", history, problem, move_aside(history))


@contextmanager
def _stopped_by_term(starts: Starts) -> Iterator[None]:
    """Let SIGTERM and SIGINT end the process, and those it waits for, in an orderly way."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        del number, frame
        starts.served()
        raise SystemExit(0)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
