"""Processes and processors: starting, pinning, waiting for, measuring and stopping what is measured."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["BenchmarkError", "Cores", "Server", "connect", "pause", "rss_anon", "spawn", "with_children"]

_STOP_WITHIN = 20.0
_POLL = 0.002


class BenchmarkError(Exception):
    """A program that cannot be measured; the text says why."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which processors the server and the load generator run on; None: wherever they like."""

    server: int | None
    generator: int | None

    @classmethod
    def of_this_machine(cls) -> Cores:
        """One processor each where there are two; with one alone, pinning would only add noise."""
        usable = sorted(os.sched_getaffinity(0))
        return cls(usable[0], usable[1]) if len(usable) > 1 else cls(None, None)


@dataclass(slots=True)
class Server:
    """A running server, stopped at the end of its `with` block."""

    name: str
    process: subprocess.Popen[bytes]
    addresses: Mapping[str, str]
    """Where it answers, by protocol: `unix:PATH`."""
    log: Path
    """What it wrote to its standard error."""
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        """The process whose time and memory count."""
        return self.process.pid

    def wait_ready(self, within: float = 60.0) -> None:
        """Until every address accepts.  Raises BenchmarkError when the process ends or time runs out."""
        deadline = time.perf_counter() + within
        for address in self.addresses.values():
            while True:
                with contextlib.suppress(OSError), connect(address):
                    break
                if self.process.poll() is not None or time.perf_counter() > deadline:
                    raise BenchmarkError(f"{self.name} does not serve {address}: {self.last_words()}")
                pause(_POLL)

    def last_words(self) -> str:
        """The end of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return " | ".join(lines[-5:]) or "it said nothing"

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for one that does not care."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(_STOP_WITHIN)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def spawn(
    command: Sequence[str | Path],
    *,
    core: int | None,
    log: Path,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program on one processor, its output going to a file."""
    with log.open("ab") as output, _pinned(core):
        return subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
        )


def connect(address: str) -> socket.socket:
    """A connection to `unix:PATH`.  Raises OSError."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(address.removeprefix("unix:"))
    except OSError:
        sock.close()
        raise
    return sock


def with_children(pid: int) -> Iterator[int]:
    """A process and those that it has started, as far as they are still there."""
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from with_children(int(child))


def rss_anon(pid: int) -> int:
    """Anonymous resident memory in bytes: what the process itself holds, without mapped files."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise BenchmarkError(f"no RssAnon in /proc/{pid}/status")


def pause(seconds: float) -> None:
    """Let the others work."""
    select.select([], [], [], seconds)


@contextlib.contextmanager
def _pinned(core: int | None) -> Iterator[None]:
    """What is started inside inherits the processor."""
    if core is None:
        yield
        return
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, usual)
