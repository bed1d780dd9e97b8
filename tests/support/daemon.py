"""A real daemon in a process of its own, with a clock the test sets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.support.clocks import START, FileClock

ROOT = Path(__file__).resolve().parents[2]
_DEADLINE = 20


class Daemon:
    """`python -m multigrey serve` with a configuration text and a clock file, in any directory.

    `config` may use {dir} for the directory.  As root the daemon becomes `user`.  `wrapper` is a command that
    runs the command behind it; without a `now` the clock is the system's.
    """

    def __init__(
        self,
        directory: Path,
        config: str,
        *,
        now: int | None = START,
        user: str | None = None,
        env: dict[str, str] | None = None,
        wrapper: Sequence[str] = (),
        systemd_socket: tuple[str, socket.socket] | None = None,
    ) -> None:
        self.directory = directory
        self.config = directory / "multigrey.toml"
        self.config.write_text(config.replace("{dir}", str(directory)))
        self.config.chmod(0o644)
        self.clock = FileClock(directory / "clock")
        if now is not None:
            self.clock.set(now)
        self._user = user
        self._env = env or {}
        self._wrapper = wrapper
        self._handed = systemd_socket
        self._stderr = directory / "stderr"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until it says that it is ready."""
        read, write = os.pipe()
        arguments = [*self._wrapper, sys.executable, "-m", "tests.support.run_daemon"]
        arguments += [str(self.config), str(self.directory), str(write), self._user or ""]
        passed = [write]
        if self._handed is not None:
            # What systemd does between fork and exec: descriptor 3, and the pid of the child.
            name, sock = self._handed
            passed.append(sock.fileno())
            script = f'exec 3<&{sock.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name} exec "$@"'
            arguments = ["/bin/bash", "-c", script, "bash", *arguments]
        with self._stderr.open("ab") as stderr:
            self.process = subprocess.Popen(
                arguments,
                cwd=ROOT,
                env={**os.environ, **self._env},
                stdout=stderr,
                stderr=stderr,
                pass_fds=passed,
            )
        os.close(write)
        with os.fdopen(read) as ready:
            if ready.readline() != "ready\n":
                self.process.wait(_DEADLINE)
                raise RuntimeError(f"the daemon did not start:\n{self.stderr()}")

    def stop(self) -> None:
        """An orderly end (does nothing when it has ended already)."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stderr(self) -> str:
        """Everything the daemon wrote: diagnostics, and decision lines when they go to stderr."""
        return self._stderr.read_text(errors="replace")

    def log(self) -> list[str]:
        """Decision lines."""
        return [line for line in self.stderr().splitlines() if " action=" in line]

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(_DEADLINE)
