"""The decision: what is known, what time it is and what is wanted in, a verdict and new records out.

Pure.  `decide` is the whole of greylisting; `Question` wraps it so that a store can call it with
stored bytes and write what comes out.  Sources: RFC 6647 (greylisting applicability), design words
in multigrey(8).

The order of evidence
  1. A record that has passed and is not idle for longer than max age      -> PASS known
  2. A record whose delay is over and whose retry window is not            -> PASS retry
  3. An origin that earned it for this sender domain (auto-whitelist)      -> PASS auto-whitelisted
  4. Another recipient of the same message passed as a retry               -> PASS same-message
  5. A record whose delay is not over                                      -> DEFER early
  6. A record too old to count, or none                                    -> DEFER expired, new
Boundaries: a retry at exactly the delay passes; one at exactly the retry window (or max age) counts.
A time in the future (the clock was set back) counts as now and is rewritten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from multigrey.codec import Times, decode_origin, decode_record, encode_origin, encode_record, record_times
from multigrey.model import (
    Action,
    Address,
    Change,
    Entry,
    Key,
    Origin,
    OriginRecord,
    Reason,
    Record,
    Verdict,
    value,
)

__all__ = [
    "HOUR",
    "Case",
    "Decision",
    "Policy",
    "Question",
    "choose_record",
    "decide",
    "keep_until",
    "known_at_once",
    "speaking_record",
]

HOUR = 3600
"""A known sender's record is written, and its origin counted, at most this often (seconds)."""


@value
class Policy:
    """The numbers a decision needs, in seconds."""

    delay: int
    """Minimum age of a new record before a retry passes."""
    retry_window: int
    max_age: int
    auto_whitelist_after: int
    """Counted passes after which an origin is trusted for a sender domain; 0: never."""


@value
class Case:
    """What a decision has to know of the attempt itself."""

    origin: Origin
    key: bytes
    """Digest of the configured key, to tell different keys of one origin apart."""
    null_sender: bool = False
    same_message: bool = False
    """Another recipient of this message, with the same origin and sender, passed as a retry."""
    client: Address | str = ""
    sender: str = ""
    recipient: str = ""


@value
class Decision:
    """A verdict and what is to be remembered; None: nothing new."""

    verdict: Verdict
    record: Record | None
    """To be written under every key of the attempt."""
    origin_record: OriginRecord | None
    durable: bool


def decide(
    policy: Policy,
    now: int,
    case: Case,
    origin_record: OriginRecord | None,
    records: Sequence[Record | None],
) -> Decision:
    """Judge one attempt.  Never raises for any records a codec can produce."""
    trusted = _settled_origin(origin_record, now)
    decision = _judge(policy, now, case, trusted, records)
    if decision.origin_record is None and origin_record is not None and trusted is not origin_record:
        return replace(decision, origin_record=trusted)  # a time in the future never stays
    return decision


def _judge(
    policy: Policy,
    now: int,
    case: Case,
    trusted: OriginRecord,
    records: Sequence[Record | None],
) -> Decision:
    found = speaking_record(policy, now, records)
    if found is not None and found.passed_at and now - found.last_seen <= policy.max_age:
        return _known(policy, now, case, trusted, found, records)
    age = 0 if found is None else now - found.first_seen
    live = found is not None and not found.passed_at and age <= policy.retry_window
    if found is not None and live and age >= found.delay:
        return _retry(policy, now, case, trusted, found)
    if _is_trusted(policy, now, case, trusted):
        return _auto_whitelisted(now, trusted)
    if case.same_message:
        return _same_message(policy, now, case, found if live else None)
    if found is not None and live:
        return _early(now, found)
    return _start(policy, now, case, Reason.NEW if found is None else Reason.EXPIRED)


def known_at_once(policy: Policy, now: int, values: Sequence[bytes | None]) -> Verdict | None:
    """What `decide` would say if there is nothing to write: a sender known, and fresh, under every key.

    Most attempts at a mail server are this one, so it is answered before anything else is made.
    `values` are the stored records; None: ask `decide`.  Raises CodecError.
    """
    found: Times | None = None
    for stored in values:
        if stored is None:
            return None
        times = record_times(stored)
        first_seen, last_seen, _, _, _, passed_at, _ = times
        if not passed_at or not first_seen <= now or not passed_at <= now or not 0 <= now - last_seen <= HOUR:
            return None
        if found is None or last_seen > found[1]:
            found = times
    if found is None or now - found[1] > policy.max_age:
        return None
    return Verdict(Action.PASS, Reason.KNOWN, delay=found[2], age=now - found[0], attempts=found[3])


def choose_record(records: Iterable[Record | None], now: int) -> Record | None:
    """The record that speaks for all keys: one that has passed, else the oldest; times settled."""
    best: Record | None = None
    for record in records:
        if record is None:
            continue
        if _is_from_future(record, now):
            record = _settled(record, now)  # noqa: PLW2901  (the same record, as it counts now)
        if best is None or _speaks_before(record, best):
            best = record
    return best


def keep_until(policy: Policy, record: Record) -> int:
    """The second before which a record must not be forgotten."""
    if record.passed_at:
        return record.last_seen + policy.max_age
    return record.first_seen + policy.retry_window


def speaking_record(policy: Policy, now: int, records: Sequence[Record | None]) -> Record | None:
    """`choose_record`, but what could be forgotten by now never hides what still counts."""
    found = choose_record(records, now)
    if found is None or len(records) == 1 or keep_until(policy, found) >= now:
        return found
    live = [record for record in records if record is not None and keep_until(policy, record) >= now]
    return choose_record(live, now) or found


