"""The operations `explain`, `rule-list` and `rule-test`: why an attempt is judged as it is.

explain     {"id": ID} or {"attempt": {...}} or {"line": TEXT} or {"about": ADDRESSES}; with "ask": true slow
            sources are asked
rule-test   {"attempt": {...}}; the rules alone
rule-list   {}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from multigrey.config.settings import Settings
from multigrey.config.values.when import Conditions, Group, Test, conditions_text
from multigrey.control.attempt_options import attempt_as_json, attempt_of, pasted
from multigrey.control.operations.context import OperationContext
from multigrey.control.operations.operation import (
    Level,
    Operation,
    OperationError,
    OptionError,
    Options,
    Result,
    text_option,
)
from multigrey.control.past_attempts import (
    Decision,
    completed,
    decision_of_line,
    gap,
    is_redacted,
    of_addresses,
    parts_of,
    summary,
)
from multigrey.engine.explain import explain
from multigrey.errors import StoreError
from multigrey.events.foreign_refusal import foreign_refusal
from multigrey.events.pasted_line import find_attempt
from multigrey.events.typed_address import read_addresses
from multigrey.text import printable

__all__ = ["operations"]

_MOST_ID = 64
_PAIR = 2
"""Addresses of one mail."""
_SETTINGS = ("delay", "unnamed_delay", "retry_window", "key", "text", "code")


def operations(parts: OperationContext) -> Iterable[Operation]:
    """The operations of this module."""
    yield Operation(
        "explain", Level.READ, answer=lambda options: _explain(parts, options), offline=True, is_search=True
    )
    yield Operation("rule-test", Level.READ, answer=lambda options: _rule_test(parts, options), offline=True)
    yield Operation("rule-list", Level.READ, answer=lambda _: _rule_list(parts), offline=True)


# --- explain ---------------------------------------------------------------------------------------


async def _explain(parts: OperationContext, options: Options) -> Result:
    ask = options.get("ask", False)
    if not isinstance(ask, bool):
        raise OptionError("ask must be true or false")
    wanted = await _wanted(parts, options)
    attempt = attempt_of(wanted.attempt)
    listens = {listen.name: listen.on_error for listen in parts.settings.listen}
    explained = await explain(parts.engine, attempt, ask=ask, on_error=listens.get(attempt.listener, "pass"))
    return {
        "attempt": attempt_as_json(attempt),
        "read": wanted.read,
        "then": wanted.then,
        "past": wanted.past,
        "foreign": wanted.foreign,
        **explained.as_json(),
    }


@dataclass(frozen=True)
class _Wanted:
    """What is to be explained."""

    attempt: Mapping[str, Any]
    """Its options (see `attempt_options.attempt_of`)."""
    then: Decision | None = None
    """Its past decision, if known."""
    read: str | None = None
    """The program whose log line it was read from (see `PastedLine`)."""
    past: Mapping[str, Any] | None = None
    """How often it was tried (see `past_attempts.summary`), if the client is known from that only."""
    foreign: str | None = None
    """Whose refusal the line shows, if it is not multigrey's."""


async def _wanted(parts: OperationContext, options: Options) -> _Wanted:
    given = [name for name in ("id", "attempt", "line", "about") if options.get(name) is not None]
    if len(given) != 1:
        raise OptionError(
            "expected one of: the id of a decision, an attempt, a line of a mail log, or sender and recipient"
        )
    told = options[given[0]]
    if given == ["attempt"]:
        if not isinstance(told, Mapping):
            raise OptionError("attempt: expected a mapping")
        attempt, past = await completed(parts, told)
        return _Wanted(attempt, past=past)
    if given == ["line"]:
        return await _in_line(parts, told)
    if given == ["about"]:
        return await _about(parts, text_option(options, "about"))
    if not isinstance(told, str) or not 0 < len(told) <= _MOST_ID:
        raise OptionError(f"id: expected a text of at most {_MOST_ID} characters")
    then = await _decision(parts, told, must=True)
    assert then is not None
    return _Wanted(parts_of(then), then)


