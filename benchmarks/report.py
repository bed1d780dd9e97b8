"""The parts of the report: each runs its measurements, prints a table and returns outcomes."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.capacity import MEGABYTE, Capacity, Stall
from benchmarks.generator import Generator, Load, Measured
from benchmarks.goals import Outcome, at_least, at_most, table
from benchmarks.machine import BenchmarkError, Server, pause, rss_anon, with_children
from benchmarks.ours import CHECKOUT, start_echo, start_multigrey, start_watching, write_config
from benchmarks.pairs import Comparison, Ratio, Side, compare, ratio
from benchmarks.peers import start_greylistd, start_postgrey

__all__ = ["PARTS", "Report", "Scale"]

OURS = "multigrey"
THIRD_DOOR = "multigrey, greylistd's words"
ECHO = "bare trio"
UNSEEN = "multigrey, unseen"
METRICS = "tcp:127.0.0.1:10971"


@dataclass(frozen=True, slots=True)
class Scale:
    """How much work is put into the figures."""

    pairs: int = 5
    seconds: float = 2.0
    connections: int = 50
    memory_records: int = 100_000
    large_records: int = 1_000_000
    list_entries: int = 100_000
    stall_seconds: float = 15.0
    week_decisions: int = 10_000_000


@dataclass
class Report:
    """Everything measured so far."""

    scale: Scale
    generator: Generator
    directory: Path
    outcomes: list[Outcome] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)

    def policy(self) -> None:
        """Postfix's protocol over persistent connections, beside postgrey and the echo."""
        with ExitStack() as running:
            ours, echo = self._ours(running, "policy")
            postgrey = start_postgrey(self.directory, self._core)
            running.enter_context(postgrey).wait_ready()
            sides = [
                Side(OURS, ours, "postfix"),
                Side("postgrey", postgrey, "postfix"),
                Side(ECHO, echo, "postfix", judges=False),
            ]
            known, new = self._known_and_new(sides)
        rate, delay = ratio(known, OURS, "postgrey"), ratio(new, OURS, "postgrey")
        # how many times longer postgrey's 95th percentile is: "at most 1/8 of its" the other way round
        tail = ratio(new, "postgrey", OURS, lambda run: run.p95)
        self._add(at_least("policy, known: rate / postgrey's", 20, "x", rate.middle, _extremes(rate)))
        self._add(
            at_least("policy, new, durable: rate / postgrey's", 10, "x", delay.middle, _extremes(delay))
        )
        self._add(
            at_least("policy, new, durable: postgrey's p95 / ours", 8, "x", tail.middle, _extremes(tail))
        )

    def one_shot(self) -> None:
        """One connection per request, beside greylistd and the echo."""
        with ExitStack() as running:
            ours, echo = self._ours(running, "one-shot")
            greylistd = start_greylistd(self.directory, self._core)
            running.enter_context(greylistd).wait_ready()
            sides = [
                Side(OURS, ours, "exim"),
                Side("greylistd", greylistd, "greylistd"),
                Side(THIRD_DOOR, ours, "greylistd"),
                Side(ECHO, echo, "exim", judges=False),
            ]
            known, new = self._known_and_new(sides)
        rate, durable = ratio(known, OURS, "greylistd"), ratio(new, OURS, "greylistd")
        self._add(at_least("one-shot, known: rate / greylistd's", 1.5, "x", rate.middle, _extremes(rate)))
        self._add(
            at_least(
                "one-shot, new: ours durable / greylistd's in memory",
                1,
                "x",
                durable.middle,
                _extremes(durable),
            )
        )

    def watched(self) -> None:
        """With history, metrics and somebody who watches, beside the same without all three."""
        seen = write_config(self.directory / "seen", more=("[metrics]", f'address = "{METRICS}"'))
        unseen = write_config(self.directory / "unseen", more=("[history]", "enabled = false"))
        with ExitStack() as running:
            servers = [start_multigrey(config, self._core) for config in (seen, unseen)]
            for server in servers:
                running.enter_context(server).wait_ready()
            running.enter_context(start_watching(seen, self.generator.cores.generator))
            known, new = self._known_and_new(
                [Side(name, server, "postfix") for name, server in zip((OURS, UNSEEN), servers, strict=True)]
            )
        for comparison in (known, new):
            rate = ratio(comparison, OURS, UNSEEN)
            goal = f"watched, {comparison.workload}: rate / unseen"
            self._add(at_least(goal, 0.9, "x", rate.middle, _extremes(rate)))

    def memory(self) -> None:
        """Anonymous memory over a store of ordinary size."""
        records = self.scale.memory_records
        used = self._capacity.memory(records)
        self._add(at_most(f"RssAnon with {records:,} records", 40, "MB", used, "after load"))

    def large(self) -> None:
        """Start-up, reload and backup over a large store."""
        records = self.scale.large_records
        config = self._capacity.large(records)
        ready = self._capacity.start(config)
        self._add(at_most(f"first answer after start, {records:,} records", 1, "s", ready))
        self._stall("reload", self._capacity.reload_stall(config))
        self._stall("backup", self._capacity.backup_stall(config))

    def reload(self) -> None:
        """Start and reload with very long lists and many rules."""
        config = self._capacity.long_lists()
        ready = self._capacity.start(config)
        self._add(at_most("first answer after start, 1,000,000 whitelist entries", 6, "s", ready))
        stall, (before, most, after) = self._capacity.long_reload(config)
        self._stall("reload of 1,000,000 entries", stall)
        spread = f"before: {before:.0f} MB; afterwards: {after:.0f} MB"
        self._add(at_most("RssAnon during that reload", 810, "MB", most, spread))

    def lists(self) -> None:
        """A long TOML whitelist, read in a process of its own."""
        number = self.scale.list_entries
        command = [sys.executable, "-m", "benchmarks.read_list", str(self.directory), str(number)]
        ran = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise BenchmarkError(f"no list was read: {ran.stderr[-300:]}")
        figures = json.loads(ran.stdout)
        what = f"{number:,} TOML entries"
        self._add(at_most(f"{what}: processor time to read", 3, "s", figures["seconds"]))
        self._add(at_most(f"{what}: memory at most", 60, "MB", figures["megabytes"]))
        missed = f"a client that is not listed: {figures['missed']:.1f} us"
        self._add(at_most(f"{what}: a listed client is found", 10, "us", figures["found"], missed))

    def week(self) -> None:
        """`multigrey report` of a week of a busy server, without a daemon."""
        number = self.scale.week_decisions
        config = write_config(self.directory / "week", more=["[history]", 'map_size = "8GiB"'])
        state = self.directory / "week" / "state"
        command = [sys.executable, "-m", "benchmarks.week", str(state), str(number)]
        subprocess.run(command, cwd=CHECKOUT, check=True)
        command = [sys.executable, "-m", "multigrey", "report", "--json", "--config", str(config)]
        answer, memory = self.directory / "week" / "report.json", [0]
        begin, before = time.perf_counter(), _processor_of_children()
        with answer.open("w") as file, subprocess.Popen(command, cwd=CHECKOUT, stdout=file) as process:
            while process.poll() is None:
                with suppress(BenchmarkError, OSError):  # it has ended by now
                    memory.append(sum(map(rss_anon, with_children(process.pid))))
                pause(0.05)
        seconds = _processor_of_children() - before
        found = json.loads(answer.read_text())
        what = f"report of a week, {number:,} decisions"
        counted = f"{found['traffic']['decisions']:,} counted; {len(found['once'])} first contacts listed"
        spread = f"{counted}; after {time.perf_counter() - begin:.0f} s"
        self._add(at_most(f"{what}: processor time", 30, "s", seconds, spread))
        self._add(at_most(f"RssAnon for that report of {number:,}", 200, "MB", max(memory) / MEGABYTE))

    def forgetting(self) -> None:
        """Forgetting a large store."""
        self._stall("forgetting", self._capacity.forgetting_stall(self.scale.large_records))

    def loss(self) -> None:
        """Answered deferrals that a kill -9 makes the daemon forget."""
        lost, answered = self._capacity.lost()
        self._add(at_most("deferrals lost by kill -9", 0, "", lost, f"of {answered} answered"))

    @property
    def _core(self) -> int | None:
        return self.generator.cores.server

    @property
    def _capacity(self) -> Capacity:
        return Capacity(self.generator, self.directory, self.scale.stall_seconds, tell)

    def _ours(self, running: ExitStack, name: str) -> tuple[Server, Server]:
        """multigrey with an empty store, and the echo."""
        ours = start_multigrey(write_config(self.directory / name), self._core)
        running.enter_context(ours).wait_ready()
        (self.directory / f"echo-{name}").mkdir()
        echo = start_echo(self.directory / f"echo-{name}", self._core)
        running.enter_context(echo).wait_ready()
        return ours, echo

    def _known_and_new(self, sides: list[Side]) -> Iterator[Comparison]:
        for workload in ("known", "new"):
            load = Load("", workload, self.scale.connections, self.scale.seconds)
            comparison = compare(self.generator, sides, load, self.scale.pairs, tell)
            self._show(comparison)
            yield comparison

    def _show(self, comparison: Comparison) -> None:
        heading = ("answers/s", "p50 ms", "p95 ms", "p99 ms", "CPU us each", f"{OURS} / this")
        rows: list[tuple[str, ...]] = [(comparison.workload, *heading)]
        for side in comparison.sides:
            rows.append((side.name, *_cells(comparison, side.name)))
            for measured in comparison.rounds[side.name]:
                self.figures.append(_figure(comparison.workload, side, measured))
        print(f"\n{table(rows)}\n", flush=True)
        for sentence in comparison.wrong():
            print(f"WRONG ANSWERS: {sentence}\n", flush=True)

    def _stall(self, name: str, stall: Stall) -> None:
        quiet = f"quiet: {stall.quiet:.1f} ms; " if stall.quiet else ""
        self._add(at_most(f"longest stall by {name}", 50, "ms", stall.longest, quiet + stall.what))

    def _add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        tell(" | ".join(outcome.row()))


