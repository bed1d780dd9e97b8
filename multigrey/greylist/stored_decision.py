"""The decision over stored bytes: it returns a verdict and the entries that the store is to write.

Pure: a store may call it again if another writer has changed the values meanwhile.

An attempt of an origin over its limit of new records, or one that comes while the store is full, gets a mark
instead of a record (see `greylist.marks`).  A mark is judged as the record for which it stands: only its own
retry passes, and then a record is made, if the store has room for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from multigrey.codec import (
    decode_origin,
    decode_record,
    decode_reputation,
    encode_first_record,
    encode_origin,
    encode_record,
    encode_reputation,
    record_times,
)
from multigrey.greylist.decision import Decision, decide, is_measured, record_of
from multigrey.greylist.marks import Mark, Weigh, bucket_key, find, newest, put, remove
from multigrey.greylist.policy import STANDING_AGE, Case, Policy
from multigrey.greylist.record_choice import keep_until, speaking_record
from multigrey.greylist.reputation import deferred
from multigrey.model import Action, Change, Entry, Key, Reason, Record, Times, Verdict, value

__all__ = ["OtherKey", "StoredDecision", "passed_times", "record_puts"]

_PASSED_AT = 5
"""Index of passed_at in `Times`."""
_NO_ROOM = "no room for its mark"
_AT_ONCE = frozenset({Reason.AUTO_WHITELISTED, Reason.PROVIDER})
"""An attempt that passes for one of these reasons gets a record only if it may have one, and never a mark."""
_STARTS = frozenset({Reason.NEW, Reason.EXPIRED})


@value
class OtherKey:
    """A key under which an earlier attempt may have a record; it is only read."""

    key: Key
    before: int = 0
    """Only records first seen before this second count; 0: all."""
    waiting: bool = False
    """Only records that have not passed count."""
    besides: int = 0
    """Only records of a client with another IP version than this one count; 0: all."""

    def counts(self, record: Record) -> bool:
        """Whether a record under this key counts for the attempt."""
        if self.waiting and record.passed_at:
            return False
        if self.besides and ("." in record.client) == (self.besides == 4):
            return False
        return not self.before or record.first_seen < self.before


Stored = tuple[
    Sequence[bytes | None],
    bytes | None,
    bytes | None,
    Sequence[tuple[bytes, bytes | None]],
    Sequence[tuple[OtherKey, bytes | None]],
]
"""Stored values: records, origin record, standing, buckets (each with the digest from which a mark may be
made), and the records under other keys."""


@value
class StoredDecision:
    """One decision over stored bytes, which `Store.apply` calls as `decide`.

    A call raises CodecError for stored bytes that cannot be read.
    """

    policy: Policy
    now: int
    case: Case
    record_keys: tuple[Key, ...]
    origin_key: Key | None
    """None: no origin record is read or written (null sender, raw key)."""
    standing_key: Key | None = None
    """None: no standing is read or written (a raw key, or no proof is configured)."""
    other_keys: tuple[OtherKey, ...] = ()
    """Keys that are read besides `record_keys`."""
    copy_keys: tuple[Key, ...] = ()
    """Keys that are written besides `record_keys`, for attempts that read them as `other_keys`."""
    has_marks: bool = False
    """Whether the attempt may have a mark under one of `record_keys`."""
    mark_digest: bytes = b""
    """The digest from which its mark is made; b"": it may have a record."""
    place: bytes = b""
    """The place for which its mark counts (see `greylist.marks.place_of`)."""
    full: bool = False
    """Whether the store has no room for a new record, not even for one that passes."""
    mark_room: bool = True
    """Whether it has room for a new mark."""
    weigh: Weigh | None = None
    """Returns how many marks a place holds in all (see `greylist.marks`)."""

    @property
    def keys(self) -> tuple[Key, ...]:
        """The keys that the store has to read, in the order in which `split` takes the values."""
        others = [key for key in (self.origin_key, self.standing_key) if key is not None]
        others += [bucket_key(digest) for digest in self.bucket_digests]
        others += [other.key for other in self.other_keys]
        return (*self.record_keys, *others) if others else self.record_keys

    def split(self, values: Sequence[bytes | None]) -> Stored:
        """The values under `keys`, by kind; None: nothing is stored."""
        number = len(self.record_keys)
        rest = iter(values[number:])
        origin = None if self.origin_key is None else next(rest)
        standing = None if self.standing_key is None else next(rest)
        # Most attempts have neither; `()` avoids making empty lists for them.
        digests, others = self.bucket_digests, self.other_keys
        return (
            values[:number],
            origin,
            standing,
            [(digest, next(rest)) for digest in digests] if digests else (),
            [(other, next(rest)) for other in others] if others else (),
        )

    def __call__(self, values: Sequence[bytes | None]) -> Change[Verdict]:
        """Decide on the stored values; return the verdict and what is to be written.  Raises CodecError."""
        case = self.case
        if case.same_message or case.provider or self.policy.observe or not case.clock_believed:
            return self.judged(values)
        nothing = values.count(None)
        if nothing == len(values) and not self.mark_digest:
            return self._new()
        known = StoredValues(self, values)
        # In a flood nearly every bucket holds marks of other attempts; they do not concern this one.
        if not known.marks and nothing + known.buckets_filled == len(values):
            return self._new_mark(known) if self.mark_digest else self._new()
        return self._judged(known)

    # Shortcut of judged.
    def _new(self) -> Change[Verdict]:
        """What `judged` returns for an attempt without any stored value, in a third of the time.

        In a flood nearly every attempt is of this kind, or of the kind for `_new_mark`.
        """
        policy, case, now = self.policy, self.case, self.now
        shown = (now, policy.delay, case.client, case.origin.text, case.sender, case.recipient)
        until = now + policy.retry_window
        home, *away = self.record_keys
        puts: dict[Key, Entry | None] = {home: Entry(encode_first_record(*shown), until)}
        if away or self.copy_keys:
            entry = Entry(encode_first_record(*shown, home[1]), until)
            for key in (*away, *self.copy_keys):
                puts[key] = entry
        self._put_first_standing(puts)
        return Change(_first_verdict(policy.delay, Reason.NEW), puts, durable=True)

    # Shortcut of judged.
    def _new_mark(self, known: StoredValues) -> Change[Verdict]:
        """What `judged` returns for such an attempt if it gets a mark."""
        delay = self.policy.delay
        verdict = _first_verdict(delay, Reason.OVER_LIMIT)
        puts = self._marked(Mark(self.now, delay), known)
        if puts is None:
            return Change(replace(verdict, detail=_NO_ROOM), {}, durable=False)
        self._put_first_standing(puts)
        return Change(verdict, puts, durable=True)

    def _put_first_standing(self, puts: dict[Key, Entry | None]) -> None:
        policy, case, now = self.policy, self.case, self.now
        if self.standing_key is not None and case.origin.named and is_measured(policy, case):
            until = now + max(policy.max_age, STANDING_AGE)
            puts[self.standing_key] = Entry(_first_standing(now), until)

    def judged(self, values: Sequence[bytes | None]) -> Change[Verdict]:
        """The full form of `__call__`, for any stored values.  Raises CodecError."""
        return self._judged(StoredValues(self, values))

    def _judged(self, known: StoredValues) -> Change[Verdict]:
        also = [*known.others, *(self.record_of_mark(mark) for mark in known.marks.values())]
        decision = decide(
            self.policy,
            self.now,
            self.case,
            None if known.origin is None else decode_origin(known.origin),
            known.records,
            None if known.standing is None else decode_reputation(known.standing),
            also,
        )
        record, verdict = decision.record, decision.verdict
        if record is not None and not known.has_record and (known.marks or self.mark_digest):
            if verdict.observed or not record.passed_at:
                return self._judged_with_mark(decision, record, known)
            if self.full or (self.mark_digest and verdict.reason in _AT_ONCE and not known.marks):
                # A mark whose retry passes stays, so that the next mail passes by it, too.
                return Change(verdict, self._puts(replace(decision, record=None), known), decision.durable)
        if verdict.reason is Reason.RETRY and None not in known.records:
            verdict = replace(verdict, from_home=True)
        return Change(verdict, self._puts(decision, known), decision.durable)

    def unmarked(self, values: Sequence[bytes | None]) -> Change[int]:
        """How many marks the attempt has, and the writes that remove them.  Raises CodecError."""
        known = StoredValues(self, values)
        return Change(len(known.marks), self._without_marks(known), durable=True)

    def speaking(self, values: Sequence[bytes | None]) -> Record | None:
        """The record that decides, which a mark may stand for; None: there is none.  Raises CodecError."""
        known = StoredValues(self, values)
        marks = map(self.record_of_mark, known.marks.values())
        return speaking_record(
            self.policy, self.now, (*known.records, *known.others, *marks), self.case.set_back
        )

    def mark_in(self, bucket: bytes | None, digest: bytes) -> Mark | None:
        """The mark made of `digest` in its stored bucket.  Raises CodecError."""
        return find(bucket, digest, self.now, self.policy.retry_window)

    def record_of_mark(self, mark: Mark) -> Record:
        """The record for which a mark stands."""
        return replace(
            record_of(self.policy, mark.first_seen, self.case),
            delay=mark.delay,
            attempts=mark.early + 1,
            early=mark.early,
        )

    def _judged_with_mark(self, decision: Decision, record: Record, known: StoredValues) -> Change[Verdict]:
        """The change if the attempt has, or gets, a mark instead of a record."""
        verdict = decision.verdict
        if verdict.reason in _STARTS:
            verdict = replace(verdict, reason=Reason.OVER_LIMIT)
        puts = self._marked(Mark(record.first_seen, record.delay, record.early), known)
        if puts is None:
            return Change(replace(verdict, detail=_NO_ROOM), {}, durable=False)
        self._put_origins(puts, decision)
        return Change(verdict, puts, decision.durable)

    def _marked(self, mark: Mark, known: StoredValues) -> dict[Key, Entry | None] | None:
        """The buckets with this mark instead of the attempt's marks; None: there is not enough room."""
        if not self.mark_room and not known.marks:
            return None
        buckets = dict(known.buckets)
        for digest in known.marks or (self.mark_digest,):
            key = bucket_key(digest)
            window = self.policy.retry_window
            kept = put(buckets[key], digest, mark, self.place or bytes(6), self.now, window, self.weigh)
            if kept is None:  # only a mark that is not stored yet can lack room
                return None
            buckets[key] = kept
        return self._bucket_puts(known, buckets)

    def _puts(self, decision: Decision, known: StoredValues) -> dict[Key, Entry | None]:
        puts: dict[Key, Entry | None] = {}
        if decision.record is not None:
            record = decision.record
            if record.home:  # the row that decided does not show them
                record = replace(record, sender=self.case.sender, recipient=self.case.recipient)
            puts = record_puts(self.policy, record, (*self.record_keys, *self.copy_keys))
            puts.update(self._without_marks(known))
        self._put_origins(puts, decision)
        return puts

    def _without_marks(self, known: StoredValues) -> dict[Key, Entry | None]:
        """The buckets without the attempt's own marks."""
        buckets = dict(known.buckets)
        for digest in known.marks:
            key = bucket_key(digest)
            buckets[key] = remove(buckets[key], digest)
        return self._bucket_puts(known, buckets)

    def _bucket_puts(self, known: StoredValues, buckets: dict[Key, bytes | None]) -> dict[Key, Entry | None]:
        """The writes of the buckets that have changed."""
        window = self.policy.retry_window
        return {
            key: None if bucket is None else Entry(bucket, newest(bucket) + window)
            for key, bucket in buckets.items()
            if bucket != known.buckets[key]
        }

    def _put_origins(self, puts: dict[Key, Entry | None], decision: Decision) -> None:
        if decision.origin_record is not None and self.origin_key is not None:
            until = decision.origin_record.last_seen + self.policy.max_age
            puts[self.origin_key] = Entry(encode_origin(decision.origin_record), until)
        if decision.standing is not None and self.standing_key is not None:
            until = decision.standing.last_seen + max(self.policy.max_age, STANDING_AGE)
            puts[self.standing_key] = Entry(encode_reputation(decision.standing), until)

    @property
    def bucket_digests(self) -> tuple[bytes, ...]:
        """The digests from which a mark of the attempt may be made, one for each key that may have a mark."""
        if not self.has_marks:
            return (self.mark_digest,) if self.mark_digest else ()
        digests = [digest for _, digest in self.record_keys]
        if self.mark_digest and self.mark_digest not in digests:
            digests.append(self.mark_digest)
        return tuple(digests)


