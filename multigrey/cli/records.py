"""`multigrey records`: lists, shows, forgets and lets in the senders that records remember."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from multigrey.cli.client import EXIT_NO, ask, common_options, console, show, show_item, stream
from multigrey.cli.common import (
    AddressType,
    Duration,
    given,
    lasting,
    moment,
    say_what_is_hidden,
    shown_address,
    trust_lines,
)
from multigrey.cli.explain import past_text
from multigrey.cli.tables import table
from multigrey.text import counted, printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["records"]

F = TypeVar("F", bound=Callable[..., Any])

_TEXTS = ("CLIENT", "SENDER", "RECIPIENT")
_SPARE = ("ORIGIN", "FIRST SEEN", "TRIES", "LAST SEEN")
"""Columns of the list that are left out if the line is too short for them, in this order."""
_STATES = ("waiting", "known", "observed", "expired")
_CHOICES = (
    click.option(
        "--sender",
        metavar="ADDRESS",
        type=AddressType(domains=True),
        help="Envelope sender: an address, <>, or a domain and all below it.",
    ),
    click.option(
        "--recipient",
        metavar="ADDRESS",
        type=AddressType(domains=True),
        help="Envelope recipient: an address, or a domain.",
    ),
    click.option("--client", metavar="IP", help="The client's address, or a network."),
    click.option("--origin", metavar="NAME", help="The origin, as multigrey records list shows it."),
    click.option(
        "--state",
        type=click.Choice(_STATES),
        help="waiting: was deferred and waits for a retry; known: has passed; observed: was only observed, "
        "not deferred; expired: is too old to count.",
    ),
    click.option("--older", type=Duration(), help="The first attempt was at least this long ago."),
    click.option("--younger", type=Duration(), help="The first attempt was less than this long ago."),
    click.option("--key", metavar="DIGITS", help="The beginning of the key: 6 to 32 hexadecimal digits."),
)


def _choices(command: F) -> F:
    """Give a command the options that choose records."""
    for option in reversed(_CHOICES):
        command = option(command)
    return command


@click.group()
def records() -> None:
    """List, show or forget the records of senders, or let them in.

    A record is what multigrey remembers of one triplet: origin (or client network), envelope sender and
    envelope recipient.  A record is chosen if it matches all options given.

    Exit status: 0 on success; the help of each command lists its other numbers.
    """


# --- list -------------------------------------------------------------------------------------------


@records.command("list")
@_choices
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, help="How many at most."
)
@click.option("--every-key", is_flag=True, help="List a record once for each key it is stored under.")
@common_options
def list_command(config: Path | None, limit: int, *, every_key: bool, json_: bool, **choice: Any) -> None:
    """List records, in no particular order.

    With --json each record is one line.

    Exit status: 0 when records were found, 1 when none matches, 2 for a wrong command line or configuration,
    3 without a daemon or its store, 4 when not allowed.
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
        click.echo("no record matches", err=True)
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
    """How long a waiting sender still has to wait; "" for any other record."""
    if row["ready"] is None:
        return ""
    return lasting(row["ready"] - now) if row["ready"] > now else "may pass"


def _nothing(where: Console, item: Mapping[str, Any]) -> None:
    del where, item


# --- show -------------------------------------------------------------------------------------------


@records.command("show")
@click.option("--key", metavar="DIGITS", help="The beginning of the record's key, as in list --json.")
@click.option("--client-address", metavar="IP", help="The client's address.")
@click.option("--client-name", metavar="NAME", help="The client's verified name, if it has one.")
@click.option("--helo", metavar="NAME", help="The name the client gives in HELO or EHLO.")
@click.option(
    "--sender", metavar="ADDRESS", type=AddressType(), help="The envelope sender; '<>' is the null sender."
)
@click.option("--recipient", metavar="ADDRESS", type=AddressType(), help="The envelope recipient.")
@common_options
def show_command(config: Path | None, *, json_: bool, **options: Any) -> None:
    """Show what is stored for one record, or for one attempt.

    Choose a record by --key, or give an attempt by the other options.  Without a client it is the latest
    attempt of sender and recipient that the history knows of.  The command shows the record that
    decides for all of the keys, each key, and what the origin is trusted for.

    Exit status: 0 when there is a record, 1 when there is none, 2 for a wrong command line or
    configuration, 3 without a daemon or its store, 4 when not allowed.
    """
    asked = given(**options)
    if "key" in asked and len(asked) > 1:
        raise click.UsageError("--key cannot be combined with the options of an attempt")
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
    if result.get("past"):
        yield past_text(result["past"])
    if record is None:
        yield "nothing is stored under these keys"
    else:
        yield from _record_lines(record, now)
        if result.get("marked"):
            yield "stored as   a mark only: the origin made too many new records (see over-limit)"
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
        earned = f"{record['passes']} passes of its own" if record["passes"] else "let in without a retry"
        yield f"passed      {moment(record['passed_at'])} ({earned})"
    yield f"kept until  {moment(record['until'])}"


