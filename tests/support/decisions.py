"""Decisions made by hand."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from multigrey.model import Action, Attempt, DecisionEvent, Reason, Verdict
from tests.support.clocks import START

ATTEMPT = Attempt(
    "smtp", ip_address("192.0.2.10"), "mx1.example.org", "mx1.example.org", "a@example.org", "b@example.net"
)
_DEFERRED = {Reason.NEW, Reason.EARLY, Reason.EXPIRED, Reason.OVER_LIMIT}


def attempt(**changes: Any) -> Attempt:
    address = changes.pop("client", None)
    if address is not None:
        changes["client_address"] = ip_address(address)
    return replace(ATTEMPT, **changes)


def decision(
    reason: Reason = Reason.NEW,
    time: int = START,
    decision_id: str = "abcdef",
    origin: str = "example.org",
    **changes: Any,
) -> DecisionEvent:
    """A decision; `changes` are those of the attempt, `verdict` those of the verdict."""
    action = Action.DEFER if reason in _DEFERRED else Action.PASS
    verdict = replace(Verdict(action, reason), **changes.pop("verdict", {}))
    class_ = changes.pop("class_", "")
    return DecisionEvent(time, decision_id, attempt(**changes), verdict, origin, class_)
