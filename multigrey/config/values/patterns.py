"""Readers for the values of conditions: names, addresses, networks, sizes, times.

Each reader takes one value from the configuration or from a list file.  It raises ValueError with a
text that says what is wrong and what is expected.  Names and addresses are normalised in the same way
as the texts of attempts that they are compared with (see `identity.addresses`).
"""

# ruff: noqa: TRY004  (as in `types`: callers collect ValueError)

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from multigrey.config.values.kind import shown
from multigrey.config.values.types import parse_network as parse_strict
from multigrey.config.values.units import parse_size
from multigrey.identity.addresses import host_name, normalise_address
from multigrey.matching.matchers import Network, RegexSet, parse_network
from multigrey.matching.timespans import parse_days, parse_times

__all__ = [
    "Days",
    "Net",
    "Pattern",
    "Sizes",
    "Times",
    "read_address",
    "read_days",
    "read_domain",
    "read_host",
    "read_label",
    "read_login",
    "read_network",
    "read_sizes",
    "read_times",
]

_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.(?!-)[a-z0-9_-]{1,63})*")
_NAME_LENGTH = 253
_NUMERIC = re.compile(r"[0-9][0-9.]*(?:/[0-9]+)?")
_SIZES = re.compile(r"(>=|<=|>|<)(.+)|([^-]+)-(.+)", re.DOTALL)
_SIZES_FORMS = 'expected ">=1MiB", "<64KiB" or a span such as "64KiB-1MiB"'
_LONGEST = 1000
"""Most characters of one value.  Names and addresses are shorter; a longer pattern is a paste error."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text that a name, an address or a part of one is compared with."""

    how: Literal["exact", "below", "user", "domain", "domain below", "regex"]
    """`below`: the name and all its sub-domains; `user`, `domain`: that part of an address alone."""
    text: str
    written: str


@dataclass(frozen=True, slots=True)
class Net:
    """A network of client addresses."""

    network: Network
    written: str


@dataclass(frozen=True, slots=True)
class Sizes:
    """Octets from `low` to `high`, both included; `high` None means no upper limit."""

    low: int
    high: int | None
    written: str


@dataclass(frozen=True, slots=True)
class Times:
    """A span of minutes of the day (see `matching.timespans`)."""

    begin: int
    end: int
    written: str


@dataclass(frozen=True, slots=True)
class Days:
    """Days of the week, 0 is Monday."""

    days: frozenset[int]
    written: str


# --- texts -----------------------------------------------------------------------------------------


