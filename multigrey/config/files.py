"""Files the configuration comes from or points at: whether they can be read, and whether they are safe.

Whoever can write the configuration decides whose mail is let in, and whoever can write the plugin
directory runs code with our rights.  So, as sshd and sudo do with theirs: neither may be writable
by group or others, and both must belong to root or to the user we run as.  Whitelist files and
their directories are data; they may belong to anybody, but not be open to everybody either.  A
sticky directory like /tmp is good enough for a list: others cannot replace what is not theirs.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

__all__ = ["LARGEST", "UnreadableError", "code_dangers", "list_dangers", "read_config"]

LARGEST = 1024 * 1024
"""Octets; a configuration is a few kilobytes, so a larger file is something else."""

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class UnreadableError(Exception):
    """A configuration file nothing can be read from; becomes a Problem."""

    def __init__(self, line: int | None, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


def read_config(path: Path, uid: int) -> tuple[str, list[str]]:
    """The text of a configuration file, and what is dangerous about the file.  Raises UnreadableError.

    `uid`: the user the program was started as.
    """
    try:
        # A FIFO must not make us wait for somebody to write to it.
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
        raise UnreadableError(None, "is larger than 1 MiB; is this a configuration?")
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


def _dangers(path: Path, status: os.stat_result, uid: int) -> Iterable[str]:
    if status.st_mode & _OTHERS_WRITE:
        yield f"is writable by group or others (mode {status.st_mode & 0o7777:04o}); run chmod go-w {path}"
    if status.st_uid not in {0, uid}:
        yield (
            f"belongs to user id {status.st_uid}; expected root or the user multigrey is started as "
            f"(id {uid}); run chown root {path}"
        )


def code_dangers(directory: Path, uids: Iterable[int]) -> Iterable[str]:
    """What is wrong with a plugin directory; `uids` may own it beside root."""
    try:
        status = directory.stat()
    except OSError as error:
        yield f"{directory} cannot be used: {error.strerror or error}"
        return
    if not stat.S_ISDIR(status.st_mode):
        yield f"{directory} is no directory"
    if status.st_mode & _OTHERS_WRITE:
        yield (
            f"{directory} is writable by group or others (mode {status.st_mode & 0o7777:04o}), who could "
            f"make multigrey run their code; run chmod go-w {directory}"
        )
    if status.st_uid not in {0, *uids}:
        yield (
            f"{directory} belongs to user id {status.st_uid}; expected root or the user multigrey runs as; "
            f"run chown -R root {directory}"
        )


def list_dangers(path: Path) -> Iterable[str]:
    """What is wrong with a whitelist file, its .local companion or its directory; [] if not there (yet)."""
    for place in (path, path.with_name(f"{path.name}.local"), path.parent):
        try:
            mode = place.stat().st_mode
        except OSError:
            continue  # whoever reads the list reports this, with its own words
        sticky = stat.S_ISDIR(mode) and mode & stat.S_ISVTX
        if mode & _OTHERS_WRITE and not sticky:
            yield (
                f"{place} is writable by group or others (mode {mode & 0o7777:04o}), who could whitelist "
                f"anybody; run chmod go-w {place}"
            )
