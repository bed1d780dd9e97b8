"""`multigrey check-config` and `multigrey show-config`: the configuration the daemon would start with."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NoReturn

import click

from multigrey.clock import Clock, SystemClock
from multigrey.config.load import Loaded, load
from multigrey.config.show import as_json, as_toml
from multigrey.errors import ConfigError, Problem

__all__ = ["check_config", "config_option", "load_or_refuse", "show_config"]

EXIT_CONFIG = 2
_PATIENCE = 5.0
"""Seconds that a running daemon has to answer."""

config_option = click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path),
    help="The configuration file; by default /etc/multigrey/multigrey.toml, else multigrey/multigrey.toml "
    "in $XDG_CONFIG_HOME (~/.config), else built-in defaults.",
)


@click.command()
@config_option
@click.option("--json", "json_", is_flag=True, help="Write JSON: path, ok, problems and warnings.")
@click.pass_obj
def check_config(clock: Clock | None, /, config: Path | None, *, json_: bool) -> None:
    """Report everything that is wrong with the configuration.

    Its plugins and lists are checked too.  Problems and warnings go to standard error, one a line, as
    FILE:LINE: KEY: what is wrong and what is expected.  With --json they are part of the JSON on standard
    output.  The command opens no stores and changes nothing.  If a daemon runs that it may ask, the
    warnings say what a reload would refuse, because the daemon has confined itself: "restart needed".

    Exit status: 0 when the daemon would start with this configuration (perhaps with warnings), 2 when it
    would not.
    """
    from multigrey.config.origin_lists import outdated
    from multigrey.daemon.assembly import check

    path, warnings = config, list[str]()
    problems: Sequence[Problem]
    try:
        loaded = load(config, os.environ)
    except ConfigError as error:
        problems = error.problems
    else:
        path = loaded.path
        restart = _restart_needed(config, loaded)
        problems, found = check(loaded)
        warnings = [*map(str, loaded.warnings), *map(str, found), *map(str, restart)]
        if not problems:
            today = datetime.fromtimestamp((clock or SystemClock()).now(), UTC).date()
            warnings += outdated(loaded.settings.origin, today)
    if json_:
        _say_as_json(path, problems, warnings)
        sys.exit(EXIT_CONFIG if problems else 0)
    if problems:
        _refuse(problems)
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{path or 'built-in defaults'}: ok")


def _restart_needed(config: Path | None, loaded: Loaded) -> list[Problem]:
    """What a running daemon would refuse at a reload; nothing if none runs, or it may not be asked."""
    import trio

    from multigrey.control.client import ControlError, ask, load_as_daemon, socket_of
    from multigrey.daemon.confinement import restart_problems

    try:
        path = socket_of(load_as_daemon(config, os.environ).settings)
        told = None if path is None else trio.run(partial(ask, path, "status", {}, patience=_PATIENCE))
    except (ConfigError, ControlError):
        return []
    return [] if told is None else restart_problems(told.get("confinement"), loaded)


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
        click.echo(as_json(loaded))
        return
    click.echo(f"# multigrey's configuration in effect; file: {loaded.path or 'none, built-in defaults'}\n")
    click.echo(as_toml(loaded), nl=False)


def load_or_refuse(path: Path | None) -> Loaded:
    """The configuration; if it is wrong, print its problems and end with status 2."""
    try:
        return load(path, os.environ)
    except ConfigError as error:
        _refuse(error.problems)


def _refuse(problems: Sequence[Problem]) -> NoReturn:
    for problem in problems:
        click.echo(str(problem), err=True)
    sys.exit(EXIT_CONFIG)


def _say_as_json(path: Path | None, problems: Sequence[Problem], warnings: Sequence[str]) -> None:
    told = {
        "path": None if path is None else str(path),
        "ok": not problems,
        "problems": [asdict(problem) for problem in problems],
        "warnings": list(warnings),
    }
    click.echo(json.dumps(told, indent=2))
