"""Commands that look after the store: `backup`, `compact` and `verify`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multigrey.cli.client import EXIT_NO, ask, common_options, show, stream

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["backup", "compact", "octets", "verify"]


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Take the place of a file that is there.")
@common_options
def backup(config: Path | None, json_: bool, path: Path, *, replace: bool) -> None:
    """Write a consistent copy of the store to PATH while the daemon goes on.

    The daemon's user writes it, so that user has to be allowed to (with the systemd unit that comes with
    multigrey: only below the state directory).  It is of no use without the site key beside the store:
    back that up too, once.  To restore, stop the daemon and put both in place as store.mdb and site.key,
    with no store.journal.* beside them.

    Exit status: 0 when it is complete, 1 when it could not be written, 3 when there is neither a daemon
    nor a store, 4 when you may not.
    """
    options = {"path": str(path.absolute()), "replace": replace}
    show(ask(config, "backup", options), json_, _show_backup)


def _show_backup(out: Console, result: Mapping[str, Any]) -> None:
    out.print(f"{result['path']}: {octets(result['size'])}", soft_wrap=True)
    out.print(f"it can only be read with the site key: keep a copy of {result['site_key']}", soft_wrap=True)


@click.command()
@common_options
def compact(config: Path | None, json_: bool) -> None:
    """Give the free room inside the store's file back to the file system.

    The daemon goes on answering meanwhile.  Needs room for a copy of what is in use.

    Exit status: 0 when it is done, 1 when it could not be, 3 when there is neither a daemon nor a store,
    4 when you may not.
    """
    show(ask(config, "compact", {}), json_, _show_compact)


def _show_compact(out: Console, result: Mapping[str, Any]) -> None:
    out.print(f"{octets(result['before'])} before, {octets(result['after'])} now")


@click.command()
@common_options
def verify(config: Path | None, json_: bool) -> None:
    """Read every row of the store, and say which of them cannot be understood.

    Such rows harm nobody: they count as unknown senders.  Rows of a newer multigrey are among them after
    a step back to an older one.

    Exit status: 0 when everything can be read, 1 when something cannot, 3 when there is neither a daemon
    nor a store, 4 when you may not.
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
        click.echo(f"\r{progress['rows']} rows, {share} %", nl=False, err=True)


def _show_verify(out: Console, result: Mapping[str, Any]) -> None:
    rows = ", ".join(f"{number} {name}" for name, number in result["rows"].items())
    out.print(f"{rows}: {result['unreadable'] or 'none'} cannot be read")
    for finding in result["findings"]:
        out.print(f"  {finding['table']} {finding['key']}: {finding['problem']}", soft_wrap=True)


def octets(number: float) -> str:
    """A size for people."""
    value, unit = float(number), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
