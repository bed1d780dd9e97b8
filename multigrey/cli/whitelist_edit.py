"""`multigrey whitelist remove` and `review`, and what `add` shares with them: they change list files.

Each change is one step, and comments stay.

The command itself changes the files, with the rights of its user, because the daemon cannot write its
configuration.  Then it asks the daemon to read its lists again.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

import click

from multigrey.cli.client import EXIT_CONFIG, EXIT_NO, EXIT_NO_DAEMON, AskError, ask, common_options, show
from multigrey.config.load import load
from multigrey.errors import AddressError, ConfigError, Problem
from multigrey.events.typed_address import read_address_or_domain
from multigrey.text import printable
from multigrey.whitelists.edit import entry_at, rewrite, with_entry, with_review, without_entry
from multigrey.whitelists.entry import ListedEntry
from multigrey.whitelists.list_source import SOURCE
from multigrey.whitelists.toml_entry import MATCH_KEYS, ListEntry, conditions_of
from multigrey.whitelists.toml_file import list_files, read_text, understood

__all__ = [
    "Day",
    "changed_line",
    "entry_row",
    "file_option",
    "match_options",
    "refuse",
    "reload",
    "reload_option",
    "remove",
    "review",
]

_PASTED = re.compile(r"[<>\s,;]|(?:to|from|sender|recipient)[=:]")
"""Signs that a matcher of addresses does not have."""


class Day(click.ParamType[date]):
    """A day in the form of list files."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """See `click.ParamType.convert`."""
        try:
            return value if isinstance(value, date) else date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r}: expected a date such as 2027-01-31", param, ctx)


class _Matcher(click.ParamType[str]):
    """What an entry says of an address: a pattern stays as it is, a pasted address is read."""

    name = "value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See `click.ParamType.convert`."""
        if value.startswith("/") or not _PASTED.search(value):
            return str(value)
        try:
            return read_address_or_domain(value)
        except AddressError as error:
            self.fail(str(error), param, ctx)


def match_options(command: Any) -> Any:
    """Give a command an option for each match key."""
    for key in reversed(MATCH_KEYS):
        text = ListEntry.model_fields[key].description or ""
        type_ = _Matcher() if key in {"sender", "recipient"} else click.STRING
        option = click.option(f"--{key.replace('_', '-')}", metavar="VALUE", type=type_, help=_first(text))
        command = option(command)
    return command


def _first(text: str) -> str:
    """The first sentence of a description."""
    return text.partition(".  ")[0].rstrip(".") + "."


file_option = click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The list file; by default the one of the configuration (local.toml in it, if it is a directory).",
)
reload_option = click.option("--no-reload", is_flag=True, help="Do not make the daemon read its lists again.")


# --- remove, review --------------------------------------------------------------------------------


@click.command("remove")
@click.argument("place", metavar="[FILE:LINE]", required=False)
@match_options
@file_option
@click.option("--comments", is_flag=True, help="Remove the comment lines directly above the entry too.")
@reload_option
@common_options
def remove(
    place: str | None,
    config: Path | None,
    file: Path | None,
    *,
    comments: bool,
    no_reload: bool,
    json_: bool,
    **options: Any,
) -> None:
    """Remove an entry from a whitelist.

    It is the one at FILE:LINE, or the one with exactly these conditions.  The log and every other command
    show entries as FILE:LINE.  FILE may also be only the name of a configured list, without its directory.
    Comments directly above the entry stay unless --comments is given.

    Exit status: 0 when done, 1 when the entry was not found or the daemon refuses what it read, 2 when the
    list is wrong or cannot be changed, 4 when the daemon does not allow the reload.
    """
    wanted = {key: value for key, value in options.items() if value is not None}
    if bool(place) is bool(wanted):
        raise click.UsageError("expected either FILE:LINE, or the conditions of the entry (--client ...)")
    try:
        if place:
            path, line = _place(config, place)
        else:
            path, line = _find(_files(config, file), wanted)
        edited = rewrite(
            path,
            lambda text: without_entry(path, text, entry_at(path, text, line), comments=comments),
        )
    except ConfigError as error:
        refuse(error.problems)
    told = {"changed": "removed", **entry_row(edited.entry)}
    finish(told, config, no_reload=no_reload, json_=json_)


@click.command("review")
@click.argument("place", metavar="FILE:LINE")
@click.option(
    "--until", type=Day(), metavar="DATE", required=True, help="The day by which the next review is due."
)
@reload_option
@common_options
def review(place: str, until: date, config: Path | None, *, no_reload: bool, json_: bool) -> None:
    """Note that an entry was reviewed and is still needed.

    The review_by of the entry at FILE:LINE becomes DATE.

    Exit status: 0 when done, 1 when the entry was not found or the daemon refuses what it read, 2 when the
    list is wrong or cannot be changed, 4 when the daemon does not allow the reload.
    """
    try:
        path, line = _place(config, place)
        edited = rewrite(path, lambda text: with_review(path, text, entry_at(path, text, line), until))
    except ConfigError as error:
        refuse(error.problems)
    told = {"changed": "reviewed", **entry_row(edited.entry)}
    finish(told, config, no_reload=no_reload, json_=json_)


