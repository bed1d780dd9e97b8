"""The files of whitelists: those of a drop-in directory, and those read without a `[[whitelist]]` table.

Lists in the directory `whitelists` beside the configuration file need no table: TOML lists by the end of
their name, and postgrey's two files by the names that they have with postgrey.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from multigrey.config.defaults import config_homes

__all__ = ["default_lists", "ignored_in", "inside", "is_list_name", "lists_directory"]

_DIRECTORY = "whitelists"
_LEFT_BEHIND = re.compile(
    r"\..*|.*(?:~|#|\.(?:bak|orig|rej|save|swp|tmp|dpkg-\w+|rpm\w+|ucf-\w+))", re.DOTALL
)
_BY_NAME = {"whitelist_clients": "postgrey-clients", "whitelist_recipients": "postgrey-recipients"}
"""The sources for postgrey's names, also with `.local` at the end."""


def lists_directory(
    config: Path | None, environ: Mapping[str, str], uid: int, is_directory: Callable[[Path], bool]
) -> Path | None:
    """Return the directory whose lists need no table, whether it exists or not; None if it has no place.

    `config` is the configuration file.  Without one it is beside the place where the file would be: the first
    that exists, else the system's for root (`uid` 0) and the user's own for others.
    """
    if config is not None:
        return config.absolute().parent / _DIRECTORY
    places = [home / _DIRECTORY for home in config_homes(environ)]
    usual = places[0] if uid == 0 or len(places) == 1 else places[1]
    return next(filter(is_directory, places), usual)


def inside(directory: Path) -> list[Path]:
    """Return the files in order of their names, without hidden ones and leftovers.  Raises OSError."""
    return [file for file in sorted(directory.iterdir()) if is_list_name(file.name)]


def is_list_name(name: str) -> bool:
    """Whether it is not the name of a hidden file, nor of a leftover of an editor or package manager."""
    return not _LEFT_BEHIND.fullmatch(name)


def default_lists(directory: Path, named: Collection[Path]) -> Iterator[tuple[str, Path]]:
    """Yield source and path of each list in a directory.  Raises OSError.

    `named`: the paths in `[[whitelist]]` tables, with all links resolved.  A file among these is left out,
    and so are the TOML lists of a directory among these.
    """
    whole = Path(os.path.realpath(directory)) in named
    files = [file for file in inside(directory) if Path(os.path.realpath(file)) not in named]
    for file in files:
        if file.suffix == ".toml" and not whole:
            yield "list", file
        elif source := _BY_NAME.get(file.name.removesuffix(".local")):
            main = file.with_name(file.name.removesuffix(".local"))
            # The source reads the .local file itself if the other one is there.
            if file == main or not main.exists():
                yield source, file


def ignored_in(directory: Path, *, default: bool = False) -> list[Path]:
    """Return the files that look like lists but are not read; `default`: of the default directory.

    Raises OSError.
    """
    return [
        file
        for file in inside(directory)
        if file.suffix != ".toml" and not (default and file.name.removesuffix(".local") in _BY_NAME)
    ]
