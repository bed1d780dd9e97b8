"""`multigrey compact` and `verify`: maintenance of the store."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multigrey.cli.client import EXIT_NO, ask, common_options, show, stream
from multigrey.text import counted

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["compact", "octets", "verify"]


@click.command()
@common_options
def compact(config: Path | None, json_: bool) -> None:
    """Return the free room in the store's file to the system.

    The daemon keeps answering meanwhile.  The file system needs room for a copy of the part in use.

    Exit status: 0 when done, 1 when it failed, 2 for a wrong configuration or command line, 3 when there is
    neither a daemon nor a store, 4 when not allowed.
    """
    show(ask(config, "compact", {}), json_, _show_compact)


def _show_compact(out: Console, result: Mapping[str, Any]) -> None:
    out.print(f"{octets(result['before'])} before, {octets(result['after'])} now")


@click.command()
@common_options
def verify(config: Path | None, json_: bool) -> None:
    """Read every row of the store, and show which are damaged.

    Such rows do no harm: their senders count as unknown.  After a downgrade, rows that the newer multigrey
    wrote are among them.  A process of its own reads the file first, because a damaged one may end its
    reader.  If it is damaged, the command says so, and the next start of the daemon saves what can be read.
    backup and compact do the same.

    Exit status: 0 when every row can be read, 1 when a row cannot or the file is damaged, 2 for a wrong
    configuration or command line, 3 when there is neither a daemon nor a store, 4 when not allowed.
    """
    result: Mapping[str, Any] = {}
    for item in stream(config, "verify", {}):
        if "progress" in item:
            _show_progress(item["progress"])
        else:
            result = item
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)
    show(result, json_, _show_verify)
    if result["unreadable"]:
        sys.exit(EXIT_NO)


def _show_progress(progress: Mapping[str, int]) -> None:
    if sys.stderr.isatty():
        share = 100 * progress["rows"] // max(progress["of"], 1)
        click.echo(f"\r{counted(progress['rows'], 'row')}, {share} %", nl=False, err=True)


def _show_verify(out: Console, result: Mapping[str, Any]) -> None:
    rows = ", ".join(f"{number} {name}" for name, number in result["rows"].items())
    out.print(f"{rows}: {result['unreadable'] or 'none'} cannot be read")
    for finding in result["findings"]:
        out.print(f"  {finding['table']} {finding['key']}: {finding['problem']}", soft_wrap=True)


def octets(number: float) -> str:
    """A size in octets as text, in the largest fitting unit."""
    value, unit = float(number), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
