"""Searches in the history of decisions, and changes of it.

A search looks at the marks of many pieces in one go, then at the decisions of those that may fit; other tasks
have their turn in between.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from multigrey.codec import decode_event
from multigrey.contracts import BackupPart
from multigrey.errors import CodecError, StoreError
from multigrey.events.as_json import event_as_json
from multigrey.events.query import Query, marks_of
from multigrey.history.file import (
    NAME,
    DamagedHistoryError,
    HistoryEntry,
    HistoryFile,
    Summary,
    open_history,
    put_in_place,
)
from multigrey.identity.redaction import Redactor
from multigrey.model import DecisionEvent
from multigrey.stores.lmdb.damage.child import NoProcessError, run_aside
from multigrey.stores.lmdb.state_files import remove
from multigrey.text import counted
from multigrey.threads import in_thread

__all__ = ["HistoryReader", "PastHistory"]

_LOOKED_AT_ONCE = 500
"""Pieces whose marks are looked at in one go."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class HistoryReader(ABC):
    """Searches a history (see `control.operations.context.Decisions`)."""

    _file: HistoryFile | None
    """None: it is not open."""
    redactor: Redactor | None
    """Makes the tokens under which redacted people are found."""

    def wanted(self, words: Mapping[str, str], since: int = 0) -> Query:
        """The query for `search`, made from words (see `events.query.WORDS`).  Raises CommandError."""
        return Query.of(words, since, None if self.redactor is None else self.redactor.matches)

    @abstractmethod
    async def _do(self, work: Callable[[HistoryFile], T]) -> T:
        """Call `work` with the file, in its thread.  Raises StoreError."""

    def lost_since(self, since: int) -> int:
        """How many decisions from this time on are known not to have been kept; counted by the hour."""
        del since
        return 0

    def gap(self, since: int = 0) -> str:
        """A sentence about the decisions from this time on that were not kept; "" if none is known."""
        if not (lost := self.lost_since(since)):
            return ""
        return (
            f"not recorded: {counted(lost, 'decision')} of the time looked at (too many in one second, or "
            "the file could not be written); the decision log has them"
        )

    async def find(self, decision_id: str) -> Mapping[str, Any] | None:
        """The latest decision of this id.  Raises StoreError."""
        found, _ = await self.search(self.wanted({"id": decision_id}), 1)
        return event_as_json(found[0]) if found else None

    async def about(self, words: Mapping[str, str], limit: int) -> Sequence[Mapping[str, Any]]:
        """The latest decisions that match all of `words` (see `events.query.WORDS`), oldest first.

        Raises CommandError for words that cannot be searched for, StoreError.
        """
        found, _ = await self.search(self.wanted(words), limit)
        return [event_as_json(event) for event in reversed(found)]

    async def search(self, wanted: Query, limit: int) -> tuple[list[DecisionEvent], bool]:
        """The latest `limit` decisions that match, the latest first; and whether there are more.

        Raises StoreError.
        """
        found: list[DecisionEvent] = []
        before: int | None = None
        while True:
            summaries, before = await self._do(partial(_walk, wanted=wanted, before=before))
            for summary in summaries:
                if wanted.may_have(summary.oldest, summary.latest):
                    found += await self._do(partial(_fitting, number=summary.number, wanted=wanted))
                    if len(found) > limit:
                        return found[:limit], True
            if before is None:
                return found, False

    async def forget(self, words: Mapping[str, str]) -> int:
        """Remove every decision that matches all of `words`; returns how many.

        Raises CommandError for words that cannot be searched for, StoreError.
        """
        wanted = self.wanted(words)
        gone = 0
        before: int | None = None
        while True:
            summaries, before = await self._do(partial(_walk, wanted=wanted, before=before))
            for summary in summaries:
                gone += await self._do(partial(_forget, number=summary.number, wanted=wanted))
            if before is None:
                return gone

    async def compact(self) -> None:
        """Rewrite the file without what was forgotten, so that nothing of it is left.  Raises StoreError."""
        await self._do(self._compact)

    async def backup(self) -> BackupPart | None:
        """A copy of the file as it is now; None: it does not exist.  Raises StoreError.

        A process of its own reads the file before, because a damaged one may end its reader.
        """
        path = await self._do(lambda file: file.path)
        try:
            await run_aside(("walk-beside", str(path)), path)
        except NoProcessError as error:
            logger.warning("%s: it is read in this one", error)
        return BackupPart(NAME, await self._do(_copied))

    def _compact(self, file: HistoryFile) -> None:
        """In the thread."""
        path = file.path
        draft = path.with_name(path.name + ".new")
        file.compact(draft)
        file.close()
        self._file = None  # if the rest fails, the next use opens it again
        put_in_place(path, draft)
        self._file = open_history(path, file.map_size)

    async def since(self) -> int:
        """The time of the oldest decision; 0 if the file is empty.  Raises StoreError."""
        return (await self._do(HistoryFile.times))[0]


