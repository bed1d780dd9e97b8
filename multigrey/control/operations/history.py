"""Looking back: what became of mail, told from the decisions that are remembered.

`history` tells `{"since", "recorded_since", "decisions", "more"}` at first, then `{"stories": [...]}` any
number of times: each what happened to one sender's mail to one recipient (see `timeline`), with every
decision as `events.as_json.told` has it.  `recorded_since`: the oldest decision there is, of anybody.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from typing import Any

from multigrey.analysis.timeline import Story, stories
from multigrey.control.operations.context import Parts
from multigrey.control.operations.operation import BY, Level, Operation, OperationError, Options, Result
from multigrey.control.record_selection import read_limit
from multigrey.errors import StoreError
from multigrey.events.as_json import told
from multigrey.events.query import WORDS
from multigrey.history.recorder import HistoryReader

__all__ = ["operations"]

_USUAL = 1_000
_TOGETHER = 100
"""Decisions in one message, about; a story is not divided."""


def operations(parts: Parts) -> Iterable[Operation]:
    """`history`."""
    yield Operation("history", Level.READ, stream=lambda o: _history(parts, o), offline=True)


async def _history(parts: Parts, options: Options) -> AsyncGenerator[Result, None]:
    unknown = options.keys() - {*WORDS, "since", "limit", BY}
    if unknown:
        raise OperationError(f"there is no option {min(unknown)!r}")
    if not isinstance(parts.decisions, HistoryReader):
        raise OperationError("no decisions are remembered: [history] enabled is false")
    wanted = parts.decisions.wanted(_words(options), _since(options))
    try:
        events, more = await parts.decisions.search(wanted, read_limit(options, _USUAL))
        recorded_since = await parts.decisions.since()
    except StoreError as error:
        raise OperationError(f"what is remembered cannot be read: {error}") from error
    yield {
        "time": parts.clock.now(),
        "since": wanted.since or None,
        "recorded_since": recorded_since or None,
        "decisions": len(events),
        "more": more,
    }
    window = parts.settings().greylist.retry_window
    together: list[dict[str, Any]] = []
    size = 0
    for story in stories(reversed(events), parts.clock.now(), window):
        together.append(_shown(story))
        size += len(story.events)
        if size >= _TOGETHER:
            yield {"stories": together}
            together, size = [], 0
    if together:
        yield {"stories": together}


def _words(options: Options) -> dict[str, str]:
    words = {name: options[name] for name in WORDS if options.get(name)}
    if not words:
        raise OperationError("whose history?  An address, a domain or a client is expected")
    for name, text in words.items():
        if not isinstance(text, str):
            raise OperationError(f"{name}: a text is expected")
    return words


def _since(options: Options) -> int:
    since = options.get("since") or 0
    if type(since) is not int or since < 0:
        raise OperationError("since: seconds since 1970 are expected")
    return since


def _shown(story: Story) -> dict[str, Any]:
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
        "decisions": [told(event) for event in story.events],
    }
