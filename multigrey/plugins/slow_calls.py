"""Asks slow sources.  At the end of its time an attempt goes on without them, whatever they do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice

import trio

from multigrey.model import Attempt, Findings
from multigrey.plugins.guards import GuardCounters, GuardedSlowSource, PluginKind
from multigrey.plugins.isolation import IsolatedTask
from multigrey.text import counted

__all__ = ["HANGING", "ask_all"]

HANGING = 8
"""Number of calls that hang from which on a source is not called."""
_GRACE = 1.0
"""Seconds that a cancelled call has to end; after that it hangs."""
_CANCELLED = 1000
"""Number of cancelled calls, hanging or not, from which on a source is not called."""
_MOST_LISTS = 16
"""Most domains that list a client; SPF leads to at most eleven (RFC 7208 section 4.6.4)."""

_NOTHING = Findings()


class _Call:
    """One call of one source."""

    __slots__ = ("_task", "answer", "ended", "source")

    def __init__(self, source: GuardedSlowSource, attempt: Attempt) -> None:
        self.answer: Findings | None = None
        self.source = source

        async def ask() -> None:
            try:
                self.answer = await source.ask(attempt)
            finally:
                source.cancelled.pop(task, None)

        self._task = task = IsolatedTask(f"slow source {source.name}", ask)
        self.ended = task.ended

    def leave(self) -> None:
        """Go on without the answer, if there is none."""
        if not self.ended.is_set():
            self.source.cancelled[self._task] = trio.current_time()
            self._task.cancel()


def _hangs(source: GuardedSlowSource) -> bool:
    """Whether so many calls of the source do not end that further ones would only fill the memory."""
    since = next(islice(source.cancelled.values(), HANGING - 1, None), None)
    if since is None:
        return False
    return trio.current_time() - since > _GRACE or len(source.cancelled) >= _CANCELLED


async def ask_all(
    sources: Sequence[GuardedSlowSource],
    attempt: Attempt,
    budget_seconds: float,
    counters: GuardCounters,
) -> Findings:
    """Ask all sources at once, and combine what they find within `budget_seconds`.

    The match and the origin are those of the first source, in this order, that has one.  The traits of
    all sources are combined: those found, and those that are unknown (all traits of a source that failed
    or was too late).  So are the domains that list the client, up to a limit.  The client is one of the
    sender's own hosts if one source says so.  When the caller is cancelled, all sources are cancelled,
    and nothing is counted as a failure.

    A call that ignores its cancellation is left to itself.  A source is not called while `HANGING` of its
    calls have not ended.
    """
    if not sources:
        return _NOTHING
    calls: list[_Call] = []
    answers: dict[GuardedSlowSource, Findings] = {}
    for source in sources:
        if _hangs(source):
            reason = f"not called: {counted(len(source.cancelled), 'cancelled call')} still running"
            counters.failed(PluginKind.SLOW_SOURCE, source.name, reason)
        else:
            counters.called(PluginKind.SLOW_SOURCE, source.name)
            calls.append(_Call(source, attempt))
    try:
        with trio.move_on_after(budget_seconds):
            for call in calls:
                await call.ended.wait()
    finally:
        for call in calls:
            call.leave()
    for call in calls:
        if call.answer is None:
            counters.late(PluginKind.SLOW_SOURCE, call.source.name, budget_seconds)
        else:
            answers[call.source] = call.answer
    return _together([answers.get(source, source.no_answer) for source in sources])


def _together(answers: Sequence[Findings]) -> Findings:
    match = next((answer.match for answer in answers if answer.match is not None), None)
    origin = next((answer.origin for answer in answers if answer.origin is not None), None)
    traits: frozenset[str] = frozenset().union(*(answer.traits for answer in answers))
    unanswered: frozenset[str] = frozenset().union(*(answer.unanswered for answer in answers))
    listed_by = tuple(dict.fromkeys(chain.from_iterable(answer.listed_by for answer in answers)))
    return Findings(
        match,
        origin,
        traits,
        unanswered - traits,
        own=any(answer.own for answer in answers),
        listed_by=listed_by[:_MOST_LISTS],
    )
