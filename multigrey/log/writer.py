"""Writes lines in a thread of its own, so that the event loop never waits for them.

A full pipe, a slow disk or a syslog daemon that does not read blocks the thread that writes.  So
`LineWriter.put` only appends to a queue.  The writer's thread takes what has gathered in 10 ms, and writes it
in as few calls as keep lines whole.

The queue is bounded in bytes.  Lines that do not fit, and lines whose write failed, are lost.  They are
counted, and reported in one line as soon as writing works again.

The thread is a daemon thread: when it hangs in a write, the process can still end.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

__all__ = ["DatagramSink", "FileSink", "LineWriter", "Sink", "StreamSink"]

_GATHER = 0.01
"""Seconds from the first line of a batch to its write."""
_LIMIT = 4 << 20
_OVERHEAD = 50
"""Bytes a queued line takes besides its text."""


class Sink(Protocol):
    """Where lines go.  Only the writer's thread uses it.  Every method may block and raise OSError."""

    most: int
    """Most bytes of one write, line ends included (a single line may be longer)."""

    def open(self) -> None:
        """Open it.  A second call opens it again, so that a file that was moved away is made again."""

    def write(self, lines: Sequence[bytes]) -> int:
        """Write some of `lines`, given without their ends; returns how many were written whole.

        Raises OSError when none was.
        """

    def close(self) -> None:
        """Close it."""


class StreamSink:
    """A descriptor that another process opened: stderr."""

    most = select.PIPE_BUF
    """So many bytes stay in one piece on a pipe or a stream socket, even if others write too (pipe(7))."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._torn = False
        """Whether the last thing written was part of a line."""

    def open(self) -> None:
        """Nothing to do."""

    def write(self, lines: Sequence[bytes]) -> int:
        """See `Sink.write`."""
        data = b"\n".join([*lines, b""])
        if self._torn:
            data = b"\n" + data
        written = self._write_some(data)
        if written == len(data):
            self._torn = False
            return len(lines)
        whole = data.count(b"\n", 0, written) - self._torn
        self._torn = written > 0 and not data.startswith(b"\n", written - 1)
        return max(whole, 0)

    def _write_some(self, data: bytes) -> int:
        while True:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:  # another process made the shared descriptor non-blocking
                waiting = select.poll()
                waiting.register(self._descriptor, select.POLLOUT)
                waiting.poll()

    def close(self) -> None:
        """Leave it open: it belongs to another process too."""


class FileSink(StreamSink):
    """A file that is appended to; made with mode 0640 if it is missing."""

    most = 1 << 16

    def __init__(self, path: Path) -> None:
        super().__init__(-1)
        self._path = path

    def open(self) -> None:
        """See `Sink.open`.  When it fails, the old file stays in use."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
        new = os.open(self._path, flags, 0o640)
        self.close()
        self._descriptor, self._torn = new, False

    def close(self) -> None:
        """See `Sink.close`."""
        old, self._descriptor = self._descriptor, -1
        if old >= 0:
            os.close(old)