PARTS: dict[str, Callable[[Report], None]] = {
    "policy": Report.policy,
    "one-shot": Report.one_shot,
    "watched": Report.watched,
    "memory": Report.memory,
    "large": Report.large,
    "reload": Report.reload,
    "lists": Report.lists,
    "week": Report.week,
    "forgetting": Report.forgetting,
    "loss": Report.loss,
}


def _processor_of_children() -> float:
    """Seconds of processor time of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def tell(text: str) -> None:
    """Progress, beside the report."""
    print(text, file=sys.stderr, flush=True)


def _cells(comparison: Comparison, name: str) -> tuple[str, ...]:
    low, high = comparison.spread(name, lambda run: run.rate)
    rate = comparison.middle(name, lambda run: run.rate)
    percentiles = [comparison.middle(name, what) for what in (_p50, _p95, _p99)]
    processor = comparison.middle(name, lambda run: run.cpu_per_answer)
    return (
        f"{rate:.0f} ({low:.0f}-{high:.0f})",
        *(f"{microseconds / 1000:.2f}" for microseconds in percentiles),
        f"{processor:.1f}",
        "" if name == OURS else str(ratio(comparison, OURS, name)),
    )


def _p50(run: Measured) -> float:
    return run.p50


def _p95(run: Measured) -> float:
    return run.p95


def _p99(run: Measured) -> float:
    return run.p99


def _extremes(of: Ratio) -> str:
    return f"{of.low:.2f}-{of.high:.2f}"


def _figure(workload: str, side: Side, measured: Measured) -> dict[str, Any]:
    fields = {name: getattr(measured, name) for name in Measured.__dataclass_fields__}
    return {"workload": workload, "side": side.name, "protocol": side.protocol, **fields}
