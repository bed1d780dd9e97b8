"""What users may do from the pages: the request to the daemon for a form.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from multigrey_web.words import duration

__all__ = ["MODES", "SPANS", "Deed", "deed_of"]

SPANS = {"900": "15 minutes", "3600": "an hour", "14400": "4 hours", "86400": "a day"}
"""How long an expectation or a mode may last, in seconds."""
MODES = ("observe", "off", "enforce")
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
