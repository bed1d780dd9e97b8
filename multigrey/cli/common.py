"""Types, formats and messages that several commands use."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from multigrey.cli.client import AskError, load_for_asking
from multigrey.config.values.units import format_duration, parse_duration
from multigrey.engine.explain_memory import name_text
from multigrey.errors import AddressError, CommandError
from multigrey.events.query import Query
from multigrey.events.typed_address import read_address, read_address_or_domain
from multigrey.model import DAY
from multigrey.text import counted

__all__ = [
    "AddressType",
    "Duration",
    "given",
    "lasting",
    "moment",
    "override_words",
    "say_what_is_hidden",
    "shown_address",
    "trust_lines",
]


class Duration(click.ParamType[float]):
    """A duration as in the configuration, like 2h or 7d; the value is in seconds."""

    name = "duration"

    def __init__(self, *, least: int = 0, fractions: bool = False) -> None:
        """`least`: the shortest duration in seconds; `fractions`: allow 0.5s, and return a float."""
        self._least = least
        self._fractions = fractions

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """See `click.ParamType.convert`."""
        if isinstance(value, int | float):
            return value
        try:
            seconds = parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if seconds < self._least or (seconds % 1 and not self._fractions):
            least = f", at least {self._least}" if self._least else ""
            self.fail(f"{value}: expected whole seconds{least}", param, ctx)
        return seconds if self._fractions else int(seconds)


class AddressType(click.ParamType[str]):
    """An envelope address in any spelling (see `events.typed_address`); the value is the address alone."""

    name = "address"

    def __init__(self, *, domains: bool = False, clients: bool = False) -> None:
        """`domains`: it may be a domain; `clients`: or else the address or network of a client."""
        self._read = read_address_or_domain if domains or clients else read_address
        self._clients = clients

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See `click.ParamType.convert`."""
        try:
            if self._clients and "@" not in value and "<" not in value:
                Query.of({"about": value})
                return str(value)
            return self._read(value)
        except (AddressError, CommandError) as error:
            self.fail(str(error), param, ctx)


def given(**options: Any) -> dict[str, Any]:
    """The options that were given on the command line: without None and False."""
    return {name: value for name, value in options.items() if value is not None and value is not False}


def moment(seconds: int | None) -> str:
    """A time (seconds since 1970) as local time; "" for None and 0."""
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S}" if seconds else ""


def lasting(seconds: int) -> str:
    """A duration in seconds as text; days are shown without minutes, hours without seconds."""
    unit = 3600 if seconds >= DAY else 60 if seconds >= 3600 else 1
    return format_duration(max(seconds, 0) // unit * unit)


def override_words(override: Mapping[str, Any]) -> str:
    """What an override does, as the command that sets it says: `mode: observe`, or `tighten`."""
    return f"mode: {override['word']}" if override["slot"] == "mode" else str(override["word"])


def say_what_is_hidden(config: Path | None, *words: str | None) -> None:
    """After a search without results: explain that redacted addresses cannot be found by a network."""
    if not any("/" in word for word in words if word):
        return
    with suppress(AskError):
        if load_for_asking(config).settings.log.redact:
            text = "client addresses are redacted here: look for a single address, not for a network"
            click.echo(text, err=True)


def shown_address(address: str) -> str:
    """An envelope address as people write it."""
    return address or "<>"


def trust_lines(trust: Mapping[str, Any]) -> list[str]:
    """What an origin is trusted for, one line for each kind of trust."""
    lines = [_standing_line(trust["standing"])] if trust["standing"] else []
    lines += [_domain_line(row) for row in trust["domains"]]
    lines += [f"name: {name_text(row)}" for row in trust.get("names", ())]
    return lines or ["nothing is known of this origin beyond its records"]


def _standing_line(standing: Mapping[str, Any]) -> str:
    needed = standing["needed"]
    if needed is None:
        return "as a whole: origins need not prove themselves ([greylist] prove_origins)"
    share = 100 * standing["returned"] // standing["resolved"] if standing["resolved"] else 0
    figures = (
        f"{standing['resolved']} of {counted(needed['resolved'], 'deferral')} resolved, {share} of "
        f"{needed['percent']} per cent came back, from "
        f"{standing['domains']} of {counted(needed['domains'], 'sender domain')}"
    )
    if standing["proven"]:
        since = standing["proven_at"]
        return f"as a whole: proven{f' since {moment(since)}' if since else ''} ({figures})"
    recent = sum(row[1] for row in (*standing["hours"], *standing["days"])) - standing["resolved"]
    young = f"; {recent} more are too recent or too old to count" if recent > 0 else ""
    return f"as a whole: not proven ({figures}{young})"


def _domain_line(row: Mapping[str, Any]) -> str:
    needed = row["needed"]
    passes = counted(needed or row["passes"], "counted pass", "counted passes")
    if needed:
        passes = f"{row['passes']} of {passes}"
    keys = "under several keys" if row["several_keys"] else "under one key only (two are needed)"
    state = "trusted" if row["trusted"] else "not trusted" if needed else "trust is switched off"
    seen = moment(row["last_seen"])
    return f"for mail from {row['domain'] or '?'}: {state} ({passes}, {keys}; last seen {seen})"
