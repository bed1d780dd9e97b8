"""`multigrey reload`, `mode`, `tighten` and `relax`: commands that change the daemon as a whole."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multigrey.cli.client import EXIT_NO, EXIT_NO_DAEMON, AskError, ask, common_options, show
from multigrey.cli.common import Duration, override_words
from multigrey.text import counted

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["mode", "relax", "reload", "tighten"]

_CONFIGURED = "configured"


@click.command()
@common_options
def reload(config: Path | None, json_: bool) -> None:
    """Make the daemon read its configuration and lists again.

    Plugins are loaded again too, and the command shows what changed.  If anything in them is wrong, the
    command shows every problem, and the daemon keeps what it has.  SIGHUP does the same, but writes the
    problems to the log.

    Exit status: 0 when the daemon uses what it read, 1 when it refused it, 2 for a wrong configuration or
    command line, 3 when no daemon answers, 4 when not allowed.
    """
    try:
        result = ask(config, "reload", {})
    except AskError as error:
        if error.exit_code != EXIT_NO:
            raise
        raise AskError(f"{error.message}\nreload refused: the daemon keeps its old configuration") from error
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
            printable(f"  whitelist {row['list']}: {counted(row['entries'], 'entry', 'entries')} ({before})"),
            soft_wrap=True,
        )
    for name in result["lists_gone"]:
        out.print(printable(f"  whitelist {name}: no longer used"), soft_wrap=True)
    if not (result["changed"] or result["lists"] or result["lists_gone"]):
        out.print("  nothing changed")
    for name in result["needs_restart"]:
        out.print(f"  {name}: takes effect only after a restart of the daemon")
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
            f"{override_words(override)} until {until:%Y-%m-%d %H:%M:%S}, set by {override['by']}",
            soft_wrap=True,
        )
    elif (ended := result["ended"]) is not None:
        out.print(f"{override_words(ended)} has ended; the configuration is in effect again")
    else:
        out.print("no override to end; the configuration is in effect")


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
    """Show the mode in effect, or override it for a while.

    enforce defers mail.  observe lets all mail pass and logs what would have been deferred.  off lets all
    mail pass and checks nothing.  configured ends the override at once.  Without a word the command shows
    the mode in effect.  An override survives a restart of the daemon, is shown by multigrey status and in
    the log, and ends by itself.

    Exit status: 0 when the override is set, 1 when it was refused, 2 for a wrong configuration or command
    line, 3 when no daemon answers (without a word the mode that would be in effect is shown), 4 when not
    allowed.
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
    """Delay new senders longer for a while, as in a flood of spam.

    Delays double, clients without a trustworthy name wait at least a quarter of an hour, and providers that
    are known to retry are delayed like others.  Existing records keep their delay, rules keep theirs, and
    known senders and proven origins still pass.  The override replaces relax, survives a restart, is shown
    by multigrey status, and ends by itself.

    Exit status: 0 when the override is set, 1 when it was refused, 2 for a wrong configuration or command
    line, 3 when no daemon answers, 4 when not allowed.
    """
    _override(config, json_, "pressure", None if end else "tighten", duration)


@click.command()
@_for_hours
@_end
@common_options
def relax(config: Path | None, json_: bool, duration: int, *, end: bool) -> None:
    """Delay new senders less for a while, if wanted mail waits.

    Clients without a trustworthy name wait only as long as others (delay of the configuration instead of
    unnamed_delay), and the delay of clients that retry too early does not grow.  The override replaces
    tighten, survives a restart, is shown by multigrey status, and ends by itself.

    Exit status: 0 when the override is set, 1 when it was refused, 2 for a wrong configuration or command
    line, 3 when no daemon answers, 4 when not allowed.
    """
    _override(config, json_, "pressure", None if end else "relax", duration)
