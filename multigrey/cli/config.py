"""`multigrey check-config` and `multigrey show-config`: the configuration the daemon would start with."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from multigrey.cli.client import json_text
from multigrey.clock import Clock, SystemClock
from multigrey.config.load import Loaded, load
from multigrey.config.show import as_plain, as_toml
from multigrey.errors import ConfigError, Problem
from multigrey.text import counted

if TYPE_CHECKING:
    from multigrey.daemon.preflight import Diagnosis, Preflight

__all__ = ["check_config", "config_option", "load_or_refuse", "show_config"]

EXIT_CONFIG = 2
_MORE = "there may be more: mend these first, because not everything could be looked at"
_MOST_COMPARED = 20_000
"""Whitelist entries; to compare more of them takes too long for every look at the configuration."""
_MOST = 10
"""Superfluous entries that are named."""

config_option = click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path),
    help="The configuration file; by default /etc/multigrey/multigrey.toml, else multigrey/multigrey.toml "
    "in $XDG_CONFIG_HOME (~/.config), else built-in defaults.",
)


@click.command()
@config_option
@click.option(
    "--as",
    "user",
    metavar="USER",
    help="Check as this user; by default, if root asks, as the one that the daemon runs as.",
)
@click.option(
    "--json",
    "json_",
    is_flag=True,
    help="Write JSON: path, ok, problems, warnings, as (the user), and complete (whether all was looked at).",
)
@click.pass_obj
def check_config(clock: Clock | None, /, config: Path | None, user: str | None, *, json_: bool) -> None:
    """Report everything that is wrong with the configuration.

    Its plugins and lists are checked too.  Problems and warnings go to standard error, one a line, as
    FILE:LINE: KEY: what is wrong and what is expected.  With --json they are part of the JSON on standard
    output.  The command opens no stores and changes nothing.

    What counts is what the daemon's user can read, write and import.  So root checks as this user: the one
    that --as names, else user in the configuration, User= of the installed unit, or the owner of the state
    directory.  Where the unit lets the daemon write is checked too.  If a daemon runs that it may ask, the
    warnings say what a reload would refuse, because the daemon has confined itself: "restart needed".

    Exit status: 0 when the daemon would start with this configuration (perhaps with warnings), 2 when it
    would not.
    """
    from multigrey.daemon.preflight import examine, plan
    from multigrey.daemon.privileges import PrivilegeError
    from multigrey.daemon.systemd import find_unit

    try:
        made = plan(config, os.environ, user, find_unit())
    except PrivilegeError as error:
        raise click.UsageError(f"--as: {error}") from None
    found = examine(made, os.environ, (clock or SystemClock()).now())
    if not found.problems:
        found = replace(found, warnings=(*found.warnings, *_superfluous(config)))
    if json_:
        _say_as_json(found, made.user)
        sys.exit(EXIT_CONFIG if found.problems else 0)
    if found.problems:
        more = [] if found.looked_at_all else [_MORE]
        _refuse([*found.problems, *more])
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{found.path or 'built-in defaults'}: ok{_as_whom(made)}")


def _as_whom(made: Preflight) -> str:
    """As whom the check was made, if that has to be said."""
    if made.identity is not None:
        return f" (as {made.user})"
    if made.known:
        return ""
    return f" for {made.user}, but that is not known to be the daemon's user: see --as"


def _superfluous(config: Path | None) -> list[str]:
    """Whitelist entries that another one covers."""
    from multigrey.cli.whitelist_show import listed_entries
    from multigrey.whitelists.checks.coverage import covered

    try:
        listed = listed_entries(load(config, os.environ).settings)
        entries = [entry for entry in islice(listed, _MOST_COMPARED + 1) if entry.enabled]
    except ConfigError:  # it has just been read without a fault, and is being changed
        return []
    if len(entries) > _MOST_COMPARED:
        return [f"more than {_MOST_COMPARED} whitelist entries: multigrey whitelist lint compares them"]
    found = [
        f"{each.entry.path}:{each.entry.line}: {each.entry.text} is covered by "
        f"{each.by.path}:{each.by.line} ({each.by.text}): remove one of them"
        for each in covered(entries)
    ]
    if len(found) <= _MOST:
        return found
    more = counted(len(found) - _MOST, "more whitelist entry", "more whitelist entries")
    return [*found[:_MOST], f"others cover {more}: see multigrey whitelist lint"]


@click.command()
@config_option
@click.option("--json", "json_", is_flag=True, help="Write JSON: path, settings, and the origin of each key.")
def show_config(config: Path | None, *, json_: bool) -> None:
    """Print the configuration in effect, and where it comes from.

    The output is TOML and can itself be used as a configuration.

    Exit status: 0, or 2 when the configuration is wrong (the problems go to standard error).
    """
    loaded = load_or_refuse(config)
    if json_:
        click.echo(json_text(as_plain(loaded), indent=2))
        return
    click.echo(f"# multigrey's configuration in effect; file: {loaded.path or 'none, built-in defaults'}\n")
    click.echo(as_toml(loaded), nl=False)


def load_or_refuse(path: Path | None) -> Loaded:
    """The configuration; if it is wrong, print its problems and end with status 2."""
    try:
        return load(path, os.environ)
    except ConfigError as error:
        _refuse(error.problems)


def _refuse(problems: Sequence[Problem | str]) -> NoReturn:
    for problem in problems:
        click.echo(str(problem), err=True)
    sys.exit(EXIT_CONFIG)


def _say_as_json(found: Diagnosis, user: str) -> None:
    told = {
        "path": found.path,
        "ok": not found.problems,
        "problems": [asdict(problem) for problem in found.problems],
        "warnings": list(found.warnings),
        "as": user,
        "complete": found.complete,
    }
    click.echo(json_text(told, indent=2))
