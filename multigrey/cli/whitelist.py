"""`multigrey whitelist`: the group of its commands, and `lint`, which finds entries that need attention."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import click

from multigrey.cli.client import json_text
from multigrey.cli.common import Duration
from multigrey.cli.whitelist_add import add
from multigrey.cli.whitelist_edit import remove, review
from multigrey.cli.whitelist_show import list_command, test_command
from multigrey.clock import Clock, SystemClock
from multigrey.config.load import Loaded, load
from multigrey.config.settings import Settings
from multigrey.contracts import SourceOptions
from multigrey.errors import ConfigError, Problem, StoreError
from multigrey.text import counted, printable
from multigrey.whitelists.checks.lint import Finding, HitRecords, LintedList, LintOutlook, lint
from multigrey.whitelists.list_source import SOURCE

__all__ = ["whitelist"]

EXIT_FINDINGS = 1
EXIT_CONFIG = 2


class _Table(NamedTuple):
    """A `[[whitelist]]` table."""

    source: str
    path: Path | None
    owner: str = ""


class _Gathered(NamedTuple):
    """The lists to check."""

    lists: Sequence[LintedList]
    skipped: Sequence[str]
    """Sources of plugins, whose entries cannot be read."""


@click.group(commands=[list_command, test_command, add, remove, review])
def whitelist() -> None:
    """Show, check and change whitelists.

    Exit status: 0 on success; the help of each command lists its other numbers.
    """


@whitelist.command("lint")
@click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path),
    help="The configuration file whose lists are checked; by default the one that check-config takes.",
)
@click.option(
    "--within",
    type=Duration(),
    default="30d",
    show_default=True,
    help="How long in advance to report that an entry expires or is due for review.",
)
@click.option(
    "--unused",
    type=Duration(),
    default="180d",
    show_default=True,
    help="How long an entry has to be without a match to be reported as unused.",
)
@click.option("--owner", help="Only findings about entries of this owner.")
@click.option("--json", "json_", is_flag=True, help="Write JSON: time, hits, lists and findings.")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.pass_obj
def lint_command(
    clock: Clock | None,
    config: Path | None,
    within: int,
    unused: int,
    owner: str | None,
    paths: Sequence[Path],
    *,
    json_: bool,
) -> None:
    """Find whitelist entries that need attention, grouped by owner.

    The command checks the lists of the configuration, or PATHS: TOML lists, or directories of them, that need
    not be in use.  It changes nothing.  Findings are warnings or notes; multigrey-whitelists(5) explains
    each.  How often entries matched is read from the store; only its owner and root can read it.  The command
    reads files and asks no daemon, so the state directory is that of the configuration.

    Exit status: 0 without warnings (perhaps with notes), 1 with warnings, 2 when the configuration or a list
    is wrong or cannot be read.
    """
    try:
        loaded = load(config, os.environ)
        gathered = _given(paths) if paths else _configured(loaded)
        outlook, unknown = _outlook(loaded.settings, (clock or SystemClock()).now(), within, unused)
    except ConfigError as error:
        _refuse(error.problems)
    findings = lint(gathered.lists, outlook)
    if owner is not None:
        findings = [finding for finding in findings if finding.owner == owner]
    if json_:
        click.echo(_as_json(gathered, findings, outlook, unknown))
    else:
        for line in _as_text(gathered, findings, outlook, unknown):
            click.echo(printable(line))
    if any(finding.severity == "warning" for finding in findings):
        sys.exit(EXIT_FINDINGS)


def _refuse(problems: Sequence[Problem]) -> NoReturn:
    for problem in problems:
        click.echo(str(problem), err=True)
    sys.exit(EXIT_CONFIG)


# --- lists -----------------------------------------------------------------------------------------


def _given(paths: Iterable[Path]) -> _Gathered:
    """The TOML lists at these paths; the configuration need not name them.  Raises ConfigError."""
    return _gather(_Table(SOURCE, path.absolute()) for path in paths)


def _configured(loaded: Loaded) -> _Gathered:
    """The lists of a configuration.  Raises ConfigError."""
    from multigrey.whitelists.toml_file import ignored_files

    tables, directory = loaded.settings.whitelist, loaded.lists_dir
    found = _gather(_Table(each.source, each.path, each.owner or "") for each in tables)
    if directory is None or directory in {each.path for each in tables}:
        return found
    ignored = tuple(ignored_files(directory, default=True))
    more = [LintedList(directory, SOURCE, ignored=ignored)] if ignored else []
    return found._replace(lists=[*found.lists, *more])


def _gather(tables: Iterable[_Table]) -> _Gathered:
    lists: list[LintedList] = []
    skipped: list[str] = []
    problems: list[Problem] = []
    for table in tables:
        try:
            found = list(_read(table))
        except ConfigError as error:
            problems += error.problems
            continue
        lists += found
        if not found and table.source not in {SOURCE, *_POSTGREY}:
            skipped.append(table.source)
    if problems:
        raise ConfigError(problems)
    return _Gathered(lists, skipped)


_POSTGREY = ("postgrey-clients", "postgrey-recipients")


def _read(table: _Table) -> Iterator[LintedList]:
    """The lists of a `[[whitelist]]` table; none if its source belongs to a plugin.  Raises ConfigError."""
    from multigrey.whitelists.postgrey import postgrey_entries
    from multigrey.whitelists.toml_file import ignored_files, read_lists

    source, path, owner = table
    if source not in {SOURCE, *_POSTGREY}:
        return
    if path is None:
        raise ConfigError([Problem("", None, "whitelist.path", f"source {source} needs a path")])
    if source == SOURCE:
        ignored = tuple(ignored_files(path))
        for each in read_lists(path, owner):
            yield LintedList(each.path, source, each.entries, each.owner, ignored=ignored)
            ignored = ()
        if ignored:
            yield LintedList(path, source, (), owner, ignored=ignored)
    else:
        entries, unusable = postgrey_entries(SourceOptions(path, owner), source)
        yield LintedList(path, source, tuple(entries), owner, unusable, dated=False)


def _outlook(settings: Settings, now: int, within: int, unused: int) -> tuple[LintOutlook, str]:
    """The values that `lint` compares entries with, and why hits are not known ("" if they are)."""
    from multigrey.config.origin_lists import load_origins, registered_domain
    from multigrey.identity.origin import Naming
    from multigrey.model import Attempt
    from multigrey.whitelists.list_source import entry_hit_name

    origins = load_origins(settings.origin)
    nobody = IPv4Address("192.0.2.1")

    def shared_host(name: str) -> bool:
        host = f"mail.{name}"
        attempt = Attempt("", nobody, client_name=host, helo=host, sender="", recipient="")
        return origins.explained(attempt, "").naming is Naming.SHARED

    hits, unknown = _hits(settings)
    return LintOutlook(now, within, unused, registered_domain, shared_host, hits, entry_hit_name), unknown


def _hits(settings: Settings) -> tuple[HitRecords | None, str]:
    from multigrey.background.hits import read_hits

    if settings.store.backend != "lmdb":
        return None, f"only a store of kind lmdb can be read, not {settings.store.backend}"
    try:
        hits = read_hits(settings.state_dir)
    except StoreError as error:
        return None, str(error)
    return hits, "" if hits else "none were counted yet"


# --- output ----------------------------------------------------------------------------------------


def _as_text(
    gathered: _Gathered, findings: Sequence[Finding], outlook: LintOutlook, unknown: str
) -> Iterator[str]:
    """The findings by owner, those without an owner last; then the lists."""
    for owner in sorted({finding.owner for finding in findings}, key=lambda owner: (not owner, owner)):
        yield owner or "(no owner)"
        theirs = [finding for finding in findings if finding.owner == owner]
        width = max(len(finding.kind) for finding in theirs)
        for finding in theirs:
            what = f"{finding.entry}: {finding.message}" if finding.entry else finding.message
            yield f"  {finding.severity:7}  {finding.kind:{width}}  {_place(finding)}: {what}"
        yield ""
    for each in gathered.lists:
        newest = "" if each.newest is None else f", the newest added on {each.newest}"
        used = sum(entry.enabled and outlook.now < entry.until for entry in each.entries)
        entries = counted(len(each.entries), "entry", "entries")
        yield f"{each.path} ({each.source}): {used} of {entries} in use{newest}"
    for source in gathered.skipped:
        yield f"source {source} belongs to a plugin and is not checked"
    if not gathered.lists and not gathered.skipped:
        yield "no whitelists are configured"
    since = "not known" if outlook.hits is None else f"counted since {_moment(outlook.hits.since)}"
    yield f"hits: {since}{f': {unknown}' if unknown else ''}"
    warnings = sum(finding.severity == "warning" for finding in findings)
    yield f"{counted(warnings, 'warning')}, {counted(len(findings) - warnings, 'note')}"


def _place(finding: Finding) -> str:
    return f"{finding.path}:{finding.line}" if finding.line else str(finding.path)


def _moment(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}Z"


def _as_json(gathered: _Gathered, findings: Sequence[Finding], outlook: LintOutlook, unknown: str) -> str:
    told = {
        "time": outlook.now,
        "hits": {
            "since": None if outlook.hits is None else outlook.hits.since,
            "unknown": unknown or None,
        },
        "lists": [_list_as_json(each, outlook) for each in gathered.lists],
        "skipped": list(gathered.skipped),
        "findings": [
            {
                "kind": finding.kind,
                "severity": finding.severity,
                "file": str(finding.path),
                "line": finding.line,
                "owner": finding.owner or None,
                "entry": finding.entry or None,
                "message": finding.message,
            }
            for finding in findings
        ],
    }
    return json_text(told, indent=2)


def _list_as_json(each: LintedList, outlook: LintOutlook) -> dict[str, Any]:
    return {
        "file": str(each.path),
        "source": each.source,
        "owner": each.owner or None,
        "entries": len(each.entries),
        "in_use": sum(entry.enabled and outlook.now < entry.until for entry in each.entries),
        "newest": None if each.newest is None else each.newest.isoformat(),
    }
