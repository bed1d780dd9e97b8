"""Notices when the state directory was moved away under the running daemon.

The daemon keeps its files open.  When the directory is removed, renamed or mounted over, it therefore goes on
as if nothing had happened: it writes into files that no start will find.  So its open files are compared with
their names, by device and inode.

Answers go on meanwhile, because the records are all there until the daemon ends.  To answer by `on_error`
would do at once the harm that the next start does at worst.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import trio

from multigrey.contracts import FileStore, Store
from multigrey.threads import in_thread

__all__ = ["StateDirectory"]

logger = logging.getLogger(__name__)

_EVERY = 20.0
_SURE = 1.0
"""Seconds until a second look: a file may just be being replaced by the daemon itself."""
_REMEDY = (
    "answers go on, but what they record is lost when the daemon ends: put the directory back in its place, "
    "or restart the daemon to go on with what is there now"
)


class StateDirectory:
    """Watches the state directory of a running daemon."""

    def __init__(self, path: Path, store: Store) -> None:
        """`path`: the directory, which has to exist at the first look."""
        self._path = path
        self._store = store
        self._here: tuple[int, int] | None = None
        self.trouble = ""
        """What is wrong and what to do; "" if nothing is."""

    async def run(self) -> None:
        """Look for ever, and log what changes."""
        while True:
            await self.look()
            await trio.sleep(_EVERY)

    async def look(self) -> None:
        """Compare names with open files, and note and log what is wrong."""
        names = await in_thread(self._astray)
        if names:
            await trio.sleep(_SURE)
            again = await in_thread(self._astray)
            names = [name for name in names if name in again]
        before, self.trouble = self.trouble, self._text(names)
        if self.trouble and self.trouble != before:
            logger.error("%s", self.trouble)
        if before and not self.trouble:
            logger.info("state directory %s: its files are back in their places", self._path)

    def _astray(self) -> Sequence[str]:
        """The names that no longer stand for the daemon's own files; "" is the directory itself."""
        try:
            status = self._path.stat()
        except OSError:
            return [""]
        here = (status.st_dev, status.st_ino)
        if self._here is None:
            self._here = here
        if here != self._here:
            return [""]
        return [path.name for path in self._store.astray()] if isinstance(self._store, FileStore) else []

    def _text(self, names: Sequence[str]) -> str:
        if not names:
            return ""
        what = ", ".join(names) or "it"
        return f"state directory {self._path}: {what} was removed, renamed or mounted over: {_REMEDY}"
