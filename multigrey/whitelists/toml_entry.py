"""The keys of an entry in a TOML whitelist, and the conditions they are compiled into.

    [list]
    owner = "postmaster@example.org"

    [[entry]]
    client = "198.51.100.0/28"
    recipient = "oncall@example.org"
    reason = "The monitoring sends each alert once"
    review_by = 2027-06-30

All match keys that an entry has must hold.  Names and addresses are written as in the conditions of
rules (see `config.values.patterns`).
"""

# ruff: noqa: TRY004  (as in `config.values.types`: pydantic collects ValueError)

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import Field, model_validator
from pydantic.fields import FieldInfo

from multigrey.config.tables.table import ConfigTable, Conflict, Label, conflicts
from multigrey.config.values.kind import Kind, shown
from multigrey.config.values.patterns import (
    Net,
    Pattern,
    read_address,
    read_domain,
    read_host,
    read_label,
    read_network,
)
from multigrey.whitelists.checks.misfits import clients_instead, every_one, why_never
from multigrey.whitelists.entry import Condition, ListedEntry, network_condition

__all__ = [
    "MATCH_KEYS",
    "ListDefaults",
    "ListEntry",
    "ListFile",
    "checked_values",
    "conditions_of",
    "make_entry",
]

_REMARK = 1000
_NUMERIC = re.compile(r"[0-9./]+")


# --- values ----------------------------------------------------------------------------------------


def _read_remark(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected text in quotes, got {shown(value)}")
    if not value.strip() or not value.isprintable() or len(value) > _REMARK:
        raise ValueError(f"expected one line of up to {_REMARK} printable characters, got {shown(value)}")
    return value.strip()


def _read_date(value: object) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise ValueError(f"expected a date such as 2027-01-31, {_got(value)}")


def _read_moment(value: object) -> date | datetime:
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError(
            f"{value.isoformat()} could be in any time zone; add its offset, as in "
            f"{value.isoformat()}Z, or write the date alone"
        )
    if isinstance(value, date):
        return value
    raise ValueError(
        f"expected a date such as 2027-01-31 or a time such as 2027-01-31T18:00:00Z, {_got(value)}"
    )


def _got(value: object) -> str:
    quotes = isinstance(value, str) and re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value)
    return f"got {shown(value)}{' (write dates without quotes)' if quotes else ''}"


def _read_client(value: object) -> Net | Pattern:
    """A network if it looks like one, else a name."""
    if not isinstance(value, str):
        raise ValueError(f'expected a client such as "192.0.2.0/24" or ".example.org", got {shown(value)}')
    if instead := clients_instead(value):
        lines = " and ".join(f"client = {shown(each)}" for each in instead)
        several = ", each in an entry of its own" if len(instead) > 1 else ""
        raise ValueError(f"{shown(value)} would never match; write {lines}{several}")
    if why := why_never(value):
        raise ValueError(f"{shown(value)} {why}")
    if "@" in value and not value.startswith("/"):
        raise ValueError(f"{shown(value)} is an address of mail, not a client; use sender or recipient")
    if value.startswith("/") or not (":" in value or _NUMERIC.fullmatch(value)):
        return read_host(value)
    found = read_network(value)
    if not found.network.prefixlen:
        raise ValueError(f"{shown(value)} would match every client; to switch greylisting off, use a rule")
    return found


def _read_origin(value: object) -> Pattern:
    found = read_label(value)
    if found.how != "exact" or "/" in found.text:
        raise ValueError(
            f"{shown(value)} is not an origin; expected the registered domain or provider that the log "
            'shows, as in "example.org" (use client for networks)'
        )
    return found


Remark = Annotated[str, Kind("text", _read_remark)]
Day = Annotated[date, Kind("date", _read_date)]
Moment = Annotated[date | datetime, Kind("date or time", _read_moment)]


# --- tables ----------------------------------------------------------------------------------------


class ListDefaults(ConfigTable):
    """`[list]`: defaults for all entries of the file."""

    owner: Label | None = Field(
        default=None,
        description="Who is responsible for the entry: a person, a team or an address.  The default is the "
        "owner of the [[whitelist]] table in multigrey.toml.  Shown in the log with each match.",
    )
    reason: Remark | None = Field(
        default=None,
        description="Why this mail must not be delayed, for readers of the list in later years.",
    )
    ticket: Label | None = Field(
        default=None, description="Where it was requested: a ticket number, or the address of a page."
    )
    added: Day | None = Field(default=None, description="When the entry was added.")
    review_by: Day | None = Field(
        default=None,
        description="The day by which the owner checks whether the entry is still needed.  Lint reminds of "
        "it; the entry still matches after it.",
    )
    expires: Moment | None = Field(
        default=None,
        description="When the entry stops matching: after the end of this day in UTC, or at this moment, "
        "which is written with its offset from UTC.",
    )
    enabled: bool | None = Field(
        default=None,
        strict=True,
        description="Set it to false to keep an entry without using it.  The default is true.",
    )


