"""The operation `where`: what became of mail, what happens next, and what can be done.

    {"addresses": TEXT, "from": ADDRESS or DOMAIN, "since": SECONDS}

`addresses` are envelope addresses in any spelling: a sender, a recipient, or both; `from` and `since` may be
left out.  The answer is `{"time", "addresses", "from", "recorded_since", "not_recorded", "stories", "more",
"do"}`.  `not_recorded` says what of that time the history lacks, "" if nothing is known to be lacking.  Each
story is as in `history`, the latest last, with `next` (text, and from when until when it holds) and `do`
(commands and what each does).  `more`: stories that are left out.  `do` outside of the stories is for mail of
which no attempt is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from multigrey.analysis.outlook import outlook, remedies, remedies_without_attempt
from multigrey.analysis.timeline import Ending, Story, stories
from multigrey.control.operations.context import OperationContext
from multigrey.control.operations.history import story_as_json
from multigrey.control.operations.operation import (
    BY,
    Level,
    Operation,
    OperationError,
    OptionError,
    Options,
    Result,
    text_option,
)
from multigrey.engine.explain import explain
from multigrey.errors import StoreError
from multigrey.events.typed_address import NULL, read_address_or_domain, read_addresses
from multigrey.history.reader import HistoryReader
from multigrey.model import DecisionEvent, Verdict

__all__ = ["operations"]

_OPTIONS = frozenset({"addresses", "from", "since", BY})
_LOOKED_AT = 1_000
"""Most decisions about one mail that are looked at."""
_MOST = 10
"""Most stories in the answer."""
_PAIR = 2

_Words = Mapping[str, str]


def operations(parts: OperationContext) -> Iterable[Operation]:
    """The operation of this module."""
    yield Operation(
        "where", Level.READ, answer=lambda options: _where(parts, options), offline=True, is_search=True
    )


async def _where(parts: OperationContext, options: Options) -> Result:
    if unknown := options.keys() - _OPTIONS:
        raise OptionError(f"unknown option {min(unknown)!r}")
    if not isinstance(parts.decisions, HistoryReader):
        raise OperationError("no decisions are remembered: [history] enabled is false")
    addresses = read_addresses(text_option(options, "addresses"))
    sender = read_address_or_domain(text_option(options, "from")) if options.get("from") else ""
    since = options.get("since") or 0
    if type(since) is not int or since < 0:
        raise OptionError("since: expected seconds since 1970")
    try:
        found = await _stories(parts, parts.decisions, _tries(addresses, sender), since)
        recorded_since = await parts.decisions.since()
    except StoreError as error:
        raise OperationError(f"the history cannot be read: {error}") from error
    recipient = addresses[-1]
    return {
        "time": parts.clock.now(),
        "addresses": addresses,
        "from": sender,
        "recorded_since": recorded_since or None,
        "not_recorded": parts.decisions.gap(since),
        "stories": [await _shown(parts, story) for story in found[-_MOST:]],
        "more": max(len(found) - _MOST, 0),
        "do": [] if found else [asdict(each) for each in remedies_without_attempt(recipient, sender)],
    }


def _tries(addresses: Sequence[str], sender: str) -> list[list[_Words]]:
    """Searches by words; the next list is tried if those of the one before find nothing."""
    if sender:
        return [[{"sender": sender, "recipient": each} for each in addresses]]
    each_alone: list[_Words] = [{"about": each} for each in addresses]
    if len(addresses) != _PAIR:
        return [each_alone]
    first, second = addresses
    pair: list[_Words] = [
        {"sender": first, "recipient": second},
        {"sender": second, "recipient": first},
    ]
    return [pair, each_alone]


async def _stories(
    parts: OperationContext, history: HistoryReader, tries: Iterable[Iterable[_Words]], since: int
) -> list[Story]:
    """The stories that the first successful searches find, in the order of their last attempts."""
    for searches in tries:
        events: dict[str, DecisionEvent] = {}
        for words in searches:
            found, _ = await history.search(history.wanted(words, since), _LOOKED_AT)
            events.update((f"{event.time} {event.id}", event) for event in found)
        if events:
            told = _told(parts, sorted(events.values(), key=lambda event: event.time))
            whole = [await _whole(parts, history, story) for story in told[-_MOST:]]
            return sorted([*told[:-_MOST], *whole], key=lambda story: story.last)
    return []


def _told(parts: OperationContext, events: Iterable[DecisionEvent]) -> Sequence[Story]:
    return stories(events, parts.clock.now(), parts.settings.greylist.retry_window)


async def _whole(parts: OperationContext, history: HistoryReader, story: Story) -> Story:
    """The story with the attempts that were made before what was looked at."""
    attempt = story.events[0].attempt
    if story.first >= story.events[0].time or attempt.raw or not attempt.recipient:
        return story
    words = {"sender": attempt.sender or NULL, "recipient": attempt.recipient}
    found, _ = await history.search(history.wanted(words, story.first), _LOOKED_AT)
    same = [each for each in _told(parts, reversed(found)) if each.last == story.last]
    return same[-1] if same else story


async def _shown(parts: OperationContext, story: Story) -> dict[str, Any]:
    now, window = parts.clock.now(), parts.settings.greylist.retry_window
    return {
        **story_as_json(story),
        "next": asdict(outlook(story, now, window, await _verdict(parts, story))),
        "do": [asdict(each) for each in remedies(story)],
    }


async def _verdict(parts: OperationContext, story: Story) -> Verdict | None:
    """What the last attempt of a story that did not end well would get now; None: not known."""
    attempt = story.events[-1].attempt
    if story.ending not in {Ending.WAITING, Ending.NEVER} or attempt.client_address is None:
        return None
    return (await explain(parts.engine, attempt, ask=False, on_error="pass")).verdict
