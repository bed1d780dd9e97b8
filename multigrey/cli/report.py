"""`multigrey report`: shows what greylisting did lately, in the terminal or as a page to mail."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multigrey.cli.client import EXIT_NO, ask, common_options, refuse, show
from multigrey.cli.common import Duration, moment
from multigrey.cli.tables import table
from multigrey.clock import Clock, SystemClock
from multigrey.text import printable

if TYPE_CHECKING:
    from rich.console import Console

from multigrey.cli.report_tables import (
    CLASS_HEADS,
    DELAY_HEADS,
    DUE_HEADS,
    FLOOD_HEADS,
    HIT_HEADS,
    LET_IN_HEADS,
    ONCE_HEADS,
    SENDER_HEADS,
    as_known,
    class_cells,
    delay_cells,
    due_cells,
    flood_cells,
    hit_cells,
    let_in_cells,
    once_cells,
    sender_cells,
    summary,
)

__all__ = ["report", "write_page"]


@click.command()
@click.option(
    "--since", type=Duration(), default="7d", show_default=True, help="How far to look back from now."
)
@click.option(
    "--html",
    "page",
    metavar="FILE",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="Write one self-contained page, to mail or to view; - is standard output.",
)
@click.option("--owner", metavar="NAME", help="Only the classes and whitelist entries of this owner.")
@click.option(
    "--rows", type=click.IntRange(1, 1000), default=20, show_default=True, help="Rows of each table, at most."
)
@click.option(
    "--limit",
    type=click.IntRange(1, 300_000),
    default=100_000,
    show_default=True,
    help="How many decisions to read for lists at most; the latest are taken.",
)
@common_options
@click.pass_obj
def report(
    clock: Clock | None,
    /,
    since: int,
    page: str | None,
    owner: str | None,
    rows: int,
    limit: int,
    config: Path | None,
    *,
    json_: bool,
) -> None:
    """Show what greylisting did lately, and what needs attention.

    The report shows how much mail was deferred, came back, still waits and never came back.  It shows the
    real delay of mail that came back (half of it waited at most p50, 95 of 100 mails at most p95), by kind of
    origin and for each [[class]] against its target.  It also lists: networks that flooded this host; how
    often providers that are known to retry passed at once; the sender domains that waited longest; whitelist
    entries that let mail pass, and those due for review, by owner; the origins with most attempts; first
    contacts that came once and never back, with the command that adds their origin to a whitelist; and
    advice.

    What never came back is known only of mail whose retry window is over, by the hour of its first attempt.
    Of later mail only what came back is known.

    A mail is what one sender sends to one recipient, from any client.  The command reads the history of this
    host only (see [history] in multigrey.toml(5)).  If there are more decisions than it reads (--limit),
    totals are the figures of whole hours, which are kept for 400 days and do not depend on the history; p50
    and p95 are then estimated.  Lists are of the decisions that were read.

    In tables, att stands for attempts, defer for mails that were deferred, back for those that came back,
    wait for those that still may, never for those that never did, and max for the longest delay.

    The page of --html is one file that includes its pictures.  It is put in place in one step.  A new file
    can be read only by you, because it names senders.

    Exit status: 0 when decisions were found, 1 when none was or the page cannot be written, 2 for a wrong
    command line or configuration, 3 without a daemon or its history, 4 when not allowed.
    """
    if page and json_:
        raise click.UsageError("--html and --json exclude each other")
    now = (clock or SystemClock()).now()
    options: dict[str, Any] = {"since": max(now - since, 0), "limit": limit, "rows": rows}
    if owner:
        options["owner"] = owner
    found = ask(config, "report", options)
    if page:
        from multigrey.cli.report_page import report_page

        _write(page, report_page(found))
    else:
        show(found, json_, render)
    if not found["traffic"]["decisions"]:
        if page or json_:
            click.echo("multigrey: the history holds no decision of this time", err=True)
        sys.exit(EXIT_NO)


def _write(page: str, text: str) -> None:
    if page == "-":
        click.echo(text, nl=False)
        return
    try:
        write_page(Path(page), text)
    except OSError as error:
        refuse(f"{page}: cannot be written: {error.strerror or error}")
    click.echo(f"multigrey: the report is in {page}", err=True)


def write_page(path: Path, text: str) -> None:
    """Write a file and put it in place in one step.  Raises OSError; then an old file is unchanged.

    An existing file keeps its mode, and a symbolic link stays a link.
    """
    path = Path(os.path.realpath(path))
    mode = None
    with suppress(FileNotFoundError):
        mode = path.stat().st_mode & 0o777
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            if mode is not None:
                os.fchmod(descriptor, mode)
            os.fsync(descriptor)  # before the rename: after a crash the path must never be an incomplete file
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


# --- in the terminal -------------------------------------------------------------------------------


def render(where: Console, found: Mapping[str, Any]) -> None:
    """Write a report as tables."""
    found = as_known(found)
    for line in _head(found):
        where.print(printable(line), soft_wrap=True)

    def show_table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]], order: str = "") -> None:
        if cells := list(rows):
            where.print(f"\n{title}", style="bold")
            where.print(table(heads, cells, where.width, texts=_TEXTS, spare=_SPARE, order=order))

    show_table("Over the limit of new records", FLOOD_HEADS, map(flood_cells, found["floods"]), "attempts")
    show_table("Providers that passed at once", LET_IN_HEADS, map(let_in_cells, found["let_in"]), "attempts")
    show_table("Delay by kind of origin", DELAY_HEADS, map(delay_cells, found["origins"]))
    show_table("Classes", CLASS_HEADS, map(class_cells, found["classes"]))
    waited, most = map(sender_cells, found["domains"]), map(sender_cells, found["top_origins"])
    show_table("Sender domains that waited longest", SENDER_HEADS, waited, "total wait")
    show_table("Origins with most attempts", SENDER_HEADS, most, "att")
    once = found["once"]
    show_table("First contacts that never came back", ONCE_HEADS, map(once_cells, once), "last")
    for command in [row["command"] for row in once if row["command"]][:_MOST_COMMANDS]:
        where.print(printable(f"wanted? {command}"), soft_wrap=True)
    show_table("Whitelist entries that let mail pass", HIT_HEADS, map(hit_cells, found["hits"]), "times")
    rows = [due_cells(group["owner"], row) for group in found["due"] for row in group["entries"]]
    show_table("Whitelist entries due for review", DUE_HEADS, rows)
    for problem in found["unreadable"]:
        where.print(printable(f"cannot be read: {problem}"), soft_wrap=True)
    if found["advice"]:
        where.print("\nAdvice", style="bold")
    for advice in found["advice"]:
        where.print(printable(f"- {advice}"), soft_wrap=True)


_MOST_COMMANDS = 10
_TEXTS = ("sender", "recipient", "class", "name", "where", "entry", "what")
_SPARE = ("origin", "wait", "max", "total wait", "att", "defer", "owner", "source", "to", "from")
"""Columns that are left out if the terminal is too narrow, in this order."""


def _head(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"From {moment(found['since']) or 'the beginning'} to {moment(found['time'])}"
    yield from summary(found)
