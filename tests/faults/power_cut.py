"""Rebuilds what a disk may hold after a power cut, from the shim's log.

A model of the worst disk that POSIX allows, where only a sync is a promise: of everything a file got since
its last sync, each write or change of size may be there, not there, or there in some of its sectors of 512
octets.  Names are kept in their order, as journaling file systems do, but none of those since the last sync
of a folder need be there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from tests.faults.shim import Line

__all__ = ["Disk"]

SECTOR = 512


class _File:
    """A file: what is safe, and what it got since."""

    def __init__(self) -> None:
        self.safe = bytearray()
        self.pending: list[Line] = []

    def after(self, keeps: Callable[[], bool | None], chance: random.Random) -> bytes:
        """Its content when `keeps` says of each change: kept, dropped, or (None) torn."""
        data = bytearray(self.safe)
        for line in self.pending:
            keep = keeps() if line.kind != "d" else True
            if keep is not False:
                _change(data, line, chance if keep is None else None)
        return bytes(data)


def _change(data: bytearray, line: Line, torn: random.Random | None = None) -> None:
    """Carry out a line on a file's content; `torn`: decides by sector of the disk."""
    if line.kind == "t":
        del data[line.offset :]
    size = line.offset + len(line.data)
    data += bytes(max(size - len(data), 0))
    if line.kind in "wd":
        at = line.offset
        while at < size:
            end = min((at // SECTOR + 1) * SECTOR, size)
            if torn is None or torn.random() < 0.5:
                data[at:end] = line.data[at - line.offset : end - line.offset]
            at = end


class _NameChange(NamedTuple):
    """A file is made, renamed to `other`, or else removed."""

    name: str
    other: str
    made: _File | None

    def happen(self, names: dict[str, _File]) -> None:
        """Carry it out."""
        file = self.made or names.pop(self.name, None)
        if file is not None and (self.made or self.other):
            names[self.other or self.name] = file


class Disk:
    """The state directory as the daemon sees it, and what of it is safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[int, _File] = {}
        """By inode."""
        self._names: dict[str, _File] = {}
        self._safe_names: dict[str, _File] = {}
        self._pending_names: list[_NameChange] = []

    def happen(self, lines: Iterable[Line]) -> None:
        """The daemon does all this."""
        for line in lines:
            if line.kind in "cru":
                self._name(line, *[text.decode() for text in line.data.split(b"\0")[:2]])
            elif line.kind == "s":
                self._sync(line.inode)
            elif line.inode in self._files:
                self._files[line.inode].pending.append(line)

    def cut(self, directory: Path, chance: random.Random, kind: str) -> None:
        """Write into an empty directory what may be there: unsynced changes kept, dropped, torn or mixed."""
        keeps = {
            "kept": lambda: True,
            "dropped": lambda: False,
            "torn": lambda: None,
            "mixed": lambda: chance.choice([True, False, None]),
        }[kind]
        names = dict(self._safe_names)
        last = len(self._pending_names)
        for change in self._pending_names[: {"kept": last, "dropped": 0}.get(kind, chance.randint(0, last))]:
            change.happen(names)
        for name, file in names.items():
            path = directory / Path(name).relative_to(self._folder)
            path.write_bytes(file.after(keeps, chance))
            path.chmod(0o600)

    def _sync(self, inode: int) -> None:
        if inode in self._files:
            file = self._files[inode]
            for line in file.pending:
                _change(file.safe, line)
            file.pending.clear()
        else:  # a folder: there is but one
            self._safe_names = dict(self._names)
            self._pending_names.clear()

    def _name(self, line: Line, name: str, other: str) -> None:
        change = _NameChange(name, other if line.kind == "r" else "", None)
        if line.kind == "c":
            if name in self._names:
                return
            # A new file, also when an older one had this inode.
            self._files[line.inode] = _File()
            change = _NameChange(name, "", self._files[line.inode])
        change.happen(self._names)
        self._pending_names.append(change)
