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
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any

from multigrey.addresses import network_of, split_address
from multigrey.clock import Clock
from multigrey.contracts import Durability, Store
from multigrey.decision import Case, Policy, Question, known_at_once
from multigrey.errors import CodecError, StoreError
from multigrey.keys import KeyScheme, Recipient, address_text
from multigrey.messages import MessageTable
from multigrey.model import (
    Action,
    Attempt,
    DecisionEvent,
    Findings,
    Key,
    Match,
    Origin,
    Reason,
    Reply,
    Stage,
    Verdict,
    value,
)
from multigrey.origin import origin_of, trust_text
from multigrey.rules import Outcome, Rules

__all__ = ["Engine", "OnError", "Pending", "Setup", "Waiting", "failure_of"]

logger = logging.getLogger(__name__)

OnError = str
"""`pass`, `defer` or `silent`."""

_TROUBLE_CODE = "4.3.0"
_TROUBLE_TEXT = "Temporary problem, please try again later"
_REJECT_TEXT = "Rejected by local policy"
_BLOCKED = "blocked"
_SHOWN = 320
"""How much of an address a record shows (the key is made of all of it): nobody fills the store with one."""


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything a decision depends on besides the store; made from the configuration."""

    scheme: KeyScheme
    policy: Policy
    """For named origins; `unnamed_delay` replaces its delay for the others."""
    unnamed_delay: int
    text: str
    rules: Rules
    sources: tuple[Callable[[Attempt], Match | None], ...] = ()
    ask: Callable[[Attempt], Awaitable[Findings]] | None = None
    """Asks every slow source within the budget; None when there is none."""
    recipient: Recipient = field(default_factory=Recipient)
    ipv4_prefix: int = 24
    ipv6_prefix: int = 64
    null_sender_at_data: bool = True
    message_pass: bool = True
    header: bool = True

    def network(self, attempt: Attempt) -> str:
        """The text of the client network; "" when the client's address is not known."""
        address = attempt.client_address
        return "" if address is None else network_of(address, self.ipv4_prefix, self.ipv6_prefix)


@value
class Pending:
    """An attempt on its way to the store, with what it began with."""

    setup: Setup
    attempt: Attempt
    now: int
    network: str
    """Text of the client network; "" when the client is not known."""
    keys: tuple[Key, ...]
    origin: Origin
    rule: Outcome | None
    """A rule that only says how to greylist."""