def _is_from_future(record: Record, now: int) -> bool:
    return record.last_seen > now or record.first_seen > now or record.passed_at > now


def _speaks_before(one: Record, other: Record) -> bool:
    if bool(one.passed_at) != bool(other.passed_at):
        return bool(one.passed_at)
    if one.passed_at:
        return one.last_seen > other.last_seen
    return one.first_seen < other.first_seen


def _settled(record: Record, now: int) -> Record:
    return replace(
        record,
        first_seen=min(record.first_seen, now),
        last_seen=min(record.last_seen, now),
        passed_at=min(record.passed_at, now),
    )


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
    )
    if now - found.last_seen <= HOUR:
        in_step = all(_is_fresh(record, now) for record in records)
        return Decision(verdict, None if in_step else found, None, durable=False)
    passes = found.passes + 1 if found.earned else found.passes
    record = replace(found, last_seen=now, attempts=found.attempts + 1, passes=passes)
    counted = _counted(policy, now, case, trusted) if found.earned else None
    return Decision(verdict, record, counted, durable=False)


def _is_fresh(record: Record | None, now: int) -> bool:
    if record is None or not record.passed_at or _is_from_future(record, now):
        return False
    return now - record.last_seen <= HOUR


def _retry(policy: Policy, now: int, case: Case, trusted: OriginRecord, found: Record) -> Decision:
    record = replace(found, last_seen=now, attempts=found.attempts + 1, passed_at=now, passes=1)
    verdict = Verdict(
        Action.PASS,
        Reason.RETRY,
        delay=found.delay,
        age=now - found.first_seen,
        attempts=record.attempts,
    )
    return Decision(verdict, record, _counted(policy, now, case, trusted), durable=True)


def _is_trusted(policy: Policy, now: int, case: Case, trusted: OriginRecord) -> bool:
    return (
        0 < policy.auto_whitelist_after <= trusted.passes
        and trusted.several_keys
        and not case.null_sender
        and now - trusted.last_seen <= policy.max_age
    )


def _auto_whitelisted(now: int, trusted: OriginRecord) -> Decision:
    verdict = Verdict(Action.PASS, Reason.AUTO_WHITELISTED)
    refreshed = replace(trusted, last_seen=now) if now - trusted.last_seen > HOUR else None
    return Decision(verdict, None, refreshed, durable=False)


def _same_message(policy: Policy, now: int, case: Case, found: Record | None) -> Decision:
    record = _new_record(policy, now, case) if found is None else found
    attempts = 1 if found is None else found.attempts + 1
    record = replace(record, last_seen=now, attempts=attempts, passed_at=now, passes=0)
    verdict = Verdict(
        Action.PASS,
        Reason.SAME_MESSAGE,
        delay=record.delay,
        age=now - record.first_seen,
        attempts=attempts,
    )
    return Decision(verdict, record, None, durable=False)


def _early(now: int, found: Record) -> Decision:
    record = replace(found, last_seen=now, attempts=found.attempts + 1, early=found.early + 1)
    age = now - found.first_seen
    verdict = Verdict(
        Action.DEFER,
        Reason.EARLY,
        retry_after=found.delay - age,
        delay=found.delay,
        age=age,
        attempts=record.attempts,
    )
    return Decision(verdict, record, None, durable=True)


def _start(policy: Policy, now: int, case: Case, reason: Reason) -> Decision:
    verdict = Verdict(Action.DEFER, reason, retry_after=policy.delay, delay=policy.delay, attempts=1)
    return Decision(verdict, _new_record(policy, now, case), None, durable=True)


def _new_record(policy: Policy, now: int, case: Case) -> Record:
    return Record(
        first_seen=now,
        last_seen=now,
        delay=policy.delay,
        client=str(case.client),
        sender=case.sender,
        recipient=case.recipient,
        origin=case.origin.text,
    )


def _counted(policy: Policy, now: int, case: Case, trusted: OriginRecord) -> OriginRecord | None:
    """The origin record after one more pass that followed a real deferral; at most one an hour."""
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


@value
class Question:
    """One decision over stored bytes: what `Store.apply` calls as `decide`.

    Raises CodecError for stored bytes that cannot be read.
    """

    policy: Policy
    now: int
    case: Case
    record_keys: tuple[Key, ...]
    origin_key: Key | None
    """None: nothing is known of, or counted for, an origin (null sender, raw key)."""

    @property
    def keys(self) -> tuple[Key, ...]:
        """Every key the store has to read, in the order `__call__` wants the values."""
        return self.record_keys if self.origin_key is None else (*self.record_keys, self.origin_key)

    def __call__(self, values: Sequence[bytes | None]) -> Change[Verdict]:
        """Decide on the stored values and say what is to be written."""
        origin_record = None
        if self.origin_key is not None:
            *values, stored = values
            origin_record = None if stored is None else decode_origin(stored)
        records = [None if value is None else decode_record(value) for value in values]
        decision = decide(self.policy, self.now, self.case, origin_record, records)
        return Change(decision.verdict, self._puts(decision), decision.durable)

    def _puts(self, decision: Decision) -> dict[Key, Entry | None]:
        puts: dict[Key, Entry | None] = {}
        if decision.record is not None:
            entry = Entry(encode_record(decision.record), keep_until(self.policy, decision.record))
            puts.update((key, entry) for key in self.record_keys)
        if decision.origin_record is not None and self.origin_key is not None:
            until = decision.origin_record.last_seen + self.policy.max_age
            puts[self.origin_key] = Entry(encode_origin(decision.origin_record), until)
        return puts
