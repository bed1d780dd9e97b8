"""The units of systemd that make sockets for the daemon: what they are called, and which of them are enabled.

Sources: systemd.socket(5), systemd.unit(5).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["DIRECTORIES", "SocketUnit", "enabled_names", "socket_unit", "unit_options"]

DIRECTORIES = (
    Path("/etc/systemd/system"),
    Path("/run/systemd/system"),
    Path("/usr/local/lib/systemd/system"),
    Path("/usr/lib/systemd/system"),
)
"""The directories of units, in systemd's order."""
_WANTED = ("multigrey.service.wants", "multigrey.service.requires")
"""The directories whose links are the units that start together with the daemon."""


class SocketUnit(NamedTuple):
    """A unit that makes a socket."""

    file: Path
    stream: str
    """ListenStream=: the path of a unix socket, or the address or port of TCP."""
    group: str
    """SocketGroup=; empty: not set."""


def socket_unit(name: str, directories: Iterable[Path] = DIRECTORIES) -> SocketUnit | None:
    """The unit that hands over a socket of this name (FileDescriptorName=); None: there is none."""
    for directory in directories:
        for path in sorted(directory.glob("*.socket")):
            options = dict(unit_options(path))
            if options.get("FileDescriptorName") == name and options.get("ListenStream"):
                return SocketUnit(path, options["ListenStream"], options.get("SocketGroup", ""))
    return None


def enabled_names(
    directories: Iterable[Path] = DIRECTORIES, exists: Callable[[str], bool] = os.path.exists
) -> list[str]:
    """The names of the sockets that systemd hands over to the daemon whenever it starts it.

    A unit with a ConditionPathExists= that is not fulfilled makes no socket.
    """
    directories = [*directories]
    folders = [directory / folder for directory in directories for folder in _WANTED]
    links = {path.name: path for folder in folders for path in folder.glob("*.socket")}
    found = []
    for name in sorted(links):
        drop_ins = {path.name: path for each in directories for path in each.glob(f"{name}.d/*.conf")}
        files = [links[name], *(drop_ins[each] for each in sorted(drop_ins))]
        options = [option for file in files for option in unit_options(file)]
        if all(map(exists, _values(options, "ConditionPathExists"))):
            found += _values(options, "FileDescriptorName")[-1:]
    return found


def _values(options: Iterable[tuple[str, str]], wanted: str) -> list[str]:
    """The values of one option; an empty one forgets those before it."""
    values: list[str] = []
    for key, value in options:
        if key == wanted:
            values = [*values, value] if value else []
    return values


def unit_options(path: Path) -> Iterator[tuple[str, str]]:
    """The options of a unit, whatever their section; nothing from a file that cannot be read."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        key, equals, value = line.partition("=")
        if equals and not line.startswith(("#", ";")):
            yield key.strip(), value.strip()
