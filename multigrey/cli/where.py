"""`multigrey where`: finds a person's mail, and says what happens next and what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multigrey.cli.client import EXIT_NO, ask, common_options, own_command, show
from multigrey.cli.common import AddressType, Duration, lasting, moment
from multigrey.cli.history import story_lines
from multigrey.clock import Clock, SystemClock
from multigrey.errors import AddressError
from multigrey.events.typed_address import read_addresses
from multigrey.text import counted, printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["where"]

_FEW = 8
"""Most attempts of one mail that are shown one by one."""


@click.command()
@click.argument("addresses", metavar="ADDRESS", nargs=-1, required=True)
@click.option(
    "--from",
    "sender",
    metavar="ADDRESS",
    type=AddressType(domains=True),
    help="Only mail from this address, or from a domain and below; each ADDRESS is a recipient then.",
)
@click.option(
    "--since", type=Duration(), default="7d", show_default=True, help="How far to look back from now."
)
@common_options
@click.pass_obj
def where(
    clock: Clock | None,
    /,
    addresses: tuple[str, ...],
    sender: str | None,
    config: Path | None,
    since: int,
    *,
    json_: bool,
) -> None:
    """Find a person's mail, and say what happens next.

    Give the ADDRESS of the recipient, of the sender, or both, in any order and as it was pasted: <a@b>,
    Name <a@b>, to=<a@b>.  For each mail the command shows what became of it, each attempt and from where,
    what happens next, and commands to copy that change it.  What happens next is what the daemon would
    answer at this moment.  The ten latest mails are shown.

    If no daemon runs, the command reads the history of the stopped one.

    Exit status: 0 when an attempt was found, 1 when none was, 2 for a wrong command line or configuration, 3
    without a daemon or its history, 4 when not allowed.
    """
    try:
        found = read_addresses(", ".join(addresses))
    except AddressError as error:
        raise click.UsageError(str(error)) from None
    if sender and "<>" in found:
        raise click.UsageError("with --from each ADDRESS is a recipient: <> is not one")
    options: dict[str, Any] = {"addresses": ", ".join(addresses), "from": sender or ""}
    options["since"] = max((clock or SystemClock()).now() - since, 0)
    result = ask(config, "where", options)
    show(result, json_, partial(_render, program=own_command(config)))
    if not result["stories"]:
        sys.exit(EXIT_NO)


def _render(console: Console, result: Mapping[str, Any], program: str) -> None:
    for line in _lines(result, program):
        console.print(printable(line), soft_wrap=True)


def _lines(result: Mapping[str, Any], program: str) -> Iterator[str]:
    now = result["time"]
    if result["more"]:
        yield f"({counted(result['more'], 'earlier mail')} not shown: see multigrey history)"
        yield ""
    for number, story in enumerate(result["stories"]):
        if number:
            yield ""
        yield from story_lines(story, now, most=_FEW)
        yield f"  next: {_next(story['next'], now)}"
        yield from _remedies(story["do"], program)
    if not result["stories"]:
        yield from _nothing(result, program)
    elif result["not_recorded"]:
        yield ""
        yield f"({result['not_recorded']})"


def _next(row: Mapping[str, Any], now: int) -> str:
    text = str(row["text"])
    if row["at"]:
        text += f" in {lasting(row['at'] - now)} (from {moment(row['at'])})"
    if row["until"]:
        text += f" until {moment(row['until'])}"
    return text


def _remedies(rows: Iterable[Mapping[str, Any]], program: str) -> Iterator[str]:
    for row in rows:
        yield f"  to {row['purpose']}:"
        yield f"      {program} {row['command'].removeprefix('multigrey ')}"


def _nothing(result: Mapping[str, Any], program: str) -> Iterator[str]:
    sender = f" from {result['from']}" if result["from"] else ""
    yield f"{' and '.join(result['addresses'])}{sender}: no attempt was found"
    since = result["recorded_since"]
    yield f"  the history begins {moment(since)}" if since else "  the history is empty"
    if result["not_recorded"]:
        yield f"  {result['not_recorded']}"
    unknown = "was not recorded, " if result["not_recorded"] else ""
    yield (
        f"  next: it {unknown}was not sent yet, goes to another host, or is refused before multigrey is "
        "asked; the mail server's log says which"
    )
    yield from _remedies(result["do"], program)
