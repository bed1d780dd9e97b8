"""`multigrey rule`: lists the rules, and tests which of them an attempt matches."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from multigrey.cli.attempt_options import NOBODY, attempt_in, attempt_options
from multigrey.cli.client import EXIT_NO, ask, common_options, show
from multigrey.cli.explain import mail_text
from multigrey.text import printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["rule"]


@click.group()
def rule() -> None:
    """List and test rules.

    Exit status: 0 on success; the help of each command lists its other numbers.
    """


@rule.command("list")
@common_options
def list_command(config: Path | None, *, json_: bool) -> None:
    """List the rules of the daemon, in the order of their use.

    Exit status: 0; 2 for a wrong configuration or command line; 3 without a daemon; 4 when not allowed.
    """
    show(ask(config, "rule-list", {}), json_, _render_list)


@rule.command("test")
@attempt_options
@common_options
def test_command(config: Path | None, *, json_: bool, **options: Any) -> None:
    """Show which rules an attempt matches, and which one decides.

    Only rules are tested.  A real attempt meets whitelists before them and the records after them: multigrey
    explain shows everything.  Slow sources are not asked, so a rule that depends on them does not match yet.
    Without --sender or --recipient an invalid address is used.

    Exit status: 0 when a rule matches, 1 when none does, 2 for a wrong configuration or command line, 3
    without a daemon, 4 when not allowed.
    """
    attempt = attempt_in(options)
    if not attempt:
        raise click.UsageError("expected the options of an attempt, such as --client-address and --recipient")
    result = ask(config, "rule-test", {"attempt": {**NOBODY, **attempt}})
    show(result, json_, _render_test)
    if result["matches"] is None:
        sys.exit(EXIT_NO)


# --- as text ---------------------------------------------------------------------------------------


def _render_list(console: Console, result: Mapping[str, Any]) -> None:
    if not result["rules"]:
        console.print("no rules are configured")
    for number, row in enumerate(result["rules"], 1):
        for line in _listed(number, row):
            console.print(printable(line), soft_wrap=True)


def _listed(number: int, row: Mapping[str, Any]) -> Iterator[str]:
    settings = ", ".join(f"{name} = {_shown(value)}" for name, value in row["settings"].items())
    yield f"{number:3} {row['rule']}: {row['action']}{f' ({settings})' if settings else ''}"
    yield from (f"      {condition}" for condition in row["conditions"] or ["for every attempt"])


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(value)
    return f"{value} s" if isinstance(value, int) else str(value)


def _render_test(console: Console, result: Mapping[str, Any]) -> None:
    console.print(printable(mail_text(result["attempt"])), soft_wrap=True)
    for row in result["rules"]:
        truth = {True: "holds", False: "does not hold", None: "not known yet"}[row["truth"]]
        because = "; ".join(row["because"]) or "it is for every attempt"
        mark = "*" if row["decides"] else " "
        line = f"{mark} {row['rule']} ({row['action']}): {truth}: {because}"
        console.print(printable(line), soft_wrap=True)
    console.print(
        printable(f"decides: {result['matches']}" if result["matches"] else "no rule matches"), soft_wrap=True
    )
