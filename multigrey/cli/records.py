"""`multigrey records`: what is known of senders, looked at and changed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from multigrey.cli.client import EXIT_NO, ask, common_options, console, show, show_item, stream
from multigrey.cli.common import (
    Duration,
    counted,
    given,
    lasting,
    moment,
    say_what_is_hidden,
    shown_address,
    trust_lines,
)
from multigrey.cli.tables import table

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["records"]

F = TypeVar("F", bound=Callable[..., Any])

_TEXTS = ("SENDER", "RECIPIENT")
_SPARE = ("LAST SEEN", "ORIGIN", "FIRST SEEN", "TRIES")
"""Columns of the list that are left out where there is no room for them, the first one first."""
_STATES = ("waiting", "known", "observed", "expired")
_CHOICES = (
    click.option(
        "--sender", metavar="ADDRESS", help="Envelope sender: an address, <>, or a domain and all below it."
    ),
    click.option("--recipient", metavar="ADDRESS", help="Envelope recipient, likewise."),
    click.option("--client", metavar="IP", help="The client's address, or a network."),
    click.option("--origin", metavar="NAME", help="The origin, as list shows it."),
    click.option(
        "--state",
        type=click.Choice(_STATES),
        help="waiting: was deferred, and its retry is awaited; known: has passed; observed: was only "
        "watched; expired: too old to count.",
    ),
    click.option("--older", type=Duration(), help="The first attempt was at least this long ago."),
    click.option("--younger", type=Duration(), help="The first attempt was less than this long ago."),
    click.option("--key", metavar="DIGITS", help="How the key begins, in 6 to 32 hexadecimal digits."),
)


def _choices(command: F) -> F:
    """Give a command the options by which records are chosen."""
    for option in reversed(_CHOICES):
        command = option(command)
    return command


@click.group()
def records() -> None:
    """Look at what is known of senders, forget it, or let somebody in.

    A record is what multigrey remembers of one triplet: who sends (origin or client network), envelope
    sender and envelope recipient.  Options that choose records must all fit.

    Exit status: 0 when all went well; other numbers are told in the help of each command.
    """


# --- list -------------------------------------------------------------------------------------------


@records.command("list")
@_choices
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, help="How many at most."
)
@click.option("--every-key", is_flag=True, help="Show a record once for each key it is kept under.")
@common_options
def list_command(config: Path | None, limit: int, *, every_key: bool, json_: bool, **choice: Any) -> None:
    """Show records, in no particular order.

    With --json each record is one line.

    Exit status: 0 when there are some, 1 when none fits, 2 for a wrong command line or configuration, 3
    without a daemon or its store, 4 when not allowed.
    """
    options = {**given(**choice), "limit": limit, "every_key": every_key}
    end: Mapping[str, Any] = {}
    rows = []
    for item in stream(config, "records.list", options):
        if "records" not in item:
            end = item
        elif json_:
            for row in item["records"]:
                show_item(row, json_, _nothing)
        else:
            rows += item["records"]
    if not json_ and rows:
        now = end.get("time", 0)
        heads = (
            "STATE",
            "FIRST SEEN",
            "LAST SEEN",
            "TRIES",
            "CLIENT",
            "SENDER",
            "RECIPIENT",
            "ORIGIN",
            "LEFT",
        )
        where = console()
        cells = [_cells(row, now) for row in rows]
        where.print(table(heads, cells, where.width, texts=_TEXTS, spare=_SPARE))
    if not end.get("found"):
        click.echo("no record fits", err=True)
        say_what_is_hidden(config, choice["client"])
        sys.exit(EXIT_NO)
    _end_list(end, json_=json_)


def _end_list(end: Mapping[str, Any], *, json_: bool) -> None:
    if end.get("more") and not json_:
        click.echo(f"only the first {end['found']} are shown; see --limit", err=True)


def _cells(row: Mapping[str, Any], now: int) -> tuple[str, ...]:
    return (
        row["state"],
        moment(row["first_seen"]),
        moment(row["last_seen"]),
        str(row["attempts"]),
        row["client"],
        shown_address(row["sender"]),
        row["recipient"],
        row["origin"],
        _left(row, now),
    )


def _left(row: Mapping[str, Any], now: int) -> str:
    """How long a sender who waits has to go on waiting."""
    if row["ready"] is None:
        return ""
    return lasting(row["ready"] - now) if row["ready"] > now else "may pass"


def _nothing(where: Console, item: Mapping[str, Any]) -> None:
    del where, item


# --- show -------------------------------------------------------------------------------------------


@records.command("show")
@click.option("--key", metavar="DIGITS", help="How the record's key begins, as list --json tells it.")
@click.option("--client-address", metavar="IP", help="The client's address.")
@click.option("--client-name", metavar="NAME", help="The client's verified name, if it has one.")
@click.option("--helo", metavar="NAME", help="What the client said in HELO or EHLO.")
@click.option("--sender", metavar="ADDRESS", help="The envelope sender; '<>' is the null sender.")
@click.option("--recipient", metavar="ADDRESS", help="The envelope recipient.")
@common_options
def show_command(config: Path | None, *, json_: bool, **options: Any) -> None:
    """Show everything that is known under the keys of one record, or of one attempt.

    Tell the record by --key, or an attempt by the other options.  Shown are the record that speaks for
    all of the keys, each key, and what the origin is trusted for.

    Exit status: 0 when there is a record, 1 when there is none, 2 for a wrong command line or
    configuration, 3 without a daemon or its store, 4 when not allowed.
    """
    asked = given(**options)
    if "key" in asked and len(asked) > 1:
        raise click.UsageError("either --key or the options of an attempt")
    result = ask(config, "records.show", asked)
    show(result, json_, _render)
    if result["record"] is None:
        sys.exit(EXIT_NO)


def _render(where: Console, result: Mapping[str, Any]) -> None:
    from multigrey.text import printable

    for line in _lines(result):
        where.print(printable(line), soft_wrap=True)


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    record, now = result["record"], result["time"]
    if record is None:
        yield "nothing is known under these keys"
    else:
        yield from _record_lines(record, now)
        if result.get("marked"):
            yield "remembered  by a mark: too many new records of this origin (see over-limit)"
    yield ""
    for key in result["keys"]:
        row = key["record"]
        yield f"key {key['key']}  {row['state'] if row else 'nothing'}"
    if result["trust"]:
        yield ""
        yield f"origin {result['trust']['origin']} ({'named' if result['trust']['named'] else 'unnamed'})"
        yield from (f"  {line}" for line in trust_lines(result["trust"]))


def _record_lines(record: Mapping[str, Any], now: int) -> Iterator[str]:
    who = f"{shown_address(record['sender'])} -> {record['recipient']}"
    yield f"{who} from {record['client'] or 'anywhere'} (origin {record['origin'] or 'unknown'})"
    yield f"state       {record['state']}"
    yield f"first seen  {moment(record['first_seen'])} ({lasting(now - record['first_seen'])} ago)"
    yield f"last seen   {moment(record['last_seen'])}"
    yield f"attempts    {record['attempts']}, {record['early']} of them too early"
    yield f"delay       {lasting(record['delay'])}"
    if record["ready"] is not None:
        left = lasting(record["ready"] - now)
        yield f"passes      {f'in {left}' if record['ready'] > now else 'at the next attempt'}"
    if record["passed_at"]:
        earned = f"{record['passes']} passes of its own" if record["passes"] else "not by a retry of its own"
        yield f"passed      {moment(record['passed_at'])} ({earned})"
    yield f"kept until  {moment(record['until'])}"


# --- forget and pass --------------------------------------------------------------------------------


@records.command("forget")
@_choices
@click.option("--all", "all_", is_flag=True, help="Every record, all trust and the whole history.")
@click.option("--dry-run", is_flag=True, help="Only count what would be forgotten.")
@click.option(
    "--scrub",
    is_flag=True,
    help="Compact the files afterwards, so that nothing of it is left in them; takes a while.",
)
@common_options
def forget_command(
    config: Path | None, *, all_: bool, dry_run: bool, scrub: bool, json_: bool, **choice: Any
) -> None:
    """Forget records, under every key that holds them, as if those senders had never been seen.

    Chosen by nothing but --sender, --recipient, --client and --origin, decisions in the history go as
    well.  Where the sender, client or origin is chosen, so does what the origins of these records are
    trusted for with that sender domain; what an origin is trusted for as a whole stays (see multigrey
    origins forget).  Log files and backups are outside, and other hosts.

    A mark (see over-limit) shows nobody: it is forgotten where --client, --sender and --recipient name the
    whole attempt, with --origin too if that has a name, or with --all.

    Exit status: 0 when something was forgotten, 1 when nothing fits, 2 for a wrong command line or
    configuration, 3 without a daemon or its store, 4 when not allowed.
    """
    chosen = given(**choice)
    _check(chosen, all_=all_)
    options = {**chosen, **given(all=all_, dry_run=dry_run, scrub=scrub)}
    result = ask(config, "records.forget", options)
    show(result, json_, lambda where, told: where.print(_forgotten(told), soft_wrap=True))
    if not any(result[name] for name in ("keys", "trust", "marks", "decisions")):
        say_what_is_hidden(config, choice["client"])
        sys.exit(EXIT_NO)


def _forgotten(told: Mapping[str, Any]) -> str:
    verb = "would be forgotten" if told["dry_run"] else "forgotten"
    parts = [_records(told), counted(told["trust"], "entry of trust", "entries of trust")]
    if told["marks"]:
        parts.append(counted(told["marks"], "mark"))
    if told["decisions"] is not None:
        parts.append(counted(told["decisions"], "decision"))
    elif not told["dry_run"]:
        return f"{', '.join(parts)} {verb}; the history stays"
    return f"{', '.join(parts)} {verb}"


@records.command("pass")
@_choices
@click.option("--dry-run", is_flag=True, help="Only count who would be let in.")
@common_options
def pass_command(config: Path | None, *, dry_run: bool, json_: bool, **choice: Any) -> None:
    """Let senders in who wait: their next attempt passes at once, and they are known from then on.

    Nobody earns trust by it.  Who has not tried yet has no record: see multigrey expect.

    Exit status: 0 when somebody was let in, 1 when nobody who waits fits, 2 for a wrong command line or
    configuration, 3 without a daemon or its store, 4 when not allowed.
    """
    chosen = given(**choice)
    _check(chosen, all_=False)
    result = ask(config, "records.pass", {**chosen, **given(dry_run=dry_run)})
    show(result, json_, lambda where, told: where.print(_let_in(told)))
    if not result["keys"]:
        say_what_is_hidden(config, choice["client"])
        sys.exit(EXIT_NO)


def _let_in(told: Mapping[str, Any]) -> str:
    verb = "would be let in" if told["dry_run"] else "let in"
    return f"{_records(told)} {verb}"


def _records(told: Mapping[str, Any]) -> str:
    return f"{counted(told['records'], 'record')} ({counted(told['keys'], 'key')})"


def _check(chosen: Mapping[str, Any], *, all_: bool) -> None:
    """Nobody changes every record by leaving something out."""
    if not chosen and not all_:
        raise click.UsageError("which records?  Choose by --sender, --recipient, --client ...")
    if chosen and all_:
        raise click.UsageError("either --all, or options that choose")
