"""`multigrey export`: the addresses of clients that retry, in the formats of other programs."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import click

from multigrey.cli.client import EXIT_NO, common_options, json_text, refuse, stream
from multigrey.cli.common import Duration
from multigrey.config.values.units import format_duration
from multigrey.text import counted

__all__ = ["FORMS", "Exported", "export", "written"]

_ON_ONE_LINE = 8


class Exported(NamedTuple):
    """The addresses to write.  Times are seconds since 1970."""

    rows: Sequence[tuple[str, int, int]]
    """Address, first retry and last seen, the latest last seen first."""
    time: int
    since: int
    """How long ago an address may have been seen last, in seconds."""
    more: int
    """How many addresses were left out."""


@click.command()
@click.argument("form", type=click.Choice(["postscreen", "exim-hostlist", "nft"]))
@common_options
@click.option(
    "--since",
    type=Duration(least=1),
    default="36d",
    show_default=True,
    help="Only clients whose mail was seen within this time.",
)
@click.option(
    "--max",
    "most",
    type=click.IntRange(1, 100_000),
    default=10_000,
    show_default=True,
    help="How many addresses at most; the latest seen are taken.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file instead of standard output.  It is replaced in one step, with mode 0644.",
)
def export(
    form: str, config: Path | None, since: int, most: int, output: Path | None, *, json_: bool
) -> None:
    """Write which clients retried, for use by other programs.

    They are those that retried after a real deferral.  postscreen writes a table for postscreen_access_list
    = cidr:FILE.  exim-hostlist writes a file for a host list.  nft writes a script for nft -f that fills
    the sets multigrey4 and multigrey6 of the table inet multigrey, for rules of your own.

    Only exact addresses are written, never networks or whole origins.  They are grouped by the day they were
    seen last.  They come from the history of decisions, so they reach back only as far as the history; see
    [history] in multigrey.toml(5).  Such an address has shown that it retries, not that it sends no spam:
    skip delays for it, but not checks of content.  Write the file daily, so that old addresses disappear.

    Exit status: 0 on success, 1 without any such address (the file is written all the same), 2 when the file
    cannot be written, 3 without a daemon or its store, 4 when not allowed.
    """
    found = _asked(config, since, most)
    text = _as_json(found) if json_ else written(form, found)
    if output is None:
        click.echo(text, nl=False)
    else:
        try:
            _replace(output, text)
        except OSError as error:
            refuse(f"{output}: {error.strerror or error}", 2)
    if not found.rows:
        sys.exit(EXIT_NO)


def _asked(config: Path | None, since: int, most: int) -> Exported:
    rows: list[tuple[str, int, int]] = []
    for item in stream(config, "export", {"since": since, "max": most}):
        if "addresses" not in item:
            if item["hidden"]:
                hidden = counted(item["hidden"], "retry is", "retries are")
                click.echo(f"multigrey: {hidden} left out: the client address is redacted", err=True)
            return Exported(rows, item["time"], since, item["more"])
        rows += [(str(ip_address(address)), first, last) for address, first, last in item["addresses"]]
    return refuse("the daemon ended its answer too early: see its log")


def written(form: str, found: Exported) -> str:
    """The text of the file in one of `FORMS`."""
    return "".join(f"{line}\n" for line in (*_heading(form, found), *FORMS[form](found.rows)))


def _heading(form: str, found: Exported) -> Iterator[str]:
    if form == "nft":
        yield "#!/usr/sbin/nft -f"
    yield f"# {counted(len(found.rows), 'client')} that came back after multigrey deferred them: {form}"
    yield f"# written {_moment(found.time)}, seen within {format_duration(found.since)} before"
    if found.more:
        yield f"# {found.more} more were left out (--max)"


def _postscreen(rows: Iterable[tuple[str, int, int]]) -> Iterator[str]:
    for day, addresses in _by_day(rows):
        yield f"# last seen {day}"
        yield from (f"{address} permit" for address in addresses)


def _exim(rows: Iterable[tuple[str, int, int]]) -> Iterator[str]:
    for day, addresses in _by_day(rows):
        yield f"# last seen {day}"
        yield from addresses


def _nft(rows: Iterable[tuple[str, int, int]]) -> Iterator[str]:
    """A script that nft runs as one transaction: on an error both sets stay as they were (nft(8))."""
    yield "add table inet multigrey"
    for version in (4, 6):
        yield f"add set inet multigrey multigrey{version} {{ type ipv{version}_addr; }}"
        yield f"flush set inet multigrey multigrey{version}"
    for day, addresses in _by_day(rows):
        yield f"# last seen {day}"
        for version in (4, 6):
            same = [address for address in addresses if (":" in address) is (version == 6)]
            for begin in range(0, len(same), _ON_ONE_LINE):
                elements = ", ".join(same[begin : begin + _ON_ONE_LINE])
                yield f"add element inet multigrey multigrey{version} {{ {elements} }}"


FORMS = {"postscreen": _postscreen, "exim-hostlist": _exim, "nft": _nft}
"""By format: a function from rows to the lines of the file."""


def _by_day(rows: Iterable[tuple[str, int, int]]) -> Iterator[tuple[str, list[str]]]:
    for day, same in groupby(rows, key=lambda row: f"{datetime.fromtimestamp(row[2], UTC):%Y-%m-%d}"):
        yield day, [address for address, _, _ in same]


def _moment(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}Z"


def _as_json(found: Exported) -> str:
    told = {
        "time": found.time,
        "since": found.since,
        "more": found.more,
        "addresses": [
            {"address": address, "first_retry": first, "last_seen": last}
            for address, first, last in found.rows
        ],
    }
    return f"{json_text(told, indent=2)}\n"


def _replace(path: Path, text: str) -> None:
    """Write a file and put it in place in one step, when it is complete.  Raises OSError."""
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.absolute().parent)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())  # before the rename: after a crash PATH must never be an incomplete file
        Path(draft).rename(path)
    except BaseException:
        with suppress(OSError):
            Path(draft).unlink()
        raise
