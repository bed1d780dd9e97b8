"""The way of one attempt, from the question to the reply (the steps are those of multigrey(8)).

    1 authenticated clients pass
    2 whitelist sources, in order
    3 rules, in order; what slow sources would find is still unknown and never matches
    4 what is known under the attempt's keys
    5 only if that means waiting: slow sources are asked, once; rules again; keys widened
    6 the decision, atomically in the store
    x store trouble, or no answer in time: the listener's on_error

So a sender who is known never waits for anybody else.  What the engine works with (`Setup`) is
immutable and swapped as a whole by a reload; an attempt in flight ends with what it began with.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from email.utils import formatdate
from typing import Any

from multigrey.clock import Clock
from multigrey.contracts import Durability, Store
from multigrey.decision import Case, known_at_once
from multigrey.errors import CodecError, StoreError
from multigrey.fairness import NewRecords
from multigrey.judging import Setup, trouble, without_store, words
from multigrey.messages import MessageTable
from multigrey.model import (
    Action,
    Attempt,
    DecisionEvent,
    Findings,
    Origin,
    Reason,
    Reply,
    Verdict,
)
from multigrey.origin import trust_text
from multigrey.question import Question, passed_times
from multigrey.recent import Recent, Seen
from multigrey.replies import worded
from multigrey.ways import Begun, OnError, Pending, Waiting, Way, each

__all__ = ["Begun", "Engine", "OnError", "Pending", "Setup", "Waiting", "failure_of", "under_rule"]

logger = logging.getLogger(__name__)

_BLOCKED = "blocked"
_MAKES_A_RECORD = frozenset({Reason.NEW, Reason.EXPIRED})
_SHOWN = 320
"""How much of an address a record shows (the key is made of all of it): nobody fills the store with one."""


class Engine:
    """Judges attempts.  One per daemon; `setup` is replaced by a reload."""

    def __init__(
        self,
        *,
        clock: Clock,
        store: Store,
        setup: Setup,
        ids: Iterator[str],
        host: str,
        version: str,
        listeners: Sequence[Callable[[DecisionEvent], None]] = (),
        new_records: NewRecords | None = None,
        is_full: Callable[[], bool] = lambda: False,
    ) -> None:
        """`host` and `version` stand in the header; `listeners` hear of every decision.

        `new_records` says which origins may have no more records of their own, `is_full` that nobody may.
        """
        self.setup = setup
        self.store = store
        self.clock = clock
        self.blocked: dict[bytes, str] = {}
        """Digests an administrator has blocked, with what they stand for."""
        self.counts: dict[tuple[Action, Reason], int] = {}
        self._ids = ids
        self._by = f"multigrey-{version} at {host}"
        self.listeners = tuple(listeners)
        self._messages = MessageTable()
        self._recent = Recent()
        self.new_records = new_records
        self._is_full = is_full
        self._unreported: list[DecisionEvent] = []

    def begin(self, attempt: Attempt, on_error: OnError) -> Begun:
        """Decide what can be decided without waiting: nearly every attempt.

        Waiting: decided; `end` gives the reply when it is on disk.  Pending: somebody else has to be
        asked first; await `finish`.  None: say nothing and close (on_error = silent).
        """
        (begun,) = self.begin_all([(attempt, on_error)])
        if isinstance(begun, Exception):
            raise begun
        return begun

    def begin_all(self, asked: Sequence[tuple[Attempt, OnError]]) -> list[Begun | Exception]:
        """The same for many at once; an exception is a bug of ours that one of them met.

        Each step is made for all before the next one: a processor that does the same again has the
        code at hand, and twenty attempts together cost a third less than one after the other.
        Decisions themselves follow one another, each seeing what those before it wrote.
        """
        setup, now = self.setup, self.clock.now()
        ways = [Way(setup, now, attempt, on_error) for attempt, on_error in asked]
        rest = each(ways, self._place)
        recent = self._look([way for way in rest if way.seen is not None])
        strangers = [way for way in rest if way.seen is None] + each(recent, self._recognise)
        rest = each(self._look(each(strangers, self._key)), self._find)
        each(self._look(each(rest, self._ask)), self._submit)
        each([way for way in ways if way.verdict is not None], self._answer)
        return [way.begun for way in ways]

    def end(self, waiting: Waiting, on_error: OnError, error: str = "") -> Reply | None:
        """The reply to what was decided, now that it is on disk, or that it never will be (`error`)."""
        pending = waiting.pending
        verdict = trouble(on_error, error) if error else waiting.verdict
        return self._conclude(pending.setup, pending.attempt, pending.now, pending.origin, verdict, on_error)

    async def finish(self, pending: Pending, on_error: OnError) -> Reply | None:
        """The rest of the way (steps 5 and 6), for what `begin` could not decide."""
        origin = pending.origin
        try:
            verdict, origin = await self._greylist(pending)
        except (StoreError, CodecError) as error:
            verdict = trouble(on_error, str(error))
        return self._conclude(pending.setup, pending.attempt, pending.now, origin, verdict, on_error)

    def report(self) -> None:
        """Tell the listeners what was decided since the last call: once the answers are on their way.

        A listener that fails harms no answer and no other listener.
        """
        events, self._unreported = self._unreported, []
        for listener in self.listeners:
            for event in events:
                try:
                    listener(event)
                except Exception:
                    logger.exception("decision %s could not be reported", event.id)

    async def judge(self, attempt: Attempt, on_error: OnError) -> Reply | None:
        """The whole way: decide, remember, report.  None: say nothing and close."""
        try:
            reply = self.begin(attempt, on_error)
            if isinstance(reply, Pending):
                return await self.finish(reply, on_error)
            if isinstance(reply, Waiting):
                return self.end(reply, on_error, await failure_of(reply.durability))
            return reply
        finally:
            self.report()

    def overdue(self, pending: Pending, on_error: OnError, seconds: float) -> Reply | None:
        """The answer when a decision took longer than `[limits] answer_within`."""
        verdict = trouble(on_error, f"no decision within {seconds:g} s")
        now = self.clock.now()
        return self._conclude(pending.setup, pending.attempt, now, pending.origin, verdict, on_error)

    def question(self, pending: Pending, coarse: Origin | None = None) -> Question:
        """What the store is asked for an attempt.

        `coarse`: it gets no record of its own, but shares that of this origin.
        """
        setup, attempt, origin = pending.setup, pending.attempt, pending.origin
        scheme = setup.scheme
        policy = setup.policy_for(origin, pending.rule)
        told = scheme.envelope(attempt)
        origin_key = standing_key = None
        if attempt.sender and not attempt.raw:
            origin_key = scheme.origin_key(trust_text(origin, attempt.client_address), told.domain)
        if origin.named and not pending.looked_up and policy.proof is not None and not attempt.raw:
            standing_key = scheme.standing_key(origin)
        case = Case(
            origin=origin,
            key=pending.keys[0][1],
            null_sender=not attempt.sender,
            same_message=self._is_same_message(pending),
            domain=b"" if origin_key is None else origin_key[1],
            client=attempt.client_address or "",
            sender=told.shown[:_SHOWN],
            recipient=(attempt.raw or told.recipient)[:_SHOWN],
        )
        if setup.redactor is not None:
            case = setup.redactor.case(case)
        return Question(
            policy=policy,
            now=pending.now,
            case=case,
            record_keys=pending.keys,
            origin_key=origin_key if policy.auto_whitelist_after else None,
            standing_key=standing_key,
            coarse_key=None if coarse is None else scheme.coarse_key(attempt, coarse),
        )

    def pending(self, attempt: Attempt) -> Pending:
        """An attempt as `question` wants it, when nobody asked for a verdict (commands)."""
        setup = self.setup
        network = setup.network(attempt)
        origin = setup.origin_of(attempt, network)
        keys = setup.scheme.record_keys(attempt, origin, network)
        return Pending(setup, attempt, self.clock.now(), network, keys, origin, None)

    # The steps of `begin_all`; each says whether the next one is wanted.

    def _place(self, way: Way) -> bool:
        """Who is sending, and what can be said without looking at what is known: steps 1 to 3."""
        setup, attempt = way.setup, way.attempt
        seen = self._recent.find(attempt, setup)
        if seen is None:
            way.network = setup.network(attempt)
            way.origin = setup.origin_of(attempt, way.network)
        else:
            way.network, way.origin = seen.network, seen.origin
        found = without_store(setup, attempt, way.origin, way.now, None)
        if isinstance(found, Verdict):
            way.verdict = found
            return False
        way.rule = found
        if seen is not None and not self.blocked and (found is None or found.key is None):
            way.seen = seen
            way.keys = seen.keys_for(way.now)
        return True

    def _look(self, ways: Sequence[Way]) -> Sequence[Way]:
        """See what is stored under the keys of all, at once; returns those that go on."""
        if not ways:
            return ways
        try:
            found = self.store.peek([key for way in ways for key in way.keys])
        except StoreError as error:
            for way in ways:
                way.verdict = trouble(way.on_error, str(error))
            return ()
        begin = 0
        for way in ways:
            end = begin + len(way.keys)
            way.values = None if found is None else found[begin:end]
            begin = end
        return ways

    def _recognise(self, way: Way) -> bool:
        """Whether a sender who was known a moment ago is known still."""
        seen, values = way.seen, way.values
        if seen is None or values is None:
            return True
        if values != seen.values:
            seen.times = passed_times(values)
            seen.values = values
        way.verdict = None if seen.times is None else known_at_once(way.setup.policy, way.now, seen.times)
        if way.verdict is None:
            return True
        if way.keys is seen.keys:
            seen.together = way.now
        return False

    def _key(self, way: Way) -> bool:
        """Under which keys it is remembered."""
        setup, attempt = way.setup, way.attempt
        way.keys = setup.scheme_for(way.rule).record_keys(attempt, way.origin, way.network)
        if self.blocked and self._is_blocked(setup, attempt, way.origin, way.network):
            way.verdict = Verdict(Action.REJECT, Reason.RULE, rule=_BLOCKED)
            return False
        return True

    def _find(self, way: Way) -> bool:
        """What the stored records alone say."""
        setup, values = way.setup, way.values
        times = None if values is None else passed_times(values)
        way.verdict = None if times is None else known_at_once(setup.policy, way.now, times)
        if way.verdict is None:
            return True
        if setup.scheme_for(way.rule) is setup.scheme:
            seen = Seen(setup, way.network, way.origin, way.keys)
            seen.together = way.now
            self._recent.note(way.attempt, seen)
        return False

    def _is_blocked(self, setup: Setup, attempt: Attempt, origin: Origin, network: str) -> bool:
        """Whether somebody blocked it, whichever of its keys they knew and whatever a rule makes of it."""
        keys = setup.scheme.record_keys(attempt, origin, network)
        return any(digest in self.blocked for _, digest in keys)

    def _ask(self, way: Way) -> bool:
        """What the store has to be asked, if nobody else has to be asked first."""
        setup = way.setup
        pending = Pending(setup, way.attempt, way.now, way.network, way.keys, way.origin, way.rule)
        way.pending = pending
        if setup.ask is not None:
            way.begun = pending
            return False
        way.question = self.question(pending)
        way.keys = way.question.keys
        return True

    def _submit(self, way: Way) -> bool:
        """Decide and hand over to the store."""
        pending, question = way.pending, way.question
        coarse = self._over_limit(pending)
        # Another recipient may have passed in this very round.
        if coarse is not None or self._is_same_message(pending) is not question.case.same_message:
            question = self.question(pending, coarse)
            way.keys, way.values = question.keys, None
        submitted = self.store.submit(way.keys, question, way.values or ())
        if submitted is None:
            way.begun = pending
            return False
        verdict = self._noted(pending, submitted.value)
        if submitted.durability is None:
            way.verdict = verdict
        else:
            way.begun = Waiting(pending, verdict, submitted.durability)
        return False

    def _answer(self, way: Way) -> bool:
        """The reply to a verdict that nothing has to be waited for."""
        assert way.verdict is not None
        way.begun = self._conclude(way.setup, way.attempt, way.now, way.origin, way.verdict, way.on_error)
        return False

    async def _greylist(self, pending: Pending) -> tuple[Verdict, Origin]:
        if pending.setup.ask is not None:
            question = self.question(pending)
            expected = question(await self.store.read(question.keys)).value
            if expected.action is Action.DEFER or expected.observed:
                found = await self.asked(pending, pending.setup.ask)
                if isinstance(found, Verdict):
                    return found, pending.origin
                pending = found
        question = self.limited(pending)
        verdict = await self.store.apply(question.keys, question)
        return self._noted(pending, verdict), pending.origin

    async def asked(
        self, pending: Pending, ask: Callable[[Attempt], Awaitable[Findings]]
    ) -> Verdict | Pending:
        """What slow sources make of it: a verdict, or the same attempt with what they found."""
        setup, attempt = pending.setup, pending.attempt
        findings = await ask(attempt)
        told = findings.origin
        origin = pending.origin if told is None or pending.origin.named else told
        found = without_store(setup, attempt, origin, pending.now, findings)
        if isinstance(found, Verdict):
            return found
        scheme = setup.scheme_for(found)
        keys = scheme.record_keys(attempt, origin, pending.network)
        if told is not None:
            wider = scheme.named_key(attempt, told, pending.network)
            keys = keys if wider in keys else (*keys, wider)
        return replace(pending, keys=keys, origin=origin, rule=found, looked_up=origin is told)

    def limited(self, pending: Pending) -> Question:
        """The question, with a coarse record where the origin may have no more of its own."""
        return self.question(pending, self._over_limit(pending))

    def _is_same_message(self, pending: Pending) -> bool:
        """Whether another recipient of its message has passed as a retry."""
        return pending.setup.message_pass and self._messages.has_passed(pending.attempt, pending.origin)

    def _over_limit(self, pending: Pending) -> Origin | None:
        """The origin to keep a coarse record under; None: it may have one of its own."""
        if pending.attempt.raw:
            return None
        coarse = pending.counted if self._is_full() else None
        if self.new_records is not None:
            over = self.new_records.over(pending.counted, pending.attempt.client_address, pending.now)
            coarse = over or coarse
        return coarse

    def _noted(self, pending: Pending, verdict: Verdict) -> Verdict:
        """Remember a retry for the rest of its message; name the rule that set the delay."""
        if verdict.reason is Reason.RETRY:
            self._messages.note_pass(pending.attempt, pending.origin)
        elif verdict.reason in _MAKES_A_RECORD and self.new_records is not None:
            self.new_records.note(pending.counted, pending.attempt.client_address, pending.now)
        return under_rule(pending, verdict)

    def _conclude(
        self,
        setup: Setup,
        attempt: Attempt,
        now: int,
        origin: Origin,
        verdict: Verdict,
        on_error: OnError,
    ) -> Reply | None:
        decision_id = next(self._ids)
        class_ = ""
        if setup.classes:
            class_ = setup.classes.of(attempt, origin, setup.provider_of(attempt), now)
        self._unreported.append(DecisionEvent(now, decision_id, attempt, verdict, origin.text, class_))
        kind = (verdict.action, verdict.reason)
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if verdict.reason is Reason.ERROR and on_error == "silent":
            return None
        if verdict.action is Action.PASS:
            header = self._header(setup, attempt, now, verdict) if verdict.reason is Reason.RETRY else ""
            return Reply(Action.PASS, verdict.reason, decision_id, "", header=header)
        text, code, otherwise = words(setup, verdict)
        text = worded(text, attempt, origin, verdict, decision_id, otherwise)
        return Reply(verdict.action, verdict.reason, decision_id, text, code, verdict.retry_after)

    def _header(self, setup: Setup, attempt: Attempt, now: int, verdict: Verdict) -> str:
        if not setup.header or not self._messages.wants_header(attempt):
            return ""
        return f"X-Greylist: delayed {verdict.age} seconds by {self._by}; {formatdate(now)}"

    def figures(self) -> Mapping[str, Any]:
        """Decisions since the start, by action and reason."""
        return {f"{action.value} {reason.value}": n for (action, reason), n in self.counts.items()}


def under_rule(pending: Pending, verdict: Verdict) -> Verdict:
    """The verdict with the name and words of the rule that said how to greylist, if one did."""
    rule = pending.rule
    if rule is not None and (verdict.action is Action.DEFER or verdict.observed):
        return replace(verdict, rule=rule.rule, text=rule.text, code=rule.code)
    return verdict


async def failure_of(durability: Durability) -> str:
    """What kept a decision from the disk; "" when it is there."""
    try:
        await durability.committed()
    except StoreError as error:
        return str(error)
    return ""
