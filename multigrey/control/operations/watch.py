"""The operations `watch` and `top`: live decisions, filtered, and how busy each origin is.

`watch` yields `{"decisions": [...], "lost": n}` as decisions are made.  `lost` counts the decisions that
were left out, because there were more than a person can read, or because the client reads too slowly.
`top` yields a picture of the busiest origins each second.  Where people are hidden in log and history, they
are hidden here, too; filters still match what the mail server asked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from heapq import nsmallest
from typing import Any

import trio

from multigrey.config.values.patterns import read_network
from multigrey.config.values.when import CONDITIONS, Conditions, Test, Value
from multigrey.control.feed import SPANS, OriginCounts, Slots, totals
from multigrey.control.operations.context import OperationContext
from multigrey.control.operations.operation import (
    BY,
    Level,
    Operation,
    OperationError,
    OptionError,
    Options,
    Result,
)
from multigrey.events.line import event_fields
from multigrey.identity.redaction import Redactor
from multigrey.matching.facts import Facts, Surroundings
from multigrey.model import Action, DecisionEvent, Origin, Reason
from multigrey.rules.conditions import Maker, Node, both, node_of
from multigrey.threads import in_thread

__all__ = ["FILTERS", "operations", "read_filter", "shown_event"]

FILTERS: Mapping[str, str] = {
    "action": "pass, defer or reject",
    "reason": "a reason",
    "listener": "the name of a listener",
    "sender": "an address, a domain or /regex/",
    "recipient": "an address, a domain or /regex/",
    "client": "an address, a network, a name or /regex/",
    "origin": "an origin, .domain or /regex/",
}
"""The filters of `watch`, and the values each takes."""

_MOST_VALUES = 100
_LONGEST_VALUE = 1_000

_PACE = 0.05
"""Seconds between two turns that send the new decisions."""
_MOST_TOLD = 50
"""Most decisions sent in each turn: 1,000 a second are more than a person can read."""
_TOGETHER = 16
"""Most decisions in one message; each takes 4 KiB at most."""

_EVERY = 1.0
_MOST_ROWS = 500
_ROWS = 20
_MOST_FLOODS = 5
"""Most networks over the limit that are reported: those with most attempts."""

_NUMBERS = frozenset({"retry_after", "delay", "age", "attempts"})


def operations(parts: OperationContext) -> Iterable[Operation]:
    """The operations of this module."""
    yield Operation("watch", Level.READ, stream=lambda options: _watch(parts, options), is_search=True)
    yield Operation("top", Level.READ, stream=lambda options: _top(parts, options))


# --- watch -----------------------------------------------------------------------------------------


async def _watch(parts: OperationContext, options: Options) -> AsyncGenerator[Result, None]:
    wanted = read_filter(options, parts.settings.greylist.recipient_delimiter)
    if parts.follow is None:
        raise OperationError("the daemon does not run, so it makes no decisions")
    async with aclosing(parts.follow()) as follower:
        yield {"decisions": [], "lost": 0}  # so the client knows that from here on it misses no decision
        while True:
            await follower.arrived()
            events, lost = follower.taken()
            found = [event for event in events if wanted(event)]
            lost += max(len(found) - _MOST_TOLD, 0)
            told = found[-_MOST_TOLD:]
            for begin in range(0, len(told), _TOGETHER):
                rows = [
                    shown_event(event, parts.engine.setup.redactor)
                    for event in told[begin : begin + _TOGETHER]
                ]
                yield {"decisions": rows, "lost": 0 if begin else lost}
            if lost and not told:
                yield {"decisions": [], "lost": lost}
            await trio.sleep(_PACE)


def shown_event(event: DecisionEvent, redactor: Redactor | None = None) -> dict[str, Any]:
    """A decision with the fields of its log line; numbers are numbers, the time is seconds since 1970.

    `redactor` hides people in it.
    """
    told = dict(event_fields(event))
    fields: dict[str, Any] = dict(told if redactor is None else redactor.fields(told))
    for name in _NUMBERS & fields.keys():
        fields[name] = int(fields[name])
    fields["time"] = event.time
    fields["observed"] = event.verdict.observed
    return fields


def read_filter(options: Options, delimiters: str = "+") -> Callable[[DecisionEvent], bool]:
    """A function that says whether a decision matches these filters.

    `options`: lists of values under the names of `FILTERS`.  A decision has to match every name, by one of
    its values.  Values are written as in the conditions of rules; a domain stands for its addresses.
    `delimiters`: those of addresses with an extension.  Raises OperationError for an invalid value.
    """
    unknown = options.keys() - FILTERS.keys() - {BY}
    if unknown:
        raise OptionError(f"unknown filter {min(unknown)!r} (known: {', '.join(FILTERS)})")
    texts = {name: _texts(name, value) for name, value in options.items() if name != BY and value}
    actions = _words("action", texts, {action.value: action for action in Action})
    reasons = _words("reason", texts, {reason.value: reason for reason in Reason})
    check = _asked(texts)
    surroundings = Surroundings(delimiters=delimiters)

    def wanted(event: DecisionEvent) -> bool:
        verdict = event.verdict
        if verdict.action not in actions or verdict.reason not in reasons:
            return False
        if check is None:
            return True
        origin = Origin(event.origin, named="/" not in event.origin)
        facts = Facts(event.attempt, origin, "", event.time, frozenset(), frozenset(), surroundings)
        return check(facts) is True

    return wanted


def _texts(name: str, value: object) -> Sequence[str]:
    values: list[Any] = value if isinstance(value, list) else [value]
    if len(values) > _MOST_VALUES or not all(
        isinstance(each, str) and len(each) <= _LONGEST_VALUE for each in values
    ):
        raise OptionError(f"{name}: expected up to {_MOST_VALUES} texts")
    return values


def _words(name: str, texts: Mapping[str, Sequence[str]], known: Mapping[str, Any]) -> frozenset[Any]:
    for word in texts.get(name, ()):
        if word not in known:
            raise OptionError(f"{name}: unknown value {word!r} (known: {', '.join(known)})")
    return frozenset(known[word] for word in texts.get(name, known))


def _asked(texts: Mapping[str, Sequence[str]]) -> Callable[[Facts], bool | None] | None:
    """The check of all filters about the attempt; None: there are none."""
    parts = [
        Test(name, tuple(_value(name, name, text) for text in texts[name]))
        for name in ("listener", "sender", "recipient", "origin")
        if name in texts
    ]
    maker = Maker({})
    nodes = maker.all_of(Conditions(tuple(parts)), ())
    if "client" in texts:
        nodes.append(_client(maker, texts["client"]))
    for problem in maker.problems:
        raise OptionError(problem.message)
    return both([node.check for node in nodes]) if nodes else None


def _client(maker: Maker, texts: Sequence[str]) -> Node:
    """The check of the filter `client`: any of these addresses, networks and names."""
    networks, names = [], []
    for text in texts:
        try:
            networks.append(read_network(text))
        except ValueError:
            names.append(_value("client", "client_name", text))
    tests = [Test("client_address", tuple(networks))] if networks else []
    tests += [Test("client_name", tuple(names))] if names else []
    return node_of("any", maker.all_of(Conditions(tuple(tests)), ()))


def _value(name: str, condition: str, text: str) -> Value:
    read = CONDITIONS[condition].read
    assert read is not None
    whole = name in {"sender", "recipient"} and "@" not in text and not text.startswith("/") and text != "<>"
    try:
        return read(f"@{text}" if whole else text)
    except ValueError as error:
        raise OptionError(f"{name}: {error}") from None


# --- top -------------------------------------------------------------------------------------------


async def _top(parts: OperationContext, options: Options) -> AsyncGenerator[Result, None]:
    span = options.get("span", SPANS[0])
    order = options.get("order", "attempts")
    rows = options.get("rows", _ROWS)
    if span not in SPANS:
        raise OptionError(f"span: expected one of {', '.join(map(str, SPANS))} seconds")
    if order not in _COLUMNS:
        raise OptionError(f"order: expected one of {', '.join(_COLUMNS)}")
    if type(rows) is not int or not 1 <= rows <= _MOST_ROWS:
        raise OptionError(f"rows: expected a number from 1 to {_MOST_ROWS}")
    if parts.rates is None:
        raise OperationError("the daemon does not run, so it makes no decisions")
    place = SPANS.index(span), _COLUMNS.index(order)
    while True:
        slots, now = parts.rates.now(), parts.clock.now()
        picture = await in_thread(_picture, slots, place, rows, now, parts.rates.since.time)
        floods = [] if parts.alarms is None else parts.alarms.floods()
        _hide_origins(picture, parts.engine.setup.redactor)
        yield {**picture, "floods": [flood.as_mapping() for flood in floods[:_MOST_FLOODS]]}
        await trio.sleep(_EVERY)


def _hide_origins(picture: Mapping[str, Any], redactor: Redactor | None) -> None:
    if redactor is not None:
        for row in picture["origins"]:
            row["origin"] = row["origin"] and redactor.field("origin", row["origin"])


_COLUMNS = ("attempts", "deferred", "passed")


def _picture(slots: Slots, place: tuple[int, int], rows: int, now: int, since: int) -> dict[str, Any]:
    """The origins ordered by one column over one span, and the sum of all; runs in a thread."""
    span, column = place
    found = totals(slots)

    def rank(each: OriginCounts) -> tuple[int, int, str]:
        return -each.counts[span][column], -each.counts[-1][0], each.origin

    sums = [[sum(each.counts[at][index] for each in found) for index in range(3)] for at in range(len(SPANS))]
    return {
        "time": now,
        "since": since,
        "spans": list(SPANS),
        "columns": list(_COLUMNS),
        "all": sums,
        "number": len(found),
        "origins": [
            {"origin": each.origin or None, "counts": [list(counts) for counts in each.counts]}
            for each in nsmallest(rows, found, key=rank)
        ],
    }
