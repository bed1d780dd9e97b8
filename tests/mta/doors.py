"""What a mail server may find where it expects the daemon: nobody, somebody busy, somebody else.

Each door is a context manager for the path of a unix socket; while it is open, a mail server that asks
there has that trouble.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

__all__ = ["Door", "Teller", "deaf", "full", "missing", "no_right", "refused"]

Door = Callable[[Path], AbstractContextManager[object]]


@contextlib.contextmanager
def missing(path: Path) -> Iterator[None]:
    """Nobody ever listened there."""
    assert not path.exists()
    yield


@contextlib.contextmanager
def refused(path: Path) -> Iterator[None]:
    """The socket of a daemon that was killed."""
    with _listening(path) as listening:
        listening.close()
        yield


@contextlib.contextmanager
def no_right(path: Path) -> Iterator[None]:
    """A daemon listens, but the mail server may not connect."""
    with _listening(path):
        path.chmod(0)
        yield


@contextlib.contextmanager
def full(path: Path) -> Iterator[None]:
    """So many wait to be accepted that connect(2) blocks."""
    with _listening(path, backlog=0), contextlib.ExitStack() as waiting:
        for _ in itertools.count():
            one = waiting.enter_context(socket.socket(socket.AF_UNIX))
            one.setblocking(False)
            try:
                one.connect(str(path))
            except BlockingIOError:
                break
        yield


@contextlib.contextmanager
def deaf(path: Path) -> Iterator[None]:
    """Connections are accepted, and nobody says anything."""
    with _listening(path, backlog=100):
        yield


class Teller:
    """Accepts, reads a whole question (or `read` bytes of it), says `words` and closes.

    Counts connections; as a Door it is used once.
    """

    def __init__(self, words: bytes, read: int = 1 << 16) -> None:
        self.connections = 0
        self._words = words
        self._read = read

    @contextlib.contextmanager
    def __call__(self, path: Path) -> Iterator[Teller]:
        with _listening(path, backlog=100) as listening:
            thread = threading.Thread(target=self._serve, args=(listening,))
            thread.start()
            try:
                yield self
            finally:
                listening.shutdown(socket.SHUT_RDWR)  # wakes the thread out of accept
                thread.join()

    def _serve(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                self.connections += 1
                with connection, contextlib.suppress(OSError):
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        got = b""
        while len(got) < self._read and not got.endswith(b"\n\n"):
            more = connection.recv(min(4096, self._read - len(got)))
            if not more:
                break
            got += more
        connection.sendall(self._words)


@contextlib.contextmanager
def _listening(path: Path, backlog: int = 5) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        path.chmod(0o666)
        listening.listen(backlog)
        try:
            yield listening
        finally:
            path.unlink()
