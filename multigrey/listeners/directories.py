"""Opens and makes directories for root without following what another user can change.

Root prepares directories in which other users may write: the state directory, and those of sockets.  A user
who may write into a directory can put a link in place of anything there, at any moment.  So root goes from
directory to directory by descriptor, and follows a link only where root alone can have put it.  Other
users need no such care: a link gives them nothing that they could not reach themselves.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import NamedTuple

__all__ = ["Directory", "open_directory"]

_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40
"""As many as the kernel follows."""


class Directory(NamedTuple):
    """An open directory."""

    path: Path
    """A path of it that no other user can lead elsewhere, as long as it is open."""
    descriptor: int

    def close(self) -> None:
        """Close it; `path` may not be used any more."""
        os.close(self.descriptor)


def open_directory(path: Path, mode: int = 0o755) -> Directory:
    """Open a directory.  A missing one is made with `mode`, those above it with 0755.  Raises OSError."""
    if os.geteuid() != 0:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        return Directory(path, os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    walk = _Walk(path.absolute(), mode)
    try:
        while walk.rest:
            walk.step()
    except BaseException:
        os.close(walk.here)
        raise
    return Directory(path if walk.is_firm else Path(f"/proc/self/fd/{walk.here}"), walk.here)


class _Walk:
    """The way from the root directory down to a path."""

    def __init__(self, path: Path, mode: int) -> None:
        self._mode = mode
        self._links = 0
        self.rest = list(path.parts[1:])
        """The names that are still to be gone through."""
        self.here = os.open("/", _FLAGS)
        """A descriptor of the directory that was reached."""
        self.is_firm = True
        """Whether only root can change the way so far."""

    def step(self) -> None:
        """Go on by one name.  Raises OSError."""
        name = self.rest.pop(0)
        try:
            child = os.open(name, _FLAGS, dir_fd=self.here)
        except FileNotFoundError:
            os.mkdir(name, 0o755 if self.rest else self._mode, dir_fd=self.here)
            child = os.open(name, _FLAGS, dir_fd=self.here)
        try:
            status = os.fstat(child)
            is_firm = _is_firm(os.fstat(self.here), status)
            if stat.S_ISLNK(status.st_mode):
                self._follow(name, child, is_firm=is_firm)
            elif stat.S_ISDIR(status.st_mode):
                self.here, child = child, self.here
                self.is_firm = self.is_firm and is_firm
            else:
                raise NotADirectoryError(errno.ENOTDIR, f"{name} on its way is not a directory")
        finally:
            os.close(child)

    def _follow(self, name: str, link: int, *, is_firm: bool) -> None:
        self._links += 1
        if not is_firm:
            raise OSError(
                errno.ELOOP, f"{name} on its way is a link that another user can change: name its target"
            )
        if self._links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = Path(os.readlink("", dir_fd=link))
        if target.is_absolute():
            os.close(self.here)
            self.here = os.open("/", _FLAGS)
        self.rest[:0] = [part for part in target.parts if part != "/"]


def _is_firm(directory: os.stat_result, entry: os.stat_result) -> bool:
    """Whether only root can put something else in place of an entry of a directory."""
    if directory.st_uid != 0:
        return False
    is_sticky = bool(directory.st_mode & stat.S_ISVTX) and entry.st_uid == 0
    return is_sticky or not directory.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
