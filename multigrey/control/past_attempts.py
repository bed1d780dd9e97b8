"""Past attempts by what a person knows of them: sender and recipient, or a line of a log without an id.

The history knows the client, which people do not: an attempt that lacks it is completed from the latest
decision about the same sender and recipient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from multigrey.control.attempt_options import PARTS
from multigrey.control.operations.context import OperationContext
from multigrey.control.operations.operation import OperationError
from multigrey.errors import StoreError
from multigrey.events.as_json import event_as_json
from multigrey.events.line_time import line_time
from multigrey.events.pasted_line import PastedLine
from multigrey.events.query import Query
from multigrey.events.typed_address import NULL
from multigrey.history.reader import HistoryReader
from multigrey.identity.redaction import TOKEN
from multigrey.model import Reason

__all__ = [
    "Decision",
    "completed",
    "decision_of_line",
    "gap",
    "is_redacted",
    "of_addresses",
    "parts_of",
    "past",
    "summary",
]

Decision = Mapping[str, Any]
"""A decision in the form of `events.as_json`."""

_LOOKED_AT = 1_000
"""Most decisions about one mail that are looked at."""
_CLIENTS = 5
_SAME_MOMENT = 300
"""Seconds by which the log line of a mail server and the decision may differ."""


async def past(parts: OperationContext, words: Mapping[str, str]) -> Sequence[Decision]:
    """The latest decisions that match all of these words (see `events.query.WORDS`), oldest first.

    Nothing if decisions are not recorded or cannot be read.  Raises CommandError.
    """
    if parts.decisions is None:
        return ()
    try:
        return await parts.decisions.about(words, _LOOKED_AT)
    except StoreError:
        return ()


def gap(parts: OperationContext) -> str:
    """What the history lacks, as the end of a sentence (see `HistoryReader.gap`); "" if nothing is known."""
    found = parts.decisions.gap() if isinstance(parts.decisions, HistoryReader) else ""
    return found and f"; {found}"


async def of_addresses(parts: OperationContext, addresses: Sequence[str]) -> Sequence[Decision]:
    """The decisions about one address, or about two: sender and recipient, in any order."""
    if len(addresses) == 1:
        return await past(parts, {"about": addresses[0]})
    first, second = addresses
    found = [
        await past(parts, {"sender": sender, "recipient": recipient})
        for sender, recipient in ((first, second), (second, first))
    ]
    return max(found, key=lambda decisions: decisions[-1]["time"] if decisions else -1)


async def completed(
    parts: OperationContext, told: Mapping[str, Any]
) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    """The options of an attempt with the client of its latest decision, and the `summary` of its decisions.

    Options that say something of the client stay as they are, and the summary is None.  Raises
    OperationError when the client is missing and the history has none.
    """
    names = told.keys() & {name for name in told if told[name] is not None}
    if names & {"client_address", "client_name", "raw"} or not {"sender", "recipient"} <= names:
        return told, None
    if parts.decisions is None:
        return told, None
    sender, recipient = told["sender"] or NULL, told["recipient"]
    found = await past(parts, {"sender": str(sender), "recipient": str(recipient)})
    if not found:
        raise OperationError(
            f"no attempt of {sender} to {recipient} is in the history: give the client with --client-address "
            f"(unknown stands for none), or look at multigrey where {recipient}{gap(parts)}"
        )
    return {**parts_of(found[-1]), **told}, summary(found)


def summary(decisions: Sequence[Decision]) -> Mapping[str, Any]:
    """How often and from where a mail was tried: the latest clients first."""
    clients = [*dict.fromkeys(each["client_address"] or "unknown" for each in reversed(decisions))]
    return {
        "attempts": len(decisions),
        "clients": clients[:_CLIENTS],
        "more_clients": max(len(clients) - _CLIENTS, 0),
        "last": decisions[-1]["time"],
    }


def is_redacted(decision: Decision) -> bool:
    """Whether a past decision shows its client only as a token."""
    return TOKEN.fullmatch(str(decision.get("client_address"))) is not None


def parts_of(decision: Decision) -> dict[str, Any]:
    """The attempt of a past decision as options (see `attempt_options.attempt_of`).

    It may be the decision itself or below its `attempt`.  Raises OperationError if it is redacted.
    """
    inner = decision.get("attempt")
    told = inner if isinstance(inner, Mapping) else decision
    found = {name: told[name] for name in PARTS if isinstance(told.get(name), str)}
    if is_redacted(found):
        raise OperationError("clients are redacted in the history: give the client with --client-address")
    if isinstance(told.get("attributes"), Mapping):
        found["attributes"] = told["attributes"]
    if not found.get("raw"):
        found.setdefault("sender", "")
    return found


async def decision_of_line(parts: OperationContext, found: PastedLine, text: str) -> Decision | None:
    """The decision that a line without an id is about: the nearest in time; None: the history has none."""
    fields = found.fields
    words = {name: fields[name] or NULL for name in ("sender", "recipient") if name in fields}
    if not fields.get("recipient"):
        words.pop("recipient", None)
    if "client_address" in fields:
        words["client"] = fields["client_address"]
    time = _time_of(parts, text)
    if words:
        decisions = await past(parts, words)
    else:
        decisions = await _at(parts, time) if found.delayed and time else ()
    if found.delayed:
        retry = Reason.RETRY.value
        decisions = [each for each in decisions if (each["reason"], each["age"]) == (retry, found.delayed)]
    if time is None:
        return decisions[-1] if decisions else None
    if "client_address" in fields:
        decisions = [each for each in decisions if abs(each["time"] - time) <= _SAME_MOMENT]
    return min(reversed(decisions), key=lambda each: abs(each["time"] - time), default=None)


async def _at(parts: OperationContext, time: int) -> Sequence[Decision]:
    """The decisions of one second."""
    if not isinstance(parts.decisions, HistoryReader):
        return ()
    wanted = Query((), (lambda event: event.time == time,), time)
    try:
        events, _ = await parts.decisions.search(wanted, _LOOKED_AT)
    except StoreError:
        return ()
    return [event_as_json(event) for event in reversed(events)]


def _time_of(parts: OperationContext, text: str) -> int | None:
    now = datetime.fromtimestamp(parts.clock.now()).astimezone()
    found = line_time(text, now)
    return None if found is None else int(found.timestamp())
