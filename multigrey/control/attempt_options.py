"""Reads an attempt from options or a log line, for operations that judge one without a mail server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multigrey.control.operations.operation import OperationError, OptionError
from multigrey.errors import AddressError
from multigrey.events.pasted_line import LONGEST, PastedLine, find_attempt
from multigrey.identity.addresses import parse_client_address
from multigrey.model import Attempt, Stage

__all__ = ["MOST_ATTRIBUTES", "PARTS", "attempt_as_json", "attempt_of", "pasted"]

PARTS = (
    *("client_address", "client_name", "helo", "sender", "recipient"),
    *("listener", "message", "authenticated", "raw", "stage"),
)
"""The options that describe an attempt; all are texts.  There is also `attributes`, a mapping of texts."""
MOST_ATTRIBUTES = 100
_LONGEST = 4_096


def attempt_of(told: Mapping[str, Any]) -> Attempt:
    """The attempt that these options describe.  Raises OperationError.

    Without a HELO the client is assumed to have announced its verified name.  `sender` "<>" is the null
    sender.  A client name is taken as verified: no DNS is asked.
    """
    parts = {name: _text(told, name) for name in PARTS}
    unknown = sorted(told.keys() - {*PARTS, "attributes"})
    if unknown:
        raise OptionError(f"unknown key {unknown[0]!r}: an attempt has {', '.join(PARTS)} and attributes")
    raw = parts["raw"] or ""
    if not raw:
        for needed in ("sender", "recipient"):
            if parts[needed] is None:
                raise OptionError(f"the {needed} is missing (the null sender is written <>)")
    name = parts["client_name"]
    sender = parts["sender"] or ""
    helo = parts["helo"]
    return Attempt(
        listener=parts["listener"] or "",
        client_address=_address(parts["client_address"] or ""),
        client_name=None if name in {None, "", "unknown"} else name,
        helo=(name or "") if helo is None else helo,
        sender="" if sender == "<>" else sender,
        recipient=parts["recipient"] or "",
        stage=_stage(parts["stage"] or Stage.RCPT.value),
        message=parts["message"] or "",
        authenticated=parts["authenticated"] or "",
        raw=raw,
        attributes=_attributes(told.get("attributes")),
    )


def attempt_as_json(attempt: Attempt) -> dict[str, Any]:
    """The options of which `attempt_of` would make the same attempt; what is not known is null."""
    address = attempt.client_address
    return {
        "client_address": None if address is None else str(address),
        "client_name": attempt.client_name,
        "helo": attempt.helo,
        "sender": attempt.sender or "<>",
        "recipient": attempt.recipient,
        "listener": attempt.listener,
        "message": attempt.message,
        "authenticated": attempt.authenticated,
        "raw": attempt.raw,
        "stage": attempt.stage.value,
        "attributes": dict(attempt.attributes),
    }


def pasted(text: Any) -> PastedLine:
    """The attempt in a pasted line of a mail log.  Raises OperationError."""
    if not isinstance(text, str):
        raise OptionError("a log line is text")
    if len(text) > LONGEST:
        raise OptionError(f"more than {LONGEST} characters: paste only the lines of one message")
    found = find_attempt(text)
    if found is None:
        raise OperationError(
            "no attempt found in this text: expected a line of Postfix (reject: RCPT from ..., or the "
            "client=, from= and to= lines of one message), of Exim (H=... F=<...> rejected RCPT, or <= with "
            "log_selector +received_recipients), or of multigrey itself"
        )
    return found


def _text(told: Mapping[str, Any], name: str) -> str | None:
    value = told.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > _LONGEST or "\n" in value:
        raise OptionError(f"{name} must be one line of text, of up to {_LONGEST} characters")
    return value


def _address(text: str) -> Any:
    try:
        return parse_client_address(text)
    except AddressError as error:
        raise OptionError(f"client_address: {error}") from None


def _stage(text: str) -> Stage:
    try:
        return Stage(text)
    except ValueError:
        raise OptionError(f"stage {text[:20]!a} is neither rcpt nor data") from None


def _attributes(told: Any) -> Mapping[str, str]:
    if told is None:
        return {}
    if not isinstance(told, Mapping) or len(told) > MOST_ATTRIBUTES:
        raise OptionError(f"attributes must be up to {MOST_ATTRIBUTES} names with texts")
    for name, value in told.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise OptionError("attributes must be names with texts")
    return dict(told)
