"""The command line options that describe an attempt, for commands that judge one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from multigrey.cli.common import AddressType

__all__ = ["NOBODY", "attempt_in", "attempt_options"]

F = TypeVar("F", bound=Callable[..., Any])

NOBODY = {"sender": "nobody@sender.invalid", "recipient": "nobody@recipient.invalid"}
"""Addresses for those that are not given: no list names them (RFC 2606)."""

_OPTIONS = (
    ("client_address", "IP", "The client's address."),
    ("client_name", "NAME", "The client's verified name; it is not checked.  By default it has none."),
    ("helo", "NAME", "The name the client gives in HELO or EHLO; by default its verified name."),
    ("sender", "ADDRESS", "The envelope sender; '<>' is the null sender."),
    ("recipient", "ADDRESS", "The envelope recipient."),
    ("authenticated", "LOGIN", "The login name, if the client has logged in."),
    ("listener", "NAME", "The name of the listener that gets the attempt."),
    ("stage", "STAGE", "rcpt (the default) or data, where bounces are judged."),
)


def attempt_options(command: F) -> F:
    """Give a command an option for each part of an attempt, passed under its name."""
    attribute = click.option(
        "--attribute",
        "attributes",
        multiple=True,
        metavar="NAME=VALUE",
        help="Any other attribute the mail server sends, under Postfix's name; may be given several times.",
    )
    command = attribute(command)
    for name, metavar, text in reversed(_OPTIONS):
        type_ = AddressType() if metavar == "ADDRESS" else click.STRING
        command = click.option(f"--{name.replace('_', '-')}", metavar=metavar, type=type_, help=text)(command)
    return command


def attempt_in(options: Mapping[str, Any]) -> dict[str, Any]:
    """The attempt in the options of a command; empty if none of them is given."""
    found: dict[str, Any] = {name: options[name] for name, _, _ in _OPTIONS if options.get(name) is not None}
    attributes = _attributes(options.get("attributes") or ())
    if attributes:
        found["attributes"] = attributes
    return found


def _attributes(pairs: Sequence[str]) -> dict[str, str]:
    attributes = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{pair!r}: expected NAME=VALUE", param_hint="--attribute")
        attributes[name] = value
    return attributes