async def _about(parts: OperationContext, text: str) -> _Wanted:
    """The latest attempt of one or two addresses."""
    addresses = read_addresses(text)
    if len(addresses) > _PAIR:
        raise OptionError("more than two addresses: give a sender and a recipient, or multigrey where")
    found = await of_addresses(parts, addresses)
    if not found:
        raise OperationError(
            f"{printable(' and '.join(addresses))}: no attempt is in the history{gap(parts)}"
        )
    return _Wanted(parts_of(found[-1]), found[-1], past=summary(found))


async def _in_line(parts: OperationContext, text: Any) -> _Wanted:
    """The attempt in a line of a log, with the decision about it if the history has it."""
    foreign = foreign_refusal(text) if isinstance(text, str) else ""
    if foreign and find_attempt(text) is None:
        raise OperationError(f"this refusal is not multigrey's, but {foreign}")
    found = pasted(text)
    then = await _decision(parts, found.id, must=False) if found.id else None
    if then is None:
        then = await decision_of_line(parts, found, text)
    attempt: Mapping[str, Any] = found.fields
    if then is not None and not (is_redacted(then) and "client_address" in attempt):
        attempt = parts_of(then)
    elif found.program in {"sender", "header"}:
        raise OperationError(
            "no attempt of this mail is in the history: it was made at another host, or is too long ago"
            + gap(parts)
            + (f"; and the refusal is not multigrey's, but {foreign}" if foreign else "")
        )
    return _Wanted(attempt, then, found.program, foreign=foreign or None)


async def _decision(parts: OperationContext, decision_id: str, *, must: bool) -> Mapping[str, Any] | None:
    """The decision with this id.

    If it cannot be had: None, or with `must` an OperationError that says why.
    """
    why = "not in the history, or no longer"
    found = None
    if parts.decisions is None:
        why = "decisions are not recorded here"
    else:
        try:
            found = await parts.decisions.find(decision_id)
        except StoreError as error:
            why = str(error)
    if found is None and must:
        shown = printable(decision_id)
        raise OperationError(
            f"decision {shown}: {why}: paste its log line (--line), or give the attempt itself{gap(parts)}"
        )
    return found


# --- rules -----------------------------------------------------------------------------------------


async def _rule_test(parts: OperationContext, options: Options) -> Result:
    told = options.get("attempt")
    if not isinstance(told, Mapping):
        raise OptionError("attempt: expected a mapping")
    attempt = attempt_of(told)
    setup, now = parts.engine.setup, parts.clock.now()
    origin = setup.origin_of(attempt, setup.network(attempt))
    provider = setup.provider_of(attempt)
    rows = setup.rules.explained(attempt, origin, provider, now, None)
    first = next((index for index, row in enumerate(rows) if row.truth), None)
    actions = {rule["rule"]: rule["action"] for rule in _rules(parts.settings)}
    return {
        "time": now,
        "attempt": attempt_as_json(attempt),
        "origin": {"text": origin.text, "named": origin.named},
        "matches": None if first is None else rows[first].rule,
        "rules": [
            {
                "rule": row.rule,
                "action": actions.get(row.rule),
                "truth": row.truth,
                "because": list(row.because),
                "decides": index == first,
            }
            for index, row in enumerate(rows)
        ],
    }


async def _rule_list(parts: OperationContext) -> Result:
    return {"rules": [*_rules(parts.settings)]}


def _rules(settings: Settings) -> Iterator[dict[str, Any]]:
    for rule in settings.rule:
        conditions = [] if rule.when is None else [*_texts(rule.when)]
        conditions += [f'trait = "{name}"' for name in rule.traits or ()]
        changed = {name: getattr(rule, name) for name in _SETTINGS if getattr(rule, name) is not None}
        if "key" in changed:
            changed["key"] = list(changed["key"])
        yield {"rule": rule.name, "action": rule.action, "conditions": conditions, "settings": changed}


def _texts(conditions: Conditions) -> Iterator[str]:
    """Each condition of a table, written as in the configuration."""
    for part in conditions.parts:
        if isinstance(part, Test):
            yield conditions_text(part)
        else:
            yield _group_text(part)


def _group_text(group: Group) -> str:
    tables = [" and ".join(_texts(each)) for each in group.parts]
    between = " and " if group.word == "all" else " or "
    return f"{group.word} ({between.join(tables)})"
