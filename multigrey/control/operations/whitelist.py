"""The operations `whitelist-test`, `whitelist-loaded`, `expect`, `expect-list` and `expect-cancel`.

whitelist-test   {"attempt": {...}}; the entries of the loaded lists that match, and which one decides
whitelist-loaded {"file": PATH, "line": N, "entry": TEXT}; whether the daemon has this very entry, or why not
expect           {"recipient": ADDRESS, "from": DOMAIN, "seconds": N, "reason": TEXT}
expect-list      {}
expect-cancel    {"recipient": ADDRESS, "from": DOMAIN}; without "from": all for the recipient
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from multigrey.control.attempt_options import attempt_as_json, attempt_of
from multigrey.control.operations.context import OperationContext
from multigrey.control.operations.operation import BY, Level, Operation, OptionError, Options, Result
from multigrey.engine.explain import whitelist_step
from multigrey.matching.facts import forwarded_note
from multigrey.model import DAY
from multigrey.overrides.expectations import MOST, Expectation, ExpectationError

__all__ = ["LONGEST_EXPECTED", "operations"]

LONGEST_EXPECTED = 7 * DAY
"""Seconds; for longer there are whitelist entries, which have an owner and a date for review."""


def operations(parts: OperationContext) -> Iterable[Operation]:
    """The operations of this module."""
    yield Operation("whitelist-test", Level.READ, answer=lambda options: _test(parts, options), offline=True)
    yield Operation("whitelist-loaded", Level.READ, answer=lambda options: _loaded(parts, options))
    yield Operation("expect", Level.OPERATE, answer=lambda options: _expect(parts, options))
    yield Operation("expect-list", Level.READ, answer=lambda _: _list(parts), offline=True)
    yield Operation("expect-cancel", Level.OPERATE, answer=lambda options: _cancel(parts, options))


async def _test(parts: OperationContext, options: Options) -> Result:
    told = options.get("attempt")
    if not isinstance(told, Mapping):
        raise OptionError("attempt: expected a mapping")
    attempt = attempt_of(told)
    setup = parts.engine.setup
    origin = setup.origin_of(attempt, setup.network(attempt))
    sources = whitelist_step(setup, attempt).details
    return {
        "time": parts.clock.now(),
        "attempt": attempt_as_json(attempt),
        "origin": {"text": origin.text, "named": origin.named},
        "matches": any(row["matches"] for row in sources),
        "sources": [dict(row) for row in sources],
        "note": forwarded_note(attempt),
    }


async def _loaded(parts: OperationContext, options: Options) -> Result:
    file, entry, line = _text(options, "file"), _text(options, "entry", 20_000), options.get("line")
    if not file or type(line) is not int:
        raise OptionError("file and line: expected the path of a list and a number")
    lists = [each for each in parts.engine.setup.about_sources if each.text_at is not None]
    found = [text for each in lists if each.text_at and (text := each.text_at(file, line)) is not None]
    if entry in found:
        return {"loaded": True, "why": ""}
    if found:
        return {"loaded": False, "why": f"the daemon has {found[0]} at this line"}
    if any(file == each.path or file.rpartition("/")[0] == each.path for each in lists):
        return {"loaded": False, "why": "the daemon has no entry in use at this line of the list"}
    return {"loaded": False, "why": f"the running daemon does not read {file}"}


# --- expected mail ---------------------------------------------------------------------------------


async def _expect(parts: OperationContext, options: Options) -> Result:
    expectations = parts.core.expectations
    seconds = options.get("seconds")
    if type(seconds) is not int or not 0 < seconds <= LONGEST_EXPECTED:
        raise OptionError(
            f"seconds: expected a whole number up to {LONGEST_EXPECTED}; for longer, add a whitelist entry "
            "(multigrey whitelist add)"
        )
    try:
        made = await expectations.add(
            _text(options, "recipient"),
            _text(options, "from"),
            seconds,
            str(options.get(BY) or "an unknown user"),
            _text(options, "reason"),
        )
    except ExpectationError as error:
        raise OptionError(str(error)) from None
    return {"expected": _row(made)}


async def _list(parts: OperationContext) -> Result:
    rows = parts.core.expectations.all()
    return {"time": parts.clock.now(), "most": MOST, "expected": [_row(each) for each in rows]}


async def _cancel(parts: OperationContext, options: Options) -> Result:
    domain = None if options.get("from") is None else _text(options, "from")
    by = str(options.get(BY) or "an unknown user")
    try:
        gone = await parts.core.expectations.cancel(_text(options, "recipient"), domain, by)
    except ExpectationError as error:
        raise OptionError(str(error)) from None
    return {"cancelled": [_row(each) for each in gone]}


def _text(options: Options, name: str, most: int = 1_000) -> str:
    value = options.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > most:
        raise OptionError(f"{name} must be a text")
    return value


def _row(each: Expectation) -> dict[str, Any]:
    return {
        "recipient": each.recipient,
        "from": each.sender_domain or None,
        "since": each.since,
        "until": each.until,
        "asked_by": each.asked_by,
        "reason": each.reason or None,
    }
