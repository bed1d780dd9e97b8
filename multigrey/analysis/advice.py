"""What the figures of a report suggest, in plain sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from multigrey.analysis.figures import DAY, HOUR, ClassRow, Due, Sender, would_have_waited
from multigrey.model import DecisionEvent, Reason
from multigrey.senders import sender_domain
from multigrey.timeline import Ending, Story

__all__ = ["advice_on"]

_MANY_CLIENTS = 5
_OFTEN = 3
_LATE = HOUR
_ENOUGH = 20
"""Mails from which shares mean something."""
_MOST_OF_A_KIND = 3


def advice_on(
    events: Sequence[DecisionEvent],
    waited: Sequence[Story],
    classes: Sequence[ClassRow],
    domains: Sequence[Sender],
    due: Sequence[Due],
) -> list[str]:
    """Sentences about all decisions, mails that were deferred, and what a report tells of them."""
    return [*_of_numbers(events, waited), *_of_classes(classes), *_of_mail(waited, domains), *_of_due(due)]


def _of_numbers(events: Sequence[DecisionEvent], waited: Sequence[Story]) -> Iterable[str]:
    over = [story for story in waited if story.ending in {Ending.ACCEPTED, Ending.NEVER}]
    never = sum(story.ending is Ending.NEVER for story in over)
    observed = sum(map(would_have_waited, events))
    if observed:
        yield (
            f"greylisting was only observed for {observed} attempts that would have been deferred: see "
            "multigrey mode enforce, and [greylist] mode, when the figures are to your liking"
        )
    if len(over) >= _ENOUGH and never * 10 >= len(over) * 9:
        yield (
            f"of {len(over)} mails that were deferred, {never} never came back: that is what greylisting "
            "keeps out here"
        )
    elif len(over) >= _ENOUGH and never * 2 < len(over):
        yield (
            f"{len(over) - never} of {len(over)} mails that were deferred came back: much of what waits "
            "here is mail; the domains that waited longest are worth an entry in a whitelist"
        )
    failed = sum(event.verdict.reason is Reason.ERROR for event in events)
    if failed:
        yield f"{failed} attempts were answered without the store: multigrey status and the log tell why"


def _of_classes(classes: Sequence[ClassRow]) -> Iterable[str]:
    for row in classes:
        if row.over_target:
            yield (
                f"class {row.name}: {_count(row.over_target, 'mail')} took longer than its target of "
                f"{_lasting(row.target or 0)}: a [[rule]] with a shorter delay, or one that lets it pass, "
                "spares it the wait"
            )


def _of_mail(waited: Sequence[Story], domains: Sequence[Sender]) -> Iterable[str]:
    scattered: dict[str, Story] = {}
    for story in sorted(waited, key=lambda story: -story.clients):
        if story.clients < _MANY_CLIENTS:
            break
        domain = sender_domain(story.events[0].attempt.sender)
        if domain and story.origins > 1:
            scattered.setdefault(domain, story)
    for story in list(scattered.values())[:_MOST_OF_A_KIND]:
        came = f"got in after {_lasting(story.delay)}" if story.ending is Ending.ACCEPTED else "is not in yet"
        if story.ending is Ending.NEVER:
            came = "never got in"
        yield (
            f"sender {story.events[0].attempt.sender} retried from {story.clients} addresses of "
            f"{story.origins} origins and {came}: it has a pool of servers that is not known as "
            "one; [origin] providers, or an entry in a whitelist for its servers' names, makes them one"
        )
    slow = [each for each in domains if each.name not in scattered and each.delays.returned >= _OFTEN]
    for each in [each for each in slow if (each.delays.p50 or 0) > _LATE][:_MOST_OF_A_KIND]:
        yield (
            f"mail from {each.name} came back late ({each.delays.returned} times, half of it after "
            f"{_lasting(each.delays.p50 or 0)} or more): its servers retry slowly; an entry in a whitelist "
            "spares it the wait"
        )


def _of_due(due: Sequence[Due]) -> Iterable[str]:
    owners = Counter(each.owner for each in due)
    for owner in sorted(owners, key=lambda owner: (not owner, owner)):
        many = _count(owners[owner], "finding")
        if owner:
            yield f'{many} about whitelist entries of {owner}: multigrey whitelist lint --owner "{owner}"'
        else:
            yield (
                f"{many} about whitelist entries that nobody answers for: multigrey whitelist lint shows "
                "which; give them an owner"
            )


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _lasting(seconds: int) -> str:
    """A duration in one or two units."""
    if seconds < 60:
        return f"{seconds}s"
    units = ((DAY, "d", HOUR, "h"), (HOUR, "h", 60, "m"), (60, "m", 1, "s"))
    size, word, small, small_word = next(unit for unit in units if seconds >= unit[0])
    rest = seconds % size // small
    return f"{seconds // size}{word}" + (f" {rest}{small_word}" if rest else "")
