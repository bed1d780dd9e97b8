"""`multigrey expect`: lets the mail that a user is waiting for pass for a while."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multigrey.cli.client import EXIT_NO, ask, common_options, show
from multigrey.cli.common import AddressType, Duration
from multigrey.cli.explain import moment
from multigrey.errors import AddressError
from multigrey.events.typed_address import read_addresses
from multigrey.text import printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["expect"]


@click.command()
@click.argument("recipients", metavar="[RECIPIENT]...", nargs=-1)
@click.option(
    "--from",
    "domain",
    metavar="DOMAIN",
    type=AddressType(domains=True),
    help="Only from senders of this domain or below it; of an address its domain counts.",
)
@click.option(
    "--for",
    "seconds",
    type=Duration(),
    default="15m",
    show_default=True,
    help="How long, up to 7 days.  For longer, use multigrey whitelist add.",
)
@click.option("--reason", help="Why, for the log and for --list.")
@click.option("--list", "list_", is_flag=True, help="List the mail that is expected now.")
@click.option(
    "--cancel", is_flag=True, help="Stop expecting mail to RECIPIENT (with --from: only from that domain)."
)
@common_options
def expect(
    recipients: tuple[str, ...],
    domain: str | None,
    seconds: int,
    reason: str | None,
    config: Path | None,
    *,
    list_: bool,
    cancel: bool,
    json_: bool,
) -> None:
    """Let mail that a user is waiting for pass for a while.

    It is the mail to RECIPIENT, from anywhere or from one domain.  The daemon checks expected mail before
    every whitelist and rule.  An expectation ends by itself and survives a restart.  It is logged with the
    user who set it; the decision log shows source=expect.  Such mail makes no records.

    Exit status: 0 when done, 1 when it was refused or there was nothing to cancel, 2 for a wrong command
    line or configuration, 3 when no daemon answers (but --list reads its store), 4 when not allowed.
    """
    if list_:
        if recipients or cancel:
            raise click.UsageError("--list takes neither a RECIPIENT nor --cancel")
        show(ask(config, "expect-list", {}), json_, _render_list)
        return
    wanted: dict[str, Any] = {} if domain is None else {"from": domain.rpartition("@")[2]}
    for recipient in _addresses(recipients):
        if not cancel:
            asked = {**wanted, "recipient": recipient, "seconds": seconds, "reason": reason or ""}
            show(ask(config, "expect", asked), json_, _render_made)
            continue
        result = ask(config, "expect-cancel", {**wanted, "recipient": recipient})
        show(result, json_, _render_cancelled)
        if not result["cancelled"]:
            sys.exit(EXIT_NO)


def _addresses(texts: Sequence[str]) -> list[str]:
    """The recipients in the arguments.  Raises UsageError."""
    if not texts:
        raise click.UsageError("expected a RECIPIENT, or --list")
    try:
        return read_addresses(", ".join(texts))
    except AddressError as error:
        raise click.UsageError(str(error)) from None


def _text(row: Mapping[str, Any]) -> str:
    sender = f" from {row['from']}" if row["from"] else ""
    why = f" ({row['reason']})" if row["reason"] else ""
    return printable(
        f"{row['recipient']}{sender} until {moment(row['until'])}, set by {row['asked_by']}{why}"
    )


def _render_made(console: Console, result: Mapping[str, Any]) -> None:
    console.print(f"expected: {_text(result['expected'])}", soft_wrap=True)


def _render_list(console: Console, result: Mapping[str, Any]) -> None:
    for row in result["expected"]:
        console.print(_text(row), soft_wrap=True)
    if not result["expected"]:
        console.print("no mail is expected")


def _render_cancelled(console: Console, result: Mapping[str, Any]) -> None:
    for row in result["cancelled"]:
        console.print(f"no longer expected: {_text(row)}", soft_wrap=True)
    if not result["cancelled"]:
        console.print("no such mail was expected")
