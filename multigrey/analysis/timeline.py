"""Groups decisions into stories: what became of each sender's mail to each recipient.

A story begins with the first deferred attempt and contains every further one, from any client, until one
passed.  Mail that passed without a deferral is a story of its own.  Stories are grouped only by sender and
recipient, so that a sender that comes back from many addresses is recognised as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from multigrey.identity.envelope import address_text, sender_key_text
from multigrey.identity.redaction import HIDDEN_CLIENT
from multigrey.model import Action, Attempt, DecisionEvent, Reason

__all__ = ["Ending", "Story", "mail_of", "stories"]


class Ending(Enum):
    """The outcome of a story."""

    ACCEPTED = "accepted"
    """It was deferred first and passed later."""
    WAITING = "waiting"
    """It was deferred, and a retry may still pass."""
    NEVER = "never came back"
    """It was deferred and did not come back within the retry window."""
    PASSED = "passed"
    """It passed without a deferral."""
    REFUSED = "refused"
    """A rule rejected it."""


_FRESH = (Reason.NEW, Reason.EXPIRED, Reason.OVER_LIMIT)
_UNDECIDED = (Reason.NULL_SENDER, Reason.PROBE)


@dataclass
class Story:
    """One sender's mail to one recipient, the first decision first."""

    events: list[DecisionEvent]
    ending: Ending
    first: int
    """Time of the first attempt, which may be before the first decision in the history."""

    @property
    def last(self) -> int:
        """Time of the last attempt."""
        return self.events[-1].time

    @property
    def delay(self) -> int:
        """Seconds from the first attempt to the pass; 0 if it did not pass, or passed at once."""
        return max(self.last - self.first, 0) if self.ending is Ending.ACCEPTED else 0

    @property
    def clients(self) -> int:
        """Number of client addresses (or tokens, if redacted) from which it came."""
        return len({_client(event.attempt) for event in self.events})

    @property
    def origins(self) -> int:
        """Number of origins from which it came."""
        return len({event.origin for event in self.events})


def stories(events: Iterable[DecisionEvent], now: int, retry_window: int) -> Sequence[Story]:
    """Group decisions, given the oldest first, into stories in the order of their beginnings.

    `retry_window`: seconds after which a deferral is over.
    """
    found: list[Story] = []
    waiting: dict[tuple[str, str], Story] = {}
    passing: dict[tuple[str, str], Story] = {}
    for event in events:
        if event.verdict.reason in _UNDECIDED:
            continue  # not a decision: the same mail is judged at DATA
        who = mail_of(event)
        old = waiting.get(who)
        if old is not None and _begins_anew(old, event, retry_window):
            old.ending = Ending.NEVER
            del waiting[who]
            old = None
        if _was_deferred(event):
            passing.pop(who, None)
            if old is None:
                old = waiting[who] = Story([], Ending.WAITING, event.time - event.verdict.age)
                found.append(old)
            old.events.append(event)
        elif old is not None:
            old.events.append(event)
            old.ending = _end(event, Ending.ACCEPTED)
            del waiting[who]
        else:
            _tell_passed(event, who, passing, found)
    for story in waiting.values():
        if now - story.first > retry_window:
            story.ending = Ending.NEVER
    return found


def _tell_passed(
    event: DecisionEvent,
    who: tuple[str, str],
    passing: dict[tuple[str, str], Story],
    found: list[Story],
) -> None:
    """Add an attempt that passed or was rejected, and whose deferral, if any, is not in the history."""
    retried = event.verdict.reason is Reason.RETRY
    ending = _end(event, Ending.ACCEPTED if retried else Ending.PASSED)
    old = passing.get(who)
    if old is not None and old.ending is ending and not retried:
        old.events.append(event)
        return
    story = Story([event], ending, event.time - event.verdict.age if retried else event.time)
    found.append(story)
    passing[who] = story


def _client(attempt: Attempt) -> str:
    address = attempt.client_address
    return attempt.attributes.get(HIDDEN_CLIENT, "") if address is None else str(address)


def mail_of(event: DecisionEvent) -> tuple[str, str]:
    """The sender and recipient by which decisions belong to the same mail, whatever their client."""
    attempt = event.attempt
    return ("", attempt.raw) if attempt.raw else (sender_key_text(attempt), address_text(attempt.recipient))


def _was_deferred(event: DecisionEvent) -> bool:
    return event.verdict.action is Action.DEFER


def _end(event: DecisionEvent, passed: Ending) -> Ending:
    return Ending.REFUSED if event.verdict.action is Action.REJECT else passed


def _begins_anew(story: Story, event: DecisionEvent, retry_window: int) -> bool:
    """Whether this attempt comes too late to belong to a waiting story."""
    if event.time - story.first <= retry_window:
        return False
    return event.verdict.reason in _FRESH or event.verdict.action is not Action.DEFER
