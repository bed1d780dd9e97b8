"""`multigrey top`: shows the busiest origins."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multigrey.cli.client import common_options, console, json_text, show, stream
from multigrey.cli.tables import table
from multigrey.config.values.units import format_duration
from multigrey.text import counted, printable

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

__all__ = ["picture", "top"]

_SPANS = {"1m": 60, "5m": 300, "15m": 900}
_HEADS = {"attempts": "seen", "deferred": "defer", "passed": "pass"}
_FRAME = 7
"""Lines of the picture that are not origins: title, heading, sum, floods, two of a note, and one to spare."""
_MOST_FLOODS = 2
"""Most networks over the limit that are shown: they have to fit on one line."""


@click.command()
@common_options
@click.option("--once", is_flag=True, help="Show one picture and end; the default without a terminal.")
@click.option(
    "--span",
    type=click.Choice(list(_SPANS)),
    default="1m",
    show_default=True,
    help="The span over which origins are ordered.",
)
@click.option(
    "--by",
    type=click.Choice(list(_HEADS)),
    default="attempts",
    show_default=True,
    help="The number by which origins are ordered.",
)
@click.option(
    "--rows",
    type=click.IntRange(1, 500),
    help="How many origins to show; by default as many as fit on the screen, or 20 without a terminal.",
)
def top(config: Path | None, *, json_: bool, once: bool, span: str, by: str, rows: int | None) -> None:
    """Show the busiest origins of the last minutes.

    It shows their attempts, deferred and passed, in the last 1, 5 and 15 minutes.  Networks over the limit
    of new records are shown above the table, after an exclamation mark, with the time since when, and their
    attempts in the last hour.

    The picture is drawn again each second until the command is interrupted.  With --json each picture is one
    line.

    Exit status: 0 when interrupted or done, 1 when the daemon refuses, 2 for a wrong configuration or
    command line, 3 without a daemon, 4 when not allowed.
    """
    live = sys.stdout.isatty() and not once and not json_
    if rows is None:
        rows = max(console().height - _FRAME, 1) if live else 20
    options = {"span": _SPANS[span], "order": by, "rows": min(rows, 500)}
    try:
        draw = partial(picture, span=_SPANS[span], by=by)
        _show(stream(config, "top", options), draw, json_=json_, live=live, once=once)
    except KeyboardInterrupt:
        return


def _show(
    pictures: Iterator[Mapping[str, Any]],
    draw: Callable[[Mapping[str, Any], int], Group | Table],
    *,
    json_: bool,
    live: bool,
    once: bool,
) -> None:
    if live:
        from rich.live import Live

        with Live(console=console(), screen=True, auto_refresh=False) as screen:
            for each in pictures:
                screen.update(draw(each, console().width), refresh=True)
        return
    for each in pictures:
        if once or not json_:
            show(each, json_, lambda where, found: where.print(draw(found, where.width)))
            return
        click.echo(json_text(each))


def picture(found: Mapping[str, Any], room: int, span: int = 60, by: str = "attempts") -> Group | Table:
    """One picture as a table, with floods above it.

    `room`: characters on a line; if there are few, other spans than the one chosen are left out.
    """
    from rich.console import Group
    from rich.text import Text

    at = datetime.fromtimestamp(found["time"]).astimezone()
    origins = counted(found["number"], "origin")
    title = f"{at:%H:%M:%S}  {origins} in the last {format_duration(found['spans'][-1])}"
    running = found["time"] - found["since"]
    if 0 <= running < found["spans"][-1]:
        title += f", counted for {format_duration(running)}"
    heads = {each: [f"{word} {format_duration(each)}" for word in _HEADS.values()] for each in found["spans"]}
    others = sorted({*found["spans"]} - {span}, key=lambda each: each == found["spans"][-1])
    rows = [
        [row["origin"] or "(others)", *(number for counts in row["counts"] for number in counts)]
        for row in found["origins"]
    ]
    rows.append(["all", *(number for counts in found["all"] for number in counts)])
    shown = table(
        ["origin", *(head for each in found["spans"] for head in heads[each])],
        rows,
        room,
        texts=("origin",),
        spare=[heads[each] for each in others],
        order=f"{_HEADS[by]} {format_duration(span)}",
        title=title,
    )
    if not found["floods"]:
        return shown
    floods = f"! over the limit of new records: {_floods(found)}"
    return Group(Text(floods, no_wrap=True, overflow="ellipsis"), shown)


def _floods(found: Mapping[str, Any]) -> str:
    """The networks over the limit, as one line."""
    floods = found["floods"]
    told = [
        f"{printable(each['network'])} since {datetime.fromtimestamp(each['since']).astimezone():%H:%M} "
        f"({each['attempts']:,} in the last hour)"
        for each in floods[:_MOST_FLOODS]
    ]
    return ", ".join(told) + (", …" if len(floods) > _MOST_FLOODS else "")
