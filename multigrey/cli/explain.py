"""`multigrey explain`: shows why an attempt is judged as it is, and what would let it pass."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multigrey.cli.attempt_options import attempt_in, attempt_options
from multigrey.cli.client import ask, common_options, show
from multigrey.config.values.units import format_duration
from multigrey.errors import AddressError
from multigrey.events.typed_address import read_addresses
from multigrey.text import counted, printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["explain", "mail_text", "moment", "past_text"]

_MOST_READ = 16_384
_READ_FROM = {"sender": "a line of the sender's side", "header": "the header of a message"}


@click.command()
@click.argument("words", metavar="[ID|ADDRESS|LINE|-]", nargs=-1)
@attempt_options
@click.option(
    "--line",
    metavar="TEXT",
    help="A line of a mail log of Postfix or Exim, or a decision line of multigrey; - reads it from "
    "standard input.",
)
@click.option(
    "--ask",
    "ask_",
    is_flag=True,
    help="Also ask slow sources (DNS and others), if the daemon would ask them for a real attempt.",
)
@common_options
def explain(
    words: tuple[str, ...],
    line: str | None,
    config: Path | None,
    *,
    ask_: bool,
    json_: bool,
    **options: Any,
) -> None:
    """Explain how an attempt would be judged now, step by step.

    The command also says what would let it pass.  Give the attempt by what you have: the ID of a decision
    (from the log or the history), the ADDRESS of its sender, its recipient or both in any spelling and order,
    a pasted LINE of a mail log, a bounce or a header in quotes (- reads it from standard input), or options.
    Without a client it is the latest attempt that the history knows of.  A refusal in the line that is not
    multigrey's is named as whose it is.

    The command changes and counts nothing; the verdict is the one that a real attempt would get at this
    moment.  The steps after the deciding one are shown too, because they show what would happen without it.

    If no daemon runs, the command reads the store of the stopped one.

    Exit status: 0 when there is an explanation, with any verdict; 1 when the ID is not known, or no attempt
    was found in the line; 2 for a wrong command line or configuration; 3 without a daemon or its store; 4
    when not allowed.
    """
    show(ask(config, "explain", {**_wanted(words, line, options), "ask": ask_}), json_, _render)


def _wanted(words: Sequence[str], line: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    attempt = attempt_in(options)
    if sum(map(bool, (words, line, attempt))) != 1:
        raise click.UsageError(
            "expected one of: the ID of a decision, a LINE of a mail log in quotes, the ADDRESS of sender or "
            "recipient, or the options of an attempt (--client-address, --sender, --recipient ...)"
        )
    if attempt:
        return {"attempt": attempt}
    if line is not None or words == ("-",):
        return {"line": sys.stdin.read(_MOST_READ) if line in {None, "-"} else line}
    try:
        read_addresses(", ".join(words))
    except AddressError as error:
        text = " ".join(words)
        if len(text.split()) > 1:
            return {"line": text}
        if "@" in text:
            raise click.UsageError(str(error)) from None
        return {"id": text.removeprefix("id=")}
    return {"about": ", ".join(words)}


# --- as text ---------------------------------------------------------------------------------------


def moment(seconds: int | None) -> str:
    """A time (seconds since 1970) as local time; "never" for None and 0."""
    if not seconds:
        return "never"
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S}"


def mail_text(attempt: Mapping[str, Any]) -> str:
    """An attempt in one line: client, sender and recipient."""
    if attempt.get("raw"):
        return f"key {attempt['raw']}"
    client = attempt.get("client_address") or "unknown client"
    if attempt.get("client_name"):
        client = f"{attempt['client_name']} [{client}]"
    helo = f" (HELO {attempt['helo']})" if attempt.get("helo") else ""
    login = f", logged in as {attempt['authenticated']}" if attempt.get("authenticated") else ""
    sender = attempt.get("sender") or "<>"
    return f"{client}{helo}: {sender} -> {attempt.get('recipient') or '?'}{login}"


def _render(console: Console, result: Mapping[str, Any]) -> None:
    for line in _lines(result):
        console.print(printable(line), soft_wrap=True)


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    yield mail_text(result["attempt"])
    if read := result["read"]:
        yield f"(read from {_READ_FROM.get(read, f'a line of {read}')})"
    if result["past"]:
        yield past_text(result["past"])
    if result["foreign"]:
        yield f"this refusal is not multigrey's, but {result['foreign']}"
    if then := result["then"]:
        yield f"decided at {moment(then['time'])}: {then['action']} {then['reason']} (id {then['id']})"
        yield "and now:"
    elif result["foreign"]:
        yield "multigrey would say:"
    yield _verdict(result)
    yield ""
    width = max(len(each["step"]) for each in result["steps"])
    for each in result["steps"]:
        mark = "*" if each["step"] == result["decided_by"] else " "
        yield f"{mark} {each['step']:{width}}  {each['outcome']}"
        for row in each["details"]:
            yield from (f"{'':{width + 4}}{text}" for text in _DETAILS.get(each["step"], _nothing)(row))
    yield ""
    yield from (f"- {text}" for text in map(_advice, result["advice"]))


def past_text(past: Mapping[str, Any]) -> str:
    """How often and from where a mail was tried, and which attempt is meant."""
    more = f" and {past['more_clients']} more" if past["more_clients"] else ""
    text = f"{counted(past['attempts'], 'attempt')} from {', '.join(past['clients'])}{more}"
    return text if past["attempts"] == 1 else f"{text}; this is the latest, of {moment(past['last'])}"


def _verdict(result: Mapping[str, Any]) -> str:
    verdict = result["verdict"]
    text = f"{verdict['action'].upper()} {verdict['reason']}: {verdict['meaning']}"
    if verdict["rule"]:
        text += f" Rule {verdict['rule']!r}."
    if verdict["detail"]:
        text += f" ({verdict['detail']})"
    if verdict["observed"]:
        text += " Only observed: without observe mode it would have been deferred or refused."
    if verdict["retry_after"]:
        text += f" A retry passes in {format_duration(verdict['retry_after'])}."
    if not result["certain"]:
        text += " Slow sources were not asked and may change this: see --ask."
    return text


def _advice(row: Mapping[str, Any]) -> str:
    text = str(row["text"])
    if row["from"]:
        text += f" from {moment(row['from'])}"
    if row["until"]:
        text += f" until {moment(row['until'])}"
    return text


def _nothing(row: Mapping[str, Any]) -> Sequence[str]:
    del row
    return ()


def _source(row: Mapping[str, Any]) -> Iterator[str]:
    name = f"{row['source']} {row['path'] or ''}".strip()
    if not row["matches"]:
        yield f"{name}: no"
        return
    owner = f", owner {row['owner']}" if row["owner"] else ""
    yield f"{name}: {row['entry']}{owner}{'' if row['decides'] else ' (hidden: an earlier source decides)'}"
    if row["why"]:
        yield f"  because: {row['why']}"
    yield from (f"  hides {entry}" for entry in row["hidden"])


def _rule(row: Mapping[str, Any]) -> Iterator[str]:
    truth = {True: "holds", False: "does not hold", None: "not known yet"}[row["truth"]]
    because = "; ".join(row["because"]) or "it is for every attempt"
    late = "" if row["decides"] or not row["truth"] else " (an earlier rule decides)"
    yield f"{row['rule']}: {truth}: {because}{late}"


def _record(row: Mapping[str, Any]) -> Iterator[str]:
    record = row["record"]
    if record is None:
        yield f"{row['key']}: nothing"
        return
    passed = f"passed {moment(record['passed_at'])}" if record["passed_at"] else "has not passed"
    observed = ", only observed" if record["observed"] else ""
    yield f"{row['key']}:"
    yield (
        f"  first seen {moment(record['first_seen'])}, last {moment(record['last_seen'])}, "
        f"{counted(record['attempts'], 'attempt')} ({record['early']} too early), delay "
        f"{format_duration(record['delay'])}, {passed}{observed}"
    )


_DETAILS = {
    "whitelists": _source,
    "rules": _rule,
    "rules-again": _rule,
    "records": _record,
}
