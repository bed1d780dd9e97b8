"""The recorder of the history of decisions, in the daemon.

Decisions wait in a list.  Once a second, a thread of its own writes them to a file (see `history.file`).  No
answer waits for that file.  When it cannot be written, that is logged now and then, and the file is opened
again after a pause.  A file that cannot be read is moved aside.  A crash loses the last second.  In a flood,
only so many decisions of each reason are kept per second, so that a thousand new senders do not hide those
that retried.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from multigrey.clock import Clock, ClockGuard
from multigrey.codec import encode_event
from multigrey.config.tables.history import History as HistorySettings
from multigrey.errors import CodecError, StoreError
from multigrey.events.as_json import hidden
from multigrey.events.query import marks_of
from multigrey.history.file import (
    NAME,
    DamagedHistoryError,
    HistoryEntry,
    HistoryFile,
    Summary,
    move_aside,
    open_history,
)
from multigrey.history.reader import HistoryReader
from multigrey.identity.redaction import Redactor
from multigrey.model import HOUR, DecisionEvent, Reason
from multigrey.stores.work_thread import WorkThread
from multigrey.throttle import Throttle

__all__ = ["FLUSH_EVERY", "MOST_A_SECOND", "HistoryRecorder"]

FLUSH_EVERY = 1.0
"""Seconds between two writes."""
MOST_A_SECOND = 200
"""Decisions of each reason that are kept between two writes; each takes 30 µs in the thread."""

_TRIM_EVERY = 600.0
_ENCODED_AT_ONCE = 64
"""Decisions encoded in one go: a millisecond, then the event loop has its turn."""
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_COMPLAIN_EVERY = 600.0
_OPENING = 5.0
_CLOSING = 2.0
_LOST_HOURS = 24 * 40
"""Most hours of which it is known how many decisions were not kept."""
_FUTURE = 3600
"""A time more than so many seconds ahead of now is not believed."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class HistoryRecorder(HistoryReader):
    """Receives decisions and keeps them."""

    def __init__(
        self,
        state_dir: Path,
        settings: HistorySettings,
        clock: Clock,
        redactor: Redactor | None = None,
        *,
        redact: bool = False,
    ) -> None:
        """`settings` may be replaced, but its map size is fixed at the start."""
        self.settings = settings
        self.redactor = redactor
        self.redact = redact
        """Whether `redactor` hides the people in decisions from now on; may be changed."""
        self.lost = 0
        """Decisions since the start that were not kept."""
        self._lost_in: Counter[int] = Counter()
        """How many of them by the hour, the latest hours only."""
        self.trouble = ""
        """Why the file could not be written the last time; "" if it was written."""
        self._path = state_dir / NAME
        self._map_size = settings.map_size
        self._clock = clock
        self._seldom = Throttle(_COMPLAIN_EVERY)
        self._waiting: list[DecisionEvent] = []
        self._room: dict[Reason, int] = {}
        self._thread: WorkThread | None = None
        self._file = None
        self._guard: ClockGuard | None = None
        self._writing = trio.Lock()
        self._tried = trio.Event()
        """Set when the file was opened, or could not be opened, for the first time."""

    def __call__(self, event: DecisionEvent) -> None:
        """Keep a decision; a subscriber of the engine."""
        reason = event.verdict.reason
        room = self._room.get(reason, MOST_A_SECOND)
        if room:
            self._room[reason] = room - 1
            self._waiting.append(event)
        else:
            self._lose([event])

    def lost_since(self, since: int) -> int:
        """See `HistoryReader.lost_since`; decisions before the start are not known of."""
        return sum(number for hour, number in self._lost_in.items() if (hour + 1) * HOUR > since)

    async def run(self) -> None:
        """Write once a second, for ever, also after errors of the file."""
        self._thread = WorkThread("multigrey-history")
        try:
            pause = _FIRST_PAUSE
            while True:
                fine = not self.trouble
                try:
                    await self._work_on_file()
                except DamagedHistoryError as error:
                    await self._start_over(error)
                except StoreError as error:
                    self._complain(error)
                pause = _FIRST_PAUSE if fine else min(pause * 2, _LONGEST_PAUSE)
                await trio.sleep(pause)
        finally:
            self._thread.stop()
            self._thread = None

    async def flush(self) -> None:
        """Write the decisions that wait.  Raises StoreError; then they are lost."""
        if self._thread is not None:
            with trio.move_on_after(_OPENING):
                await self._tried.wait()
        async with self._writing:
            if self._file is None:
                return
            events, self._waiting = self._waiting, []
            self._room.clear()
            if not events:
                return
            entries: list[HistoryEntry] = []
            hide = self.redactor if self.redact else None
            try:
                for start in range(0, len(events), _ENCODED_AT_ONCE):
                    piece = events[start : start + _ENCODED_AT_ONCE]
                    entries += await self._in_thread(partial(_entries, piece, hide))
                await self._on_file(partial(HistoryFile.append, entries=entries))
            except StoreError:
                self._lose(events)
                raise
            # Text that a mail server cannot have sent: it is counted, but the history of mail lacks nothing.
            self.lost += len(events) - len(entries)
            self.trouble = ""

    async def finish(self) -> None:
        """Write the decisions that wait, at the end.  What cannot be written is lost."""
        with suppress(StoreError):
            await self.flush()

    def health(self) -> Mapping[str, int | str]:
        """Figures for status and metrics.  Until the file was first tried, they show no trouble."""
        file = self._file
        return {
            "decisions": 0 if file is None else file.count,
            "lost": self.lost,
            "trouble": self.trouble or ("not open" if file is None and self._tried.is_set() else ""),
        }

    # Inside

    def _lose(self, events: Iterable[DecisionEvent]) -> None:
        for event in events:
            self.lost += 1
            self._lost_in[event.time // HOUR] += 1
        while len(self._lost_in) > _LOST_HOURS:
            del self._lost_in[min(self._lost_in)]

    async def _do(self, work: Callable[[HistoryFile], T]) -> T:
        with suppress(StoreError):  # `run` meets the same error, and logs it
            await self.flush()
        return await self._on_file(work)

    async def _on_file(self, work: Callable[[HistoryFile], T]) -> T:
        """Call `work` in the thread, with the file that is open then: `compact` may have replaced it."""

        def with_file() -> T:
            file = self._file
            if file is None:
                raise StoreError(self.trouble or f"{self._path}: is not open")
            return work(file)

        return await self._in_thread(with_file)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._thread is None:
            raise StoreError(f"{self._path}: is not open")
        return await self._thread.run(work)

    async def _work_on_file(self) -> None:
        try:
            self._file = await self._in_thread(partial(open_history, self._path, self._map_size))
            if self._guard is None:
                self._guard = await self._in_thread(partial(self._make_guard, self._file))
            self._tried.set()
            await self._keep()
        finally:
            file, self._file = self._file, None
            if file is not None:
                # Shielded, because this also runs when cancelled; with a limit, because the disk may hang.
                with trio.move_on_after(_CLOSING, shield=True):
                    await self._in_thread(file.close)

    async def _keep(self) -> None:
        next_trim = trio.current_time()
        while True:
            await self.flush()
            if self._file is None:
                raise StoreError(f"{self._path}: has to be opened again")
            is_time = trio.current_time() >= next_trim
            if is_time:
                next_trim = trio.current_time() + _TRIM_EVERY
            await self._on_file(partial(self._tidy, is_time=is_time))
            await trio.sleep(FLUSH_EVERY)

    def _tidy(self, file: HistoryFile, *, is_time: bool) -> None:
        """In the thread."""
        most = self.settings.max_entries
        if is_time or file.count > most + most // 100 or file.full:
            file.trim(most, self._due)

    def _make_guard(self, file: HistoryFile) -> ClockGuard:
        """In the thread."""
        _, latest = file.times()
        newest = latest and latest + self.settings.max_age
        return ClockGuard.at_start(self._clock.now(), self._clock.monotonic(), newest)

    def _due(self, summaries: Sequence[Summary]) -> Iterable[int]:
        """The numbers of pieces that are too old.

        A piece from the future (the clock was wrong) goes when the next piece with a believable time goes.
        """
        now = self._clock.now()
        assert self._guard is not None
        if not self._guard.look(now, self._clock.monotonic()):
            return
        future: list[int] = []
        for summary in summaries:
            if summary.latest > now + _FUTURE:
                future.append(summary.number)
                continue
            if summary.latest < now - self.settings.max_age:
                yield from future
                yield summary.number
            future = []

    async def _start_over(self, damage: DamagedHistoryError) -> None:
        try:
            aside = await self._in_thread(partial(move_aside, self._path))
        except StoreError as error:
            self._complain(error)
        else:
            logger.warning("history: %s: moved to %s, and a new file is made", damage, aside)

    def _complain(self, error: StoreError) -> None:
        self._tried.set()
        self.trouble = str(error)
        if self._seldom.due("trouble", self._clock.monotonic()):
            logger.warning("history: %s: decisions are made as usual, but not kept", error)


def _entries(events: Sequence[DecisionEvent], redactor: Redactor | None) -> list[HistoryEntry]:
    found = []
    for event in events:
        kept = event if redactor is None else hidden(event, redactor)
        with suppress(CodecError):  # text that cannot have come from a mail server
            found.append(HistoryEntry(event.time, frozenset(marks_of(kept)), encode_event(kept)))
    return found