# --- forget and pass --------------------------------------------------------------------------------


@records.command("forget")
@_choices
@click.option(
    "--person", metavar="ADDRESS", type=AddressType(), help="Everything of one person, wherever it is kept."
)
@click.option("--all", "all_", is_flag=True, help="Every record, all trust and the whole history.")
@click.option("--dry-run", is_flag=True, help="Only count what would be forgotten.")
@click.option(
    "--scrub",
    is_flag=True,
    help="Compact the files afterwards, so that no forgotten data is left in them; takes a while.",
)
@common_options
def forget_command(
    config: Path | None,
    *,
    person: str | None,
    all_: bool,
    dry_run: bool,
    scrub: bool,
    json_: bool,
    **choice: Any,
) -> None:
    """Forget records, as if their senders had never been seen.

    A record is forgotten under every key that holds it.  Decisions in the history are forgotten too, if
    only --sender, --recipient, --client and --origin are given.  If --sender, --client or --origin is
    given, the trust of the records' origins for these sender domains is forgotten too.  The trust in an
    origin as a whole stays (see multigrey origins forget).  Log files, backups and other hosts are not
    changed.

    A mark (see over-limit) does not show whose it is.  It is forgotten only if --client, --sender and
    --recipient give the whole attempt, with --origin if the origin has a name, or with --all.

    --person ADDRESS forgets what is kept of one address as sender and recipient: records, marks of attempts
    that records or history show, decisions, expectations.  With --scrub nothing of it can be read in the
    files any more.  The command names what it cannot reach.

    Exit status: 0 when something was forgotten, 1 when nothing matches, 2 for a wrong command line or
    configuration, 3 without a daemon or its store, 4 when not allowed.
    """
    chosen = given(**choice)
    if person is not None:
        if chosen or all_:
            raise click.UsageError("--person cannot be combined with options that choose records")
        _forget_person(config, json_, given(address=person, dry_run=dry_run, scrub=scrub))
        return
    _check(chosen, all_=all_)
    if not dry_run and chosen.keys() <= {"sender", "recipient", "client", "origin"}:
        click.echo("their decisions in the history are forgotten, too", err=True)
    options = {**chosen, **given(all=all_, dry_run=dry_run, scrub=scrub)}
    result = ask(config, "records.forget", options)
    show(result, json_, lambda where, told: where.print(_forgotten(told), soft_wrap=True))
    if not any(result[name] for name in ("keys", "trust", "marks", "decisions")):
        say_what_is_hidden(config, choice["client"])
        sys.exit(EXIT_NO)


def _forget_person(config: Path | None, json_: bool, options: Mapping[str, Any]) -> None:
    result = ask(config, "person.forget", options)
    show(result, json_, _show_person)
    if not any(result[name] for name in ("keys", "marks", "decisions", "expectations")):
        sys.exit(EXIT_NO)


def _show_person(out: Console, told: Mapping[str, Any]) -> None:
    parts = [_records(told), counted(told["marks"], "mark"), counted(told["decisions"] or 0, "decision")]
    parts.append(counted(told["expectations"], "expectation"))
    verb = "would be forgotten" if told["dry_run"] else "forgotten"
    out.print(f"{', '.join(parts)} {verb}", soft_wrap=True)
    if not told["dry_run"] and not told["scrubbed"]:
        out.print("free room in the files may still hold it: --scrub removes that, too", soft_wrap=True)
    out.print("not reached, and may still name the person:")
    for text in told["left"]:
        out.print(f"  {printable(text)}", soft_wrap=True)


def _forgotten(told: Mapping[str, Any]) -> str:
    verb = "would be forgotten" if told["dry_run"] else "forgotten"
    parts = [_records(told), counted(told["trust"], "entry of trust", "entries of trust")]
    if told["marks"]:
        parts.append(counted(told["marks"], "mark"))
    if told["decisions"] is not None:
        parts.append(counted(told["decisions"], "decision"))
    elif not told["dry_run"]:
        return f"{', '.join(parts)} {verb}; the history is unchanged"
    return f"{', '.join(parts)} {verb}"


@records.command("pass")
@_choices
@click.option("--dry-run", is_flag=True, help="Only count the records that would be let in.")
@common_options
def pass_command(config: Path | None, *, dry_run: bool, json_: bool, **choice: Any) -> None:
    """Let waiting senders in: their next attempt passes at once.

    They are known from then on.  Their origins gain no trust by this.  A sender that has not tried yet has
    no record: use multigrey expect.

    Exit status: 0 when a record was let in, 1 when no waiting record matches, 2 for a wrong command line or
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
    """All records are changed only with --all, never because options are missing."""
    if not chosen and not all_:
        raise click.UsageError("no records are chosen: choose by --sender, --recipient, --client ...")
    if chosen and all_:
        raise click.UsageError("--all cannot be combined with options that choose records")
