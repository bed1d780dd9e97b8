"""The way of one attempt, from the question to the reply (the steps are those of multigrey(8)).

    1 authenticated clients pass; what was blocked by hand is refused
    2 whitelist sources, in order
    3 rules, in order; what slow sources would find is still unknown and never matches; then who is not
      greylisted at all: own clients, providers that are known to retry, bounces and probes at RCPT
    4 what is known under the attempt's keys
    5 only if that means waiting: slow sources are asked, once; rules again; keys widened
    6 the decision, atomically in the store
    x store trouble, or no answer in time: the listener's on_error

So a sender who is known never waits for anybody else.  What the engine works with (`Setup`) is
immutable and swapped as a whole by a reload; an attempt in flight ends with what it began with.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from email.utils import formatdate
from typing import Any

from multigrey.clock import Clock
from multigrey.contracts import Store
from multigrey.engine.knowledge import Knowledge
from multigrey.engine.known import KnownSender, KnownSenders
from multigrey.engine.round import (
    Begun,
    OnError,
    Pending,
    Waiting,
    Way,
    each,
    failure_of,
    question_of,
    record_keys,
    under_rule,
)
from multigrey.engine.setup import (
    Setup,
    blocked_as,
    is_judged_at_data,
    is_remembered,
    listed,
    not_greylisted,
    trouble,
    words,
)
from multigrey.engine.slow import asked, organisation, under_name
from multigrey.errors import CodecError, StoreError
from multigrey.evidence.name_ledger import NameLedger
from multigrey.greylist.decision import known_at_once
from multigrey.greylist.messages import MessageTable
from multigrey.greylist.quota import NewRecordQuota
from multigrey.greylist.stored_decision import StoredDecision, passed_times
from multigrey.model import (
    Action,
    Attempt,
    DecisionEvent,
    Origin,
    Reason,
    Reply,
    Stage,
    Verdict,
)
from multigrey.protocols.reply_text import worded

__all__ = ["Begun", "Engine", "OnError", "Pending", "Setup", "Waiting", "failure_of", "under_rule"]

logger = logging.getLogger(__name__)

_MAKES_A_RECORD = frozenset({Reason.NEW, Reason.EXPIRED})
_AT_ONCE = frozenset({Reason.AUTO_WHITELISTED, Reason.PROVIDER})
"""They make one too, unless one waited."""


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
        new_records: NewRecordQuota | None = None,
        is_full: Callable[[], bool] = lambda: False,
        mark_key: bytes = b"",
        believed: Callable[[], bool] = lambda: True,
        names: NameLedger | None = None,
    ) -> None:
        """`host` and `version` stand in the header; `listeners` hear of every decision.

        `new_records` says which origins may make no more records, `is_full` that nobody may: they get marks
        under `mark_key` (secret bytes).  `believed` says whether the clock may be, `names` which names.
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
        self._recent = KnownSenders()
        self.new_records = new_records
        self._is_full = is_full
        self.clock_believed = believed
        self.learned = Knowledge(mark_key, names)
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

    def question(self, pending: Pending, *, over_limit: bool = False) -> StoredDecision:
        """What the store is asked for an attempt; `over_limit`: it gets a mark instead of a record."""
        return question_of(
            pending,
            same_message=self._is_same_message(pending),
            marks=self.learned.marks,
            over_limit=over_limit,
            clock_believed=self.clock_believed(),
        )

    def pending(self, attempt: Attempt) -> Pending:
        """An attempt as `question` wants it, when nobody asked for a verdict (commands)."""
        setup, now = self.setup, self.clock.now()
        network = setup.network(attempt)
        origin, doubted = self.learned.who(setup, attempt, network, now)
        keys = record_keys(setup, attempt, origin, network, None, doubted)
        return Pending(setup, attempt, now, network, keys, origin, None, doubted=doubted)

    def is_first(self, attempt: Attempt) -> bool:
        """Whether it is the first recipient of its message, as far as is known; remembers nothing."""
        first = self._messages.first(attempt)
        return first is None or first == attempt.recipient

    # The steps of `begin_all`; each says whether the next one is wanted.

    def _place(self, way: Way) -> bool:
        """Who is sending, and what can be said without looking at what is known: steps 1 to 3."""
        setup, attempt = way.setup, way.attempt
        if attempt.stage is Stage.DATA and not attempt.recipient and attempt.message:
            # Several recipients: all but the first were judged at RCPT.
            attempt = way.attempt = replace(attempt, recipient=self._messages.first(attempt) or "")
        seen = self._recent.find(attempt, setup)
        if seen is None:
            way.network = setup.network(attempt)
            way.origin, way.doubted = self.learned.who(setup, attempt, way.network, way.now)
        else:
            way.network, way.origin = seen.network, seen.origin
        blocked = bool(blocked_as(self.blocked, setup, attempt, way.origin, way.network))
        found = listed(setup, attempt, way.origin, way.now, None, blocked=blocked)
        if seen is not None and seen.plain:
            way.provider = seen.provider
        else:
            first = True
            if is_judged_at_data(setup, attempt):
                first = self._messages.note_first(attempt) or not attempt.message
            if not isinstance(found, Verdict):
                passed = not_greylisted(setup, attempt, way.origin, None, first=first)
                way.provider = is_remembered(attempt, passed)
                found = found if passed is None or way.provider else passed
        if isinstance(found, Verdict):
            way.verdict = found
            if found.match is not None:
                self._note_carrier(attempt, way.origin, found)
            return False
        way.rule = found
        if seen is not None and (found is None or found.key is None):
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
                way.fail(str(error))
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
        if way.verdict.carries and way.attempt.message:
            self._messages.note_pass(way.attempt, way.origin)
        return False

    def _key(self, way: Way) -> bool:
        """Under which keys it is remembered."""
        way.keys = record_keys(way.setup, way.attempt, way.origin, way.network, way.rule, way.doubted)
        return True

    def _find(self, way: Way) -> bool:
        """What the stored records alone say."""
        setup, values = way.setup, way.values
        times = None if values is None else passed_times(values)
        way.verdict = None if times is None else known_at_once(setup.policy, way.now, times)
        if way.verdict is None:
            return True
        self._note_carrier(way.attempt, way.origin, way.verdict)
        if setup.scheme_for(way.rule) is setup.scheme and way.doubted is None:
            seen = KnownSender(setup, way.network, way.origin, way.keys, provider=way.provider)
            seen.together = way.now
            self._recent.note(way.attempt, seen)
        return False

    def _ask(self, way: Way) -> bool:
        """What the store has to be asked, if nobody else has to be asked first."""
        setup = way.setup
        pending = way.pending = Pending(
            setup,
            way.attempt,
            way.now,
            way.network,
            way.keys,
            way.origin,
            way.rule,
            provider=way.provider,
            doubted=way.doubted,
        )
        if setup.ask is not None:
            way.begun = pending
            return False
        way.question = self.limited(pending)
        way.keys = way.question.keys
        return True

    def _submit(self, way: Way) -> bool:
        """Decide and hand over to the store."""
        pending, question = way.pending, way.question
        over_limit = self._over_limit(pending)
        # Another recipient may have passed in this very round, and others may have come to their limit.
        if (
            over_limit is not bool(question.mark_digest)
            or self._is_same_message(pending) is not question.case.same_message
        ):
            question = self.question(pending, over_limit=over_limit)
            way.keys, way.values = question.keys, None
        submitted = self.store.submit(way.keys, question, way.values or ())
        if submitted is None:
            way.begun = pending
            return False
        verdict = self._noted(pending, question, submitted.value)
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
        ask, name = pending.setup.ask, ""
        if ask is not None:
            question = self.question(pending)
            values = await self.store.read(question.keys)
            expected = question(values).value
            if expected.action is Action.DEFER or expected.observed:
                found = await asked(pending, ask, first=self.is_first(pending.attempt))
                if isinstance(found, Verdict):
                    return found, pending.origin
                pending = found
            else:
                name = await organisation(pending, ask, question, values, expected)
        question = under_name(pending, self.limited(pending), name)
        verdict = await self.store.apply(question.keys, question)
        return self._noted(pending, question, verdict), pending.origin

    def limited(self, pending: Pending) -> StoredDecision:
        """The question, with a mark in place of a record where the origin may make no more of those."""
        return self.question(pending, over_limit=self._over_limit(pending))

    def _is_same_message(self, pending: Pending) -> bool:
        """Whether another recipient of its message has passed, and carries this one."""
        return pending.setup.message_pass and self._messages.is_carried(pending.attempt, pending.origin)

    def _over_limit(self, pending: Pending) -> bool:
        """Whether the origin may make no more records."""
        if pending.attempt.raw:
            return False
        if self._is_full():
            return True
        if self.new_records is None:
            return False
        origin, address = pending.counted, pending.attempt.client_address
        return self.new_records.over(origin, address, pending.now) is not None

    def _noted(self, pending: Pending, question: StoredDecision, verdict: Verdict) -> Verdict:
        """Remember what matters to others; name the rule that set the delay."""
        attempt, reason = pending.attempt, verdict.reason
        makes_record = reason in _MAKES_A_RECORD or (reason in _AT_ONCE and not verdict.attempts)
        if makes_record and self.new_records is not None:
            self.new_records.note(pending.counted, attempt.client_address, pending.now)
        self.learned.note(pending, verdict, question.place)
        if reason is Reason.SAME_MESSAGE:
            self._messages.note_carried(attempt, pending.origin)
        elif verdict.action is Action.PASS:
            self._note_carrier(attempt, pending.origin, verdict)
        return under_rule(pending, verdict)

    def _note_carrier(self, attempt: Attempt, origin: Origin, verdict: Verdict) -> None:
        """Let the others of its message in too, if what let it in says something of the sender."""
        reason = verdict.reason
        if reason is Reason.AUTO_WHITELISTED:
            self._messages.note_pass(attempt, origin, proven=True)
        elif verdict.carries or (verdict.match is not None and verdict.match.carries):
            self._messages.note_pass(attempt, origin)
        elif reason is Reason.RETRY:
            self._messages.note_pass(attempt, origin, returned=True)

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
