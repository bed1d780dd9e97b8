"""`multigrey history`: shows what became of mail."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multigrey.cli.client import EXIT_NO, common_options, show_item, stream
from multigrey.cli.common import (
    AddressType,
    Duration,
    lasting,
    moment,
    say_what_is_hidden,
    shown_address,
)
from multigrey.clock import Clock, SystemClock
from multigrey.text import counted, printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["history", "story_lines"]

_FEW = 3
"""Most decisions about mail that passed at once that are shown one by one."""


@click.command(context_settings={"allow_extra_args": True})  # to say what takes several
@click.argument("about", metavar="ADDRESS|DOMAIN|CLIENT", type=AddressType(clients=True), required=False)
@click.option(
    "--sender",
    metavar="ADDRESS",
    type=AddressType(domains=True),
    help="Only mail from this address, or from a domain and below.",
)
@click.option(
    "--recipient",
    metavar="ADDRESS",
    type=AddressType(domains=True),
    help="Only mail to this address, or to a domain and below.",
)
@click.option("--client", metavar="IP", help="Only mail from this client address or network.")
@click.option(
    "--since", type=Duration(), default="7d", show_default=True, help="How far to look back from now."
)
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000),
    default=1000,
    show_default=True,
    help="How many decisions to read at most; the latest are taken.",
)
@common_options
@click.pass_obj
def history(
    clock: Clock | None,
    /,
    about: str | None,
    config: Path | None,
    since: int,
    limit: int,
    *,
    json_: bool,
    **only: Any,
) -> None:
    """Show what became of mail: each attempt, and how it ended.

    It shows from where each attempt came, and how long it all took.  The argument is an envelope address
    (sender or recipient), a domain (of addresses or client names) with all below it, or a client's address
    or network.  Attempts are grouped by sender and recipient, from any client.  The outcome is: accepted
    after some time, still waiting, never came back, passed at once, or refused.  The command reads the
    history of this host only (see [history] in multigrey.toml(5)).

    With --json each line is an object: the first about the search, then one for each sender and
    recipient with every decision.

    Exit status: 0 when decisions were found, 1 when none was, 2 for a wrong command line or configuration,
    3 without a daemon or its history, 4 when not allowed.
    """
    if more := click.get_current_context().args:
        raise click.UsageError(
            f"one address at a time, without {printable(' '.join(more))}: multigrey where takes several, and "
            "history --sender ADDRESS --recipient ADDRESS shows the mail between two"
        )
    words = {"about": about, **only}
    options: dict[str, Any] = {name: text for name, text in words.items() if text}
    if not options:
        raise click.UsageError("expected an address, a domain or a client to look for")
    options |= {"since": max((clock or SystemClock()).now() - since, 0), "limit": limit}
    head: Mapping[str, Any] = {}
    for item in stream(config, "history", options):
        if "stories" not in item:
            head = item
            if json_:
                show_item(item, json_, _nothing)
            continue
        for story in item["stories"]:
            show_item(story, json_, partial(_render, head=head))
    if not json_:
        _end(head)
    if not head.get("decisions"):
        say_what_is_hidden(config, about, only["client"])
        sys.exit(EXIT_NO)


def _nothing(where: Console, item: Mapping[str, Any]) -> None:
    del where, item


def _end(head: Mapping[str, Any]) -> None:
    if not head.get("decisions"):
        since = head.get("recorded_since")
        known = (
            f"the oldest decision in the history is of {moment(since)}" if since else "the history is empty"
        )
        click.echo(f"no decision found; {known}", err=True)
    elif head["more"]:
        read = counted(head["decisions"], "decision was", "decisions were")
        click.echo(f"only the latest {read} read; see --limit", err=True)
    if head.get("not_recorded"):
        click.echo(head["not_recorded"], err=True)


def _render(where: Console, story: Mapping[str, Any], head: Mapping[str, Any]) -> None:
    is_cut = head["more"] or story["first"] < (head["since"] or 0)
    for line in (*story_lines(story, head["time"], is_cut=is_cut), ""):
        where.print(printable(line), soft_wrap=True)


def story_lines(story: Mapping[str, Any], now: int, *, most: int = 0, is_cut: bool = False) -> Iterator[str]:
    """A story as lines.  `most`: so many attempts are shown (0: all); `is_cut`: earlier ones may exist."""
    yield story["raw"] or f"{shown_address(story['sender'])} -> {story['recipient']}"
    decisions: Sequence[Mapping[str, Any]] = story["decisions"]
    is_before = story["first"] < decisions[0]["time"] and story["ending"] != "passed"
    yield f"  {_outcome(story, now, 'at least ' if is_before else '')}"
    if is_before:
        why = "before what was looked at" if is_cut else "not in the history"
        yield f"  {moment(story['first'])}  first attempt ({why})"
    most = _FEW if story["ending"] == "passed" else most or len(decisions)
    if len(decisions) > most:
        yield _line(decisions[0])
        yield f"  ... and {len(decisions) - most + 1} more ..."
        decisions = decisions[-most + 2 :]
    yield from map(_line, decisions)


def _outcome(story: Mapping[str, Any], now: int, at_least: str) -> str:
    tries = f"{at_least}{counted(len(story['decisions']), 'attempt')}"
    places = (
        f" from {counted(story['clients'], 'client address', 'client addresses')}"
        if story["clients"] > 1
        else ""
    )
    places += f" ({counted(story['origins'], 'origin')})" if story["origins"] > 1 else ""
    ending = story["ending"]
    if ending == "accepted":
        return f"accepted after {lasting(story['delay'])}: {tries}{places}"
    if ending == "waiting":
        left = _left(story["decisions"][-1], now)
        return f"waiting for {lasting(now - story['first'])}: {tries}{places}; {left}"
    if ending == "passed":
        return f"passed at once: {tries}{places}"
    return f"{ending}: {tries}{places}"


def _left(last: Mapping[str, Any], now: int) -> str:
    left = last["time"] + last["retry_after"] - now
    return f"a retry passes in {lasting(left)}" if left > 0 else "the next retry passes"


def _line(row: Mapping[str, Any]) -> str:
    client = row["client_address"] or "unknown"
    if row["client_name"]:
        client = f"{row['client_name']} [{client}]"
    parts = [f"  {moment(row['time'])}  {row['id']}  {row['action']:6}  {row['reason']:16}  {client}"]
    parts.append(f"listener {row['listener']}")
    if row["retry_after"]:
        parts.append(f"retry after {lasting(row['retry_after'])}")
    if row["source"]:
        owner = f", owner {row['owner']}" if row["owner"] else ""
        parts.append(f"{row['source']}: {row['entry']}{owner}")
    if row["rule"]:
        parts.append(f"rule {row['rule']}")
    if row["detail"]:
        parts.append(row["detail"])
    if row["observed"]:
        parts.append("only observed")
    return "  ".join(parts)
