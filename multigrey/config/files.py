"""Reads configuration files, and checks the permissions of the files and directories they name.

A user who can write the configuration decides whose mail is let in.  A user who can write the plugin
directory runs code with the rights of the daemon.  So, as sshd and sudo require for their files,
neither may be writable by group or others, and both must belong to root or to the user that the
daemon runs as.  Whitelist files and their directories are data: they may belong to any user, but
must not be writable by group or others either.  A sticky directory like /tmp is allowed for a list,
because other users cannot replace files there that are not their own.

The default directory of whitelists is read without being named.  So it must belong to root or to the
daemon's user, and no other user may be able to make it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

__all__ = [
    "LARGEST",
    "UnreadableError",
    "code_dangers",
    "directory_dangers",
    "list_dangers",
    "read_config",
]

LARGEST = 1024 * 1024
"""The largest size in octets.  A configuration has a few kilobytes; a larger file is something else."""

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class UnreadableError(Exception):
    """A configuration file that cannot be read or decoded; the caller makes a Problem of it."""

    def __init__(self, line: int | None, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


def read_config(path: Path, uid: int) -> tuple[str, list[str]]:
    """Return the text of a configuration file, and a message for each danger in its owner and mode.

    `uid`: the user that the program was started as.  Raises UnreadableError.
    """
    try:
        # O_NONBLOCK: without it, opening a FIFO would wait until a process writes to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableError(None, f"is {_sort(status.st_mode)}; a regular file is expected")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                raw = file.read(LARGEST + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UnreadableError(None, f"cannot be read: {error.strerror or error}") from error
    if len(raw) > LARGEST:
        raise UnreadableError(None, "is larger than 1 MiB, which is too large for a configuration")
    return _decode(raw), [*_dangers(path, status, uid)]


def _sort(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    return "a FIFO" if stat.S_ISFIFO(mode) else "a device or socket"


def _decode(raw: bytes) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UnreadableError(1, "is UTF-16; save it as UTF-8")
    if raw.startswith(b"\xef\xbb\xbf"):
        raise UnreadableError(1, "begins with a byte order mark, which TOML does not allow; save it without")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UnreadableError(
            line, f"is not UTF-8 (octet 0x{raw[error.start]:02x}); save it as UTF-8"
        ) from error


def _is_trusted(path: Path) -> bool:
    """Whether modes and owners mean nothing for this file or directory, links followed."""
    trusted = [
        each for each in os.environ.get("MULTIGREY_TRUST_MODES", "").split(":") if each.startswith("/")
    ]
    real = Path(os.path.realpath(path)) if trusted else path
    return any(real.is_relative_to(os.path.realpath(each)) for each in trusted)


def _dangers(path: Path, status: os.stat_result, uid: int) -> Iterable[str]:
    if _is_trusted(path):
        return
    if status.st_mode & _OTHERS_WRITE:
        yield f"is writable by group or others (mode {status.st_mode & 0o7777:04o}); run chmod go-w {path}"
    if status.st_uid not in {0, uid}:
        yield (
            f"belongs to user id {status.st_uid}; expected root or the user multigrey is started as "
            f"(id {uid}); run chown root {path}"
        )


def code_dangers(directory: Path, uids: Iterable[int]) -> Iterable[str]:
    """Yield what is wrong with a plugin directory.  Its owner must be root or one of `uids`."""
    try:
        status = directory.stat()
    except OSError as error:
        yield f"{directory} cannot be used: {error.strerror or error}"
        return
    if not stat.S_ISDIR(status.st_mode):
        yield f"{directory} is not a directory"
    if status.st_mode & _OTHERS_WRITE:
        yield (
            f"{directory} is writable by group or others (mode {status.st_mode & 0o7777:04o}), who could "
            f"make multigrey run their code: run chmod go-w {directory}"
        )
    if status.st_uid not in {0, *uids}:
        yield (
            f"{directory} belongs to user id {status.st_uid}; expected root or the user multigrey runs as; "
            f"run chown -R root {directory}"
        )


def list_dangers(path: Path) -> Iterable[str]:
    """Yield what is wrong with the mode of a whitelist file, its .local companion and its directory.

    Files that do not exist (yet) are skipped.
    """
    for place in (path, path.with_name(f"{path.name}.local"), path.parent):
        try:
            mode = place.stat().st_mode
        except OSError:
            continue  # the whitelist source reports this itself when it reads the list
        sticky = stat.S_ISDIR(mode) and mode & stat.S_ISVTX
        if mode & _OTHERS_WRITE and not sticky and not _is_trusted(place):
            yield _writable(place, mode)


def directory_dangers(directory: Path, owners: Iterable[int]) -> Iterable[str]:
    """Yield what is wrong with a directory whose lists are read although no table names it.

    Its owner must be root or one of `owners`.  Raises nothing: a directory that is gone has no danger.
    """
    for place in (directory, directory.parent):
        try:
            status = place.stat()
        except OSError:
            continue
        if _is_trusted(place):
            continue
        sticky = place != directory and status.st_mode & stat.S_ISVTX
        if status.st_mode & _OTHERS_WRITE and not sticky:
            yield _writable(place, status.st_mode)
        if place == directory and status.st_uid not in {0, *owners}:
            yield (
                f"{directory} belongs to user id {status.st_uid}; expected root or the user multigrey runs "
                f"as, because its lists are read without being named: run chown root {directory}"
            )


def _writable(place: Path, mode: int) -> str:
    return (
        f"{place} is writable by group or others (mode {mode & 0o7777:04o}), who could whitelist any sender: "
        f"run chmod go-w {place}"
    )
