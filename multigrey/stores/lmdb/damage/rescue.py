"""Walks a store that may have ended the daemon, before the daemon opens it; saves what can be read of it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import lmdb

from multigrey.errors import StoreError
from multigrey.stores.lmdb.damage.child import run, seconds_for
from multigrey.stores.lmdb.environment import replace_store
from multigrey.stores.lmdb.state_files import (
    DamagedStoreError,
    StateFiles,
    remove,
    sync_directory,
    trouble,
)
from multigrey.text import counted

__all__ = ["keep_damaged", "rescue", "walk"]

_MOST_KEPT = 3
_SAVE_FACTOR = 4
"""How many times as long as walking the file saving it may take."""

Tell = Callable[[float, str], None]
"""Told what goes on, and for how many seconds at most."""

logger = logging.getLogger(__name__)


def walk(path: Path, why: str, tell: Tell = lambda _seconds, _what: None) -> str:
    """Walk an LMDB file in a process of its own; returns what is damaged, "" when nothing is found.

    Only files that no process has open.
    """
    if not os.path.lexists(path):
        return ""
    within = seconds_for(path)
    logger.warning("%s: %s: it is walked first, which may take %.0f s", path, why, within)
    tell(within, f"walking {path.name}")
    began = perf_counter()
    try:
        found = run(("walk", str(path)), path, within)
    except DamagedStoreError as error:
        return error.what
    except StoreError as error:
        logger.error("%s: it is used as it is", error)  # noqa: TRY400  (the disk's fault: no traceback)
        return ""
    logger.info("%s: %s can be read (%.1f s)", path, counted(found["rows"], "row"), perf_counter() - began)
    return ""


def rescue(files: StateFiles, map_size: int, why: str, tell: Tell) -> None:
    """Walk the store; if it is damaged, move it aside and put what can be read of it in its place.

    The lock must be held.  Raises StoreError when the directory cannot be written.
    """
    problem = walk(files.data, why, tell)
    if not problem:
        return
    began = perf_counter()
    within = _SAVE_FACTOR * seconds_for(files.data)
    tell(within, f"saving {files.data.name}")
    saved = _save(files, map_size, within)
    try:
        kept = keep_damaged(files)
        if os.path.lexists(files.draft):
            replace_store(files)
        else:
            remove(files.data, files.readers)
            sync_directory(files.directory)
    except (OSError, lmdb.Error) as error:
        raise trouble(files.data, error) from error
    took = perf_counter() - began
    logger.error("%s: damaged (%s): moved to %s; %s (%.1f s)", files.data, problem, kept, saved, took)


def _save(files: StateFiles, map_size: int, within: float) -> str:
    """Save into the draft; returns what was saved, as text."""
    try:
        saved = run(("save", str(files.directory), str(map_size)), files.data, within)
    except StoreError as error:
        # What was written until then may be whole: the large table comes last.
        if os.path.lexists(files.draft) and not walk(files.draft, str(error)):
            _sync(files.draft)
            return f"a part was saved ({error})"
        remove(files.draft)
        return f"nothing could be saved ({error}): every sender is new once"
    return _told(saved)


def _told(saved: Mapping[str, Any]) -> str:
    rows = ", ".join(f"{number} {name.lower()}" for name, number in saved["rows"].items())
    return f"rows saved: {rows}; places that cannot be read: {saved['unreadable']}"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def keep_damaged(files: StateFiles) -> Path:
    """Give the store's file the next name for damaged ones as well; the oldest of many are deleted.

    Raises OSError.
    """
    others = files.all_damaged()
    kept = files.damaged(max((int(path.suffix[1:]) for path in others), default=0) + 1)
    try:
        # A second name: when this is killed in between, the next start still finds a store.
        os.link(files.data, kept)
    except OSError:  # a file system without such names
        files.data.rename(kept)
    for path in others[: -(_MOST_KEPT - 1)]:
        logger.warning("%s: deleted, there are %d later ones", path, _MOST_KEPT)
        remove(path)
    return kept