class ListEntry(ListDefaults):
    """`[[entry]]`: mail that passes; all conditions that are given must hold."""

    client: Annotated[Net | Pattern, Kind("client", _read_client)] | None = Field(
        default=None,
        description="The client: an address, a network in CIDR notation, or the verified client name "
        "(example.org is that name alone, .example.org has its sub-domains too, /regex/ is searched in "
        "the name).  A client without a verified name matches by its address only.",
    )
    origin: Annotated[Pattern, Kind("origin", _read_origin)] | None = Field(
        default=None,
        description="The named origin as the log shows it: a registered domain or a provider.",
    )
    sender: Annotated[Pattern, Kind("address", read_address)] | None = Field(
        default=None,
        description="The envelope sender: bob@example.org (also bob+anything@example.org), bob@ in every "
        "domain, @example.org, @.example.org with its sub-domains, <> for the null sender, or /regex/.  "
        "A client can claim any sender: give client or origin too.",
    )
    sender_domain: Annotated[Pattern, Kind("domain", read_domain)] | None = Field(
        default=None,
        description="The domain of the envelope sender: example.org alone, .example.org with its "
        "sub-domains, or /regex/.  A client can claim any domain: give client or origin too.",
    )
    recipient: Annotated[Pattern, Kind("address", read_address)] | None = Field(
        default=None, description="The envelope recipient, written like sender."
    )
    recipient_domain: Annotated[Pattern, Kind("domain", read_domain)] | None = Field(
        default=None, description="The domain of the envelope recipient, written like sender_domain."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        conflicts(self._problems())
        return self

    def _problems(self) -> Iterable[Conflict]:
        if all(getattr(self, key) is None for key in MATCH_KEYS):
            yield (), f"has no condition; expected at least one of {', '.join(MATCH_KEYS)}"
        elif _is_boundless(vars(self)):
            key = next(key for key in MATCH_KEYS if getattr(self, key) is not None)
            what = "client that has a verified name" if key == "client" else "mail"
            text = f"{shown(getattr(self, key).written)} matches every {what}"
            yield (key,), f'{text}; name what you mean, or set mode = "off" in [greylist]'


MATCH_KEYS = ("client", "origin", "sender", "sender_domain", "recipient", "recipient_domain")


def _is_boundless(values: Mapping[str, object]) -> bool:
    """Whether every condition is a regular expression that is found in each text."""
    return all(
        isinstance(value, Pattern) and value.how == "regex" and every_one(value.text, key.partition("_")[0])
        for key in MATCH_KEYS
        if (value := values.get(key)) is not None
    )


class ListFile(ConfigTable):
    """A whole list file."""

    list: ListDefaults = Field(default_factory=ListDefaults)
    entry: tuple[ListEntry, ...] = ()


# --- conditions ------------------------------------------------------------------------------------


_OF_DOMAIN = {"exact": "domain", "below": "domain below", "regex": "domain regex"}


def conditions_of(values: Mapping[str, object]) -> Iterator[Condition]:
    """Yield the conditions of an entry from its checked values, in the order of MATCH_KEYS."""
    for key in MATCH_KEYS:
        value = values.get(key)
        subject, _, part = key.partition("_")
        if isinstance(value, Net):
            yield network_condition(value.network)
        elif isinstance(value, Pattern):
            yield Condition(subject, _OF_DOMAIN[value.how] if part else value.how, value.text)


def make_entry(
    path: Path, line: int | None, defaults: Mapping[str, Any], values: Mapping[str, Any], owner: str
) -> ListedEntry:
    """Return the entry with the defaults of its file; `owner` is the owner if neither names one.

    Both mappings have checked values by key; None stands for a missing one.
    """

    def either(key: str) -> Any:
        own = values.get(key)
        return defaults.get(key) if own is None else own

    return ListedEntry(
        path=path,
        line=line,
        conditions=tuple(conditions_of(values)),
        owner=either("owner") or owner,
        reason=either("reason") or "",
        ticket=either("ticket") or "",
        added=either("added"),
        review_by=either("review_by"),
        expires=either("expires"),
        enabled=either("enabled") is not False,
    )


def _reader(field: FieldInfo) -> Callable[[Any], Any]:
    """What reads the values of a key."""
    inner = (part for each in get_args(field.annotation) for part in getattr(each, "__metadata__", ()))
    kind = next((part for part in (*field.metadata, *inner) if isinstance(part, Kind)), None)
    return _read_truth if kind is None else kind.read


def _read_truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("expected true or false")
    return value


_READERS = {key: _reader(field) for key, field in ListEntry.model_fields.items()}


# Shortcut of ListEntry.model_validate.
def checked_values(table: Mapping[str, object]) -> Mapping[str, Any] | None:
    """The checked values of an entry; None if something is wrong with it, which `ListFile` reports."""
    try:
        values = {key: _READERS[key](value) for key, value in table.items()}
    except (KeyError, ValueError):
        return None
    return None if values.keys().isdisjoint(MATCH_KEYS) or _is_boundless(values) else values
