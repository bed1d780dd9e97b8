"""Keeps a daemon busy for as long as wanted, with everything going wrong in turn, and measures what leaks.

    python -m tests.faults.soak --minutes 240

Mail of all kinds never pauses.  Beside it come, in turn: reloads, commands, pages, a disk that fails, is
full or slow, no descriptors, log files moved, idle and rude peers.  The daemon must neither leak descriptors,
threads or memory, nor lose what it answered; it is killed at the end to find out.
"""

from __future__ import annotations

import argparse
import errno
import json
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from itertools import cycle
from pathlib import Path

import click

from tests.daemon.test_daemon import eventually
from tests.faults.figures import Figures, figures
from tests.faults.installed import installed
from tests.faults.shim import SHORT, SLOW, Shim
from tests.faults.witness import CONFIG, Witness
from tests.support.daemon import Daemon

__all__ = ["leaks", "soak"]

MORE = """
[limits]
new_records = 0
[history]
map_size = "1MiB"
[metrics]
address = "tcp:127.0.0.1:{port}"
[plugins.web]
address = "tcp:127.0.0.1:{web}"
"""
PER_TURN = 16
"""Answers, at least, while something goes on."""
SECONDS = 3
"""By which the clock advances in each turn."""
MORE_DESCRIPTORS, MORE_THREADS, MORE_MEMORY = 6, 3, 6 << 20
"""What the last quarter may have more than the third one.  Until then caches are filled, which takes some
250,000 answers."""


def _page(port: int, path: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 20) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: sock.recv(65536), b""))


class _Soak:
    """The daemon, and what happens to it; each method is one turn."""

    def __init__(self, directory: Path, config: str) -> None:
        with ExitStack() as ports:
            socks = [ports.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
            self._port, self._web = (sock.getsockname()[1] for sock in socks)
        self._state = directory / "state"
        self._shim = Shim(directory, self._state)
        env = {**installed(directory, "web"), **self._shim.env}
        config = CONFIG + MORE.format(port=self._port, web=self._web) + config
        self.daemon = Daemon(directory, config, user="nobody", env=env)
        self.witness = Witness(self.daemon)

    def turns(self) -> Sequence[Callable[[], object]]:
        """What goes on, in turn."""
        shim = self._shim
        return [
            self._reloads,
            self._commands,
            lambda: shim.arm("fdatasync", error=errno.EIO),
            self._pages,
            lambda: shim.arm("pwrite", "write", "fallocate", error=errno.ENOSPC),
            self._forget,
            lambda: shim.arm("fdatasync", error=SLOW, delay=40),
            self._log_is_moved,
            lambda: shim.arm("open", error=errno.EMFILE),
            self._peers,
            lambda: shim.arm("pwrite", "write", "writev", error=SHORT, times=50),
        ]

    def figures(self) -> Figures:
        """Of the daemon now."""
        assert self.daemon.process is not None
        return figures(self.daemon.process.pid, self._state)

    def mend(self) -> None:
        """Let nothing fail any more, and wait until the daemon has noticed."""
        self._shim.disarm()
        eventually(lambda: self.witness.stranger() == "new", "a deferral")

    def _reloads(self) -> None:
        for _ in range(5):
            assert "answer" in self.witness.control("reload")[0]

    def _commands(self) -> None:
        for name in ("status", "verify", "compact", "growth", "waiting", "origins.list"):
            assert self.witness.control(name), name
        assert self.witness.control("report")
        assert "end" in self.witness.control("backup")[-1]

    def _pages(self) -> None:
        for _ in range(5):
            assert b"200 OK" in _page(self._port, "/metrics").upper()
            assert b" 200" in _page(self._web, "/")[:20]

    def _forget(self) -> None:
        self.witness.forget(3)

    def _log_is_moved(self) -> None:
        decisions = self._state / "decisions"
        with suppress(FileNotFoundError):
            decisions.replace(self._state / "decisions.1")
        self.daemon.send(signal.SIGUSR1)

    def _peers(self) -> None:
        with ExitStack() as peers:
            for number in range(40):
                sock = peers.enter_context(socket.socket(socket.AF_UNIX))
                sock.settimeout(5)
                door = ("exim", "postfix", "control")[number % 3]
                with suppress(OSError):
                    sock.connect(str(self._state / f"{door}.sock"))
                    sock.sendall(json.dumps({"client_address": "x" * number}).encode())


def leaks(told: Sequence[Figures]) -> list[str]:
    """What grew between the third and the last quarter."""
    half, last = len(told) // 2, len(told) * 3 // 4
    before, after = told[half:last], told[last:]

    def grown(name: str) -> int:
        return min(getattr(each, name) for each in after) - min(getattr(each, name) for each in before)

    bounds: Mapping[str, int] = {
        "descriptors": MORE_DESCRIPTORS,
        "threads": MORE_THREADS,
        "anonymous": MORE_MEMORY,
    }
    return [name for name, most in bounds.items() if grown(name) > most]


def soak(directory: Path, seconds: float, config: str = "") -> Iterator[tuple[int, Figures]]:
    """Answers so far and figures, at least nine times, once a turn.  Raises AssertionError."""
    it = _Soak(directory, config)
    witness, told = it.witness, []
    with it.daemon:
        end = time.monotonic() + seconds  # noqa: TID251  (how long to go on)
        for turn in cycle(it.turns()):
            goal = witness.answers + PER_TURN
            with witness.load(8):
                turn()
                eventually(lambda goal=goal: witness.answers >= goal, "answers")
                it.mend()
            assert it.daemon.process is not None
            assert it.daemon.process.poll() is None, it.daemon.stderr()[-2000:]
            told.append(it.figures())
            yield witness.answers, told[-1]
            it.daemon.clock.advance(SECONDS)
            if len(told) >= 9 and time.monotonic() > end:  # noqa: TID251  (how long to go on)
                break
        assert not (found := leaks(told)), found
        assert not (odd := witness.odd_lines()), odd[:10]
        it.daemon.kill()
        it.daemon.start()
        assert not (lost := witness.lost()), lost[:10]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--every", type=int, default=50, help="print the figures of each so many turns")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mg-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        for number, (answers, found) in enumerate(soak(Path(name), options.minutes * 60)):
            if number % options.every == 0:
                click.echo(f"turn {number}, {answers} answers: {found}")
    click.echo("nothing leaked, nothing was lost")


if __name__ == "__main__":
    main()
