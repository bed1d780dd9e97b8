"""The operation `backup`: everything from which this daemon can be made again, as a stream.

    {"backup": 1, "multigrey", "time", "state_dir", "configuration", "elsewhere"}
    {"part": NAME, "size": OCTETS}   once for each file, followed by its content:
    {"data": BASE64}                 any number of times
    {"left_out": [{"path", "why"}]}  at the end

Names: state/NAME for a file of the state directory, configuration/NAME for the configuration and the lists
beside it or below (`configuration` is the path of the file itself, or null), elsewhere/N/NAME for a list that
lies elsewhere, with its path in `elsewhere`.

The store puts its journal into the copy, so no journal is in a backup.  Files that plugins name are not in
it: they may hold passwords of other services.
"""

from __future__ import annotations

import os
import stat
from base64 import b64encode
from collections.abc import AsyncIterator, Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from multigrey import __version__
from multigrey.archive.names import CONFIGURATION, ELSEWHERE, LARGEST_LIST, STATE, why_no_name
from multigrey.config.settings import Settings
from multigrey.contracts import BackupPart, LocalStore
from multigrey.control.operations.context import OperationContext
from multigrey.control.operations.operation import (
    Level,
    Operation,
    OperationError,
    OptionError,
    Options,
    Result,
)
from multigrey.errors import ConfigError, StoreError
from multigrey.stores.site_key import NAME as SITE_KEY
from multigrey.threads import in_thread
from multigrey.whitelists.postgrey import companion
from multigrey.whitelists.toml_file import list_files

__all__ = ["ConfigurationFiles", "operations"]

VERSION = 1
_AT_ONCE = 96 * 1024
"""Octets in one item."""


def operations(parts: OperationContext) -> Iterable[Operation]:
    """The operations of this module."""
    yield Operation("backup", Level.ADMIN, stream=lambda o: _backup(parts, o), offline=True)


async def _backup(parts: OperationContext, options: Options) -> AsyncIterator[Result]:
    without_key = options.get("without_key", False)
    if not isinstance(without_key, bool):
        raise OptionError("without_key: true or false is expected")
    if not isinstance(parts.engine.store, LocalStore):
        raise OperationError("this kind of store has no local file")
    found = ConfigurationFiles()
    await in_thread(found.take, parts.settings, parts.core.assembly.configuration)
    yield {
        "backup": VERSION,
        "multigrey": __version__,
        "time": parts.clock.now(),
        "state_dir": str(parts.settings.state_dir),
        "configuration": found.configuration,
        "elsewhere": found.elsewhere,
    }
    async for part in _parts(parts, found, without_key=without_key):
        with part.file:
            yield {"part": part.name, "size": await in_thread(_size, part.file)}
            while data := await in_thread(_next, part.file):
                yield {"data": data}
    yield {"left_out": found.left_out}


async def _parts(
    parts: OperationContext, found: ConfigurationFiles, *, without_key: bool
) -> AsyncIterator[BackupPart]:
    store = parts.engine.store
    assert isinstance(store, LocalStore)
    async for part in store.backup():
        yield BackupPart(STATE + part.name, part.file)
    if not without_key:
        # From memory: the directory may have been removed under a daemon that runs.
        yield BackupPart(STATE + SITE_KEY, BytesIO(parts.core.site_key))
    if parts.decisions is not None:
        try:
            history = await parts.decisions.backup()
        except StoreError as error:
            found.left_out.append({"path": "the history", "why": str(error)})
        else:
            if history is not None:
                yield BackupPart(STATE + history.name, history.file)
    for name, text in found.texts.items():
        yield BackupPart(name, BytesIO(text))


class ConfigurationFiles:
    """The configuration, and the lists that it names."""

    def __init__(self) -> None:
        self.texts: dict[str, bytes] = {}
        """By name in the backup."""
        self.paths: dict[Path, bytes] = {}
        """The same, by path."""
        self.configuration: str | None = None
        self.elsewhere: dict[str, str] = {}
        """The paths of lists that lie elsewhere, by name in the backup."""
        self.left_out: list[dict[str, str]] = []

    def take(self, settings: Settings, configuration: Path | None) -> None:
        """Read them all.  Blocks."""
        base = None
        if configuration is not None:
            configuration = configuration.absolute()
            self.configuration, base = str(configuration), configuration.parent
            self._take(configuration, base)
        for path in dict.fromkeys(_lists(settings)):
            self._take(path, base)

    def _take(self, path: Path, base: Path | None) -> None:
        name = f"{ELSEWHERE}{len(self.elsewhere) + 1}/{path.name}"
        if base is not None and (plain := Path(os.path.normpath(path))).is_relative_to(base):
            name = CONFIGURATION + str(plain.relative_to(base))
        try:
            if why := why_no_name(name):
                raise OSError(0, why)  # noqa: TRY301  (left out like one that cannot be read)
            self.texts[name] = self.paths[path] = _text(path)
        except OSError as error:
            self.left_out.append({"path": str(path), "why": error.strerror or str(error)})
            return
        if name.startswith(ELSEWHERE):
            self.elsewhere[name] = str(path)


def _lists(settings: Settings) -> Iterator[Path]:
    """Every file that a list of the configuration is read from."""
    for entry in settings.whitelist:
        if entry.path is not None:
            try:
                yield from list_files(entry.path)
            except ConfigError:
                yield entry.path  # which cannot be read, and is named for that
            local = companion(entry.path)
            if local is not None and local.exists():
                yield local
    for path in (settings.origin.providers_file, settings.origin.shared_hosts_file):
        if path is not None:
            yield path


def _text(path: Path) -> bytes:
    """Raises OSError."""
    # O_NONBLOCK: without it, opening a FIFO would wait until a process writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "not a regular file")
        text = file.read(LARGEST_LIST + 1)
    if len(text) > LARGEST_LIST:
        raise OSError(0, f"larger than {LARGEST_LIST >> 20} MiB")
    return text


def _size(file: BinaryIO) -> int:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def _next(file: BinaryIO) -> str:
    return b64encode(file.read(_AT_ONCE)).decode("ascii")
