"""`multigrey origins`: who sends, and what they are trusted for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multigrey.cli.asking import EXIT_NO, ask, common_options, show, show_item, stream
from multigrey.cli.recorded import given, trust_lines
from multigrey.logline import printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["origins"]


@click.group()
def origins() -> None:
    """Look at who sends, and what they are trusted for.

    An origin is trusted for mail from one sender domain (auto_whitelist_after), or, with a name, as a
    whole (prove_origins); see multigrey.toml(5).

    Exit status: 0 when all went well; other numbers are told in the help of each command.
    """


@origins.command("list")
@click.option("--origin", metavar="NAME", help="Only this origin: a domain and all below it, or a network.")
@click.option("--domain", metavar="NAME", help="Only with this sender domain, and all below it.")
@click.option("--trusted", is_flag=True, help="Only those that are trusted now.")
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, help="How many at most."
)
@common_options
def list_command(config: Path | None, limit: int, *, json_: bool, **options: Any) -> None:
    """Show origins of which more is known than their records, with the figures their trust is made of.

    The store knows origins by digests; their names are taken from records, so an origin without any
    record is only counted.  With --json each origin is one line.

    Exit status: 0 when there are some, 1 when there is none, 2 for a wrong command line or configuration,
    3 without a daemon or its store, 4 when not allowed.
    """
    end: Mapping[str, Any] = {"time": 0}
    number = 0
    for item in stream(config, "origins.list", {**given(**options), "limit": limit}):
        if "origins" not in item:
            end = item
            continue
        for row in item["origins"]:
            number += 1
            show_item(row, json_, _render_origin)
    _end(end, json_=json_)
    if not number:
        sys.exit(EXIT_NO)


def _end(end: Mapping[str, Any], *, json_: bool) -> None:
    if not end.get("number"):
        click.echo("nothing is known of any such origin", err=True)
    if end.get("nameless"):
        click.echo(f"{end['nameless']} entries belong to origins that no record names any more", err=True)
    if end.get("more") and not json_:
        click.echo("there are more; see --limit, --origin and --domain", err=True)


@origins.command("show")
@click.argument("origin")
@click.option("--domain", metavar="NAME", help="With this sender domain; by default all that records name.")
@common_options
def show_command(origin: str, config: Path | None, domain: str | None, *, json_: bool) -> None:
    """Show what ORIGIN is trusted for: a registered domain, or the address or network of a client.

    Exit status: 0 when something is known, 1 when nothing is, 2 for a wrong command line or
    configuration, 3 without a daemon or its store, 4 when not allowed.
    """
    result = ask(config, "origins.show", given(origin=origin, domain=domain))
    show(result, json_, lambda where, told: _render_origin(where, told["origin"]))
    if result["origin"]["standing"] is None and not result["origin"]["domains"]:
        sys.exit(EXIT_NO)


@origins.command("forget")
@click.argument("origin")
@click.option("--domain", metavar="NAME", help="Only what it is trusted for with this sender domain.")
@click.option("--dry-run", is_flag=True, help="Only count what would be forgotten.")
@common_options
def forget_command(
    origin: str, config: Path | None, domain: str | None, *, dry_run: bool, json_: bool
) -> None:
    """Forget what ORIGIN is trusted for, as a whole and with each sender domain that records name.

    Its records stay: senders that are known go on passing (see multigrey records forget).

    Exit status: 0 when something was forgotten, 1 when nothing was known, 2 for a wrong command line or
    configuration, 3 without a daemon or its store, 4 when not allowed.
    """
    result = ask(config, "origins.forget", given(origin=origin, domain=domain, dry_run=dry_run))
    verb = "would be forgotten" if dry_run else "forgotten"
    show(result, json_, lambda where, told: where.print(f"{told['keys']} entries of trust {verb}"))
    if not result["keys"]:
        sys.exit(EXIT_NO)


def _render_origin(where: Console, row: Mapping[str, Any]) -> None:
    where.print(printable(f"{row['origin']} ({'named' if row['named'] else 'unnamed'})"), soft_wrap=True)
    for line in trust_lines(row):
        where.print(printable(f"  {line}"), soft_wrap=True)
