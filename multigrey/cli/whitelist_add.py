"""`multigrey whitelist add`: adds an entry to a list file, and asks the daemon back whether it is in effect.

The command itself changes the file, with the rights of its user, because the daemon cannot write its
configuration.  Then the daemon reads its lists again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import click

from multigrey.cli.client import EXIT_NO, AskError, ask, common_options, show
from multigrey.cli.common import Duration
from multigrey.cli.whitelist_edit import (
    Day,
    changed_line,
    entry_row,
    file_option,
    match_options,
    refuse,
    reload,
    reload_option,
)
from multigrey.cli.whitelist_show import listed_entries
from multigrey.clock import Clock, SystemClock
from multigrey.config.list_files import is_list_name
from multigrey.config.load import Loaded, load
from multigrey.config.locate import quoted
from multigrey.errors import ConfigError, Problem
from multigrey.text import printable
from multigrey.whitelists.checks.coverage import covers
from multigrey.whitelists.checks.lint import LintedList, LintOutlook, lint
from multigrey.whitelists.edit import Edited, Value, rewrite, with_entry
from multigrey.whitelists.entry import ListedEntry
from multigrey.whitelists.list_source import SOURCE
from multigrey.whitelists.toml_entry import MATCH_KEYS

__all__ = ["add"]

_OWN_FILE = "local.toml"
"""The file for new entries in a directory."""
_DOUBTS = frozenset(
    ["host-only", "unverifiable", "loose-pattern", "public-suffix", "too-wide", "example", "dates"]
)
"""Findings of lint that are shown at once; the others are about owners and reviews."""
_MOST = 5
"""Superfluous entries that are named."""
_MODE = 0o755
"""Of a new directory: the daemon's user must be able to read it, and no other user may write to it."""


