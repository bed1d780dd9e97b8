"""The decision log: one line for each decision.

Deciding must never wait for logging.  `DecisionLog.write` makes the line and appends it to a queue (a few
microseconds; stdlib logging would take as long as a whole decision).  A thread writes it within 10 ms
(`log.writer` describes what happens when it cannot).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType

import trio

from multigrey.clock import Clock
from multigrey.errors import MultigreyError
from multigrey.events.line import (
    FACILITIES,
    INFO,
    Hide,
    file_line,
    format_event,
    format_fields,
    format_json,
    format_json_fields,
    format_postgrey,
    moment_of,
    syslog_line,
    syslog_time,
    utc_time,
)
from multigrey.log.diagnostics import STDERR, is_journal
from multigrey.log.writer import DatagramSink, FileSink, LineWriter, Sink, StreamSink
from multigrey.model import DecisionEvent
from multigrey.text import counted
from multigrey.threads import in_thread
from multigrey.throttle import Throttle

__all__ = ["DecisionLog"]

logger = logging.getLogger(__name__)

_LAST_WORDS = 2.0
"""Most seconds that the end of the daemon waits for the last lines."""
_REOPENING = 1.0
_RESTART = 1.0

_FORMS = MappingProxyType({"multigrey": format_event, "json": format_json, "postgrey": format_postgrey})
"""By the words of `[log] format`."""


class DecisionLog:
    """Writes decisions to stderr, a file or the local syslog daemon."""

    def __init__(
        self,
        *,
        form: str,
        to: str,
        ident: str,
        facility: str,
        host: str,
        clock: Clock,
        environ: Mapping[str, str] = os.environ,
        syslog_path: str = "/dev/log",
        limit: int = 4 << 20,
        hide: Hide | None = None,
    ) -> None:
        """`form` is `multigrey`, `json` or `postgrey`; `to` is `stderr`, `syslog` or the path of a file.

        `ident`, `facility` (a name) and `host` appear where syslog's form needs them.  At most `limit` bytes
        wait to be written.  `hide` redacts what lines show.  Opens nothing yet.
        """
        self._to = to
        self._clock = clock
        self._host = host.partition(".")[0] or "localhost"
        self._ident = ident
        self._facility = FACILITIES[facility]
        self._pid = os.getpid()
        self._seldom = Throttle()
        self._not_reopened = ""
        self._name = form
        self._form = _FORMS[form]
        self._hide = hide
        self._frame = self._choose_frame(form, bare=to == "stderr" and is_journal(environ))
        self._writer = LineWriter(
            _sink(to, syslog_path), lost_line=self._lost_line, on_error=self._complain, limit=limit
        )

    @property
    def lost(self) -> int:
        """Lines that could not be written, since the start."""
        return self._writer.lost

    @property
    def trouble(self) -> str:
        """What keeps lines from the place where they belong, as long as it does; "" if nothing does."""
        reason = self._not_reopened or self._writer.trouble
        return f"decisions cannot be logged to {self._to}: {reason}" if reason else ""

    def write(self, event: DecisionEvent) -> None:
        """Log a decision: never blocks, never fails."""
        text = self._form(event, self._hide)
        if text:
            self._writer.put(self._frame(event.time, text))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write until cancelled; then write what is left, for two seconds at most.

        Raises MultigreyError when the file cannot be opened.
        """
        try:
            await in_thread(self._writer.open)
        except OSError as error:
            raise MultigreyError(
                f"the decision log {self._to} cannot be opened: {error.strerror or error}"
            ) from error
        token = trio.lowlevel.current_trio_token()
        while True:
            ended = trio.Event()
            self._writer.start(partial(_set_from_thread, token, ended))
            task_status.started()
            task_status = trio.TASK_STATUS_IGNORED
            try:
                await ended.wait()
            except trio.Cancelled:
                self._writer.stop()
                with trio.move_on_after(_LAST_WORDS, shield=True):
                    await ended.wait()
                raise
            logger.error("the writer of the decision log ended by a bug; starting it again")
            await trio.sleep(_RESTART)

    async def reopen(self) -> None:
        """Start a new file when the old one was moved away (log rotation); waits a second at most."""
        done = trio.Event()
        self._writer.call(partial(self._reopen, trio.lowlevel.current_trio_token(), done))
        with trio.move_on_after(_REOPENING):
            await done.wait()

    def _reopen(self, token: trio.lowlevel.TrioToken, done: trio.Event) -> None:
        try:
            self._writer.open()
        except OSError as error:
            self._not_reopened = error.strerror or str(error)
            self._complain(error)
        else:
            self._not_reopened = ""
        _set_from_thread(token, done)

    def _choose_frame(self, form: str, *, bare: bool) -> Callable[[int, str], bytes]:
        """What turns a time and a text into the bytes of a line."""
        if self._to == "syslog":
            return self._for_syslog
        if bare:
            return lambda second, text: _without_time(second, text).encode()
        if form == "postgrey":
            return self._for_file
        return lambda _, text: text.encode()

    def _for_syslog(self, second: int, text: str) -> bytes:
        return syslog_line(
            stamp=_local_time(second),
            ident=self._ident,
            pid=self._pid,
            text=_without_time(second, text),
            facility=self._facility,
            severity=INFO,
        )

    def _for_file(self, second: int, text: str) -> bytes:
        return file_line(
            stamp=_local_time(second), host=self._host, ident=self._ident, pid=self._pid, text=text
        )

    def _lost_line(self, count: int) -> bytes:
        now = self._clock.now()
        if self._name == "postgrey":
            return self._frame(now, f"{counted(count, 'line')} lost: they could not be written in time")
        fields = {"time": utc_time(now), "lost": str(count)}
        if self._name == "json":
            return self._frame(now, format_json_fields(fields))
        return self._frame(now, format_fields(fields))

    def _complain(self, error: OSError) -> None:
        """Log an error at most once a minute, through `logging`; called in the writer's thread."""
        if self._seldom.due(error.errno, self._clock.monotonic()):
            logger.error("decision log: cannot write to %s: %s", self._to, error.strerror or error)


def _sink(to: str, syslog_path: str) -> Sink:
    if to == "stderr":
        return StreamSink(STDERR)
    if to == "syslog":
        return DatagramSink(syslog_path)
    return FileSink(Path(to))


def _without_time(second: int, text: str) -> str:
    """A line for syslog or the journal, which put the time in front: it need not be there twice.

    In JSON it stays, because programs take the object without what is in front.
    """
    return text.removeprefix(f"time={utc_time(second)} ")


def _set_from_thread(token: trio.lowlevel.TrioToken, event: trio.Event) -> None:
    """Set an event from another thread; does nothing when the event loop has ended."""
    with suppress(trio.RunFinishedError):
        token.run_sync_soon(event.set)


@lru_cache(maxsize=4)
def _local_time(second: int) -> str:
    return syslog_time(moment_of(second).astimezone())
