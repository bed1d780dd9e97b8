"""A database file in MaxMind's format, held in memory and read again when it is replaced.

The reader gets a private copy of the file.  It maps the file, and a file that is truncated while it is
mapped kills the process at the next look-up.  Not every tool that updates such files writes a new file
and renames it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

import maxminddb

__all__ = ["Database", "DatabaseError", "stamp_of"]

T = TypeVar("T")

Stamp = tuple[int, int, int]
"""Modification time (ns), size and inode: at least one changes when a file is replaced."""

_SAMPLE = 1000
"""The number of records that are read to check whether a file has the field."""

_log = logging.getLogger(__name__)


class DatabaseError(Exception):
    """A file that cannot be used; the text names it and says why."""


def stamp_of(path: Path) -> Stamp | None:
    """The stamp of the current version of a file; None if the file cannot be found."""
    try:
        return _stamp(path.stat())
    except OSError:
        return None


class Database(Generic[T]):
    """One value for each address, from a file."""

    def __init__(
        self,
        path: Path,
        what: str,
        value_of: Callable[[Any], T | None],
        stamp_of: Callable[[Path], Stamp | None] = stamp_of,
    ) -> None:
        """`what` is the name of the value for messages; `value_of` takes it from a record of the file.

        Raises DatabaseError.
        """
        self.path = path
        self._what = what
        self._value_of = value_of
        self._stamp_of = stamp_of
        self._stamp: Stamp | None
        self._reader, self._stamp = self._open()
        self._last: tuple[object, T | None] = (None, None)

    def get(self, address: IPv4Address | IPv6Address | None) -> T | None:
        """Return the value for an address; None if the file has none."""
        known, value = self._last
        if known is address and address is not None:  # several traits look up the client of one attempt
            return value
        value = None if address is None else self._look_up(address)
        self._last = (address, value)
        return value

    def _look_up(self, address: IPv4Address | IPv6Address) -> T | None:
        try:
            record = self._reader.get(address)
        except ValueError:  # an IPv6 address, but a file with IPv4 addresses only
            return None
        return None if record is None else self._value_of(record)

    def refresh(self) -> bool:
        """Read the file again if it was replaced.  Returns whether that was done.  Never raises.

        A new file that cannot be used is logged once, and the old content stays in use.
        """
        stamp = self._stamp_of(self.path)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self._reader, _ = self._open()
        except DatabaseError as error:
            _log.error("%s; the previous content stays in use", error)
            return False
        self._last = (None, None)
        _log.info("%s was replaced and has been read again", self.path)
        return True

    def _open(self) -> tuple[maxminddb.Reader, Stamp]:
        try:
            with self.path.open("rb") as file:
                stamp = _stamp(os.fstat(file.fileno()))
                reader = _reader_of(file.read())
            sample = [record for _, record in islice(reader, _SAMPLE)]
            useful = any(self._value_of(record) is not None for record in sample)
        except OSError as error:
            raise DatabaseError(f"{self.path}: cannot be read: {error.strerror or error}") from error
        except (maxminddb.InvalidDatabaseError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DatabaseError(f"{self.path}: is damaged, or not in MaxMind's format") from error
        if not useful:
            kind = reader.metadata().database_type
            raise DatabaseError(f"{self.path}: does not contain {self._what} (its type is {kind})")
        return reader, stamp


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_mtime_ns, status.st_size, status.st_ino


def _reader_of(data: bytes) -> maxminddb.Reader:
    """A reader over a private copy in memory.  It maps the copy, which exists as long as the reader."""
    with os.fdopen(os.memfd_create("mmdb"), "wb") as copy:
        copy.write(data)
        copy.flush()
        return maxminddb.open_database(f"/proc/self/fd/{copy.fileno()}")