class Moment(click.ParamType[date]):
    """A day, or a time with its offset from UTC, in the form of list files."""

    name = "date or time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """See `click.ParamType.convert`."""
        if isinstance(value, date):
            return value
        try:
            return (
                date.fromisoformat(value)
                if len(value) <= 10
                else datetime.fromisoformat(value).astimezone(UTC)
            )
        except ValueError:
            self.fail(
                f"{value!r}: expected a date such as 2027-01-31 or time such as 2027-01-31T18:00Z", param, ctx
            )


@click.command("add")
@match_options
@click.option("--owner", help="Who is responsible for the entry; by default the owner of the list.")
@click.option("--reason", help="Why this mail must not be delayed.")
@click.option("--ticket", help="The ticket in which the entry was requested.")
@click.option("--review-by", type=Day(), metavar="DATE", help="The day by which the entry is to be reviewed.")
@click.option(
    "--for", "seconds", type=Duration(), help="How long the entry is valid, such as 2h; then it expires."
)
@click.option(
    "--until",
    type=Moment(),
    metavar="DATE|TIME",
    help="The last day on which the entry is valid (in UTC), or the time at which it expires.",
)
@file_option
@reload_option
@common_options
@click.pass_obj
def add(
    clock: Clock | None,
    /,
    config: Path | None,
    file: Path | None,
    seconds: int | None,
    until: date | None,
    *,
    no_reload: bool,
    json_: bool,
    **options: Any,
) -> None:
    """Add an entry to a whitelist.

    Mail that has all of the given properties is not delayed.  The command checks the whole file before it
    replaces it; comments, mode and owner of the file stay.  The entry goes to the end of the file, with
    today's date.  If the configuration names no list, the file is local.toml in the directory whitelists
    beside the configuration; the command makes both if need be.  Then the daemon reads its lists again, and
    is asked back whether the entry is in effect.

    Exit status: 0 when done (or when no daemon runs), 1 when the entry is not in effect, 2 when the entry or
    the list is wrong or cannot be changed, 4 when the daemon does not allow the reload.
    """
    values: dict[str, Value] = {key: value for key, value in options.items() if value is not None}
    if not values.keys() & {*MATCH_KEYS}:
        raise click.UsageError(f"expected at least one of {', '.join(_option(key) for key in MATCH_KEYS)}")
    if seconds is not None and until is not None:
        raise click.UsageError("--for and --until exclude each other")
    now = datetime.fromtimestamp((clock or SystemClock()).now(), UTC)
    values["added"] = now.date()
    if seconds is not None:
        values["expires"] = now + timedelta(seconds=seconds)
    elif until is not None:
        values["expires"] = until
    try:
        target = _target(load(config, os.environ), file)
        edited = _added(target, values)
    except ConfigError as error:
        refuse(error.problems)
    by, superfluous = _relations(config, edited.entry)
    doubts = _doubts(edited.entry, int(now.timestamp()))
    told = {"changed": "added", **entry_row(edited.entry)}
    told |= {"covered_by": by, "covers": superfluous, "doubts": doubts}
    code = reload(told, config, no_reload=no_reload)
    if code:
        told |= {"in_effect": False, "why": told["trouble"]}
    else:
        told |= _effect(told, edited.entry, config, int(now.timestamp()))
    show(told, json_, _render)
    if code or told["in_effect"] is False:
        sys.exit(code or EXIT_NO)


def _option(key: str) -> str:
    return f"--{key.replace('_', '-')}"


# --- the file --------------------------------------------------------------------------------------


class _Target(NamedTuple):
    """The file for a new entry."""

    path: Path
    owner: str = ""
    """The owner of entries without one."""
    new: Path | None = None
    """The directory to make before; None: it is there."""


def _target(loaded: Loaded, file: Path | None) -> _Target:
    """The file for new entries.  Raises ConfigError."""
    tables = [
        (table, loaded.origin_of(("whitelist", index)) == "default")
        for index, table in enumerate(loaded.settings.whitelist)
        if table.source == SOURCE and table.path is not None
    ]
    if file is not None:
        return _named(loaded, file.absolute())
    chosen = [table for table, default in tables if not default]
    if len(chosen) > 1:
        raise ConfigError(
            [Problem("", None, "whitelist", "several lists are configured: choose one with --file")]
        )
    if chosen and chosen[0].path is not None:
        path, owner = chosen[0].path, chosen[0].owner or ""
        return _Target(path / _OWN_FILE if path.is_dir() else path, owner)
    directory = loaded.lists_dir
    if directory is None:
        problem = "lists have no place without a configuration file: name one with --config"
        raise ConfigError([Problem("", None, "whitelist", problem)])
    return _Target(directory / _OWN_FILE, new=None if directory.is_dir() else directory)


def _named(loaded: Loaded, file: Path) -> _Target:
    """The file that the administrator has named.  Refuses one that the daemon would not read."""
    real = Path(os.path.realpath(file))
    for table in loaded.settings.whitelist:
        if table.path is None:
            continue
        place = Path(os.path.realpath(table.path))
        if place == real and table.source != SOURCE:
            problem = f"has source {table.source}, which is not edited by commands: add a line to it by hand"
            raise ConfigError([Problem(str(file), None, "", problem)])
        if table.source == SOURCE and place == real:
            return _Target(table.path, table.owner or "")
        if table.source == SOURCE and place == real.parent and table.path.is_dir() and _is_read(file):
            return _Target(table.path / file.name, table.owner or "")
    directory = loaded.lists_dir
    if directory is not None and Path(os.path.realpath(directory)) == real.parent and _is_read(file):
        return _Target(directory / file.name, new=None if directory.is_dir() else directory)
    config = loaded.path or "a configuration file (multigrey.toml)"
    problem = (
        "no list of the configuration names this file, so the entry would have no effect: leave out --file, "
        f"or add to {config}:"
    )
    lines = ["[[whitelist]]", f"source = {quoted(SOURCE)}", f"path = {quoted(str(file))}"]
    return refuse([Problem(str(file), None, "", problem)], more=lines)


def _is_read(file: Path) -> bool:
    """Whether a directory of lists would be read with a file of this name in it."""
    return file.suffix == ".toml" and is_list_name(file.name)


def _added(target: _Target, values: Mapping[str, Value]) -> Edited:
    """Add the entry to the file, in a new directory if need be.  Raises ConfigError, and has made nothing."""
    with_entry(target.path, "", values, target.owner)  # a wrong entry makes no directory
    if target.new is not None:
        try:
            _make(target.new)
        except OSError as error:
            reason = f"cannot be made: {error.strerror or error}"
            raise ConfigError([Problem(str(target.new), None, "", reason)]) from error
    return rewrite(target.path, lambda text: with_entry(target.path, text, values, target.owner), create=True)


def _make(directory: Path) -> None:
    """Make a directory and those above it, whatever the umask."""
    if not directory.parent.is_dir():
        _make(directory.parent)
    directory.mkdir()
    directory.chmod(_MODE)


# --- what is to be said of the entry ---------------------------------------------------------------


def _relations(config: Path | None, entry: ListedEntry) -> tuple[str | None, list[str]]:
    """FILE:LINE of an entry that covers this one, and of those that this one covers.

    None: no entry does.  Nothing is known of lists that cannot be read; the reload reports these.
    """
    by, superfluous = None, list[str]()
    try:
        for other in listed_entries(load(config, os.environ).settings):
            place = f"{other.path}:{other.line}"
            if not other.enabled or place == f"{entry.path}:{entry.line}":
                continue
            if by is None and other.until >= entry.until and covers(other.conditions, entry.conditions):
                by = place
            elif other.until <= entry.until and covers(entry.conditions, other.conditions):
                superfluous.append(place)
    except ConfigError:
        return by, superfluous
    return by, superfluous


def _doubts(entry: ListedEntry, now: int) -> list[str]:
    """What lint finds in the conditions of the entry."""
    from multigrey.config.origin_lists import registered_domain

    outlook = LintOutlook(now, registered_domain=registered_domain)
    found = lint([LintedList(entry.path, SOURCE, (entry,))], outlook)
    return [finding.message for finding in found if finding.kind in _DOUBTS]


# --- the daemon ------------------------------------------------------------------------------------


def _effect(
    told: Mapping[str, Any], entry: ListedEntry, config: Path | None, now: int
) -> Mapping[str, bool | str | None]:
    """Whether the daemon lets this mail pass now (None: not known), and why not."""
    if entry.until <= now:
        return {"in_effect": False, "why": "it has expired already"}
    if not told["reloaded"]:
        return {"in_effect": None, "why": told["trouble"] or "the daemon has not read it (--no-reload)"}
    question = {"file": str(entry.path), "line": entry.line, "entry": entry.text}
    try:
        answer = ask(config, "whitelist-loaded", question)
    except AskError as error:
        return {"in_effect": False, "why": f"the daemon does not say that it has the entry: {error.message}"}
    if answer["loaded"]:
        return {"in_effect": True, "why": None}
    with_file = f"started with {told['config']}" if told["config"] else "started without a configuration file"
    return {"in_effect": False, "why": f"{answer['why']} ({with_file})"}


def _render(console: Any, result: Mapping[str, Any]) -> None:
    lines = [changed_line(result)]
    if result["covered_by"]:
        lines.append(f"note: {result['covered_by']} already lets all of this mail pass")
    if result["covers"]:
        lines.append(f"note: it makes {', '.join(result['covers'][:_MOST])} superfluous")
    lines += [f"note: {doubt}" for doubt in result["doubts"]]
    if result["in_effect"]:
        lines.append("in effect: the daemon has read its lists again, and has this entry")
    elif result["in_effect"] is None:
        lines.append(f"not in effect yet: {result['why']}")
    else:
        lines.append(f"NOT in effect: {result['why']}")
    for line in lines:
        console.print(printable(line), soft_wrap=True)