class PastHistory(HistoryReader):
    """The history of a stopped daemon.  It is only read, unless something is to be forgotten."""

    def __init__(self, state_dir: Path, map_size: int, redactor: Redactor | None = None) -> None:
        self.redactor = redactor
        self._path = state_dir / NAME
        self._map_size = map_size
        self._file = None
        self._read_only = True

    async def forget(self, words: Mapping[str, str]) -> int:
        """See `HistoryReader.forget`."""
        return await super().forget(words) if await in_thread(self._reopened) else 0

    async def backup(self) -> BackupPart | None:
        """See `HistoryReader.backup`."""
        return await super().backup() if await in_thread(self._path.exists) else None

    async def compact(self) -> None:
        """See `HistoryReader.compact`."""
        if await in_thread(self._reopened):
            await super().compact()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    async def _do(self, work: Callable[[HistoryFile], T]) -> T:
        return await in_thread(self._work, work)

    def _work(self, work: Callable[[HistoryFile], T]) -> T:
        if self._file is None:
            self._file = open_history(self._path, self._map_size, read_only=self._read_only)
        return work(self._file)

    def _reopened(self) -> bool:
        """Close the file, which is opened for writing next; returns whether there is one."""
        self.close()
        self._read_only = False
        return self._path.exists()


def _copied(file: HistoryFile) -> BinaryIO:
    """A copy, in a file without a name."""
    draft = file.path.with_name(f"{file.path.name}.copy")
    file.compact(draft)
    try:
        return draft.open("rb")
    except OSError as error:
        raise StoreError(f"{draft}: {error.strerror or error}") from error
    finally:
        remove(draft)


def _walk(file: HistoryFile, wanted: Query, before: int | None) -> tuple[list[Summary], int | None]:
    return file.walk(wanted.marks, before, _LOOKED_AT_ONCE)


def _fitting(file: HistoryFile, number: int, wanted: Query) -> list[DecisionEvent]:
    """The decisions of a piece that match, the latest first."""
    found = []
    for data in reversed(_read(file, number)):
        with suppress(CodecError):
            event = decode_event(data)
            if wanted.fits(event):
                found.append(event)
    return found


def _forget(file: HistoryFile, number: int, wanted: Query) -> int:
    stored = _read(file, number)
    kept: list[HistoryEntry] = []
    for data in stored:
        try:
            event = decode_event(data)
        except CodecError:
            continue  # it goes too: no search can find it
        if not wanted.fits(event):
            kept.append(HistoryEntry(event.time, frozenset(marks_of(event)), data))
    if len(kept) < len(stored):
        file.rewrite(number, kept)
    return len(stored) - len(kept)


def _read(file: HistoryFile, number: int) -> list[bytes]:
    """The entries of a piece; none if it is damaged, so that the others can be searched."""
    try:
        return file.read(number)
    except DamagedHistoryError as error:
        logger.warning("%s: piece %d is skipped", error, number)
        return []
