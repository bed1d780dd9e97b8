"""Puts the state of a backup in the place of the present one: all of it, or nothing.

    STATE_DIR/restored.new/  a state that is being unpacked
    STATE_DIR/restored/      a whole one, on its way to its place

One rename, of the first to the second, decides.  Before it nothing has changed, and a restore can begin
again.  What follows only moves files and can be repeated: `finish_restore`, which each start calls, goes on.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from shutil import rmtree

import lmdb

from multigrey.archive.names import STATE
from multigrey.archive.tar import ArchiveError, Member
from multigrey.errors import StoreError
from multigrey.history.file import NAME as HISTORY
from multigrey.history.file import open_history
from multigrey.stores.lmdb.damage.child import run, seconds_for
from multigrey.stores.lmdb.environment import open_store
from multigrey.stores.lmdb.state_files import (
    DamagedStoreError,
    StateFiles,
    remove,
    sync_directory,
    take_lock,
    trouble,
)
from multigrey.stores.site_key import FINGERPRINT, fingerprint, load_site_key
from multigrey.stores.site_key import NAME as SITE_KEY

__all__ = ["finish_restore", "place", "present"]

_STORE = "store.mdb"
_ALL = (_STORE, SITE_KEY, HISTORY)
"""The files that a backup may have, in the order in which they are moved."""
_ROOM = 1 << 30
"""Octets of address space to look at a store with, besides its size."""

logger = logging.getLogger(__name__)


def present(state_dir: Path) -> list[str]:
    """The files of a state directory that a restore would replace.  Raises StoreError."""
    files = StateFiles(state_dir)
    try:
        if not state_dir.is_dir():
            return []
        found = [*(state_dir / name for name in _ALL), *files.journals()]
        return [path.name for path in found if os.path.lexists(path)]
    except OSError as error:
        raise trouble(state_dir, error) from error


def place(state_dir: Path, members: Iterable[Member], *, replace: bool) -> None:
    """Put the files of the state that are among these in place; the others are skipped.

    As the daemon's user, while no daemon uses the directory.  Raises StoreError, ArchiveError; then all is as
    it was, or the next start goes on.
    """
    files = StateFiles(state_dir)
    lock = take_lock(files.lock)
    try:
        _finish(files)
        if not replace:
            _refuse([name for name in present(state_dir) if name != SITE_KEY], state_dir)
        new = state_dir / "restored.new"
        try:
            _unpack(new, members)
            if not replace and _differ(new / SITE_KEY, state_dir / SITE_KEY):
                _refuse([SITE_KEY], state_dir)
            _check(state_dir, StateFiles(new))
            new.rename(_restored(files))
            sync_directory(state_dir)
        except BaseException:
            rmtree(new, ignore_errors=True)
            raise
        _finish(files)
    except OSError as error:
        raise trouble(state_dir, error) from error
    finally:
        os.close(lock)


def finish_restore(state_dir: Path) -> None:
    """Go on with a restore that was ended on its way.  Raises StoreError."""
    files = StateFiles(state_dir)
    if not _restored(files).is_dir():
        return
    lock = take_lock(files.lock)
    try:
        _finish(files)
        logger.info("%s: a restore that was interrupted is complete now", state_dir)
    except OSError as error:
        raise trouble(state_dir, error) from error
    finally:
        os.close(lock)


def _restored(files: StateFiles) -> Path:
    return files.directory / "restored"


def _finish(files: StateFiles) -> None:
    """Move what was restored.  Each step may have been made before.  Raises OSError."""
    restored = _restored(files)
    if not restored.is_dir():
        return
    # Of the old state: the journal would add to the new store what came after the backup, perhaps under
    # another key, and LMDB's table of readers describes transactions of the old file.
    remove(*files.journals(), files.readers, files.starts, files.directory / f"{HISTORY}-lock")
    for name in _ALL:
        if (restored / name).exists():
            (restored / name).rename(files.directory / name)
    sync_directory(files.directory)
    rmtree(restored)
    sync_directory(files.directory)


def _unpack(directory: Path, members: Iterable[Member]) -> None:
    """Raises OSError, ArchiveError."""
    rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    for member in members:
        if not member.name.startswith(STATE):
            continue
        path = directory / member.name.removeprefix(STATE)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for data in member.content:
                file.write(data)
            file.flush()
            os.fsync(descriptor)
    sync_directory(directory)


def _refuse(there: Sequence[str], state_dir: Path) -> None:
    if there:
        raise StoreError(f"{state_dir / there[0]} exists already: restore with --replace to lose it")


def _differ(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.read_bytes() != other.read_bytes()


def _check(state_dir: Path, unpacked: StateFiles) -> None:
    """Make sure that a daemon can start with it.  Raises StoreError, ArchiveError, OSError."""
    if not unpacked.data.exists():
        raise ArchiveError(f"it has no {STATE}{_STORE}")
    key = unpacked.directory / SITE_KEY
    if not key.exists():
        key = state_dir / SITE_KEY
        if not key.exists():
            raise ArchiveError(f"it has no site key: put the one that belongs to it in place as {key} first")
    site_key = load_site_key(key.parent)
    history = unpacked.directory / HISTORY
    try:
        for path in filter(Path.exists, (unpacked.data, history)):
            run(("walk", str(path)), path, seconds_for(path))
        size = unpacked.data.stat().st_size + _ROOM
        opened = open_store(unpacked, size)
        try:
            written_with = opened.get(FINGERPRINT)
        finally:
            opened.env.close()
            remove(unpacked.readers)
        if history.exists():
            open_history(history, size, read_only=True).close()
    except DamagedStoreError as error:
        raise ArchiveError(f"damaged when it was written ({error.what}): use another backup") from error
    except lmdb.Error as error:
        raise ArchiveError(f"its store cannot be read: {error}") from error
    if written_with not in {None, fingerprint(site_key)}:
        raise ArchiveError(f"its store was written with another site key than {key}")
