"""The greylisting decision: from records, time and policy it computes a verdict and new records.

Pure.  `decide` is all of greylisting; `greylist.stored_decision.StoredDecision` wraps it so that a store can
call it with stored bytes and write the result.  Sources: RFC 6647 (applicability of greylisting); the terms
are those of multigrey(8).

The order of evidence
  1. A record that has passed and is not idle for longer than max age      -> PASS known
  2. A record whose delay is over and whose retry window is not            -> PASS retry
  3. A server of a provider that is known to retry                         -> PASS provider
     A trusted origin, for this sender domain or as a whole                -> PASS auto-whitelisted
  4. Another recipient of the same message carries this one                -> PASS same-message
  5. A record whose delay is not over                                      -> DEFER early
  6. A record too old to count, or none                                    -> DEFER expired, new
Boundaries: a retry at exactly the delay passes; one at exactly the retry window (or max age) counts.
A time in the future (the clock was set back) counts as earlier, and is rewritten.  It is not rewritten while
the clock itself may be wrong (`Case.clock_believed`): then no record is too old, and neither a record that
has passed nor the trust of an origin is overwritten.

An observed attempt is judged like any other, but passes.  Its record is stored as passed and as observed, so
that the sender is known once greylisting is enforced; it never counts for trust.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from multigrey.greylist.policy import OWN_HOSTS_AFTER, Case, Policy
from multigrey.greylist.record_choice import is_from_future, speaking_record
from multigrey.greylist.reputation import deferred, is_spot_check, proven, returned
from multigrey.identity.shortened import shortened
from multigrey.model import HOUR, Action, OriginRecord, Reason, Record, Reputation, Times, Verdict, value

__all__ = [
    "Decision",
    "decide",
    "is_measured",
    "known_at_once",
    "record_of",
    "trust_needed",
]

_IMPATIENCE = 60
"""Seconds that each early retry after the first adds to the delay, if `Policy.patience` allows it."""


@value
class Decision:
    """A verdict and the values to store; None: nothing to store."""

    verdict: Verdict
    record: Record | None
    """The record to be written under every key of the attempt."""
    origin_record: OriginRecord | None
    durable: bool
    standing: Reputation | None = None


def decide(
    policy: Policy,
    now: int,
    case: Case,
    origin_record: OriginRecord | None,
    records: Sequence[Record | None],
    standing: Reputation | None = None,
    also: Sequence[Record] = (),
) -> Decision:
    """Judge one attempt.  Never raises for records that the codec can produce.

    `records` are those under the attempt's keys, None if a key has none.  `origin_record` is the record of
    (origin, sender domain), `standing` that of the origin as a whole.  `also` are records found under other
    keys.
    """
    trusted = _settled_origin(origin_record, now)
    decision = _judge(policy, now, case, trusted, records, standing, also)
    if not case.clock_believed:
        decision = _kept(decision)
    elif decision.origin_record is None and origin_record is not None and trusted is not origin_record:
        decision = replace(decision, origin_record=trusted)  # so that a time in the future does not stay
    if policy.observe and decision.verdict.action is Action.DEFER:
        return _observed(now, decision)
    return decision


def _judge(
    policy: Policy,
    now: int,
    case: Case,
    trusted: OriginRecord,
    records: Sequence[Record | None],
    standing: Reputation | None,
    also: Sequence[Record],
) -> Decision:
    found = speaking_record(policy, now, (*records, *also) if also else records, case.set_back)
    idle = 0 if found is None or not case.clock_believed else now - found.last_seen
    if found is not None and found.passed_at and idle <= policy.max_age:
        return _known(policy, now, case, trusted, found, records)
    age = 0 if found is None else now - found.first_seen
    in_time = age <= policy.retry_window or not case.clock_believed
    live = found is not None and not found.passed_at and in_time
    waiting = found if live else None
    if waiting is not None and age >= waiting.delay:
        return _retry(policy, now, case, trusted, waiting, standing)
    if case.provider:
        return _provider(policy, now, case, waiting)
    if _is_trusted(policy, now, case, trusted):
        return _auto_whitelisted(policy, now, case, trusted, waiting, standing)
    if standing is not None and policy.proof is not None and not is_spot_check(case.key):
        standing, believed = _stand(policy, now, case, standing)
        if believed:
            return _proven(policy, now, case, waiting, standing)
    if case.same_message:
        return _same_message(policy, now, case, waiting, standing)
    if waiting is not None:
        return _early(policy, now, waiting)
    return _start(policy, now, case, Reason.NEW if found is None else Reason.EXPIRED, standing)


def _kept(decision: Decision) -> Decision:
    """The decision without writes over known records and the trust of origins; for a doubted clock."""
    record = None if decision.verdict.reason is Reason.KNOWN else decision.record
    return replace(decision, record=record, origin_record=None, standing=None)


# Shortcut of decide.
def known_at_once(policy: Policy, now: int, records: Sequence[Times]) -> Verdict | None:
    """The verdict of `decide` if the sender is known under every key and nothing is to be written; else None.

    This is the most frequent case, so it is tested before anything else is computed.  `records` are those of
    every key (see `greylist.stored_decision.passed_times`).  None: the caller has to call `decide`.
    """
    found: Times | None = None
    for times in records:
        first_seen, last_seen, _, _, _, passed_at, _ = times
        if not first_seen <= now or not passed_at <= now or not 0 <= now - last_seen <= HOUR:
            return None
        if found is None or last_seen > found[1]:
            found = times
    if found is None or now - found[1] > policy.max_age:
        return None
    age, passes = now - found[0], found[6]
    carries = passes > 1 or (passes == 1 and age > HOUR)
    return Verdict(Action.PASS, Reason.KNOWN, 0, found[2], age, found[3], carries=carries)


def _settled_origin(record: OriginRecord | None, now: int) -> OriginRecord:
    if record is None:
        return OriginRecord()
    if record.last_seen > now or record.last_counted > now:
        return replace(
            record, last_seen=min(record.last_seen, now), last_counted=min(record.last_counted, now)
        )
    return record


def _known(
    policy: Policy,
    now: int,
    case: Case,
    trusted: OriginRecord,
    found: Record,
    records: Sequence[Record | None],
) -> Decision:
    verdict = Verdict(
        Action.PASS,
        Reason.KNOWN,
        delay=found.delay,
        age=now - found.first_seen,
        attempts=found.attempts,
        carries=_carries(found, now),
    )
    if now - found.last_seen <= HOUR:
        in_step = all(_is_fresh(record, now) for record in records)
        return Decision(verdict, None if in_step else found, None, durable=False)
    passes = found.passes + 1 if found.earned else found.passes
    record = replace(found, last_seen=now, attempts=found.attempts + 1, passes=passes)
    if found.earned:
        counted = _counted(policy, now, case, trusted)
    else:
        counted = _refreshed(now, trusted) if _is_trusted(policy, now, case, trusted) else None
    return Decision(verdict, record, counted, durable=False)


def _is_fresh(record: Record | None, now: int) -> bool:
    if record is None or not record.passed_at or is_from_future(record, now):
        return False
    return now - record.last_seen <= HOUR


def _retry(
    policy: Policy,
    now: int,
    case: Case,
    trusted: OriginRecord,
    found: Record,
    standing: Reputation | None,
) -> Decision:
    record = replace(found, last_seen=now, attempts=found.attempts + 1, passed_at=now, passes=1)
    verdict = Verdict(
        Action.PASS,
        Reason.RETRY,
        delay=found.delay,
        age=now - found.first_seen,
        attempts=record.attempts,
        carries=_carries(record, now),
    )
    counted = _counted(policy, now, case, trusted)
    came_back = _came_back(policy, now, case, found, standing)
    return Decision(verdict, record, counted, durable=True, standing=came_back)


def _carries(record: Record, now: int) -> bool:
    """Whether other recipients of its message may pass with it.

    A pair that has just come back for the first time must not let a whole dictionary of recipients pass.
    """
    return record.passes > 1 or (record.passes == 1 and now - record.first_seen > HOUR)


def trust_needed(policy: Policy, case: Case) -> int:
    """Counted passes after which (origin, sender domain) is trusted; 0: never."""
    needed = policy.auto_whitelist_after
    return min(needed, OWN_HOSTS_AFTER) if case.own_hosts else needed


def _is_trusted(policy: Policy, now: int, case: Case, trusted: OriginRecord) -> bool:
    return (
        0 < trust_needed(policy, case) <= trusted.passes
        and trusted.several_keys
        and not case.null_sender
        and (now - trusted.last_seen <= policy.max_age or not case.clock_believed)
    )


def _auto_whitelisted(
    policy: Policy,
    now: int,
    case: Case,
    trusted: OriginRecord,
    waiting: Record | None,
    standing: Reputation | None,
) -> Decision:
    refreshed = _refreshed(now, trusted)
    if waiting is None:
        verdict = Verdict(Action.PASS, Reason.AUTO_WHITELISTED)
        return Decision(verdict, _let_in_at_once(policy, now, case), refreshed, durable=False)
    return replace(_waited(policy, now, case, waiting, standing), origin_record=refreshed)


def _refreshed(now: int, trusted: OriginRecord) -> OriginRecord | None:
    """The record of a trusted origin with a new last_seen; None: it need not be written yet."""
    return replace(trusted, last_seen=now) if now - trusted.last_seen > HOUR else None


def _stand(policy: Policy, now: int, case: Case, standing: Reputation) -> tuple[Reputation, bool]:
    """The standing with the result noted in it, and whether the origin is proven."""
    assert policy.proof is not None
    believed = proven(standing, policy.proof, now, named=case.origin.named)
    if believed is bool(standing.proven_at):
        return standing, believed
    return replace(standing, proven_at=now if believed else 0), believed


def _proven(policy: Policy, now: int, case: Case, waiting: Record | None, standing: Reputation) -> Decision:
    if waiting is not None:
        return _waited(policy, now, case, waiting, standing, "proven origin")
    verdict = Verdict(Action.PASS, Reason.AUTO_WHITELISTED, detail="proven origin")
    stale = now - standing.last_seen > HOUR or standing.proven_at == now
    record = _let_in_at_once(policy, now, case)
    return Decision(
        verdict, record, None, durable=False, standing=replace(standing, last_seen=now) if stale else None
    )


def _provider(policy: Policy, now: int, case: Case, waiting: Record | None) -> Decision:
    """Let a server of a provider pass that is known to retry.

    It still gets a record, so that it is known when its name cannot be verified later.
    """
    record = _let_in_at_once(policy, now, case) if waiting is None else _let_in(now, waiting)
    return Decision(Verdict(Action.PASS, Reason.PROVIDER), record, None, durable=False)


def _waited(
    policy: Policy, now: int, case: Case, waiting: Record, standing: Reputation | None, detail: str = ""
) -> Decision:
    """Let an attempt of a trusted origin pass that was deferred before."""
    record = _let_in(now, waiting)
    verdict = Verdict(
        Action.PASS,
        Reason.AUTO_WHITELISTED,
        delay=record.delay,
        age=now - record.first_seen,
        attempts=record.attempts,
        detail=detail,
    )
    came_back = _came_back(policy, now, case, waiting, standing)
    return Decision(verdict, record, None, durable=False, standing=came_back)


def _let_in(now: int, found: Record) -> Record:
    """A waiting record that now passes for another reason than its own retry, so `passes` stays 0."""
    return replace(found, last_seen=now, attempts=found.attempts + 1, passed_at=now, passes=0)


def _let_in_at_once(policy: Policy, now: int, case: Case) -> Record:
    """The record of an attempt that passes at its first try: the pair is known from now on."""
    return _let_in(now, replace(record_of(policy, now, case), attempts=0))


def _same_message(
    policy: Policy, now: int, case: Case, waiting: Record | None, standing: Reputation | None
) -> Decision:
    record = _let_in_at_once(policy, now, case) if waiting is None else _let_in(now, waiting)
    verdict = Verdict(
        Action.PASS,
        Reason.SAME_MESSAGE,
        delay=record.delay,
        age=now - record.first_seen,
        attempts=record.attempts,
    )
    came_back = None if waiting is None else _came_back(policy, now, case, waiting, standing)
    return Decision(verdict, record, None, durable=False, standing=came_back)


def _early(policy: Policy, now: int, found: Record) -> Decision:
    delay = found.delay
    if found.early:
        # With a delay as long as the retry window no retry could ever pass.
        most = min(policy.patience, policy.retry_window - _IMPATIENCE)
        delay = max(delay, min(delay + _IMPATIENCE, most))
    record = replace(found, last_seen=now, attempts=found.attempts + 1, early=found.early + 1, delay=delay)
    age = now - found.first_seen
    verdict = Verdict(
        Action.DEFER,
        Reason.EARLY,
        retry_after=delay - age,
        delay=delay,
        age=age,
        attempts=record.attempts,
    )
    return Decision(verdict, record, None, durable=True)


def _start(policy: Policy, now: int, case: Case, reason: Reason, standing: Reputation | None) -> Decision:
    verdict = Verdict(Action.DEFER, reason, retry_after=policy.delay, delay=policy.delay, attempts=1)
    asked = None
    # An unnamed origin gets a standing only after something has come back from it: in a flood there are
    # millions of such addresses.
    if is_measured(policy, case) and (case.origin.named or standing is not None):
        asked = deferred(standing, now)
    return Decision(verdict, record_of(policy, now, case), None, durable=True, standing=asked)


def is_measured(policy: Policy, case: Case) -> bool:
    """Whether the outcome of this deferral counts as evidence about its origin."""
    return policy.proof is not None and not case.null_sender and not policy.observe


def _came_back(
    policy: Policy, now: int, case: Case, found: Record, standing: Reputation | None
) -> Reputation | None:
    """The origin's standing with one more return; None if the deferral was not counted for this origin."""
    if not is_measured(policy, case) or found.origin != shortened(case.origin.text):
        return None
    return returned(standing, now, found.first_seen, case.mark_of(case.domain))


