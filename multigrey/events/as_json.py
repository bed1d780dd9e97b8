"""Converts a decision to JSON values, and redacts a decision before it is stored in the history."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from multigrey.identity.redaction import HIDDEN_CLIENT, Redactor
from multigrey.model import DecisionEvent

__all__ = ["event_as_json", "hidden"]


def event_as_json(event: DecisionEvent) -> dict[str, Any]:
    """A decision as JSON values, with everything that its attempt contains; the null sender is "".

    Redacted values are tokens.
    """
    attempt, verdict, match = event.attempt, event.verdict, event.verdict.match
    address = attempt.client_address
    return {
        "time": event.time,
        "id": event.id,
        "action": verdict.action.value,
        "reason": verdict.reason.value,
        "listener": attempt.listener,
        "client_address": attempt.attributes.get(HIDDEN_CLIENT) if address is None else str(address),
        "client_name": attempt.client_name,
        "helo": attempt.helo,
        "sender": attempt.sender,
        "recipient": attempt.recipient,
        "raw": attempt.raw,
        "stage": attempt.stage.value,
        "message": attempt.message,
        "authenticated": attempt.authenticated,
        "attributes": dict(attempt.attributes),
        "origin": event.origin,
        "class": event.class_,
        "retry_after": verdict.retry_after,
        "delay": verdict.delay,
        "age": verdict.age,
        "attempts": verdict.attempts,
        "source": "" if match is None else match.source,
        "entry": "" if match is None else match.entry,
        "owner": "" if match is None else match.owner,
        "rule": verdict.rule,
        "detail": verdict.detail,
        "observed": verdict.observed,
    }


def hidden(event: DecisionEvent, redactor: Redactor) -> DecisionEvent:
    """The decision with tokens instead of persons' data, and without the other attributes of the request."""
    attempt, address = event.attempt, event.attempt.client_address
    hidden = replace(
        attempt,
        client_address=None,
        client_name=None if attempt.client_name is None else redactor.name(attempt.client_name),
        helo=redactor.name(attempt.helo),
        sender=redactor.address(attempt.sender),
        recipient=redactor.address(attempt.recipient),
        authenticated=redactor.token(attempt.authenticated),
        raw=redactor.token(attempt.raw),
        attributes={} if address is None else {HIDDEN_CLIENT: redactor.client(str(address))},
    )
    return replace(event, attempt=hidden, origin=redactor.field("origin", event.origin))
