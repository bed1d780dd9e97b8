"""Makes a report on greylisting: what was deferred, what came back and how late, and what needs attention.

It is made from decisions of the history, grouped by `timeline`: a mail is what one sender sends to one
recipient.  Delays are real ones, from the first attempt to acceptance.  Decisions that were only observed did
not delay mail; they are counted separately.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from heapq import nlargest
from typing import Any

from multigrey.analysis.advice import AdviceInput, advice_on, first_figures, worth_of_stories
from multigrey.analysis.figures import (
    DELAY_BOUNDS,
    ORIGIN_CLASSES,
    ClassRow,
    Delays,
    FloodRow,
    Hit,
    LetIn,
    Lost,
    Once,
    Outlook,
    Report,
    SenderFigures,
    Slot,
    Target,
    Traffic,
    percentile,
    slot_length,
    would_have_waited,
)
from multigrey.analysis.hours import Counts, report_of_hours, worth_of_hours
from multigrey.analysis.outlook import whitelist_command
from multigrey.analysis.timeline import Ending, Story, stories
from multigrey.identity.addresses import network_and_wider, widened
from multigrey.identity.sender import sender_domain
from multigrey.model import HOUR, Action, DecisionEvent, Match, Reason

__all__ = ["make_report"]


def make_report(
    events: Iterable[DecisionEvent],
    outlook: Outlook,
    hours: Mapping[int, Counts] | None = None,
    busiest: Sequence[Mapping[str, Any]] = (),
    once: Sequence[DecisionEvent] = (),
) -> Report:
    """The report on these decisions, which are given the oldest first.

    `hours`: figures of whole hours by their beginnings, if they count more than these decisions; then totals
    are theirs, and `busiest` are the busiest origins (see `flow.FlowView`).  `once`: decisions from before
    these on mail that came once and never back.
    """
    looked_at = [event for event in events if event.time >= outlook.since]
    counted = [event for event in looked_at if not event.verdict.observed]
    told = stories(counted, outlook.now, outlook.retry_window)
    waited = [story for story in told if _was_deferred(story)]
    length = slot_length(outlook.now - _begin(looked_at, outlook))
    domains = _domains(told, outlook)
    due = [each for each in outlook.due if outlook.owner in {"", each.owner}]
    floods = _floods(looked_at)
    contacts = [*(Story([event], Ending.NEVER, event.time) for event in once), *waited]
    found = Report(
        time=outlook.now,
        since=outlook.since,
        more=outlook.more,
        owner=outlook.owner,
        counted_since=None,
        listed=len(looked_at),
        listed_since=looked_at[0].time if looked_at else None,
        traffic=_traffic(looked_at, told),
        delays=_delays(waited),
        origins=_origin_rows(waited, outlook),
        classes=_classes(waited, outlook),
        slot=length,
        slots=_slots(told, _begin(looked_at, outlook), outlook, length),
        histogram=_histogram(waited),
        domains=domains[: outlook.most],
        top_origins=_origins(told, outlook),
        lost=_lost(waited, outlook),
        once=_once(contacts, outlook)[: outlook.most],
        floods=floods[: outlook.most],
        let_in=_let_in(looked_at)[: outlook.most],
        first_figures=first_figures(waited, outlook),
        hits=_hits(looked_at, outlook),
        due=due,
        advice=(),
    )
    worth = worth_of_stories(waited, outlook)
    if hours:
        found = replace(found, **report_of_hours(hours, busiest, outlook))
        worth = worth_of_hours(hours, outlook)
    told_of = AdviceInput(looked_at, waited, worth, found.classes, domains, due, floods)
    return replace(found, advice=advice_on(told_of, outlook))


def _begin(events: Sequence[DecisionEvent], outlook: Outlook) -> int:
    """The wall-clock second at which the report begins."""
    begin = max(outlook.since, outlook.recorded_since)
    if outlook.more or not begin:
        begin = events[0].time if events else outlook.now
    return min(begin, outlook.now)


def _was_deferred(story: Story) -> bool:
    if story.ending is Ending.REFUSED:
        return story.events[0].verdict.action is Action.DEFER
    return story.ending is not Ending.PASSED


def _traffic(events: Sequence[DecisionEvent], told: Sequence[Story]) -> Traffic:
    reasons = Counter(event.verdict.reason.value for event in events)
    return Traffic(
        decisions=len(events),
        first=events[0].time if events else None,
        passed_at_once=sum(len(story.events) for story in told if story.ending is Ending.PASSED),
        refused=sum(story.ending is Ending.REFUSED for story in told),
        observed=sum(map(would_have_waited, events)),
        by_reason=dict(reasons.most_common()),
        over_limit=sum(map(_is_over_limit, events)),
    )


def _delays(waited: Sequence[Story]) -> Delays:
    endings = Counter(story.ending for story in waited)
    delays = [story.delay for story in waited if story.ending is Ending.ACCEPTED]
    return Delays(
        deferred=len(waited),
        returned=endings[Ending.ACCEPTED],
        waiting=endings[Ending.WAITING],
        never=endings[Ending.NEVER],
        p50=percentile(delays, 50),
        p95=percentile(delays, 95),
        longest=max(delays, default=None),
    )


def _origin_rows(waited: Sequence[Story], outlook: Outlook) -> list[ClassRow]:
    """A row for each class of origins of which mail was deferred."""
    grouped = _grouped(waited, lambda story: outlook.origin_class(story.events[-1]))
    return [ClassRow(name, "", None, 0, _delays(grouped[name])) for name in ORIGIN_CLASSES if name in grouped]


def _classes(waited: Sequence[Story], outlook: Outlook) -> list[ClassRow]:
    """A row for each configured class, in that order, then for each class that only the history contains."""
    grouped = _grouped(waited, lambda story: story.events[-1].class_)
    names = [*outlook.targets, *sorted(name for name in grouped if name and name not in outlook.targets)]
    rows = []
    for name in names:
        target = outlook.targets.get(name, Target())
        if outlook.owner in {"", target.owner}:
            theirs = grouped.get(name, [])
            over = sum(_is_over(story, target.seconds, outlook.now) for story in theirs)
            rows.append(ClassRow(name, target.owner, target.seconds, over, _delays(theirs)))
    return rows


def _is_over(story: Story, target: int | None, now: int) -> bool:
    if target is None:
        return False
    if story.ending is Ending.WAITING:
        return now - story.first > target
    return story.ending is Ending.ACCEPTED and story.delay > target


def _grouped(told: Iterable[Story], word: Callable[[Story], str]) -> dict[str, list[Story]]:
    grouped: dict[str, list[Story]] = defaultdict(list)
    for story in told:
        grouped[word(story)].append(story)
    return dict(grouped)


def _slots(told: Sequence[Story], begin: int, outlook: Outlook, length: int) -> list[Slot]:
    """Mail by time slots, which begin with whole hours or days of local time."""
    begin -= (begin + outlook.utc_offset) % length
    number = (outlook.now - begin) // length + 1
    counts = [[0, 0, 0] for _ in range(number)]

    def count(time: int, what: int) -> None:
        index = (time - begin) // length
        if index >= 0:
            counts[min(index, number - 1)][what] += 1

    for story in told:
        if story.ending is Ending.PASSED:
            for event in story.events:
                count(event.time, 2)
        elif _was_deferred(story):
            count(story.first, 0)
            if story.ending is Ending.ACCEPTED:
                count(story.last, 1)
    return [Slot(begin + index * length, *row) for index, row in enumerate(counts)]


def _histogram(waited: Sequence[Story]) -> list[int]:
    counts = [0] * (len(DELAY_BOUNDS) + 1)
    for story in waited:
        if story.ending is Ending.ACCEPTED:
            index = next(
                (i for i, bound in enumerate(DELAY_BOUNDS) if story.delay <= bound), len(DELAY_BOUNDS)
            )
            counts[index] += 1
    return counts


def _domains(told: Sequence[Story], outlook: Outlook) -> list[SenderFigures]:
    """Sender domains (without bounces) whose mail came back after it was deferred, longest waits first."""
    grouped = _grouped(told, lambda story: sender_domain(story.events[0].attempt.sender))
    found = [
        _sender(name, theirs, outlook)
        for name, theirs in grouped.items()
        if name and any(story.delay for story in theirs)
    ]
    return sorted(found, key=lambda each: (-each.waited, each.name))


def _origins(told: Sequence[Story], outlook: Outlook) -> list[SenderFigures]:
    """The origins with most attempts."""
    attempts = Counter(event.origin for story in told for event in story.events if event.origin)
    top = {name for name, _ in attempts.most_common(outlook.most)}
    theirs = _grouped(
        (story for story in told if story.events[-1].origin in top), lambda s: s.events[-1].origin
    )
    kinds = {story.events[-1].origin: outlook.origin_class(story.events[-1]) for story in told}
    rows = []
    for name in top:
        own = theirs.get(name, [])
        waited = [story for story in own if _was_deferred(story)]
        seconds = sum(story.delay for story in own)
        rows.append(SenderFigures(name, kinds.get(name, "named"), attempts[name], seconds, _delays(waited)))
    return sorted(rows, key=lambda each: (-each.attempts, each.name))


def _sender(name: str, theirs: Sequence[Story], outlook: Outlook) -> SenderFigures:
    kinds = Counter(outlook.origin_class(story.events[-1]) for story in theirs)
    return SenderFigures(
        name,
        kinds.most_common(1)[0][0],
        sum(len(story.events) for story in theirs),
        sum(story.delay for story in theirs),
        _delays([story for story in theirs if _was_deferred(story)]),
    )


def _lost(waited: Sequence[Story], outlook: Outlook) -> list[Lost]:
    """Mail that never came back."""
    never = [story for story in waited if story.ending is Ending.NEVER]
    return [_lost_row(story) for story in nlargest(outlook.most, never, key=lambda story: story.last)]


def _lost_row(story: Story) -> Lost:
    latest = story.events[-1]
    attempt = latest.attempt
    recipient = attempt.raw or attempt.recipient
    times = (story.first, story.last, len(story.events))
    return Lost(attempt.sender, recipient, latest.origin, *times, latest.id)


def _once(waited: Sequence[Story], outlook: Outlook) -> list[Once]:
    """First contacts that came once and never back: most often unwanted mail, but a look is worth it."""
    returned = Counter(story.events[-1].origin for story in waited if story.ending is Ending.ACCEPTED)
    groups = _grouped(filter(_is_once, waited), lambda story: story.events[-1].origin)
    rows = []
    for origin, theirs in groups.items():
        if not origin:
            continue  # the mail server did not know the client
        latest = theirs[-1].events[-1]
        attempt = latest.attempt
        kind = outlook.origin_class(latest)
        who = attempt.sender, attempt.raw or attempt.recipient
        command = whitelist_command(latest)
        rows.append(Once(origin, kind, len(theirs), latest.time, *who, latest.id, command))
    return sorted(rows, key=lambda row: (row.kind == "unnamed", -returned[row.origin], -row.last, row.origin))


def _is_once(story: Story) -> bool:
    first = story.events[0]
    is_first = first.verdict.reason is Reason.NEW and first.verdict.attempts <= 1
    return story.ending is Ending.NEVER and len(story.events) == 1 and is_first


def _floods(events: Sequence[DecisionEvent]) -> list[FloodRow]:
    """Networks and origins that were over the limit of new records; see `greylist.flood`."""
    over = [(event.time, *network_and_wider(event)) for event in events if _is_over_limit(event)]
    stands_for = widened({network: wider for _, network, wider in over})
    times: dict[str, list[int]] = defaultdict(list)
    for time, network, _ in over:
        times[stands_for[network]].append(time)
    rows = [
        FloodRow(network, min(own), max(own), len(own), max(Counter(time // HOUR for time in own).values()))
        for network, own in times.items()
    ]
    return sorted(rows, key=lambda row: (-row.attempts, row.network))


def _let_in(events: Sequence[DecisionEvent]) -> list[LetIn]:
    """Providers whose mail passed at once although it had no record."""
    theirs: dict[str, list[DecisionEvent]] = defaultdict(list)
    for event in events:
        if event.verdict.reason is Reason.PROVIDER:
            theirs[event.origin].append(event)
    rows = [
        LetIn(provider, len(own), len({sender_domain(event.attempt.sender) for event in own}), own[-1].time)
        for provider, own in theirs.items()
    ]
    return sorted(rows, key=lambda row: (-row.number, row.provider))


def _is_over_limit(event: DecisionEvent) -> bool:
    return event.verdict.reason is Reason.OVER_LIMIT and event.verdict.action is Action.DEFER


def _hits(events: Sequence[DecisionEvent], outlook: Outlook) -> list[Hit]:
    matches: Counter[Match] = Counter(
        event.verdict.match for event in events if event.verdict.match is not None
    )
    rows = [Hit(match.source, match.entry, match.owner, number) for match, number in matches.items()]
    rows = [row for row in rows if outlook.owner in {"", row.owner}]
    return sorted(rows, key=lambda row: (-row.number, row.source, row.entry))[: outlook.most]