def _observed(now: int, decision: Decision) -> Decision:
    """The decision in observe mode: it passes, gains no trust and does not wait for the disk."""
    verdict = replace(decision.verdict, action=Action.PASS, observed=True)
    assert decision.record is not None  # every deferral has one
    record = replace(decision.record, passed_at=now, passes=0, observed=True)
    return replace(decision, verdict=verdict, record=record, durable=False)


def record_of(policy: Policy, first_seen: int, case: Case) -> Record:
    """The record of an attempt first made at `first_seen`."""
    return Record(
        first_seen=first_seen,
        last_seen=first_seen,
        delay=policy.delay,
        client=case.client_shown,
        sender=case.sender,
        recipient=case.recipient,
        origin=case.origin.text,
    )


def _counted(policy: Policy, now: int, case: Case, trusted: OriginRecord) -> OriginRecord | None:
    """The origin record after one more pass that followed a real deferral.

    At most one pass an hour is counted; None: this one is not.
    """
    if case.null_sender or not policy.auto_whitelist_after:
        return None
    if now - trusted.last_seen > policy.max_age:
        trusted = OriginRecord()
    if trusted.passes and now - trusted.last_counted < HOUR:
        return None
    several = trusted.several_keys or (bool(trusted.first_key) and trusted.first_key != case.key)
    return OriginRecord(
        passes=trusted.passes + 1,
        last_counted=now,
        last_seen=now,
        first_key=trusted.first_key or case.key,
        several_keys=several,
    )