def _text(value: object, expected: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected {expected}, got {shown(value)}")
    if not value or value != value.strip() or not value.isprintable():
        raise ValueError(f"expected {expected} without blanks around it, got {shown(value)}")
    if len(value) > _LONGEST:
        raise ValueError(f"has {len(value)} characters; expected at most {_LONGEST}")
    return value


def _regex(text: str) -> Pattern | None:
    """A pattern from `/regex/`; None for other text.  Raises ValueError if RE2 refuses the regex."""
    if not text.startswith("/"):
        return None
    if len(text) < 3 or not text.endswith("/"):
        flags = re.fullmatch(r"/.+/[a-z]+", text)
        hint = "; flags are not supported, and case never matters" if flags else ""
        raise ValueError(f"{shown(text)}: a regular expression is written /regex/{hint}")
    for reason in RegexSet([(text[1:-1], True)]).rejected.values():
        raise ValueError(f"{shown(text)}: this regular expression cannot be used: {reason}")
    return Pattern("regex", text[1:-1], text)


def read_host(value: object) -> Pattern:
    """Read a host name: the name alone, with all sub-domains (leading dot), or a regular expression."""
    text = _text(value, 'a name such as "mx.example.org" or ".example.org"')
    if _NUMERIC.fullmatch(text) or (":" in text and not text.startswith("/")):
        raise ValueError(f"{shown(text)} is not a name; use client_address for addresses and networks")
    return _named(text)


def read_domain(value: object) -> Pattern:
    """Read the domain of an address: the domain alone, with all sub-domains, or a regular expression."""
    text = _text(value, 'a domain such as "example.org" or ".example.org"')
    if "@" in text and not text.startswith("/"):
        raise ValueError(f"{shown(text)} is an address; expected its domain alone")
    if text.startswith("[") and text.endswith("]"):
        return Pattern("exact", text.lower(), text)
    return _named(text)


def _named(text: str) -> Pattern:
    found = _regex(text)
    if found is not None:
        return found
    if text.startswith("."):
        return Pattern("below", _name(text[1:], text), text)
    return Pattern("exact", _name(text, text), text)


def _name(name: str, written: str) -> str:
    if "*" in name:
        rest = name.lstrip("*.")
        raise ValueError(
            f'{shown(written)}: wildcards are not supported; write ".{rest or "example.org"}" or /regex/'
        )
    name = host_name(name)
    if len(name) > _NAME_LENGTH or not _NAME.fullmatch(name):
        raise ValueError(
            f'{shown(written)} is not a domain name; expected "example.org", ".example.org" for all names in '
            "it, or /regex/"
        )
    return name


def read_label(value: object) -> Pattern:
    """Read an origin, a HELO, a provider, …: the text alone, with sub-domains (leading dot), or a regex.

    Case does not matter.
    """
    text = _text(value, "text in quotes")
    found = _regex(text)
    if found is not None:
        return found
    if text.startswith("."):
        return Pattern("below", _name(text[1:], text), text)
    return Pattern("exact", host_name(text), text)


def read_login(value: object) -> Pattern:
    """Read a text that is not normalised (login, policy context, listener), or a regular expression."""
    text = _text(value, "text in quotes")
    return _regex(text) or Pattern("exact", text, text)


def read_address(value: object) -> Pattern:
    """Read an envelope address, a part of one, `<>` for the null sender, or a regular expression."""
    text = _text(value, 'an address such as "info@example.org"')
    found = _regex(text)
    if found is not None:
        return found
    if text == "<>":
        return Pattern("exact", "", text)
    local, at, domain = text.rpartition("@")
    if not at:
        raise ValueError(_no_address(text))
    if "*" in text:
        raise ValueError(
            f'{shown(text)}: wildcards are not supported; write "info@", "@example.org", "@.example.org" '
            "or /regex/"
        )
    if not local:
        below = domain.startswith(".")
        return Pattern("domain below" if below else "domain", _name(domain[below:], text), text)
    if not domain:
        return Pattern("user", normalise_address(f"{local}@x").removesuffix("@x"), text)
    if not domain.startswith("["):
        _name(domain, text)
    return Pattern("exact", normalise_address(text), text)


def _no_address(text: str) -> str:
    if _NAME.fullmatch(host_name(text)) and "." in text:
        return (
            f'{shown(text)} has no @; for every address in the domain write "@{text}", with its sub-domains '
            f'"@.{text}"'
        )
    return (
        f"{shown(text)} has no @; for a local part in every domain write "
        f'"{text if text.isascii() and " " not in text and "*" not in text else "info"}@"'
    )


# --- networks, sizes, times ------------------------------------------------------------------------


def read_network(value: object) -> Net:
    """Read an address or a network in CIDR notation."""
    try:
        network = parse_strict(value)
    except ValueError as error:
        named = isinstance(value, str) and re.search(r"[g-z]", value.lower()) and "." in value
        raise ValueError(f"{error}{'; use client_name for names' if named else ''}") from None
    if network.prefixlen:  # an IPv6 network that stands for IPv4 hosts is the network of those hosts
        network = parse_network(str(network))
    return Net(network, str(value))


def read_sizes(value: object) -> Sizes:
    """Read message sizes, written with a comparison sign in front or as a span."""
    matched = _SIZES.fullmatch(value.strip()) if isinstance(value, str) else None
    if matched is None:
        raise ValueError(f"{_SIZES_FORMS}, got {shown(value)}")
    sign, size, low, high = matched.groups()
    written = str(value)
    if not sign:
        found = Sizes(parse_size(low.strip()), parse_size(high.strip()), written)
    else:
        octets = parse_size(size.strip())
        found = {
            ">=": Sizes(octets, None, written),
            ">": Sizes(octets + 1, None, written),
            "<=": Sizes(0, octets, written),
            "<": Sizes(0, octets - 1, written),
        }[sign]
    if found.high is not None and found.low > found.high:
        raise ValueError(f"{shown(value)}: no size is in that span")
    return found


def read_times(value: object) -> Times:
    """Read a span of times of day, which may go over midnight."""
    text = _text(value, 'times of day such as "22:00-06:00"')
    try:
        return Times(*parse_times(text), text)
    except ValueError as error:
        raise ValueError(f'{shown(text)}: {error}; expected times of day such as "22:00-06:00"') from None


def read_days(value: object) -> Days:
    """Read a day of the week, or a span of days."""
    text = _text(value, 'days such as "sat" or "mon-fri"')
    try:
        return Days(parse_days(text), text)
    except ValueError as error:
        raise ValueError(f'{shown(text)}: {error}; expected days such as "sat" or "mon-fri"') from None
