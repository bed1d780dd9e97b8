"""`multigrey watch`: shows decisions as they are made."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multigrey.cli.client import common_options, show_item, stream
from multigrey.config.values.units import format_duration
from multigrey.text import counted, printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["decision_line", "watch"]

_SELDOM = ("rule", "entry", "owner", "class", "detail")


@click.command()
@common_options
@click.option("--action", multiple=True, help="Only decisions with this action: pass, defer or reject.")
@click.option("--reason", multiple=True, help="Only decisions with this reason.")
@click.option("--listener", multiple=True, help="Only decisions of this listener.")
@click.option("--sender", multiple=True, help="Only this envelope sender, domain, or <> for the null sender.")
@click.option("--recipient", multiple=True, help="Only this envelope recipient or domain.")
@click.option("--client", multiple=True, help="Only clients of this address, network or verified name.")
@click.option("--origin", multiple=True, help="Only this origin, as the log shows it.")
def watch(config: Path | None, *, json_: bool, **filters: tuple[str, ...]) -> None:
    """Show decisions as they are made, one on each line.

    The command ends when it is interrupted.  Each option may be given several times.  A decision is shown
    if it matches every option given, by one of its values.  Values are written as in rules, see
    multigrey-rules(5): example.org, .example.org for its sub-domains, or /regex/.  If there are more than
    1000 decisions in a second, or more than the terminal can take, the oldest are left out and counted.

    Exit status: 0 when interrupted, 1 when the daemon refuses, 2 for a wrong configuration or command line,
    3 without a daemon, 4 when not allowed.
    """
    wanted = {name: list(values) for name, values in filters.items() if values}
    try:
        for item in stream(config, "watch", wanted):
            for row in item["decisions"]:
                show_item(row, json_, _print)
            if item["lost"]:
                show_item({"lost": item["lost"]}, json_, _print_lost)
    except KeyboardInterrupt:
        return


def decision_line(row: Mapping[str, Any]) -> str:
    """A decision as a line of text: time, action, reason, id, client, mail and the rest."""
    client = row["client_address"]
    if row.get("client_name"):
        client = f"{row['client_name']}[{client}]"
    mail = row["raw"] if "raw" in row else f"{row['sender']} -> {row['recipient']}"
    parts = [
        f"{datetime.fromtimestamp(row['time']).astimezone():%H:%M:%S}",
        f"{row['action']:6}",
        f"{row['reason']:16}",
        row["id"],
        client,
        mail,
    ]
    if row.get("origin"):
        parts.append(f"origin={row['origin']}")
    parts += [f"{name}={row[name]}" for name in _SELDOM if row.get(name)]
    if row.get("observed"):
        parts.append("(observed)")
    if row.get("retry_after"):
        parts.append(f"retry after {format_duration(row['retry_after'])}")
    elif row["reason"] == "retry":
        parts.append(f"after {format_duration(row['age'])}")
    return printable(" ".join(parts))


def _print(console: Console, row: Mapping[str, Any]) -> None:
    console.print(decision_line(row), soft_wrap=True)


def _print_lost(console: Console, row: Mapping[str, Any]) -> None:
    text = f"... {counted(row['lost'], 'decision')} left out: too many to show"
    console.print(text, soft_wrap=True)
