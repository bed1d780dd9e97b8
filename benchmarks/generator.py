"""Running the load generator (load/load.c) and reading what it measured."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.machine import BenchmarkError, Cores, Server, pause, spawn

__all__ = ["Generator", "Load", "Measured", "Probe", "build"]

SOURCE = Path(__file__).parent / "load" / "load.c"
PLENTY = 3_000_000
"""More requests than any server answers in a timed run."""
DELAY = 2.2
"""Seconds after which a retry passes everywhere: the servers are set to one, and count whole ones."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run measured; times in microseconds."""

    rate: float
    """Answers per second."""
    p50: float
    p95: float
    p99: float
    longest: float
    longest_at: float
    """When the slowest answer came, in seconds after the start."""
    cpu_per_answer: float
    """Processor time of the server per answer."""
    answered: int
    asked: int
    errors: int
    kinds: Mapping[str, int]
    """Answers by their action word."""

    @classmethod
    def parse(cls, line: str) -> Measured:
        """From the generator's line of JSON."""
        fields: dict[str, Any] = json.loads(line)
        return cls(**{name: fields[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True, slots=True)
class Load:
    """What to ask."""

    protocol: str
    workload: str
    connections: int = 50
    seconds: float = 2.0
    requests: int = PLENTY
    first: int = 0
    known: int = 1000
    seed: int = 1

    def options(self) -> list[str]:
        """As the generator wants them."""
        names = ("protocol", "workload", "connections", "seconds", "requests", "first", "known", "seed")
        return [word for name in names for word in (f"--{name}", str(getattr(self, name)))]


@dataclass
class Generator:
    """The compiled generator."""

    program: Path
    cores: Cores
    scratch: Path
    """A directory for its output."""
    fresh: int = 0
    """Attempts below this number were asked as new before."""
    _outputs: int = field(default=0, init=False)

    def run(self, server: Server, load: Load, *more: str) -> Measured:
        """One measurement.  Raises BenchmarkError if nothing was answered."""
        process, output = self._start(server, load, more)
        process.wait()
        return self._result(output, server)

    def run_new(self, server: Server, load: Load) -> Measured:
        """A measurement with attempts nobody has asked before."""
        fresh = replace(load, workload="new", first=self.fresh)
        measured = self.run(server, fresh)
        self.fresh += measured.asked
        return measured

    def make_known(self, server: Server, load: Load) -> None:
        """Bring the set of known attempts through greylisting: ask, wait, ask again, check."""
        once = replace(load, workload="known", requests=load.known, seconds=120.0)
        self.run(server, once)
        pause(DELAY)
        self.run(server, once)
        measured = self.run(server, once)
        if measured.answered != load.known:
            raise BenchmarkError(f"{server.name} answered {measured.answered} of {load.known}")

    def crash(self, server: Server, load: Load, after: float) -> tuple[Measured, Path]:
        """Load a server with new attempts and kill it (SIGKILL) after some seconds.

        Returns what was measured and the file with the numbers of all attempts it answered.
        """
        answered = self.scratch / "answered"
        fresh = replace(load, workload="new", first=self.fresh)
        process, output = self._start(server, fresh, ("--stop-at-error", "--acknowledged", str(answered)))
        pause(after)
        server.process.kill()
        process.wait()
        return self._result(output, server), answered

    def probe(self, server: Server, load: Load, interval: float) -> Probe:
        """Start asking every `interval` milliseconds, until the probe is ended."""
        process, output = self._start(server, load, ("--interval", str(interval)))
        return Probe(self, server, process, output)

    def _start(
        self, server: Server, load: Load, more: tuple[str, ...]
    ) -> tuple[subprocess.Popen[bytes], Path]:
        self._outputs += 1
        output = self.scratch / f"load-{self._outputs}.json"
        command: list[str | Path] = [
            self.program,
            *("--socket", server.addresses[load.protocol], "--pids", str(server.pid)),
            *load.options(),
            *more,
        ]
        return spawn(command, core=self.cores.generator, log=output), output

    def _result(self, output: Path, server: Server) -> Measured:
        text = output.read_text()
        try:
            measured = Measured.parse(text)
        except (ValueError, KeyError) as error:
            raise BenchmarkError(f"asking {server.name}: {text.strip() or 'no output'}") from error
        if not measured.answered:
            raise BenchmarkError(f"{server.name} answered nothing: {server.last_words()}")
        return measured


@dataclass
class Probe:
    """A load that runs beside something else."""

    generator: Generator
    server: Server
    process: subprocess.Popen[bytes]
    output: Path

    def end(self) -> Measured:
        """Stop asking; what was measured."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        return self.generator._result(self.output, self.server)  # noqa: SLF001 (two halves of one thing)


def build(directory: Path) -> Path:
    """Compile the generator.  Raises BenchmarkError where there is no C compiler."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        raise BenchmarkError("a C compiler is needed for the load generator: apt-get install gcc libc6-dev")
    program = directory / "load"
    done = subprocess.run(
        [compiler, "-std=gnu11", "-O2", "-o", str(program), str(SOURCE)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchmarkError(f"cannot compile {SOURCE.name}: {done.stderr.strip()}")
    return program
