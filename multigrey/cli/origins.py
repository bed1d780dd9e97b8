"""`multigrey origins`: shows and forgets what origins are trusted for."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multigrey.cli.client import EXIT_NO, ask, common_options, console, show, show_item, stream
from multigrey.cli.common import given, trust_lines
from multigrey.cli.tables import table
from multigrey.text import counted, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["origins"]

_COLUMNS = ("ORIGIN", "PROVEN", "RETURNED", "DOMAINS", "TRUSTED FOR")
_HEADS = ("PROVIDER", "DATE", "REASON AND SOURCE")


@click.group()
def origins() -> None:
    """Show and forget what origins are trusted for.

    An origin is trusted for mail from one sender domain (auto_whitelist_after), or, with a name, as a
    whole (prove_origins); see multigrey.toml(5).

    Exit status: 0 on success; the help of each command lists its other numbers.
    """


@origins.command("list")
@click.option("--origin", metavar="NAME", help="Only this origin: a domain and all below it, or a network.")
@click.option("--domain", metavar="NAME", help="Only this sender domain, and all below it.")
@click.option("--trusted", is_flag=True, help="Only origins that are trusted now.")
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, help="How many at most."
)
@common_options
def list_command(config: Path | None, limit: int, *, json_: bool, **options: Any) -> None:
    """List the origins that have a reputation or trust.

    PROVEN: whether it is trusted as a whole.  RETURNED: how many of its resolved deferrals came back, and
    DOMAINS: from how many sender domains.  TRUSTED FOR: for mail of how many of the sender domains known
    here it is trusted.  multigrey origins show says in sentences what these figures mean for one origin.

    The store knows origins by digests and takes their names from records.  So origins without any record are
    only counted.  With --json each origin is one line.

    Exit status: 0 when there are some, 1 when there is none, 2 for a wrong command line or configuration,
    3 without a daemon or its store, 4 when not allowed.
    """
    end: Mapping[str, Any] = {"time": 0}
    rows: list[tuple[str, ...]] = []
    for item in stream(config, "origins.list", {**given(**options), "limit": limit}):
        if "origins" not in item:
            end = item
        for row in item.get("origins", ()):
            rows.append(_cells(row))
            if json_:
                show_item(row, json_, _render_origin)
    if rows and not json_:
        where = console()
        where.print(table(_COLUMNS, rows, where.width, texts=_COLUMNS[:1]))
    _end(end, json_=json_)
    if not rows:
        sys.exit(EXIT_NO)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """An origin as a row of the list; multigrey origins show says the same in sentences."""
    standing, trusted = row["standing"], [each["trusted"] for each in row["domains"]]
    figures = ("", "", "")
    if standing is not None:
        proven = "-" if standing["needed"] is None else "yes" if standing["proven"] else "no"
        returned = f"{standing['returned']} of {standing['resolved']}"
        figures = (proven, returned, str(standing["domains"]))
    return (row["origin"], *figures, f"{sum(trusted)} of {len(trusted)}")


def _end(end: Mapping[str, Any], *, json_: bool) -> None:
    if not end.get("number"):
        click.echo("no such origin found", err=True)
    if end.get("nameless"):
        theirs = counted(end["nameless"], "entry belongs", "entries belong")
        click.echo(f"{theirs} to origins that no record names any more", err=True)
    if end.get("more") and not json_:
        click.echo("more origins were found than are shown; see --limit, --origin and --domain", err=True)


@origins.command("show")
@click.argument("origin")
@click.option("--domain", metavar="NAME", help="Only this sender domain; by default all that records name.")
@common_options
def show_command(origin: str, config: Path | None, domain: str | None, *, json_: bool) -> None:
    """Show what an origin is trusted for, and why.

    ORIGIN is a registered domain, or the address or network of a client.

    Exit status: 0 when something is known, 1 when nothing is, 2 for a wrong command line or
    configuration, 3 without a daemon or its store, 4 when not allowed.
    """
    result = ask(config, "origins.show", given(origin=origin, domain=domain))
    show(result, json_, lambda where, told: _render_origin(where, told["origin"]))
    if result["origin"]["standing"] is None and not result["origin"]["domains"]:
        sys.exit(EXIT_NO)


@origins.command("forget")
@click.argument("origin")
@click.option("--domain", metavar="NAME", help="Only the trust for this sender domain.")
@click.option("--dry-run", is_flag=True, help="Only count what would be forgotten.")
@common_options
def forget_command(
    origin: str, config: Path | None, domain: str | None, *, dry_run: bool, json_: bool
) -> None:
    """Forget what an origin is trusted for.

    It is forgotten for ORIGIN as a whole, and for each sender domain that records name.  Its records stay:
    known senders still pass (see multigrey records forget).

    Exit status: 0 when something was forgotten, 1 when nothing was known, 2 for a wrong command line or
    configuration, 3 without a daemon or its store, 4 when not allowed.
    """
    result = ask(config, "origins.forget", given(origin=origin, domain=domain, dry_run=dry_run))
    verb = "would be forgotten" if dry_run else "forgotten"
    show(
        result,
        json_,
        lambda where, told: where.print(f"{counted(told['keys'], 'entry', 'entries')} of trust {verb}"),
    )
    if not result["keys"]:
        sys.exit(EXIT_NO)


@origins.command("providers")
@click.option("--passing", is_flag=True, help="Only providers whose mail passes at once.")
@common_options
def providers_command(config: Path | None, *, passing: bool, json_: bool) -> None:
    """List the providers, and show whose mail passes at once.

    Each provider counts as one origin.  The command reads the list that comes with multigrey, and the file
    of [origin] providers_file, as they are now; a running daemon uses them as they were at its last reload.
    The date is that of the source. Mail of a provider passes at once if it is known to retry (retries =
    true), unless [origin] providers is greylist.  The other providers are only grouped.  With --json each
    provider is one line.

    Exit status: 0 when there are some, 1 when there is none, 2 for a wrong command line or configuration,
    3 without a daemon or its store, 4 when not allowed.
    """
    end: Mapping[str, Any] = {}
    rows: list[Mapping[str, Any]] = []
    for item in stream(config, "origins.providers", given(passing=passing)):
        rows += item.get("providers", ())
        end = item
    if json_:
        for row in rows:
            show_item(row, json_, _render_origin)
    else:
        _show_providers(rows, end)
    for warning in end.get("warnings", ()):
        click.echo(f"warning: {printable(warning)}", err=True)
    if not rows:
        click.echo("no provider passes at once", err=True)
        sys.exit(EXIT_NO)


def _show_providers(rows: Sequence[Mapping[str, Any]], end: Mapping[str, Any]) -> None:
    where = console()
    passing = [row for row in rows if row["passes"]]
    grouped = [row for row in rows if not row["passes"]]
    if passing:
        where.print(_providers("Pass at once: known to retry", passing, where.width))
    if passing and grouped:
        where.print()
    if grouped:
        why = "; [origin] providers is greylist" if end.get("setting") == "greylist" else ""
        where.print(_providers(f"Grouped only: delayed like others{why}", grouped, where.width))


def _providers(title: str, rows: Sequence[Mapping[str, Any]], room: int) -> Table:
    cells = [(row["provider"], row["date"] or "", _about(row)) for row in rows]
    return table(_HEADS, cells, room, texts=_HEADS[-1:], title=title)


def _about(row: Mapping[str, Any]) -> str:
    parts = [", ".join(row["hosts"]), row["reason"]]
    parts += [f"source: {row['source']}"] if row["source"] else []
    parts += [f"retries: {row['schedule']}"] if row["schedule"] else []
    return "; ".join(parts)


def _render_origin(where: Console, row: Mapping[str, Any]) -> None:
    where.print(printable(f"{row['origin']} ({'named' if row['named'] else 'unnamed'})"), soft_wrap=True)
    for line in trust_lines(row):
        where.print(printable(f"  {line}"), soft_wrap=True)