@value
class Waiting:
    """An attempt that is decided, and may be answered once the decision is on disk."""

    pending: Pending
    verdict: Verdict
    durability: Durability


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
    ) -> None:
        """`host` and `version` stand in the header; `listeners` hear of every decision."""
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
        self._unreported: list[DecisionEvent] = []

    def begin(self, attempt: Attempt, on_error: OnError) -> Reply | Waiting | Pending | None:
        """Decide what can be decided without waiting: nearly every attempt.

        Waiting: decided; `end` gives the reply when it is on disk.  Pending: somebody else has to be
        asked first; await `finish`.  None: say nothing and close (on_error = silent).
        """
        setup = self.setup
        now = self.clock.now()
        network = setup.network(attempt)
        origin = origin_of(attempt, network)
        verdict = _without_store(setup, attempt, None)
        if not isinstance(verdict, Verdict):
            keys = setup.scheme.record_keys(attempt, origin, network)
            pending = Pending(setup, attempt, now, network, keys, origin, verdict)
            try:
                decided = self._known(pending) or self._submit(pending)
            except (StoreError, CodecError) as error:
                decided = _trouble(on_error, str(error))
            if not isinstance(decided, Verdict):
                return decided
            verdict = decided
        return self._conclude(setup, attempt, now, origin, verdict, on_error)

    def end(self, waiting: Waiting, on_error: OnError, error: str = "") -> Reply | None:
        """The reply to what was decided, now that it is on disk, or that it never will be (`error`)."""
        pending = waiting.pending
        verdict = _trouble(on_error, error) if error else waiting.verdict
        return self._conclude(pending.setup, pending.attempt, pending.now, pending.origin, verdict, on_error)

    async def finish(self, pending: Pending, on_error: OnError) -> Reply | None:
        """The rest of the way (steps 5 and 6), for what `begin` could not decide."""
        origin = pending.origin
        try:
            verdict, origin = await self._greylist(pending)
        except (StoreError, CodecError) as error:
            verdict = _trouble(on_error, str(error))
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
        verdict = _trouble(on_error, f"no decision within {seconds:g} s")
        now = self.clock.now()
        return self._conclude(pending.setup, pending.attempt, now, pending.origin, verdict, on_error)

    def question(self, pending: Pending) -> Question:
        """What the store is asked for an attempt."""
        setup, attempt, origin, rule = pending.setup, pending.attempt, pending.origin, pending.rule
        sender = address_text(attempt.sender)
        policy = setup.policy
        delay = setup.unnamed_delay if not origin.named else policy.delay
        if rule is not None and rule.delay is not None:
            delay = rule.delay
        if delay != policy.delay:
            policy = replace(policy, delay=delay)
        origin_key = None
        if policy.auto_whitelist_after and attempt.sender and not attempt.raw:
            trust = trust_text(origin, attempt.client_address)
            origin_key = setup.scheme.origin_key(trust, split_address(sender)[1])
        case = Case(
            origin=origin,
            key=pending.keys[0][1],
            null_sender=not attempt.sender,
            same_message=setup.message_pass and self._messages.has_passed(attempt, origin),
            client=attempt.client_address or "",
            sender=sender[:_SHOWN],
            recipient=(attempt.raw or setup.recipient.text(attempt) or "")[:_SHOWN],
        )
        return Question(policy, pending.now, case, pending.keys, origin_key)

    def pending(self, attempt: Attempt) -> Pending:
        """An attempt as `question` wants it, when nobody asked for a verdict (commands)."""
        network = self.setup.network(attempt)
        setup, origin = self.setup, origin_of(attempt, network)
        keys = setup.scheme.record_keys(attempt, origin, network)
        return Pending(setup, attempt, self.clock.now(), network, keys, origin, None)

    def _known(self, pending: Pending) -> Verdict | None:
        """What can be said from the stored records alone, if the store has them at hand."""
        keys = pending.keys
        if self.blocked and keys[0][1] in self.blocked:
            return Verdict(Action.REJECT, Reason.RULE, rule=_BLOCKED)
        values = self.store.peek(keys)
        return None if values is None else known_at_once(pending.setup.policy, pending.now, values)

    def _submit(self, pending: Pending) -> Verdict | Waiting | Pending:
        """Decide and hand over to the store, if nobody else has to be asked first."""
        if pending.setup.ask is not None:
            return pending
        question = self.question(pending)
        submitted = self.store.submit(question.keys, question)
        if submitted is None:
            return pending
        verdict = self._noted(pending, submitted.value)
        if submitted.durability is None:
            return verdict
        return Waiting(pending, verdict, submitted.durability)

    async def _greylist(self, pending: Pending) -> tuple[Verdict, Origin]:
        setup, attempt = pending.setup, pending.attempt
        question = self.question(pending)
        if setup.ask is not None:
            expected = question(await self.store.read(question.keys)).value
            if expected.action is Action.DEFER:
                findings = await setup.ask(attempt)
                found = _without_store(setup, attempt, findings)
                origin = findings.origin or pending.origin
                if isinstance(found, Verdict):
                    return found, origin
                keys = setup.scheme.record_keys(attempt, origin, pending.network)
                pending = replace(pending, keys=keys, origin=origin, rule=found)
                question = self.question(pending)
        verdict = await self.store.apply(question.keys, question)
        return self._noted(pending, verdict), pending.origin

    def _noted(self, pending: Pending, verdict: Verdict) -> Verdict:
        """Remember a retry for the rest of its message; name the rule that set the delay."""
        if verdict.reason is Reason.RETRY:
            self._messages.note_pass(pending.attempt, pending.origin)
        rule = pending.rule
        if rule is not None and verdict.action is Action.DEFER:
            return replace(verdict, rule=rule.rule, text=rule.text)
        return verdict

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
        self._unreported.append(DecisionEvent(now, decision_id, attempt, verdict, origin.text))
        kind = (verdict.action, verdict.reason)
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if verdict.reason is Reason.ERROR and on_error == "silent":
            return None
        if verdict.action is Action.PASS:
            header = self._header(setup, attempt, now, verdict) if verdict.reason is Reason.RETRY else ""
            return Reply(Action.PASS, verdict.reason, decision_id, "", header=header)
        text, code = _words(setup, verdict)
        return Reply(verdict.action, verdict.reason, decision_id, text, code, verdict.retry_after)

    def _header(self, setup: Setup, attempt: Attempt, now: int, verdict: Verdict) -> str:
        if not setup.header or not self._messages.wants_header(attempt):
            return ""
        return f"X-Greylist: delayed {verdict.age} seconds by {self._by}; {formatdate(now)}"

    def figures(self) -> Mapping[str, Any]:
        """Decisions since the start, by action and reason."""
        return {f"{action.value} {reason.value}": n for (action, reason), n in self.counts.items()}


def _without_store(setup: Setup, attempt: Attempt, findings: Findings | None) -> Verdict | Outcome | None:
    """Steps 1 to 3: a verdict; a rule that only changes how to greylist; or None.

    `findings` None: slow sources have not been asked yet.
    """
    if attempt.authenticated:
        return Verdict(Action.PASS, Reason.AUTHENTICATED)
    for match in setup.sources:
        found = match(attempt)
        if found is not None:
            return Verdict(Action.PASS, Reason.WHITELISTED, match=found)
    if findings is not None and findings.match is not None:
        return Verdict(Action.PASS, Reason.WHITELISTED, match=findings.match)
    rule = None
    if setup.rules:
        rule = setup.rules.evaluate(attempt, None if findings is None else findings.traits)
        if rule is not None and rule.action is not None:
            return Verdict(rule.action, Reason.RULE, rule=rule.rule, text=rule.text)
    if attempt.raw:
        return rule
    if not attempt.sender and attempt.stage is Stage.RCPT and setup.null_sender_at_data:
        return Verdict(Action.PASS, Reason.NULL_SENDER)
    if attempt.client_address is None:
        return Verdict(Action.PASS, Reason.NO_IDENTITY)
    return rule


async def failure_of(durability: Durability) -> str:
    """What kept a decision from the disk; "" when it is there."""
    try:
        await durability.committed()
    except StoreError as error:
        return str(error)
    return ""


def _trouble(on_error: OnError, detail: str) -> Verdict:
    action = Action.PASS if on_error == "pass" else Action.DEFER
    return Verdict(action, Reason.ERROR, detail=detail)


def _words(setup: Setup, verdict: Verdict) -> tuple[str, str]:
    """Reply text and enhanced status code (RFC 3463) of a verdict that does not pass."""
    if verdict.reason is Reason.ERROR:
        return _TROUBLE_TEXT, _TROUBLE_CODE
    if verdict.action is Action.REJECT:
        return verdict.text or _REJECT_TEXT, "5.7.1"
    if verdict.reason is Reason.RULE:
        return verdict.text or _TROUBLE_TEXT, _TROUBLE_CODE
    return verdict.text or setup.text, "4.7.1"
