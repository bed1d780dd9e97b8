"""What size costs: memory, time to the first answer, and the longest time somebody has to wait."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.generator import Generator, Load
from benchmarks.machine import BenchmarkError, Server, connect, pause, rss_anon, spawn
from benchmarks.ours import CHECKOUT, start_multigrey, write_config

__all__ = ["Capacity", "Stall"]

QUESTION = (
    b"request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=192.0.2.1\nclient_name=unknown\n"
    b"helo_name=a.example\nsender=a@a.example\nrecipient=b@example.org\n\n"
)
PROBE_EVERY = 2.0
"""Milliseconds between the questions of a probe."""
LIST_ENTRIES = 10_000
LONG_LIST_ENTRIES = 500_000
RULES = 300
DEPTH = 18
RELOADS = 5
FREED_AFTER = 4.0
"""Seconds after a reload in which the daemon frees the lists that it replaced."""
STARTS = 3
MEGABYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Stall:
    """The slowest answer while something else went on, and in an equally long time of quiet before."""

    longest: float
    """Milliseconds."""
    quiet: float
    what: str
    """What went on, as observed."""


@dataclass
class Capacity:
    """The measurements that need a large store."""

    generator: Generator
    directory: Path
    seconds: float
    """How long each stall is looked for."""
    tell: Callable[[str], None]

    def memory(self, records: int) -> float:
        """Anonymous megabytes with so many records, after known and new load."""
        config = self._store("memory", records)
        with self._daemon(config) as server:
            load = Load("postfix", "known", seconds=self.seconds)
            self.generator.make_known(server, load)
            self.generator.run(server, load)
            self.generator.run_new(server, Load("postfix", "new", requests=records // 10))
            return rss_anon(server.pid) / MEGABYTE

    def lost(self) -> tuple[int, int]:
        """Kill -9 under new load, start again, ask for everything that was answered.

        Returns how many attempts were forgotten, and how many were answered before.
        """
        config = self._store("crash", 0)
        with self._daemon(config) as server:
            load = Load("postfix", "new", seconds=60.0)
            measured, answered = self.generator.crash(server, load, min(self.seconds, 4.0))
        with self._daemon(config) as server:
            # over the door that tells the reason: whatever is not remembered is new once more
            again = Load("exim", "new", seconds=300.0)
            replayed = self.generator.run(server, again, "--replay", str(answered))
        remembered = replayed.answered - replayed.kinds.get("defer/new", 0)
        return measured.answered - remembered, measured.answered

    def start(self, config: Path) -> float:
        """Seconds from starting the program to the first answered attempt, median of a few starts."""
        taken = []
        for _ in range(STARTS):
            begun = time.perf_counter()
            with start_multigrey(config, self.generator.cores.server) as server:
                _first_answer(server)
                taken.append(time.perf_counter() - begun)
        return median(taken)

    def large(self, records: int) -> Path:
        """A configuration over a store with so many living records, and with long lists."""
        return self._store("large", records, lists=True)

    def reload_stall(self, config: Path) -> Stall:
        """SIGHUP with long whitelists."""
        with self._daemon(config) as server:
            load = self._probed(server)
            quiet = self._probe(server, load, lambda: pause(self.seconds))

            def reload() -> None:
                for _ in range(RELOADS):
                    server.process.send_signal(signal.SIGHUP)
                    pause(self.seconds / RELOADS)

            longest = self._probe(server, load, reload)
            times = _count(server, "reloaded")
        if not times:
            raise BenchmarkError(f"multigrey did not say that it reloaded: {server.last_words()}")
        return Stall(longest, quiet, f"{times} reloads, 2 lists of {LIST_ENTRIES} entries")

    def long_lists(self) -> Path:
        """A configuration with a million whitelist entries and 300 rules, each 18 conditions deep."""
        directory = self.directory / "long"
        lists = _write_lists(directory, LONG_LIST_ENTRIES)
        return write_config(directory, lists=lists, more=[_deep_rule(number) for number in range(RULES)])

    def long_reload(self, config: Path) -> tuple[Stall, Sequence[float]]:
        """Reload such a configuration; also anonymous megabytes before, at most meanwhile, and afterwards."""
        with self._daemon(config) as server:
            load = self._probed(server)
            quiet = self._probe(server, load, lambda: pause(self.seconds))
            memory = [rss_anon(server.pid) / MEGABYTE]

            def reload() -> None:
                for number in range(1, 3):
                    server.process.send_signal(signal.SIGHUP)
                    while _count(server, "reloaded") < number:
                        memory.append(rss_anon(server.pid) / MEGABYTE)
                        pause(0.05)
                    pause(FREED_AFTER)

            longest = self._probe(server, load, reload)
            figures = (memory[0], max(memory), rss_anon(server.pid) / MEGABYTE)
        return Stall(longest, quiet, f"2 reloads of {2 * LONG_LIST_ENTRIES} entries"), figures

    def forgetting_stall(self, records: int) -> Stall:
        """Every record but one is due: the daemon forgets as fast as it ever will."""
        config = self._store("due", records, due=True)
        with self._daemon(config) as server:
            before = _records(server)
            load = self._probed(server)
            longest = self._probe(server, load, lambda: pause(self.seconds))
            gone = before - _records(server)
        if gone <= 0:
            raise BenchmarkError("nothing was forgotten while the probe ran")
        with self._daemon(self._store("quiet", 0)) as server:
            load = self._probed(server)
            quiet = self._probe(server, load, lambda: pause(self.seconds))
        return Stall(longest, quiet, f"{gone} records forgotten")

    def backup_stall(self, config: Path) -> Stall:
        """`multigrey backup`, which has the daemon copy its store."""
        copy = config.parent / "state" / "copy"
        command = [sys.executable, "-m", "multigrey", "backup", "--config", config, copy]
        with self._daemon(config) as server:
            load = self._probed(server)
            quiet = self._probe(server, load, lambda: pause(self.seconds))

            def backup() -> None:
                asking = spawn(
                    command,
                    core=self.generator.cores.generator,
                    log=config.parent / "backup.log",
                    cwd=CHECKOUT,
                )
                if asking.wait():
                    raise BenchmarkError(f"no backup: {(config.parent / 'backup.log').read_text()[-300:]}")

            longest = self._probe(server, load, backup)
        return Stall(longest, quiet, f"{copy.stat().st_size // MEGABYTE} MB copied")

    def _store(self, name: str, records: int, *, due: bool = False, lists: bool = False) -> Path:
        directory = self.directory / name
        config = write_config(directory, lists=_write_lists(directory) if lists else ())
        if records:
            self.tell(f"writing {records} records")
            _fill(directory / "state", str(records), *(["due"] if due else []))
        return config

    @contextlib.contextmanager
    def _daemon(self, config: Path) -> Iterator[Server]:
        with start_multigrey(config, self.generator.cores.server) as server:
            _first_answer(server)
            yield server

    def _probed(self, server: Server) -> Load:
        """A few known attempts to ask for again and again."""
        load = Load("postfix", "known", connections=1, known=20, seed=7, seconds=600.0)
        self.generator.make_known(server, load)
        return load

    def _probe(self, server: Server, load: Load, meanwhile: Callable[[], None]) -> float:
        """The slowest answer, in milliseconds, while something goes on."""
        probe = self.generator.probe(server, load, PROBE_EVERY)
        try:
            meanwhile()
        finally:
            measured = probe.end()
        return measured.longest / 1000


def _first_answer(server: Server, within: float = 60.0) -> None:
    """Wait for the answer to one attempt."""
    server.wait_ready(within)
    with connect(server.addresses["postfix"]) as sock:
        sock.settimeout(within)
        sock.sendall(QUESTION)
        if not sock.recv(4096).startswith(b"action="):
            raise BenchmarkError(f"{server.name} does not answer: {server.last_words()}")


def _fill(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "benchmarks.fill", *map(str, arguments)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"the store cannot be prepared: {done.stderr.strip()[-600:]}")
    return done.stdout


def _write_lists(directory: Path, entries: int = LIST_ENTRIES) -> list[tuple[str, Path]]:
    """So many networks and as many names, half of the work of a reload each."""
    directory.mkdir(exist_ok=True)
    networks, names = directory / "networks", directory / "names"
    networks.write_text(
        "".join(f"{172 + n // 65536}.{n // 256 % 256}.{n % 256}.0/28\n" for n in range(entries))
    )
    names.write_text("".join(f"mail{n}.list{n}.example\n" for n in range(entries)))
    return [("postgrey-clients", networks), ("postgrey-clients", names)]


def _deep_rule(number: int) -> str:
    """A rule whose condition is the last of many within each other, and that no attempt meets."""
    when = f'sender = "user{number}@nobody.example"'
    for depth in range(DEPTH):
        when = f"{'all' if depth % 2 else 'any'} = [{{ {when} }}]"
    return f'[[rule]]\nname = "deep-{number}"\naction = "pass"\nwhen = {{ {when} }}'


def _records(server: Server) -> int:
    """How many records the daemon says it has (SIGUSR1)."""
    said = _count(server, "figures:")
    server.process.send_signal(signal.SIGUSR1)
    for _ in range(1000):
        if _count(server, "figures:") > said:
            break
        pause(0.01)
    found = re.findall(r"\brecords=(\d+)", server.log.read_text(errors="replace"))
    if not found:
        raise BenchmarkError(f"multigrey does not tell its figures: {server.last_words()}")
    return int(found[-1])


def _count(server: Server, text: str) -> int:
    return server.log.read_text(errors="replace").count(text)
