"""Makes advice for the administrator from the figures of a report, in plain sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from multigrey.analysis.figures import (
    ClassRow,
    Due,
    FloodRow,
    Outlook,
    SenderFigures,
    Worth,
    percentile,
    resolved_at,
    would_have_waited,
)
from multigrey.analysis.outlook import whitelist_add, whitelist_command
from multigrey.analysis.plausibility import Plausibility
from multigrey.analysis.timeline import Ending, Story
from multigrey.identity.addresses import network_and_wider, widened
from multigrey.identity.sender import sender_domain
from multigrey.model import DAY, HOUR, DecisionEvent, Reason
from multigrey.text import counted

__all__ = ["AdviceInput", "advice_on", "first_figures", "worth_of_stories"]

_MANY_CLIENTS = 5
_OFTEN = 3
_LATE = HOUR
_ENOUGH = 20
"""Least number of mails for which a share is reported."""
_MOST_OF_A_KIND = 3
_MOST_LOOKED_AT = 50_000
_A_SECOND = 100
"""Largest numbers of decisions, in all and in a second, that are checked for implausible client data."""


class AdviceInput(NamedTuple):
    """The figures from which advice is made."""

    events: Sequence[DecisionEvent]
    """All decisions, the oldest first."""
    waited: Sequence[Story]
    """Mails that were deferred."""
    worth: Worth
    classes: Sequence[ClassRow]
    domains: Sequence[SenderFigures]
    due: Sequence[Due]
    floods: Sequence[FloodRow]
    """Those with most attempts first."""


def advice_on(told: AdviceInput, outlook: Outlook) -> list[str]:
    """All sentences; problems that make the other figures useless come first."""
    return [
        *_of_input(told.events, outlook),
        *_of_floods(told.floods, outlook),
        *_of_observed(told.events),
        *_of_worth(told.worth, outlook),
        *_of_errors(told.events),
        *_of_classes(told.classes),
        *_of_mail(told.waited, told.domains),
        *_of_due(told.due),
    ]


def _of_input(events: Sequence[DecisionEvent], outlook: Outlook) -> Iterable[str]:
    """Implausible client data at the end of the report's time."""
    seen = Plausibility(outlook.untold)
    seconds: Counter[int] = Counter()
    for event in events[-_MOST_LOOKED_AT:]:
        seconds[event.time] += 1
        if seconds[event.time] <= _A_SECOND:
            seen.note(event, event.time)
    return (problem.text for problem in seen.problems())


def _of_floods(floods: Sequence[FloodRow], outlook: Outlook) -> Iterable[str]:
    for row in floods[:_MOST_OF_A_KIND]:
        attempts = counted(row.attempts, "attempt")
        yield (
            f"{row.network} was over the limit of new records from {_moment(row.first, outlook)} to "
            f"{_moment(row.last, outlook)}: {attempts}, up to {row.most:,} in an hour; only "
            "their own retries pass, so no action is needed; if no wanted mail comes from there, a [[rule]] "
            "that rejects it, or a firewall, saves this host the work"
        )


def _of_observed(events: Sequence[DecisionEvent]) -> Iterable[str]:
    """What rules observe, the names of the rules first, and what the mode observes."""
    rules = Counter(event.verdict.rule for event in events if would_have_waited(event))
    if everything := rules.pop("", 0):
        yield (
            f"greylisting was only observed for {counted(everything, 'attempt')} that would have been "
            "deferred: to defer such attempts, use multigrey mode enforce, and set [greylist] mode"
        )
    for name, number in rules.most_common(_MOST_OF_A_KIND):
        yield (
            f"the rule {name} only observed {counted(number, 'attempt')} that would have been deferred: to "
            'defer such attempts, set its action to "greylist" (and the mode to enforce)'
        )


def first_figures(waited: Sequence[Story], outlook: Outlook) -> int | None:
    """See `Report.first_figures`."""
    if not waited:
        return None
    begins = [story.first for story in waited if _is_whole(story)]
    first = resolved_at(min(begins, default=outlook.now), outlook.retry_window)
    return first if first > outlook.now else None


def _is_whole(story: Story) -> bool:
    """Whether its first attempt is in the history.

    Of mail first deferred before that, only mail that came back is in it, so it must not count for shares.
    """
    return story.events[0].time == story.first


def worth_of_stories(waited: Sequence[Story], outlook: Outlook) -> Worth:
    """What the sentence on the benefit of greylisting needs, from mails that were deferred."""
    window = outlook.retry_window
    old = [story for story in waited if _is_whole(story) and resolved_at(story.first, window) <= outlook.now]
    over = [story for story in old if story.ending in {Ending.ACCEPTED, Ending.NEVER}]
    delays = [story.delay for story in over if story.ending is Ending.ACCEPTED]
    first = first_figures(waited, outlook)
    return Worth(len(waited), len(over), len(delays), percentile(delays, 50), percentile(delays, 95), first)


def _of_worth(worth: Worth, outlook: Outlook) -> Iterable[str]:
    """A sentence on the benefit of greylisting here, as soon as it can be judged.

    Only mail of hours whose retry window is over counts; of younger mail only what came back is known.
    """
    window = _lasting(outlook.retry_window)
    if worth.first_figures is not None:
        if 0 < outlook.recorded_since < outlook.since:
            yield (
                f"all mail of this time is younger than {window}, so what never comes back is not known yet: "
                f"give a --since that is longer than {window}"
            )
            return
        yield (
            "it is too early to judge whether greylisting is worth it: what never comes back is known after "
            f"{window}; first figures on {_day(worth.first_figures, outlook)}"
        )
    elif worth.deferred and worth.settled < _ENOUGH:
        yield (
            f"too few mails were deferred more than {window} ago ({worth.settled}) to judge whether "
            "greylisting is worth it"
        )
    elif worth.deferred:
        yield _worth(worth)


