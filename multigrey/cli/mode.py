"""Commands that change the daemon as a whole, and that look after its store."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multigrey.cli.client import EXIT_NO, EXIT_NO_DAEMON, AskError, ask, common_options, show
from multigrey.cli.common import Duration

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["mode", "relax", "reload", "tighten"]

_CONFIGURED = "configured"


@click.command()
@common_options
def reload(config: Path | None, json_: bool) -> None:
    """Read the configuration, lists and plugins again, and say what changed.

    When something is wrong the daemon goes on with what it has, and every problem is told.  The same
    happens at SIGHUP, only that the problems are in the log.

    Exit status: 0 when the daemon works with what it read, 1 when it refused it, 3 when no daemon
    answers, 4 when you may not.
    """
    try:
        result = ask(config, "reload", {})
    except AskError as error:
        if error.exit_code != EXIT_NO:
            raise
        raise AskError(f"{error.message}\nrefused: the daemon goes on with what it had") from error
    show(result, json_, _show_reload)


def _show_reload(out: Console, result: Mapping[str, Any]) -> None:
    from multigrey.text import printable

    out.print(f"reloaded {result['config'] or 'built-in defaults'}", soft_wrap=True)
    for change in result["changed"]:
        old, new = (_value(change[when]) for when in ("old", "new"))
        out.print(printable(f"  {change['key']}: {old} -> {new}"), soft_wrap=True)
    for row in result["lists"]:
        before = "new" if row["before"] is None else f"{row['before']} before"
        out.print(
            printable(f"  whitelist {row['list']}: {row['entries']} entries ({before})"), soft_wrap=True
        )
    for name in result["lists_gone"]:
        out.print(printable(f"  whitelist {name}: no longer used"), soft_wrap=True)
    if not (result["changed"] or result["lists"] or result["lists_gone"]):
        out.print("  nothing changed")
    for name in result["needs_restart"]:
        out.print(f"  {name}: takes effect after a restart only")
    for warning in result["warnings"]:
        out.print(printable(f"  warning: {warning}"), soft_wrap=True)


def _value(value: object) -> str:
    if value is None:
        return "(not set)"
    return str(value)


def _override(config: Path | None, json_: bool, slot: str, word: str | None, seconds: int | None) -> None:
    options = {"slot": slot} if word is None else {"slot": slot, "word": word, "seconds": seconds}
    show(ask(config, "override", options), json_, _show_override)


def _show_override(out: Console, result: Mapping[str, Any]) -> None:
    if (override := result.get("override")) is not None:
        until = datetime.fromtimestamp(override["until"]).astimezone()
        out.print(
            f"{override['slot']}: {override['word']} until {until:%Y-%m-%d %H:%M:%S}, "
            f"asked by {override['by']}",
            soft_wrap=True,
        )
    elif (ended := result["ended"]) is not None:
        out.print(f"{ended['slot']}: no longer {ended['word']}; the configuration holds again")
    else:
        out.print("there was nothing to end; the configuration holds")


_for_a_day = click.option(
    "--for", "duration", type=Duration(least=1), default="1d", show_default=True, help="How long, as in 7d."
)
_for_hours = click.option(
    "--for", "duration", type=Duration(least=1), default="2h", show_default=True, help="How long, as in 30m."
)
_end = click.option("--end", is_flag=True, help="End it now.")


@click.command()
@click.argument("word", type=click.Choice(["enforce", "observe", "off", _CONFIGURED]), required=False)
@_for_a_day
@common_options
def mode(config: Path | None, json_: bool, word: str | None, duration: int) -> None:
    """Let another mode hold for a while, instead of the one in the configuration.

    enforce defers, observe lets everybody pass and logs what would have been, off does nothing at all;
    configured goes back to the configuration at once.  It survives a restart of the daemon, shows in
    status and in the log, and ends by itself.  Without a word: say which mode is in effect.

    Exit status: 0 when it holds, 1 when it was refused, 3 when no daemon answers (without a word it is
    told what would be in effect), 4 when you may not.
    """
    if word is None:
        told = ask(config, "status", {})
        show({name: told[name] for name in ("running", "mode", "overrides")}, json_, _show_mode)
        if not told["running"]:
            sys.exit(EXIT_NO_DAEMON)
        return
    _override(config, json_, "mode", None if word == _CONFIGURED else word, duration)


def _show_mode(out: Console, told: Mapping[str, Any]) -> None:
    mode = told["mode"]
    for override in told["overrides"]:
        if override["slot"] == "mode":
            _show_override(out, {"override": override})
            out.print(f"configured: {mode['configured']}")
            return
    out.print(f"mode: {mode['in_effect']}, as configured")


@click.command()
@_for_hours
@_end
@common_options
def tighten(config: Path | None, json_: bool, duration: int, *, end: bool) -> None:
    """Make it harder for new senders, during a spike of abuse.

    Delays double, clients without a trustworthy name wait a quarter of an hour at least, and providers
    that are known to retry are delayed like others.  Records that exist keep their delay, rules keep
    theirs, and whoever is known or proven goes on passing.  It takes the place of relax, survives a
    restart, shows in status, and ends by itself.

    Exit status: 0 when it holds, 1 when it was refused, 3 when no daemon answers, 4 when you may not.
    """
    _override(config, json_, "pressure", None if end else "tighten", duration)


@click.command()
@_for_hours
@_end
@common_options
def relax(config: Path | None, json_: bool, duration: int, *, end: bool) -> None:
    """Make it easier for new senders, when too much wanted mail waits.

    Clients without a trustworthy name wait no longer than others do (delay of the configuration instead
    of unnamed_delay), and impatient ones are not made to wait longer.  It takes the place of tighten,
    survives a restart, shows in status, and ends by itself.

    Exit status: 0 when it holds, 1 when it was refused, 3 when no daemon answers, 4 when you may not.
    """
    _override(config, json_, "pressure", None if end else "relax", duration)
