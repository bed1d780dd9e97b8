"""The decision as a store sees it: stored bytes in, a verdict and what is to be written out.

Pure: a store may call a question again when somebody else has written meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from multigrey.codec import (
    Times,
    decode_origin,
    decode_record,
    decode_standing,
    encode_first_record,
    encode_origin,
    encode_record,
    encode_standing,
    record_times,
)
from multigrey.decision import HOUR, STANDING_AGE, Case, Decision, Policy, decide, is_measured, keep_until
from multigrey.model import Action, Change, Entry, Key, Reason, Verdict, value
from multigrey.standing import deferred

__all__ = ["Question", "passed_times"]

_PASSED_AT = 5
"""Where `Times` has it."""


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
    standing_key: Key | None = None
    """None: the origin as a whole has no say (unnamed, or origins need not prove themselves)."""
    coarse_key: Key | None = None
    """Of (origin, recipient domain): stands in for a record of its own while an origin is over its limit."""

    @property
    def keys(self) -> tuple[Key, ...]:
        """Every key the store has to read, in the order `__call__` wants the values."""
        others = [key for key in (self.coarse_key, self.origin_key, self.standing_key) if key is not None]
        return (*self.record_keys, *others) if others else self.record_keys

    def __call__(self, values: Sequence[bytes | None]) -> Change[Verdict]:
        """Decide on the stored values and say what is to be written."""
        if (
            values.count(None) < len(values)
            or self.coarse_key is not None
            or self.case.same_message
            or self.policy.observe
        ):
            return self.judged(values)
        return self._new()

    def _new(self) -> Change[Verdict]:
        """What `judged` says of a stranger of whom nothing is known, in a third of the time.

        In a flood nearly every attempt is this one.
        """
        policy, case, now = self.policy, self.case, self.now
        record = encode_first_record(
            now, policy.delay, case.client_shown, case.sender, case.recipient, case.origin.text
        )
        entry = Entry(record, now + policy.retry_window)
        puts: dict[Key, Entry | None] = dict.fromkeys(self.record_keys, entry)
        if self.standing_key is not None and is_measured(policy, case):
            until = now + max(policy.max_age, STANDING_AGE)
            puts[self.standing_key] = Entry(_first_standing(now), until)
        return Change(_first_verdict(policy.delay), puts, durable=True)

    def judged(self, values: Sequence[bytes | None]) -> Change[Verdict]:
        """The same, whatever is known."""
        number = len(self.record_keys)
        records = [None if value is None else decode_record(value) for value in values[:number]]
        others = iter(values[number:])
        coarse = None if self.coarse_key is None else next(others)
        stored_origin = None if self.origin_key is None else next(others)
        stored_standing = None if self.standing_key is None else next(others)
        origin_record = None if stored_origin is None else decode_origin(stored_origin)
        standing = None if stored_standing is None else decode_standing(stored_standing)
        written, policy = self.record_keys, self.policy
        if self.coarse_key is not None and all(record is None for record in records):
            records = [None if coarse is None else decode_record(coarse)]
            written = (self.coarse_key,)
            # It lets a whole origin in, so that ends an hour after the retry, whatever comes meanwhile.
            policy = replace(policy, max_age=HOUR)
        decision = decide(policy, self.now, self.case, origin_record, records, standing)
        if written is not self.record_keys:
            decision = _over_limit(decision)
        return Change(decision.verdict, self._puts(policy, decision, written), decision.durable)

    def _puts(
        self, policy: Policy, decision: Decision, record_keys: tuple[Key, ...]
    ) -> dict[Key, Entry | None]:
        puts: dict[Key, Entry | None] = {}
        if decision.record is not None:
            entry = Entry(encode_record(decision.record), keep_until(policy, decision.record))
            puts.update((key, entry) for key in record_keys)
        if decision.origin_record is not None and self.origin_key is not None:
            until = decision.origin_record.last_seen + self.policy.max_age
            puts[self.origin_key] = Entry(encode_origin(decision.origin_record), until)
        if decision.standing is not None and self.standing_key is not None:
            until = decision.standing.last_seen + max(self.policy.max_age, STANDING_AGE)
            puts[self.standing_key] = Entry(encode_standing(decision.standing), until)
        return puts


@lru_cache(maxsize=8)
def _first_verdict(delay: int) -> Verdict:
    return Verdict(Action.DEFER, Reason.NEW, retry_after=delay, delay=delay, attempts=1)


@lru_cache(maxsize=2)
def _first_standing(now: int) -> bytes:
    return encode_standing(deferred(None, now))


def passed_times(values: Sequence[bytes | None]) -> tuple[Times, ...] | None:
    """The numbers of stored records; None when one is missing or has never passed.  Raises CodecError."""
    found = []
    for stored in values:
        times = None if stored is None else record_times(stored)
        if times is None or not times[_PASSED_AT]:
            return None
        found.append(times)
    return tuple(found)


def _over_limit(decision: Decision) -> Decision:
    """The same from a record that many share: nobody earns anything by it, and only a retry opens it."""
    verdict, record = decision.verdict, decision.record
    if verdict.observed or verdict.reason not in _WRITES_IT:
        record = None
    if verdict.reason is Reason.KNOWN or verdict.reason in _WRITES_IT:
        verdict = replace(verdict, reason=Reason.OVER_LIMIT)
    return Decision(verdict, record, None, decision.durable)


_WRITES_IT = frozenset({Reason.NEW, Reason.EARLY, Reason.EXPIRED, Reason.RETRY})
