"""The operation `history`: what became of mail, by the decisions in the history.

It first yields `{"time", "since", "recorded_since", "not_recorded", "retry_window", "decisions", "more"}`,
then `{"stories": [...]}` any number of times.  Each story is what happened to the mail of one sender to one
recipient (see `analysis.timeline`), with every decision in the form of `events.as_json`.  `recorded_since`
is the time of the oldest decision in the history, about any mail; `not_recorded` says what of that time the
history lacks, "" if nothing is known to be lacking.  Without a search word, `"latest": true`
asks for the latest decisions about any mail.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from typing import Any

from multigrey.analysis.timeline import Story, stories
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
from multigrey.control.record_selection import read_limit
from multigrey.errors import StoreError
from multigrey.events.as_json import event_as_json
from multigrey.events.query import WORDS
from multigrey.history.reader import HistoryReader

__all__ = ["operations", "story_as_json"]

_USUAL = 1_000
_TOGETHER = 100
"""About how many decisions one message holds; a story is never divided."""


def operations(parts: OperationContext) -> Iterable[Operation]:
    """The operation of this module."""
    yield Operation("history", Level.READ, stream=lambda o: _history(parts, o), offline=True, is_search=True)


async def _history(parts: OperationContext, options: Options) -> AsyncGenerator[Result, None]:
    unknown = options.keys() - {*WORDS, "since", "limit", "latest", BY}
    if unknown:
        raise OptionError(f"unknown option {min(unknown)!r}")
    if not isinstance(parts.decisions, HistoryReader):
        raise OperationError("no decisions are remembered: [history] enabled is false")
    wanted = parts.decisions.wanted(_words(options), _since(options))
    try:
        events, more = await parts.decisions.search(wanted, read_limit(options, _USUAL))
        recorded_since = await parts.decisions.since()
    except StoreError as error:
        raise OperationError(f"the history cannot be read: {error}") from error
    window = parts.settings.greylist.retry_window
    yield {
        "time": parts.clock.now(),
        "since": wanted.since or None,
        "recorded_since": recorded_since or None,
        "not_recorded": parts.decisions.gap(wanted.since),
        "retry_window": window,
        "decisions": len(events),
        "more": more,
    }
    together: list[dict[str, Any]] = []
    size = 0
    for story in stories(reversed(events), parts.clock.now(), window):
        together.append(story_as_json(story))
        size += len(story.events)
        if size >= _TOGETHER:
            yield {"stories": together}
            together, size = [], 0
    if together:
        yield {"stories": together}


def _words(options: Options) -> dict[str, str]:
    words = {name: options[name] for name in WORDS if options.get(name)}
    if not words and options.get("latest") is not True:
        raise OptionError("expected an address, a domain or a client to look for")
    for name, text in words.items():
        if not isinstance(text, str):
            raise OptionError(f"{name}: a text is expected")
    return words


def _since(options: Options) -> int:
    since = options.get("since") or 0
    if type(since) is not int or since < 0:
        raise OptionError("since: expected seconds since 1970")
    return since


def story_as_json(story: Story) -> dict[str, Any]:
    """A story as JSON values, with every decision."""
    attempt = story.events[0].attempt
    return {
        "sender": attempt.sender,
        "recipient": attempt.recipient,
        "raw": attempt.raw,
        "ending": story.ending.value,
        "first": story.first,
        "last": story.last,
        "delay": story.delay,
        "clients": story.clients,
        "origins": story.origins,
        "decisions": [event_as_json(event) for event in story.events],
    }
