"""What users may do from the pages: the request to the daemon for a form.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from multigrey_web.logins import User
from multigrey_web.words import duration

__all__ = ["MODES", "MOST_OWN", "SPANS", "Deed", "deed_of", "own_deed_of"]

SPANS = {"900": "15 minutes", "3600": "an hour", "14400": "4 hours", "86400": "a day"}
"""How long an expectation or a mode may last, in seconds."""
MODES = ("observe", "off", "enforce")
MOST_OWN = 10
"""Mails for which a user may wait at a time."""
OWN_SECONDS = 2 * 86_400
_LONGEST = 320


class Deed(NamedTuple):
    """Something to do."""

    operation: str
    options: Mapping[str, Any]
    text: str
    """What is done, for the log and the page."""


def deed_of(act: str, fields: Mapping[str, str], user: str) -> Deed:
    """What a form asks for.  Raises ValueError, with the text for the user."""
    if act == "expect":
        recipient, domain = _address(fields, "recipient"), fields.get("from", "").strip().lstrip("@.")
        seconds = _seconds(fields)
        reason = f"{user}, on the web page"
        options = {"recipient": recipient, "from": domain, "seconds": seconds, "reason": reason}
        whose = f" from {domain}" if domain else ""
        return Deed("expect", options, f"expect mail{whose} to {recipient} for {duration(seconds)}")
    if act == "pass":
        sender, recipient = fields.get("sender", "") or "<>", _address(fields, "recipient")
        return Deed(
            "records.pass", {"sender": sender, "recipient": recipient}, f"let {sender} to {recipient} pass"
        )
    if act == "mode":
        word = fields.get("word", "")
        if word == "end":
            return Deed("override", {"slot": "mode"}, "end the override of the mode")
        if word not in MODES:
            raise ValueError(f"mode: expected one of {', '.join(MODES)}")
        seconds = _seconds(fields)
        options = {"slot": "mode", "word": word, "seconds": seconds}
        return Deed("override", options, f"mode {word} for {duration(seconds)}")
    raise ValueError("this form does not exist")


def own_deed_of(
    fields: Mapping[str, str],
    user: User,
    expected: Sequence[Mapping[str, Any]],
    providers: Collection[str],
) -> Deed:
    """What a user asks for who waits for a mail to an address of their own.  Raises ValueError.

    `expected`: everything that is expected now; `providers`: domains of which a whole address is needed.
    """
    recipient = fields.get("recipient", "").strip().lower()
    if recipient not in user.addresses:
        raise ValueError("choose one of your own addresses")
    sender = fields.get("from", "").strip().strip("<>").lower().removeprefix("@")
    local, _, domain = sender.rpartition("@")
    if "." not in domain or not sender.isprintable() or " " in sender or len(sender) > _LONGEST:
        raise ValueError("from whom: expected an address, such as shop@example.org, or a domain")
    if not local and _is_of(domain, providers):
        raise ValueError(f"{domain} has the mail of very many people: give the whole address of the sender")
    theirs = [each for each in expected if each["recipient"] in user.addresses]
    if len(theirs) >= MOST_OWN and not any(
        (each["recipient"], each["from"]) == (recipient, sender) for each in theirs
    ):
        raise ValueError("you wait for as many mails as are possible: try again when one is over")
    reason = f"{user.name}, for themselves"
    options = {"recipient": recipient, "from": sender, "seconds": OWN_SECONDS, "reason": reason}
    return Deed("expect", options, f"expect mail from {sender} to {recipient} for {duration(OWN_SECONDS)}")


def _is_of(domain: str, providers: Collection[str]) -> bool:
    labels = domain.split(".")
    return any(".".join(labels[index:]) in providers for index in range(len(labels)))


def _seconds(fields: Mapping[str, str]) -> int:
    text = fields.get("seconds", "900")
    if text not in SPANS:
        raise ValueError("choose how long it is to last")
    return int(text)


def _address(fields: Mapping[str, str], name: str) -> str:
    text = fields.get(name, "").strip()
    if not text or len(text) > _LONGEST or not text.isprintable():
        raise ValueError(f"{name}: an address is expected")
    return text
