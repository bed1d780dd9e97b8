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
from multigrey.text import printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["explain", "mail_text", "moment"]

_MOST_READ = 16_384


@click.command()
@click.argument("decision_id", metavar="[ID|LINE|-]", required=False)
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
    decision_id: str | None,
    line: str | None,
    config: Path | None,
    *,
    ask_: bool,
    json_: bool,
    **options: Any,
) -> None:
    """Explain how an attempt would be judged now, step by step.

    The command also says what would let it pass.  Give the attempt by the ID of a decision (from the log,
    the header or a bounce), by a pasted LINE of a mail log in quotes (- reads it from standard input), or
    by options.  The command changes and counts nothing; the verdict is the one that a real attempt would
    get at this moment.  The steps after the deciding one are shown too, because they show what would happen
    without it.

    If no daemon runs, the command reads the store of the stopped one.

    Exit status: 0 when there is an explanation, with any verdict; 1 when the ID is not known, or no attempt
    was found in the line; 2 for a wrong command line or configuration; 3 without a daemon or its store; 4
    when not allowed.
    """
    show(ask(config, "explain", {**_wanted(decision_id, line, options), "ask": ask_}), json_, _render)


def _wanted(decision_id: str | None, line: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    attempt = attempt_in(options)
    if decision_id and not line and (decision_id == "-" or len(decision_id.split()) > 1):
        decision_id, line = None, decision_id
    given = sum(map(bool, (decision_id, line, attempt)))
    if given != 1:
        raise click.UsageError(
            "expected one of: the ID of a decision, a LINE of a mail log in quotes, or the options of an "
            "attempt (--client-address, --sender, --recipient ...)"
        )
    if decision_id:
        return {"id": decision_id.removeprefix("id=")}
    if line:
        return {"line": sys.stdin.read(_MOST_READ) if line == "-" else line}
    return {"attempt": attempt}


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
    if result["read"]:
        yield f"(read from a line of {result['read']})"
    then = result["then"]
    if then:
        yield f"decided at {moment(then.get('time'))}: {then.get('action')} {then.get('reason')}"
        yield "and now:"
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
        f"{record['attempts']} attempts ({record['early']} too early), delay "
        f"{format_duration(record['delay'])}, {passed}{observed}"
    )


_DETAILS = {
    "whitelists": _source,
    "rules": _rule,
    "rules-again": _rule,
    "records": _record,
}
