"""`multigrey rehearse`: plays a list of attempts through the configuration, without a daemon."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from multigrey.cli.client import (
    EXIT_CONFIG,
    EXIT_NO,
    EXIT_NOT_ALLOWED,
    common_options,
    load_for_asking,
    refuse,
    show,
)
from multigrey.cli.rehearse_file import RehearsalError, RehearsedAttempt, read_rehearsal
from multigrey.clock import SystemClock
from multigrey.config.load import Loaded
from multigrey.config.values.units import format_duration
from multigrey.errors import ConfigError, PluginError, StoreError
from multigrey.text import counted

if TYPE_CHECKING:
    from rich.console import Console

    from multigrey.contracts import Store
    from multigrey.core import Assembly, Core
    from multigrey.model import DecisionEvent

__all__ = ["rehearse"]


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True))
@common_options
@click.option(
    "--store",
    "with_store",
    is_flag=True,
    help="Begin with a copy of the daemon's store (lmdb), which only its owner and root can read; by default "
    "the store is empty.  The daemon may run; it is not disturbed.",
)
@click.option(
    "--ask",
    "ask_slow",
    is_flag=True,
    help="Also ask slow sources (DNS, directories); by default they have no influence.",
)
def rehearse(file: Path, config: Path | None, *, json_: bool, with_store: bool, ask_slow: bool) -> None:
    """Play attempts from a file through a configuration.

    The command shows what becomes of each, and changes nothing.  FILE (- is standard input) holds TOML or
    JSON lines; a file that begins with { is JSON.  Each [[attempt]], or each JSON object, takes: at (a
    duration since the start such as "5m", one since the previous attempt such as "+5m", or a time),
    listener, client_address, client_name, helo, sender, recipient, stage (rcpt, data), message,
    authenticated, raw, attributes (a table of other attributes that a mail server sends), note, and expect:
    an action or a reason, or a list of which all must be met.  A key that is left out keeps its value from
    the previous attempt, except for message, authenticated, raw, note and expect; without at the time is
    the same.  A TOML file may begin with start, a time; by default it is now.  The clock follows the file,
    so days take no time.

    The command logs and counts nothing, and writes only to a temporary copy.

    Exit status: 0 when every expectation is met, 1 when not, 2 when the configuration, FILE or the store
    cannot be used, 4 when the store may not be read.
    """
    try:
        loaded = load_for_asking(config)
        listeners = [listen.name for listen in loaded.settings.listen]
        text = sys.stdin.read() if str(file) == "-" else file.read_text(errors="surrogateescape")
        steps = read_rehearsal(text, SystemClock().now(), listeners)
        with _copied(loaded, with_store=with_store) as (site_key, directory):
            rows = _run(loaded, steps, site_key, directory, ask_slow=ask_slow)
    except ConfigError as error:
        _refuse_all(error)
    except RehearsalError as error:
        refuse(f"{file}: {error}", EXIT_CONFIG)
    except OSError as error:
        refuse(f"{error.filename or file}: {error.strerror or error}", EXIT_CONFIG)
    except (PluginError, StoreError) as error:
        refuse(str(error), EXIT_CONFIG)
    as_expected = all(row["as_expected"] for row in rows)
    show({"steps": rows, "as_expected": as_expected}, json_, _print)
    if not as_expected:
        sys.exit(EXIT_NO)


def _refuse_all(error: ConfigError) -> NoReturn:
    for problem in error.problems:
        click.echo(str(problem), err=True)
    sys.exit(EXIT_CONFIG)


# --- the copy of the store -------------------------------------------------------------------------


@contextmanager
def _copied(loaded: Loaded, *, with_store: bool) -> Iterator[tuple[bytes, Path | None]]:
    """The site key, and a directory with a copy of the store; None: begin with an empty store."""
    if not with_store:
        yield bytes(32), None
        return
    settings = loaded.settings
    if settings.store.backend != "lmdb":
        raise StoreError(f"--store: only a store of kind lmdb can be copied, not {settings.store.backend}")
    with tempfile.TemporaryDirectory(prefix="multigrey-rehearse-") as name:
        try:
            site_key = copy_state(settings.state_dir, Path(name))
        except PermissionError as error:
            hint = f"only its owner and root may: try sudo -u {settings.user or 'multigrey'}"
            refuse(f"{error.filename}: you may not read the store: {hint}", EXIT_NOT_ALLOWED)
        yield site_key, Path(name)


def copy_state(source: Path, target: Path) -> bytes:
    """Copy the store of a state directory, also of a running daemon; returns the site key.

    Raises OSError and StoreError.
    """
    from multigrey.stores.lmdb.offline import open_beside
    from multigrey.stores.lmdb.state_files import StateFiles
    from multigrey.stores.site_key import load_site_key

    shutil.copyfile(source / "site.key", target / "site.key")
    files = StateFiles(source)
    # The journal first: what moves from it to the store meanwhile is then in both copies, which harms
    # nothing.  In the other order it would be in neither.
    for path in files.journals():
        with suppress(FileNotFoundError):  # the daemon removed it: the store holds all of it now
            shutil.copyfile(path, target / path.name)
    with open_beside(source) as env:
        # LMDB's own copy would make the file readable for others.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(StateFiles(target).data, flags, 0o600)
        try:
            env.copyfd(descriptor, compact=True)
        finally:
            os.close(descriptor)
    return load_site_key(target)


# --- playing ---------------------------------------------------------------------------------------


class _StepClock:
    """A clock that always shows the time of the current step."""

    def __init__(self, now: int) -> None:
        self._start = now
        self.time = now

    def now(self) -> int:
        """See `Clock.now`."""
        return self.time

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return float(self.time - self._start)


@dataclass
class _Rehearsal:
    """The parts of a daemon that a rehearsal needs."""

    core: Core
    clock: _StepClock
    on_error: Mapping[str, str]
    """By listener."""
    events: list[DecisionEvent]


def _run(
    loaded: Loaded,
    steps: Sequence[RehearsedAttempt],
    site_key: bytes,
    directory: Path | None,
    *,
    ask_slow: bool,
) -> list[dict[str, Any]]:
    """Play all steps.  Raises ConfigError, PluginError and StoreError."""
    import trio

    from multigrey.daemon.assembly import assemble

    clock = _StepClock(steps[0].time)
    assembly = assemble(loaded, site_key, clock)
    if not ask_slow:
        assembly = replace(assembly, setup=replace(assembly.setup, ask=None))
    play = partial(_play, assembly, clock, steps, site_key, directory, ask_slow=ask_slow)
    try:
        return trio.run(play)
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


async def _play(
    assembly: Assembly,
    clock: _StepClock,
    steps: Sequence[RehearsedAttempt],
    site_key: bytes,
    directory: Path | None,
    *,
    ask_slow: bool,
) -> list[dict[str, Any]]:
    async with _rehearsal(assembly, clock, site_key, directory, services=ask_slow) as house:
        return [await _played(house, step, steps[0].time) for step in steps]


@asynccontextmanager
async def _rehearsal(
    assembly: Assembly, clock: _StepClock, site_key: bytes, directory: Path | None, *, services: bool
) -> AsyncIterator[_Rehearsal]:
    import trio

    from multigrey.background.supervise import supervise
    from multigrey.contracts import StoreOptions
    from multigrey.core import make_store, open_core
    from multigrey.engine.ids import make_ids
    from multigrey.stores.memory import MemoryStore

    settings = assembly.settings
    store: Store
    if directory is None:
        store = MemoryStore(StoreOptions(Path("/nonexistent"), settings.store.map_size))
    else:
        store = make_store(assembly, directory)
    events: list[DecisionEvent] = []
    core = open_core(
        assembly,
        store,
        site_key=site_key,
        clock=clock,
        ids=make_ids(0),
        host="rehearsal",
        subscribers=(events.append,),
    )
    on_error = {listen.name: listen.on_error for listen in settings.listen}
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        await core.load()
        for name, service in assembly.registry.services.items() if services else ():
            run = partial(service.run, task_status=trio.TASK_STATUS_IGNORED)
            nursery.start_soon(supervise, f"service {name}", run)
        yield _Rehearsal(core, clock, on_error, events)
        nursery.cancel_scope.cancel()


async def _played(house: _Rehearsal, step: RehearsedAttempt, start: int) -> dict[str, Any]:
    """Play one step; returns the step with its verdict."""
    house.clock.time = step.time
    engine = house.core.engine
    engine.knowledge.go_on(step.time)
    house.core.apply()  # overrides end by themselves
    await engine.judge(step.attempt, house.on_error[step.attempt.listener])
    event = house.events.pop()
    verdict, attempt = event.verdict, step.attempt
    words = {verdict.action.value, verdict.reason.value}
    client = None if attempt.client_address is None else str(attempt.client_address)
    return {
        "step": step.number,
        "line": step.line,
        "time": step.time,
        "after": step.time - start,
        "client_address": client,
        "client_name": attempt.client_name,
        "sender": attempt.sender or "<>",
        "recipient": attempt.raw or attempt.recipient,
        "origin": event.origin,
        "action": verdict.action.value,
        "reason": verdict.reason.value,
        "observed": verdict.observed,
        "retry_after": verdict.retry_after,
        "detail": _detail(event),
        "note": step.note,
        "expect": list(step.expect),
        "as_expected": words.issuperset(step.expect),
    }


def _detail(event: DecisionEvent) -> str:
    """What decided, in addition to the reason: detail, rule and whitelist entry."""
    verdict = event.verdict
    match = verdict.match
    parts = [verdict.detail, f"rule {verdict.rule}" if verdict.rule else ""]
    if match is not None:
        parts.append(f"{match.source}: {match.entry}" + (f" ({match.owner})" if match.owner else ""))
    return ", ".join(part for part in parts if part)


# --- as text ---------------------------------------------------------------------------------------


def _print(console: Console, result: Mapping[str, Any]) -> None:
    from multigrey.cli.tables import table

    heads = ("step", "after", "client", "sender", "recipient", "answer", "left", "why", "expected")
    rows = [
        (
            row["step"],
            format_duration(row["after"]),
            row["client_name"] or row["client_address"] or "unknown",
            row["sender"] or "<>",
            row["recipient"],
            f"{row['action']} {row['reason']}" + (" (observed)" if row["observed"] else ""),
            format_duration(row["retry_after"]) if row["retry_after"] else "",
            ", ".join(text for text in (row["detail"], row["note"]) if text),
            " ".join(row["expect"]) + ("" if row["as_expected"] else "  <- NOT MET"),
        )
        for row in result["steps"]
    ]
    texts, spare = ("client", "sender", "recipient", "why"), ("recipient", "sender", "client")
    console.print(table(heads, rows, console.width, texts=texts, spare=spare))
    wrong = [row for row in result["steps"] if not row["as_expected"]]
    expected = sum(bool(row["expect"]) for row in result["steps"])
    steps = counted(len(result["steps"]), "step")
    console.print(f"{steps}, {expected} with an expectation, {len(wrong)} not as expected")
