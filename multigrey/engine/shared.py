"""What the attempts of one engine share besides its store: messages, a quota of new records, knowledge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from multigrey.contracts import Store
from multigrey.engine.knowledge import Knowledge
from multigrey.engine.progress import Progress, over_limit, stored_decision
from multigrey.greylist.messages import MessageTable
from multigrey.greylist.quota import NewRecordQuota
from multigrey.greylist.stored_decision import StoredDecision
from multigrey.model import Action, Attempt, Reason, Verdict

__all__ = ["Shared", "under_rule"]

_MAKES_A_RECORD = frozenset({Reason.NEW, Reason.EXPIRED})
_AT_ONCE = frozenset({Reason.AUTO_WHITELISTED, Reason.PROVIDER})
"""They make a record too, unless one was waiting."""


class Shared:
    """One per engine."""

    def __init__(
        self,
        knowledge: Knowledge,
        quota: NewRecordQuota | None,
        is_full: Callable[[], bool],
        store: Store,
        clock_believed: Callable[[], bool],
        set_back: Callable[[], int],
    ) -> None:
        """See `Engine`."""
        self.knowledge = knowledge
        self.messages = MessageTable()
        self.quota = quota
        self._is_full = is_full
        self._store = store
        self.clock_believed = clock_believed
        self._set_back = set_back

    def decision(self, progress: Progress) -> StoredDecision:
        """What the store is asked to decide if the origin may make records."""
        return stored_decision(
            progress,
            same_message=self._is_same_message(progress),
            has_marks=self.knowledge.marks.exist,
            clock_believed=self.clock_believed(),
            set_back=self._set_back(),
        )

    def limited(self, progress: Progress) -> StoredDecision:
        """The same, with a mark instead of a record if the origin may not make more records."""
        decision = self.decision(progress)
        if not self._over_limit(progress):
            return decision
        room = self._store.has_room(for_marks=True)
        return over_limit(progress, decision, self.knowledge.marks, full=self._is_full(), mark_room=room)

    def is_out_of_date(self, progress: Progress) -> bool:
        """Whether something that `limited` depends on has changed since it made `progress.decision`."""
        decision = progress.decision
        return (
            self._over_limit(progress) is not bool(decision.mark_digest)
            or self._is_same_message(progress) is not decision.case.same_message
        )

    def note(self, progress: Progress, verdict: Verdict) -> Verdict:
        """Remember what matters to other attempts.  Returns the verdict, with the rule that set the delay."""
        attempt, reason = progress.attempt, verdict.reason
        makes_record = reason in _MAKES_A_RECORD or (reason in _AT_ONCE and not verdict.attempts)
        if makes_record and self.quota is not None:
            self.quota.note(progress.counted, attempt.client_address, progress.now)
        self.knowledge.note(progress, verdict, progress.decision.place)
        if reason is Reason.SAME_MESSAGE:
            self.messages.note_carried(attempt, progress.origin)
        elif verdict.action is Action.PASS:
            self.note_carrier(progress, verdict)
        return under_rule(progress, verdict)

    def note_carrier(self, progress: Progress, verdict: Verdict) -> None:
        """Let other recipients of its message pass too, if what let it pass says something of the sender."""
        attempt, origin, reason = progress.attempt, progress.origin, verdict.reason
        if reason is Reason.AUTO_WHITELISTED:
            self.messages.note_pass(attempt, origin, proven=True)
        elif verdict.carries or (verdict.match is not None and verdict.match.carries):
            self.messages.note_pass(attempt, origin)
        elif reason is Reason.RETRY:
            self.messages.note_pass(attempt, origin, returned=True)

    def is_first(self, attempt: Attempt) -> bool:
        """Whether it is the first recipient of its message, as far as is known; remembers nothing."""
        first = self.messages.first(attempt)
        return first is None or first == attempt.recipient

    def _is_same_message(self, progress: Progress) -> bool:
        """Whether another recipient of its message has passed, so that this one passes too."""
        return progress.setup.message_pass and self.messages.is_carried(progress.attempt, progress.origin)

    def _over_limit(self, progress: Progress) -> bool:
        """Whether the origin may not make more records."""
        if progress.attempt.raw:
            return False
        if self._is_full():
            return True
        if self.quota is None:
            return False
        return self.quota.over(progress.counted, progress.attempt.client_address, progress.now) is not None


def under_rule(progress: Progress, verdict: Verdict) -> Verdict:
    """The verdict with the name and words of the rule that said how to greylist, if one did."""
    rule = progress.rule
    if rule is not None and (verdict.action is Action.DEFER or verdict.observed):
        return replace(verdict, rule=rule.rule, text=rule.text, code=rule.code)
    return verdict