def _files(config: Path | None, file: Path | None) -> list[Path]:
    """The list files that may be meant.  Raises ConfigError."""
    if file is not None:
        return [file.absolute()]
    tables = load(config, os.environ).settings.whitelist
    return [
        each
        for table in tables
        if table.source == SOURCE and table.path is not None
        for each in list_files(table.path)
    ]


def _place(config: Path | None, place: str) -> tuple[Path, int]:
    """The file and line in FILE:LINE; ends the command when no entry is there.  Raises ConfigError."""
    name, _, number = place.rpartition(":")
    if not name or not number.isascii() or not number.isdigit():
        raise click.UsageError(f"{place!r}: expected FILE:LINE")
    path = Path(name)
    if "/" not in name and not path.exists():
        found = [file for file in _files(config, None) if file.name == name]
        if len(found) > 1:
            raise click.UsageError(f"{name!r} may be {' or '.join(map(str, found))}")
        path = found[0] if found else path
    path = path.absolute()
    try:
        text = read_text(path)
        understood(path, text)
    except ConfigError as error:
        refuse(error.problems)
    try:
        entry_at(path, text, int(number))
    except ConfigError as error:
        refuse(error.problems, EXIT_NO)
    return path, int(number)


def _find(files: Sequence[Path], wanted: Mapping[str, Any]) -> tuple[Path, int]:
    """File and line of the one entry with exactly these conditions.  Raises ConfigError."""
    probe = ListEntry.model_validate({**wanted, "reason": "-"}) if _is_valid(wanted) else None
    found = [
        (path, entry.line or 0)
        for path in files
        for entry in understood(path, read_text(path)).entries
        if probe is not None and {*entry.conditions} == {*conditions_of(vars(probe))}
    ]
    if not found:
        refuse([Problem("", None, "whitelist", "no entry has exactly these conditions")], EXIT_NO)
    if len(found) > 1:
        places = ", ".join(f"{path}:{line}" for path, line in found)
        text = f"several entries have these conditions: {places}: choose one by FILE:LINE"
        refuse([Problem("", None, "whitelist", text)], EXIT_NO)
    return found[0]


def _is_valid(wanted: Mapping[str, Any]) -> bool:
    """Whether these values can stand in an entry.  Raises ConfigError when they cannot."""
    with_entry(Path("command line"), "", dict(wanted))
    return True


# --- reload and output -----------------------------------------------------------------------------


def entry_row(entry: ListedEntry) -> dict[str, Any]:
    """An entry and its place as JSON values."""
    return {
        "file": str(entry.path),
        "line": entry.line,
        "entry": entry.text,
        "owner": entry.owner or None,
        "expires": None if entry.expires is None else entry.expires.isoformat(),
        "review_by": None if entry.review_by is None else entry.review_by.isoformat(),
    }


def reload(told: dict[str, Any], config: Path | None, *, no_reload: bool) -> int:
    """Make the daemon read its lists again (unless `no_reload`); return the exit code.

    Adds whether it did, why not, and its configuration file.
    """
    told["reloaded"], told["trouble"], told["config"] = False, None, None
    if no_reload:
        return 0
    try:
        told["config"] = ask(config, "reload", {}).get("config")
    except AskError as error:
        told["trouble"] = error.message
        return 0 if error.exit_code == EXIT_NO_DAEMON else error.exit_code
    told["reloaded"] = True
    return 0


def finish(told: dict[str, Any], config: Path | None, *, no_reload: bool, json_: bool) -> None:
    """Make the daemon read its lists again (unless `no_reload`), and show what was done."""
    code = reload(told, config, no_reload=no_reload)
    show(told, json_, lambda console, result: _render(console, result, is_running=code != 0))
    if code:
        sys.exit(code)


def changed_line(result: Mapping[str, Any]) -> str:
    """What was changed, where, and how, as text."""
    place = f"{result['file']}:{result['line']}"
    extra = [f"{name} {result[name]}" for name in ("owner", "expires", "review_by") if result[name]]
    more = f" ({', '.join(extra)})" if extra else ""
    return printable(f"{result['changed']} {place}: {result['entry']}{more}")


def _render(console: Any, result: Mapping[str, Any], *, is_running: bool) -> None:
    console.print(changed_line(result), soft_wrap=True)
    if result["reloaded"]:
        console.print("the daemon has read its lists again")
    elif result["trouble"]:
        before = "the daemon did not accept the change: " if is_running else "not in use yet: "
        console.print(printable(before + result["trouble"]), soft_wrap=True)


def refuse(problems: Sequence[Problem], code: int = EXIT_CONFIG, more: Sequence[str] = ()) -> NoReturn:
    """End the command with the problems, and `more` lines, on standard error."""
    for problem in problems:
        where = str(problem) if problem.file else f"{problem.key}: {problem.message}"
        click.echo(printable(where), err=True)
    for line in more:
        click.echo(printable(line), err=True)
    sys.exit(code)
