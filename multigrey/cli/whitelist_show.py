"""`multigrey whitelist list` and `test`: lists the entries, and tests which one an attempt matches."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multigrey.cli.attempt_options import NOBODY, attempt_in, attempt_options
from multigrey.cli.client import EXIT_CONFIG, EXIT_NO, ask, common_options, show
from multigrey.cli.explain import mail_text
from multigrey.clock import Clock, SystemClock
from multigrey.config.load import load
from multigrey.config.settings import Settings
from multigrey.contracts import SourceOptions
from multigrey.errors import ConfigError, Problem
from multigrey.text import printable
from multigrey.whitelists.entry import ListedEntry
from multigrey.whitelists.list_source import SOURCE
from multigrey.whitelists.postgrey import postgrey_entries
from multigrey.whitelists.toml_file import read_lists

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["list_command", "listed_entries", "test_command"]

_POSTGREY = ("postgrey-clients", "postgrey-recipients")


@click.command("list")
@click.option("--owner", help="Only entries of this owner.")
@common_options
@click.pass_obj
def list_command(clock: Clock | None, /, owner: str | None, config: Path | None, *, json_: bool) -> None:
    """List the entries of the configured lists.

    They are shown as they are in the files now.  To see whether the daemon has read them, use multigrey
    status or multigrey whitelist test.

    Exit status: 0 when there are entries, 1 when there is none, 2 when the configuration or a list is wrong.
    """
    now = (clock or SystemClock()).now()
    try:
        entries = list(_entries(load(config, os.environ).settings))
    except ConfigError as error:
        for problem in error.problems:
            click.echo(printable(str(problem)), err=True)
        sys.exit(EXIT_CONFIG)
    rows = [_row(source, entry, now) for source, entry in entries]
    rows = [row for row in rows if owner is None or row["owner"] == owner]
    show({"time": now, "entries": rows}, json_, _render_list)
    if not rows:
        sys.exit(EXIT_NO)


def _entries(settings: Settings) -> Iterator[tuple[str, ListedEntry]]:
    """Every entry with its source.  Raises ConfigError with everything that is wrong."""
    problems: list[Problem] = []
    for table in settings.whitelist:
        try:
            found: Iterable[ListedEntry] = ()
            if table.path is not None and table.source == SOURCE:
                found = chain.from_iterable(
                    each.entries for each in read_lists(table.path, table.owner or "")
                )
            elif table.path is not None and table.source in _POSTGREY:
                found, _ = postgrey_entries(SourceOptions(table.path, table.owner or ""), table.source)
        except ConfigError as error:
            problems += error.problems
            continue
        yield from ((table.source, entry) for entry in found)
    if problems:
        raise ConfigError(problems)


def listed_entries(settings: Settings) -> Iterator[ListedEntry]:
    """Every entry of the configured lists.  Raises ConfigError with everything that is wrong."""
    return (entry for _, entry in _entries(settings))


def _row(source: str, entry: ListedEntry, now: int) -> dict[str, Any]:
    state = "in use"
    if not entry.enabled:
        state = "disabled"
    elif entry.until <= now:
        state = "expired"
    return {
        "source": source,
        "file": str(entry.path),
        "line": entry.line,
        "entry": entry.text,
        "state": state,
        "owner": entry.owner or None,
        "reason": entry.reason or None,
        "ticket": entry.ticket or None,
        "added": _date(entry.added),
        "review_by": _date(entry.review_by),
        "expires": _date(entry.expires),
    }


def _date(day: Any) -> str | None:
    return None if day is None else str(day.isoformat())


def _render_list(console: Console, result: Mapping[str, Any]) -> None:
    if not result["entries"]:
        console.print("no entries found")
    for row in result["entries"]:
        place = f"{row['file']}:{row['line']}" if row["line"] else row["file"]
        extra = [
            f"{name} {row[name]}"
            for name in ("owner", "added", "review_by", "expires", "ticket")
            if row[name]
        ]
        state = "" if row["state"] == "in use" else f" [{row['state']}]"
        more = f" ({', '.join(extra)})" if extra else ""
        reason = f": {row['reason']}" if row["reason"] else ""
        console.print(printable(f"{place}: {row['entry']}{state}{more}{reason}"), soft_wrap=True)


# --- test ------------------------------------------------------------------------------------------


@click.command("test")
@attempt_options
@common_options
def test_command(config: Path | None, *, json_: bool, **options: Any) -> None:
    """Show which entry an attempt matches, and which it hides.

    The command asks for the lists that the daemon has loaded.  Options that are left out match no entry:
    without --sender or --recipient an invalid address is used.  If no entry matches, near misses are shown:
    entries that would match if the client had another name, or that have expired, say.

    Exit status: 0 when an entry matches, 1 when none does, 2 for a wrong configuration or command line, 3
    without a daemon, 4 when not allowed.
    """
    attempt = attempt_in(options)
    if not attempt:
        raise click.UsageError("expected the options of an attempt, such as --client-address or --recipient")
    result = ask(config, "whitelist-test", {"attempt": {**NOBODY, **attempt}})
    show(result, json_, _render_test)
    if not result["matches"]:
        sys.exit(EXIT_NO)


def _render_test(console: Console, result: Mapping[str, Any]) -> None:
    console.print(printable(mail_text(result["attempt"])), soft_wrap=True)
    for row in result["sources"]:
        for line in _tested(row):
            console.print(printable(line), soft_wrap=True)
    if not result["matches"]:
        console.print("no entry matches")
        if note := result.get("note"):
            console.print(printable(note), soft_wrap=True)


def _tested(row: Mapping[str, Any]) -> Iterator[str]:
    name = f"{row['source']} {row['path'] or ''}".strip()
    if not row["matches"]:
        yield f"  {name}: no"
        yield from (f"    near miss: {each['entry']}: {each['why']}" for each in row.get("near", ()))
        return
    owner = f", owner {row['owner']}" if row["owner"] else ""
    hidden = "" if row["decides"] else " (hidden: an earlier source decides)"
    yield f"{'*' if row['decides'] else ' '} {name}: {row['entry']}{owner}{hidden}"
    if row["why"]:
        yield f"    because: {row['why']}"
    yield from (f"    hides {entry}" for entry in row["hidden"])
