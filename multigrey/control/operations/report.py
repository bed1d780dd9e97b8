"""The operation `report`: what greylisting did lately, and what needs attention (see `analysis.report`).

report   {"since": SECOND, "owner": NAME, "limit": N, "rows": N}; all may be left out

`limit` bounds the decisions that are read.  If there are more, totals are those of whole hours (see
`analysis.hours`), and only lists are of these decisions.

The history reads decisions piece by piece in its own thread, and another thread counts them, so no answer
to a mail server waits for a report.  Only one report is made at a time.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

import trio

from multigrey.analysis.figures import Due, Outlook, Target
from multigrey.analysis.flow import Span
from multigrey.analysis.hours import Counts, decisions_in
from multigrey.analysis.report import make_report
from multigrey.background.alarms import untold
from multigrey.background.flow import KEPT, view_of
from multigrey.background.hours import hours_since
from multigrey.codec import Hits
from multigrey.config.settings import Settings
from multigrey.config.tables.whitelist import WhitelistSettings
from multigrey.contracts import SourceOptions
from multigrey.control.first_contacts import first_contacts
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
from multigrey.engine.setup import Setup
from multigrey.errors import CodecError, ConfigError, StoreError
from multigrey.events.query import Query
from multigrey.history.reader import HistoryReader
from multigrey.identity.redaction import HIDDEN_CLIENT, TOKEN
from multigrey.model import DAY, NO_ATTRIBUTES, DecisionEvent
from multigrey.stores.meta import HITS, HITS_SINCE
from multigrey.threads import in_thread
from multigrey.whitelists.checks.lint import HitRecords, LintedList, LintOutlook, lint
from multigrey.whitelists.list_source import SOURCE, entry_hit_name
from multigrey.whitelists.postgrey import postgrey_entries
from multigrey.whitelists.toml_file import read_lists

__all__ = ["DUE", "operations", "origin_class_of"]

WEEK = 7 * DAY
DUE = frozenset({"expired", "stale", "expires-soon", "review-soon", "unused", "no-owner"})
"""The kinds of findings for which an administrator has to look at an entry."""

_USUAL = 100_000
_MOST = 300_000
"""Decisions; each takes about a kilobyte of memory while the report is made."""
_ROWS, _MOST_ROWS = 20, 1_000
_POSTGREY = ("postgrey-clients", "postgrey-recipients")


def operations(parts: OperationContext) -> Iterable[Operation]:
    """The operation of this module."""
    one = trio.CapacityLimiter(1)
    yield Operation("report", Level.READ, answer=lambda o: _report(parts, one, o), offline=True)


async def _report(parts: OperationContext, one: trio.CapacityLimiter, options: Options) -> Result:
    unknown = options.keys() - {"since", "owner", "limit", "rows", BY}
    if unknown:
        raise OptionError(f"unknown option {min(unknown)!r}")
    if not isinstance(parts.decisions, HistoryReader):
        raise OperationError("no decisions are remembered: [history] enabled is false")
    owner = options.get("owner") or ""
    if not isinstance(owner, str):
        raise OptionError("owner: expected a name")
    now, settings = parts.clock.now(), parts.settings
    since = _number(options, "since", max(now - WEEK, 0), now)
    limit, rows = _number(options, "limit", _USUAL, _MOST), _number(options, "rows", _ROWS, _MOST_ROWS)
    async with one:
        hits = await _hits(parts)
        due, unreadable = await in_thread(_due, settings, now, hits)
        try:
            gathered = _Gathered(limit)
            _, more = await parts.decisions.search(Query((), (gathered,), since), 0)
            recorded_since = await parts.decisions.since()
        except StoreError as error:
            raise OperationError(f"the history cannot be read: {error}") from error
        outlook = Outlook(
            now=now,
            since=since,
            retry_window=settings.greylist.retry_window,
            targets={each.name: Target(each.target, each.owner or "") for each in settings.class_},
            due=due,
            owner=owner,
            most=rows,
            more=more,
            recorded_since=recorded_since,
            utc_offset=_utc_offset(now),
            origin_class=partial(origin_class_of, parts.engine.setup),
            untold=untold(settings.listen),
        )
        hours, busiest = await _hours(parts, outlook, min(len(gathered.events), limit))
        once = await _once(parts.decisions, gathered.events[:limit], outlook) if more else ()
        found = await in_thread(_made, gathered.events[:limit], outlook, hours, busiest, once)
    return {**found, "recorded_since": recorded_since or None, "unreadable": unreadable}


class _Gathered:
    """Gathers decisions, without the parts that a report does not use.

    The history's thread calls it with each decision of the search; returning true at the first decision
    beyond the limit ends the search.  Equal values are kept once: that halves the memory.
    """

    def __init__(self, limit: int) -> None:
        self.events: list[DecisionEvent] = []
        self._limit = limit
        self._values: dict[Hashable, Any] = {}

    def __call__(self, event: DecisionEvent) -> bool:
        if len(self.events) > self._limit:
            return True
        attempt, once = event.attempt, self._values.setdefault
        kept = {name: attempt.attributes[name] for name in (HIDDEN_CLIENT,) if name in attempt.attributes}
        name, helo, address = attempt.client_name, attempt.helo, attempt.client_address
        attempt = replace(
            attempt,
            listener=once(attempt.listener, attempt.listener),
            client_address=once(address, address),
            client_name=once(name, name),
            helo=once(helo, helo),
            sender=once(attempt.sender, attempt.sender),
            recipient=once(attempt.recipient, attempt.recipient),
            attributes=kept or NO_ATTRIBUTES,
            message="",
            authenticated="",
        )
        verdict, origin = once(event.verdict, event.verdict), once(event.origin, event.origin)
        self.events.append(replace(event, attempt=attempt, verdict=verdict, origin=origin))
        return len(self.events) > self._limit


def _utc_offset(now: int) -> int:
    offset = datetime.fromtimestamp(now).astimezone().utcoffset()
    return 0 if offset is None else round(offset.total_seconds())


async def _hours(
    parts: OperationContext, outlook: Outlook, listed: int
) -> tuple[Mapping[int, Counts], Sequence[Mapping[str, object]]]:
    """The figures of whole hours, and the busiest origins; nothing, if so many decisions say more."""
    flow, store, now = parts.flow, parts.engine.store, outlook.now
    try:
        pending = {} if flow is None else flow.pending_hours()
        hours = await hours_since(store, outlook.since, now, pending)
        if decisions_in(hours) <= listed:
            return {}, ()
        since = max(outlook.since, now - KEPT)
        view = await view_of(store, flow, Span(now, since, outlook.retry_window, 0, outlook.most))
    except StoreError as error:
        raise OperationError(f"the figures of hours cannot be read: {error}") from error
    return hours, view.origins


async def _once(
    history: HistoryReader, events: Sequence[DecisionEvent], outlook: Outlook
) -> Sequence[DecisionEvent]:
    """First contacts that never came back, from before the decisions that were read."""
    until = min(outlook.now - outlook.retry_window, events[-1].time - 1)
    try:
        return await first_contacts(history, outlook.since, until, outlook.origin_class)
    except StoreError as error:
        raise OperationError(f"the history cannot be read: {error}") from error


def _made(
    events: list[DecisionEvent],
    outlook: Outlook,
    hours: Mapping[int, Counts],
    busiest: Sequence[Mapping[str, object]],
    once: Sequence[DecisionEvent],
) -> Mapping[str, object]:
    """Make the report; runs in a thread.  `events`: the latest decision first."""
    return make_report(reversed(events), outlook, hours, busiest, once).as_mapping()


def _number(options: Options, name: str, usual: int, most: int) -> int:
    number = options.get(name)
    if number is None:
        return usual
    least = 0 if name == "since" else 1
    if type(number) is not int or not least <= number <= most:
        raise OptionError(f"{name}: a number from {least} to {most} is expected")
    return number


def origin_class_of(setup: Setup, event: DecisionEvent) -> str:
    """The kind of origin of a past decision: named, unnamed or provider."""
    attempt, origin = event.attempt, event.origin
    if attempt.raw or not origin or "/" in origin or TOKEN.fullmatch(origin):
        return "unnamed"
    if origin == setup.network(attempt):
        return "unnamed"
    return "provider" if setup.provider_of(attempt) else "named"


# --- whitelists ------------------------------------------------------------------------------------


def _due(settings: Settings, now: int, hits: HitRecords | None) -> tuple[Sequence[Due], list[str]]:
    """Whitelist entries that are due for review, and the lists that cannot be read; runs in a thread."""
    lists: list[LintedList] = []
    unreadable: list[str] = []
    for table in settings.whitelist:
        try:
            lists += _read(table)
        except ConfigError as error:
            unreadable += [str(problem) for problem in error.problems]
    outlook = LintOutlook(now, hits=hits, hit_name=entry_hit_name)
    findings = [each for each in lint(lists, outlook) if each.kind in DUE]
    found = []
    for each in findings:
        place = f"{each.path}:{each.line}" if each.line else str(each.path)
        found.append(Due(each.owner, each.kind, place, each.entry, each.message))
    return found, unreadable


def _read(table: WhitelistSettings) -> Iterator[LintedList]:
    """The lists of a `[[whitelist]]` table; none if its source belongs to a plugin.  Raises ConfigError."""
    path, owner = table.path, table.owner or ""
    if path is None:
        return
    if table.source == SOURCE:
        for each in read_lists(path, owner):
            yield LintedList(each.path, SOURCE, each.entries, each.owner)
    elif table.source in _POSTGREY:
        entries, _ = postgrey_entries(SourceOptions(path, owner), table.source)
        yield LintedList(path, table.source, tuple(entries), owner, dated=False)


async def _hits(parts: OperationContext) -> HitRecords | None:
    """How often whitelist entries matched; None: this is not known."""
    # `background.hits.read_hits` would open the store's file, which a process must not open a second time.
    store = parts.engine.store
    found: dict[tuple[str, str], Hits] = {}
    try:
        (value,) = await store.read([HITS_SINCE.key()])
        since = None if value is None else HITS_SINCE.coder.decode(value)
        async with aclosing(HITS.walk(store)) as slices:
            async for rows in slices:
                for _, stored in rows:
                    with suppress(CodecError):
                        hits = HITS.coder.decode(stored)
                        found[hits.source, hits.entry] = hits
    except (StoreError, CodecError):
        return None
    return None if since is None else HitRecords(since, found)