def record_puts(policy: Policy, record: Record, keys: Sequence[Key]) -> dict[Key, Entry | None]:
    """The writes of a record under all its keys; only the row of the first shows sender and recipient."""
    until, (home, *away) = keep_until(policy, record), keys
    puts: dict[Key, Entry | None] = {home: Entry(encode_record(replace(record, home=b"")), until)}
    if away:
        entry = Entry(encode_record(replace(record, home=home[1])), until)
        puts.update((key, entry) for key in away)
    return puts


class StoredValues:
    """The stored values for a decision, decoded if every decision needs them.  Raises CodecError."""

    __slots__ = ("buckets", "marks", "origin", "others", "records", "standing")

    def __init__(self, question: StoredDecision, values: Sequence[bytes | None]) -> None:
        records, self.origin, self.standing, buckets, others = question.split(values)
        self.records = [None if stored is None else decode_record(stored) for stored in records]
        self.buckets: dict[Key, bytes | None] = {}
        """The buckets in which the attempt may have a mark, by key."""
        self.marks: dict[bytes, Mark] = {}
        """The attempt's marks, by the digest from which each was made."""
        for digest, bucket in buckets:
            self.buckets[bucket_key(digest)] = bucket
            if bucket is not None:
                mark = question.mark_in(bucket, digest)
                if mark is not None:
                    self.marks[digest] = mark
        self.others: list[Record] = []
        """Records under other keys that count."""
        for other, stored in others:
            record = None if stored is None else decode_record(stored)
            if record is not None and other.counts(record):
                self.others.append(record)

    @property
    def has_record(self) -> bool:
        """Whether the attempt has a record of any age."""
        return bool(self.others) or self.records.count(None) < len(self.records)

    @property
    def buckets_filled(self) -> int:
        """How many of the buckets hold marks, of any attempt."""
        return sum(bucket is not None for bucket in self.buckets.values())


@lru_cache(maxsize=16)
def _first_verdict(delay: int, reason: Reason) -> Verdict:
    return Verdict(Action.DEFER, reason, retry_after=delay, delay=delay, attempts=1)


@lru_cache(maxsize=2)
def _first_standing(now: int) -> bytes:
    return encode_reputation(deferred(None, now))


def passed_times(values: Sequence[bytes | None]) -> tuple[Times, ...] | None:
    """The numbers of stored records; None when one is missing or has never passed.  Raises CodecError."""
    found = []
    for stored in values:
        times = None if stored is None else record_times(stored)
        if times is None or not times[_PASSED_AT]:
            return None
        found.append(times)
    return tuple(found)
