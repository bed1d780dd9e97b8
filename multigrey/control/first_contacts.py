"""First contacts that came once and never back, of a time before the decisions that a report reads.

On a busy server these are all younger than the retry window, when nothing is known yet of what never comes
back.  So a part of the history from before is looked at, and the mails in it that came once are searched for
in everything after it, all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from multigrey.analysis.timeline import mail_of
from multigrey.events.query import Query, mark
from multigrey.history.reader import HistoryReader
from multigrey.identity.envelope import address_text
from multigrey.model import Action, DecisionEvent, Reason

__all__ = ["LOOKED_AT", "first_contacts"]

LOOKED_AT = 20_000
"""Decisions before the given time that are looked at."""
_SEARCHED = 60
"""Mails that are searched for in what came later; each takes 20 ms in ten million decisions."""


async def first_contacts(
    history: HistoryReader, since: int, until: int, origin_class: Callable[[DecisionEvent], str]
) -> Sequence[DecisionEvent]:
    """The latest first contacts up to `until` that came once and never back, one of each origin.

    Named origins come first.  Raises StoreError.
    """
    latest: dict[str, DecisionEvent] = {}
    mails: set[tuple[str, str]] = set()
    number = 0

    def look(event: DecisionEvent) -> bool:
        nonlocal number
        if number >= LOOKED_AT:
            return True  # the rest of the last piece
        number += 1
        mail = mail_of(event)
        if mail not in mails and _is_first(event):
            latest.setdefault(event.origin, event)
        elif event.origin in latest and mail_of(latest[event.origin]) == mail:
            del latest[event.origin]  # it came before as well
        mails.add(mail)
        return number >= LOOKED_AT

    await history.search(Query((), (look,), since, until), 0)
    by_kind = sorted(latest.values(), key=lambda event: (origin_class(event) == "unnamed", -event.time))
    once = {mail_of(event): event for event in by_kind[:_SEARCHED]}
    if not once:
        return ()
    again: set[tuple[str, str]] = set()

    def came_back(event: DecisionEvent) -> bool:
        first = once.get(mail_of(event))
        if first is not None and event.id != first.id:
            again.add(mail_of(event))
        return False

    senders = frozenset(mark("address", address_text(each.attempt.sender)) for each in once.values())
    recipients = frozenset(mark("address", address_text(each.attempt.recipient)) for each in once.values())
    begin = min(event.time for event in once.values())
    await history.search(Query((senders, recipients), (came_back,), begin), 0)
    return [event for mail, event in once.items() if mail not in again]


def _is_first(event: DecisionEvent) -> bool:
    verdict, attempt = event.verdict, event.attempt
    is_new = verdict.action is Action.DEFER and verdict.reason is Reason.NEW and verdict.attempts <= 1
    return is_new and not attempt.raw and bool(attempt.sender and attempt.recipient)
