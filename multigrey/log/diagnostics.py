"""Diagnostics: the daemon's messages about itself, through `logging`, on stderr.

A thread writes them (see `log.writer`), so a stderr that is not read delays nothing.  Under systemd each line
begins with its priority, `<4>` for a warning (sd-daemon(3)), and the journal adds the time.  Elsewhere it
begins with the time and the word of its level.  Text of a peer in a message can neither begin a line nor
contain control characters.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from multigrey.events.line import LONGEST, utc_time
from multigrey.log.writer import LineWriter, StreamSink
from multigrey.text import counted, printable

__all__ = ["DiagnosticsHandler", "diagnostics", "is_journal"]

STDERR = 2
_LAST_WORDS = 2.0
"""Most seconds that the end of the program waits for stderr."""


@contextmanager
def diagnostics(
    environ: Mapping[str, str], *, level: int = logging.INFO, descriptor: int = STDERR
) -> Iterator[None]:
    """While the block runs, log to stderr: multigrey's messages from `level` on, warnings of others."""
    root, ours = logging.getLogger(), logging.getLogger("multigrey")
    before = root.level, ours.level
    handler = DiagnosticsHandler(descriptor, journal=is_journal(environ, descriptor))
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    ours.setLevel(level)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before[0])
        ours.setLevel(before[1])
        handler.close()


def is_journal(environ: Mapping[str, str], descriptor: int = STDERR) -> bool:
    """Whether the descriptor leads to systemd's journal ($JOURNAL_STREAM, systemd.exec(5))."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class DiagnosticsHandler(logging.Handler):
    """A logging handler that never blocks."""

    def __init__(self, descriptor: int = STDERR, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal
        self._text = logging.Formatter()
        self._writer = LineWriter(
            StreamSink(descriptor),
            lost_line=self._lost_line,
            on_error=lambda _: None,  # there is nowhere left to report it
        )
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler.  Its lock ensures that only one thread is here at a time."""
        try:
            lines = self._lines(record)
        except Exception:  # noqa: BLE001  (a wrong call of a logger must not fail the caller)
            self.handleError(record)
            return
        for line in lines:
            self._writer.put(line)

    def close(self) -> None:
        """Write what is queued, waiting two seconds at most."""
        super().close()
        self._writer.stop()
        self._writer.join(_LAST_WORDS)

    def _lines(self, record: logging.LogRecord) -> list[bytes]:
        """The record as lines; all but the first are indented, so that none can pass for another record."""
        first, *others = self._text.format(record).split("\n")
        if not record.name.startswith("multigrey"):
            first = f"{record.name}: {first}"
        begin = self._begin(record.levelno, int(record.created))
        return [_cut(begin + printable(line)) for line in (first, *(f"  {line}" for line in others))]

    def _begin(self, level: int, second: int) -> str:
        if self._journal:
            return f"<{_severity(level)}>"
        return f"{utc_time(second)} {logging.getLevelName(level).lower()} "

    def _lost_line(self, count: int) -> bytes:
        begin = f"<{_severity(logging.WARNING)}>" if self._journal else "warning "
        return f"{begin}{counted(count, 'line')} lost: standard error was not read in time".encode()


def _severity(level: int) -> int:
    """The number syslog has for a level of logging."""
    for severity, least in (2, logging.CRITICAL), (3, logging.ERROR), (4, logging.WARNING), (6, logging.INFO):
        if level >= least:
            return severity
    return 7


def _cut(line: str) -> bytes:
    """At most LONGEST bytes, line end included, for the reasons given in `events.line`."""
    return line.encode()[: LONGEST - 1].decode(errors="ignore").encode()