class DatagramSink:
    """The local syslog daemon: one datagram for each line.  It may be restarted, or not run yet."""

    most = 1

    def __init__(self, path: str = "/dev/log") -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """See `Sink.open`.  `write` makes the connection."""
        self.close()

    def write(self, lines: Sequence[bytes]) -> int:
        """See `Sink.write`."""
        if self._socket is not None:
            try:
                self._socket.send(lines[0])
            except OSError:  # restarted: its new socket has the same name
                self.close()
            else:
                return 1
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            connection.connect(self._path)
            connection.send(lines[0])
        except OSError:
            connection.close()
            raise
        self._socket = connection
        return 1

    def close(self) -> None:
        """See `Sink.close`."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class LineWriter:
    """A sink with a queue and a thread in front of it."""

    def __init__(
        self,
        sink: Sink,
        *,
        lost_line: Callable[[int], bytes],
        on_error: Callable[[OSError], None],
        limit: int = _LIMIT,
    ) -> None:
        """`lost_line` makes a line about so many lost lines; `on_error` is called in the thread.

        At most `limit` bytes wait.
        """
        self._sink = sink
        self._lost_line = lost_line
        self._on_error = on_error
        self._limit = limit
        self._queue: SimpleQueue[bytes | Callable[[], None] | None] = SimpleQueue()
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None
        self.trouble = ""
        """Why the latest write failed; "" if it did not.  Set by the thread."""
        # Each of these is changed by one thread only: no lock is needed.
        self._put = self._overflowed = 0  # by the caller
        self._taken = self._failed = self._told = 0  # by the thread

    @property
    def lost(self) -> int:
        """Lines since the start that were not written."""
        return self._overflowed + self._failed

    def put(self, line: bytes) -> None:
        """Queue a line, given without its end; never blocks.  Not from two threads at once."""
        size = len(line) + _OVERHEAD
        if self._put - self._taken + size > self._limit:
            self._overflowed += 1
            return
        self._put += size
        self._queue.put(line)

    def call(self, what: Callable[[], None]) -> None:
        """Have the thread call `what` after it has written everything put before.  From any thread."""
        self._queue.put(what)
        self._hurry.set()

    def open(self) -> None:
        """Open the sink.  Raises OSError; may block."""
        self._sink.open()

    def start(self, ended: Callable[[], None] = lambda: None) -> None:
        """Start the thread; it calls `ended` when it ends, orderly or not."""
        self._thread = threading.Thread(target=self._work, args=(ended,), name="lines", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Have the thread write what is queued, close the sink and end; does not wait for it."""
        self._queue.put(None)
        self._hurry.set()

    def join(self, seconds: float) -> None:
        """Wait at most so many seconds for the thread to end."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _work(self, ended: Callable[[], None]) -> None:
        try:
            while self._write_batch(self._gather()):
                pass
            self._sink.close()
        finally:
            ended()

    def _gather(self) -> list[bytes | Callable[[], None] | None]:
        """Wait for something to do, then a little longer for what follows it."""
        items = [self._queue.get()]
        self._hurry.wait(_GATHER)
        self._hurry.clear()
        items += [self._queue.get() for _ in range(self._queue.qsize())]
        return items

    def _write_batch(self, items: Sequence[bytes | Callable[[], None] | None]) -> bool:
        """Do everything, in order; returns False after `stop`."""
        lines: list[bytes] = []
        for item in items:
            if isinstance(item, bytes):
                lines.append(item)
                continue
            self._write(lines)
            lines = []
            if item is None:
                return False
            item()
        self._write(lines)
        return True

    def _write(self, lines: Sequence[bytes]) -> None:
        overflowed = self._overflowed  # counts what was lost before the lines that wait by now
        failed = self._send(lines)
        self._failed += failed
        self._taken += sum(map(len, lines)) + _OVERHEAD * len(lines)
        if self._queue.empty():
            overflowed = self._overflowed
        untold = overflowed + self._failed - self._told
        if untold and not failed and not self._send([self._lost_line(untold)]):
            self._told += untold

    def _send(self, lines: Sequence[bytes]) -> int:
        """Write lines; returns how many could not be written."""
        lost = 0
        for piece in _pieces(lines, self._sink.most):
            rest = piece
            try:
                while rest:
                    rest = rest[self._sink.write(rest) :]
            except OSError as error:
                lost += len(rest)
                self.trouble = error.strerror or str(error)
                self._on_error(error)
            else:
                self.trouble = ""
        return lost


def _pieces(lines: Sequence[bytes], most: int) -> Iterator[Sequence[bytes]]:
    """`lines` in groups of at most `most` bytes with their line ends, at least one line in each."""
    if lines and sum(map(len, lines)) + len(lines) <= most:
        yield lines
        return
    start = size = 0
    for index, line in enumerate(lines):
        if size and size + len(line) + 1 > most:
            yield lines[start:index]
            start, size = index, 0
        size += len(line) + 1
    if size:
        yield lines[start:]