def _worth(worth: Worth) -> str:
    """The sentence on the benefit, for enough mails that came back or never did."""
    over, back = worth.settled, worth.back
    never, share = over - back, 100 * (over - back) // over
    p50, p95 = worth.p50 or 0, worth.p95 or 0
    deferred = counted(over, "mail that was deferred", "mails that were deferred")
    price = f"wanted mail waited p50 {_lasting(p50)}, p95 {_lasting(p95)}" if back else "nothing came back"
    if share >= 90:
        return f"of {deferred}, {never:,} never came back ({share} %): greylisting keeps these out; {price}"
    if share >= 50:
        return (
            f"of {deferred}, {never:,} never came back ({share} %); {price}: check "
            "the domains that waited longest"
        )
    return (
        f"{back:,} of {deferred} came back ({100 - share} %), {price}: much "
        "wanted mail is delayed here; add a whitelist entry for the domains that waited longest"
    )


def _of_errors(events: Sequence[DecisionEvent]) -> Iterable[str]:
    if failed := sum(event.verdict.reason is Reason.ERROR for event in events):
        what = "attempt was" if failed == 1 else "attempts were"
        yield f"{failed} {what} answered without the store: see multigrey status and the log for why"


def _of_classes(classes: Sequence[ClassRow]) -> Iterable[str]:
    for row in classes:
        if row.over_target:
            yield (
                f"class {row.name}: {counted(row.over_target, 'mail')} took longer than its target of "
                f"{_lasting(row.target or 0)}: to avoid that, add a [[rule]] with a shorter delay, or one "
                "that lets such mail pass"
            )


def _of_mail(waited: Sequence[Story], domains: Sequence[SenderFigures]) -> Iterable[str]:
    scattered: dict[str, Story] = {}
    for story in sorted(waited, key=lambda story: -story.clients):
        if story.clients < _MANY_CLIENTS:
            break
        domain = sender_domain(story.events[0].attempt.sender)
        if domain and story.origins > 1:
            scattered.setdefault(domain, story)
    for domain, story in list(scattered.items())[:_MOST_OF_A_KIND]:
        came = f"got in after {_lasting(story.delay)}" if story.ending is Ending.ACCEPTED else "is not in yet"
        if story.ending is Ending.NEVER:
            came = "never got in"
        places = f"{counted(story.clients, 'address', 'addresses')} of {counted(story.origins, 'origin')}"
        yield (
            f"sender {story.events[0].attempt.sender} retried from {places} and {came}: it sends from a pool "
            f"of servers that is not known; {_pool(story, domain)}"
        )
    origins = {sender_domain(story.events[0].attempt.sender): story.events[-1] for story in waited}
    slow = [each for each in domains if each.name not in scattered and each.delays.returned >= _OFTEN]
    for each in [each for each in slow if (each.delays.p50 or 0) > _LATE][:_MOST_OF_A_KIND]:
        yield (
            f"mail from {each.name} came back late ({counted(each.delays.returned, 'time')}, half of it "
            f"after {_lasting(each.delays.p50 or 0)} or more): its servers retry slowly; to avoid the delay: "
            f"{whitelist_command(origins[each.name]) or 'add a whitelist entry'}"
        )


def _pool(story: Story, domain: str) -> str:
    """What to do about a pool: its networks are listed only if its servers have no names."""
    names = sorted({event.origin for event in story.events if event.origin and "/" not in event.origin})
    if names:
        commands = [whitelist_add(origin=each, sender_domain=domain) for each in names]
        begin = "add the pool to [origin] providers_file, or its origins: "
    else:
        wider = dict(network_and_wider(event) for event in story.events if event.attempt.client_address)
        commands = [
            whitelist_add(client=each, sender_domain=domain) for each in sorted({*widened(wider).values()})
        ]
        begin = "its servers have no names, so add its networks: "
    shown = [command for command in commands[:_MOST_OF_A_KIND] if command]
    if not shown:
        return "add the pool to [origin] providers_file, or its networks to a whitelist"
    more = len(commands) - len(shown)
    return begin + "; ".join(shown) + (f" (and {more} more)" if more else "")


def _of_due(due: Sequence[Due]) -> Iterable[str]:
    owners = Counter(each.owner for each in due)
    for owner in sorted(owners, key=lambda owner: (not owner, owner)):
        many = counted(owners[owner], "finding")
        if owner:
            yield f'{many} about whitelist entries of {owner}: multigrey whitelist lint --owner "{owner}"'
        else:
            yield (
                f"{many} about whitelist entries without an owner: see multigrey whitelist lint, and give "
                "them an owner"
            )


def _local(second: int, outlook: Outlook) -> datetime:
    return datetime.fromtimestamp(second + outlook.utc_offset, UTC)


def _day(second: int, outlook: Outlook) -> str:
    """The day of this second in local time, as `2 Dec`."""
    time = _local(second, outlook)
    return f"{time.day} {time:%b}"


def _moment(second: int, outlook: Outlook) -> str:
    return f"{_day(second, outlook)} {_local(second, outlook):%H:%M}"


def _lasting(seconds: int) -> str:
    """The text of a duration, in one or two units."""
    if seconds < 60:
        return f"{seconds}s"
    units = ((DAY, "d", HOUR, "h"), (HOUR, "h", 60, "m"), (60, "m", 1, "s"))
    size, word, small, small_word = next(unit for unit in units if seconds >= unit[0])
    rest = seconds % size // small
    return f"{seconds // size}{word}" + (f" {rest}{small_word}" if rest else "")
