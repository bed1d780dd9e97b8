"""The decision against a small model of what design and man page promise, and its properties.

The model keeps what a careful administrator would keep on paper; it shares no code with the
decision.  Histories play over stored bytes, so codec and `StoredDecision` take part.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from multigrey.codec import decode_origin, decode_record, encode_origin, encode_record
from multigrey.errors import CodecError
from multigrey.greylist.decision import decide, known_at_once
from multigrey.greylist.policy import Case, Policy
from multigrey.greylist.record_choice import choose_record, keep_until
from multigrey.greylist.stored_decision import StoredDecision, passed_times, record_puts
from multigrey.model import HOUR, Action, Origin, OriginRecord, Reason, Record, Table

T = 1_000_000_000
DELAY = 120
WINDOW = 2 * 86_400
MAX_AGE = 36 * 86_400
POLICY = Policy(delay=DELAY, retry_window=WINDOW, max_age=MAX_AGE, auto_whitelist_after=3)
ORIGIN_KEY = (Table.ORIGIN, b"origin")


def record_key(name):
    return (Table.RECORD, name.encode())


class Disk:
    """A store in a dict: what was written, and until when it must stay."""

    def __init__(self):
        self.entries = {}

    def ask(self, now, names, *, policy=POLICY, null_sender=False, same_message=False):
        """One attempt under these keys, with its writes carried out; returns the Change."""
        case = Case(Origin("o", named=False), names[0].encode(), null_sender, same_message)
        keys = tuple(record_key(name) for name in names)
        question = StoredDecision(policy, now, case, keys, ORIGIN_KEY)
        values = [self.entries[key].value if key in self.entries else None for key in question.keys]
        change = question(values)
        assert question(values) == change
        for key, entry in change.puts.items():
            assert entry.keep_until >= now
            self.entries[key] = entry
        return change

    def forget(self, now):
        self.entries = {key: entry for key, entry in self.entries.items() if entry.keep_until >= now}

    def record(self, name):
        entry = self.entries.get(record_key(name))
        return None if entry is None else decode_record(entry.value)

    def origin(self):
        entry = self.entries.get(ORIGIN_KEY)
        return None if entry is None else decode_origin(entry.value)


# ---------------------------------------------------------------- the model


@dataclass(frozen=True)
class Note:
    """One line of paper: a triplet under one key."""

    first: int
    last: int
    wait: int
    tries: int = 1
    too_early: int = 0
    in_: bool = False
    """Has been let in."""
    alone: bool = False
    """… for its own patience, not beside another recipient."""
    until: int = 0


@dataclass
class Trust:
    count: int = 0
    counted: int = 0
    seen: int = 0
    keys: set[str] = field(default_factory=set)
    until: int = 0


class Paper:
    def __init__(self):
        self.notes: dict[str, Note] = {}
        self.trust: Trust | None = None

    def judge(self, now, policy, names, null_sender, beside):
        """(pass?, why, seconds to wait)."""
        if self.trust is not None:
            self._no_future_trust(now, policy)
        lines = [self._today(name, now) for name in names if name in self.notes]
        let_in = [note for note in lines if note.in_ and now <= note.last + policy.max_age]
        waiting = [note for note in lines if not note.in_ and now <= note.first + policy.retry_window]
        if let_in:
            self._known(now, policy, names, null_sender, max(let_in, key=lambda note: note.last))
            return True, "known", 0
        oldest = min(waiting, key=lambda note: note.first, default=None)
        if oldest is not None and now >= oldest.first + oldest.wait:
            oldest = replace(oldest, last=now, tries=oldest.tries + 1, in_=True, alone=True)
            self._write(policy, names, oldest)
            self._count(now, policy, names[0], null_sender)
            return True, "retry", 0
        before = oldest or Note(now, now, policy.delay, tries=0)
        let_in_now = replace(before, last=now, tries=before.tries + 1, in_=True)
        if not null_sender and self._trusted(now, policy):
            self._refresh(now, policy)
            self._write(policy, names, let_in_now)
            return True, "auto-whitelisted", 0
        if beside:
            self._write(policy, names, let_in_now)
            return True, "same-message", 0
        if oldest is not None:
            again = replace(oldest, last=now, tries=oldest.tries + 1, too_early=oldest.too_early + 1)
            self._write(policy, names, again)
            return False, "early", oldest.first + oldest.wait - now
        self._write(policy, names, Note(now, now, policy.delay))
        return False, "expired" if lines else "new", policy.delay

    def forget(self, now):
        self.notes = {name: note for name, note in self.notes.items() if note.until >= now}
        if self.trust is not None and self.trust.until < now:
            self.trust = None

    def _today(self, name, now):
        note = self.notes[name]
        return replace(note, first=min(note.first, now), last=min(note.last, now))

    def _known(self, now, policy, names, null_sender, note):
        if now > note.last + 3600:
            self._write(policy, names, replace(note, last=now, tries=note.tries + 1))
            if note.alone:
                self._count(now, policy, names[0], null_sender)
            elif not null_sender and self._trusted(now, policy):
                self._refresh(now, policy)
        elif not all(self._in_step(name, now) for name in names):
            self._write(policy, names, note)

    def _refresh(self, now, policy):
        if now > self.trust.seen + 3600:
            self.trust.seen, self.trust.until = now, now + policy.max_age

    def _in_step(self, name, now):
        note = self.notes.get(name)
        return note is not None and note.in_ and note.first <= now and now - 3600 <= note.last <= now

    def _write(self, policy, names, note):
        until = note.last + policy.max_age if note.in_ else note.first + policy.retry_window
        self.notes |= dict.fromkeys(names, replace(note, until=until))

    def _no_future_trust(self, now, policy):
        trust = self.trust
        if trust.counted > now or trust.seen > now:
            trust.counted, trust.seen = min(trust.counted, now), min(trust.seen, now)
            trust.until = trust.seen + policy.max_age

    def _trusted(self, now, policy):
        trust, enough = self.trust, policy.auto_whitelist_after
        if trust is None or not enough or now > trust.seen + policy.max_age:
            return False
        return trust.count >= enough and len(trust.keys) >= 2

    def _count(self, now, policy, key, null_sender):
        if null_sender or not policy.auto_whitelist_after:
            return
        if self.trust is None or now > self.trust.seen + policy.max_age:
            self.trust = Trust()
        trust = self.trust
        if trust.count and now < trust.counted + 3600:
            return
        trust.count += 1
        trust.keys.add(key)
        trust.counted = trust.seen = now
        trust.until = now + policy.max_age


POLICIES = [
    POLICY,
    replace(POLICY, delay=600),
    replace(POLICY, delay=0),
    replace(POLICY, delay=30, retry_window=7200, max_age=86_400),
    replace(POLICY, auto_whitelist_after=0),
    replace(POLICY, auto_whitelist_after=1, max_age=10 * 86_400),
]
MOMENTS = [
    0,
    1,
    30,
    60,
    119,
    120,
    121,
    599,
    600,
    HOUR - 1,
    HOUR,
    HOUR + 1,
    7200,
    WINDOW - 1,
    WINDOW,
    WINDOW + 1,
]
LONG = [86_400, 86_401, MAX_AGE - HOUR, MAX_AGE - 1, MAX_AGE, MAX_AGE + 1]
WAITS = st.sampled_from([*MOMENTS, *MOMENTS, *LONG]) | st.integers(0, 4 * HOUR)
KEYS = st.sampled_from([("a",), ("b",), ("c",), ("a", "b"), ("b", "a"), ("c", "a"), ("a", "b", "c")])
SELDOM = st.sampled_from([False, False, False, False, True])


class History(RuleBasedStateMachine):
    """One sender's attempts under several keys, whatever the clock and the configuration do."""

    @initialize()
    def begin(self):
        self.now = T
        self.policy = POLICY
        self.disk = Disk()
        self.paper = Paper()

    @rule(names=KEYS, null_sender=SELDOM, beside=SELDOM, after=WAITS)
    def attempt(self, names, null_sender, beside, after):
        self.now += after
        change = self.disk.ask(
            self.now, names, policy=self.policy, null_sender=null_sender, same_message=beside
        )
        verdict = change.value
        expected = self.paper.judge(self.now, self.policy, names, null_sender, beside)
        assert (verdict.action is Action.PASS, verdict.reason.value, verdict.retry_after) == expected
        assert change.durable == (not expected[0] or expected[1] == "retry")
        self.compare()

    @rule(names=KEYS, waits=st.lists(st.sampled_from([HOUR, HOUR + 1, 5000]), min_size=2, max_size=4))
    def regular(self, names, waits):
        """Mail every hour or so, so that trust can grow."""
        for after in waits:
            self.attempt(names, null_sender=False, beside=False, after=after)

    @rule(by=st.sampled_from([-1, -60, -HOUR - 1, -86_400, -MAX_AGE, -10 * MAX_AGE, 10 * MAX_AGE]))
    def clock_set(self, by):
        self.now = max(1, self.now + by)

    @rule(policy=st.sampled_from(POLICIES))
    def reload(self, policy):
        self.policy = policy

    @rule()
    def forget(self):
        self.disk.forget(self.now)
        self.paper.forget(self.now)
        self.compare()

    def compare(self):
        assert set(self.disk.entries) - {ORIGIN_KEY} == {record_key(name) for name in self.paper.notes}
        for name, note in self.paper.notes.items():
            record = self.disk.record(name)
            assert self.disk.entries[record_key(name)].keep_until == note.until
            assert (record.first_seen, record.last_seen, record.delay) == (note.first, note.last, note.wait)
            assert (record.attempts, record.early) == (note.tries, note.too_early)
            assert (bool(record.passed_at), record.earned) == (note.in_, note.alone)
        origin, trust = self.disk.origin(), self.paper.trust
        assert (origin is None) == (trust is None)
        if origin is not None:
            assert (origin.passes, origin.last_counted, origin.last_seen) == (
                trust.count,
                trust.counted,
                trust.seen,
            )
            assert origin.several_keys == (len(trust.keys) > 1)
            assert self.disk.entries[ORIGIN_KEY].keep_until == trust.until


TestHistory = History.TestCase
TestHistory.settings = settings(stateful_step_count=30)


# ---------------------------------------------------------------- any record a codec can produce

INTEGERS = st.integers(-(2**63), 2**64 - 1)
NEAR = st.one_of(
    st.sampled_from([*MOMENTS, *LONG]).flatmap(lambda n: st.sampled_from([T - n, T + n])),
    st.integers(T - 5 * MAX_AGE, T + MAX_AGE),
)
TIMES = NEAR | NEAR | INTEGERS
COUNTS = st.integers(0, 5) | INTEGERS
RECORDS = st.builds(
    Record,
    first_seen=TIMES,
    last_seen=TIMES,
    delay=st.sampled_from(MOMENTS) | INTEGERS,
    attempts=COUNTS,
    early=COUNTS,
    passed_at=st.just(0) | TIMES,
    passes=COUNTS,
    sender=st.text(max_size=3, alphabet="a\u00e9\udcff"),
)
ORIGINS = st.builds(OriginRecord, COUNTS, TIMES, TIMES, st.sampled_from([b"", b"a", b"b"]), st.booleans())
CASES = st.builds(
    Case,
    origin=st.just(Origin("o", named=False)),
    key=st.sampled_from([b"a", b"b"]),
    null_sender=st.booleans(),
    same_message=st.booleans(),
)
SEVERAL = st.lists(st.none() | RECORDS, max_size=4)
ANY_POLICY = st.sampled_from(POLICIES)
ANY_ORIGIN = st.none() | ORIGINS


@given(ANY_POLICY, CASES, ANY_ORIGIN, SEVERAL)
@example(POLICY, Case(Origin("o", named=False), b"a"), None, [Record(-(2**63), -(2**63), 2**64 - 1)])
@settings(max_examples=300)
def test_decide_never_raises_and_keeps_its_promises(policy, case, origin, records):
    decision = decide(policy, T, case, origin, records)
    verdict, record = decision.verdict, decision.record
    found = [record for record in records if record is not None]
    assert verdict.age >= 0
    assert verdict.reason in {
        Reason.NEW,
        Reason.EARLY,
        Reason.EXPIRED,
        Reason.RETRY,
        Reason.KNOWN,
        Reason.SAME_MESSAGE,
        Reason.AUTO_WHITELISTED,
    }
    if verdict.action is Action.DEFER:
        assert verdict.retry_after > 0 or policy.delay == 0
        assert record is not None
        assert decision.durable
    else:
        assert verdict.action is Action.PASS
        assert verdict.retry_after == 0
        assert decision.durable == (verdict.reason is Reason.RETRY)
    if verdict.reason is Reason.KNOWN:
        assert any(record.passed_at for record in found)
    if verdict.reason is Reason.RETRY:
        assert any(T - record.first_seen >= record.delay or record.delay <= 0 for record in found)
        assert verdict.age >= verdict.delay
    assert (verdict.reason is Reason.NEW) <= (not found)
    assert (verdict.reason is Reason.SAME_MESSAGE) <= case.same_message
    if record is not None:
        assert max(record.first_seen, record.last_seen, record.passed_at) <= T
        assert keep_until(policy, record) >= T
    if decision.origin_record is not None:
        assert max(decision.origin_record.last_counted, decision.origin_record.last_seen) <= T


@given(ANY_POLICY, CASES, ANY_ORIGIN, st.lists(st.none() | RECORDS, min_size=1, max_size=3))
def test_what_was_written_is_not_written_again(policy, case, origin, records):
    """The same attempt a moment later: a pass stays a pass, and a known sender costs no write."""
    decision = decide(policy, T, case, origin, records)
    assume(decision.verdict.action is Action.PASS and decision.verdict.reason is not Reason.AUTO_WHITELISTED)
    records = [decision.record or record for record in records]
    again = decide(policy, T, case, decision.origin_record or origin, records)
    assert again.verdict.reason is Reason.KNOWN
    assert (again.record, again.origin_record) == (None, None)


@given(CASES, st.permutations(range(3)), st.data())
def test_the_order_of_keys_makes_no_difference(case, order, data):
    """… unless two records tie; then the configured key speaks first."""
    firsts = data.draw(st.lists(st.integers(T - WINDOW - 9, T), min_size=3, max_size=3, unique=True))
    lasts = data.draw(st.lists(st.integers(T - MAX_AGE - 9, T), min_size=3, max_size=3, unique=True))
    records = [
        Record(first, max(first, last), DELAY, passed_at=data.draw(st.sampled_from([0, first + 1])))
        for first, last in zip(firsts, lasts, strict=True)
    ]
    assume(len({record.last_seen for record in records}) == 3)
    one = decide(POLICY, T, case, None, records)
    two = decide(POLICY, T, case, None, [records[place] for place in order])
    assert one == two


@given(ANY_POLICY, CASES, ANY_ORIGIN, SEVERAL, st.booleans())
def test_question_is_decide_over_the_codec(policy, case, origin, records, with_origin):
    assume(records)
    keys = tuple((Table.RECORD, bytes([n])) for n in range(len(records)))
    question = StoredDecision(policy, T, case, keys, ORIGIN_KEY if with_origin else None)
    values = [None if record is None else encode_record(record) for record in records]
    if with_origin:
        values.append(None if origin is None else encode_origin(origin))
    expected = decide(policy, T, case, origin if with_origin else None, records)
    try:
        change = question(values)
    except CodecError:
        assert 2**64 in largest(expected)
        return
    assert question(values) == change
    verdict = change.value if expected.verdict.from_home else replace(change.value, from_home=False)
    assert (verdict, change.durable) == (expected.verdict, expected.durable)
    written = {key: entry for key, entry in change.puts.items() if key != ORIGIN_KEY}
    assert written == ({} if expected.record is None else record_puts(policy, expected.record, keys))
    counted = change.puts.get(ORIGIN_KEY)
    assert (counted and decode_origin(counted.value)) == (expected.origin_record if with_origin else None)


def largest(decision):
    """Counters that may have outgrown what can be stored."""
    record, origin = decision.record, decision.origin_record
    numbers = [] if record is None else [record.attempts, record.early, record.passes]
    return numbers if origin is None else [*numbers, origin.passes]


@given(SEVERAL)
def test_a_passed_record_speaks_first_then_the_oldest(records):
    found = [record for record in records if record is not None]
    chosen = choose_record(records, T)
    assert (chosen is None) == (not found)
    if chosen is None:
        return
    assert bool(chosen.passed_at) == any(record.passed_at for record in found)
    if chosen.passed_at:
        assert chosen.last_seen == max(min(r.last_seen, T) for r in found if r.passed_at)
    else:
        assert chosen.first_seen == min(min(r.first_seen, T) for r in found)


# ---------------------------------------------------------------- histories


@given(
    st.lists(st.integers(0, 900), max_size=15),
    st.sampled_from([0, 1, 120, 600]),
    st.lists(st.sampled_from([0, 1, 60, 120, 600]), min_size=16, max_size=16),
)
def test_only_the_first_attempt_and_its_delay_decide_when_it_passes(gaps, delay, later_delays):
    """However often it retries, and whatever is configured meanwhile."""
    disk, at, passed = Disk(), 0, False
    assert disk.ask(T, "k", policy=replace(POLICY, delay=delay)).value.reason is Reason.NEW
    for gap, other in zip(gaps, later_delays, strict=False):
        at += gap
        verdict = disk.ask(T + at, "k", policy=replace(POLICY, delay=other)).value
        if passed:
            expected = (Reason.KNOWN, 0)
        elif at >= delay:
            expected, passed = (Reason.RETRY, 0), True
        else:
            expected = (Reason.EARLY, delay - at)
        assert (verdict.reason, verdict.retry_after) == expected
        assert disk.record("k").first_seen == T
        assert disk.record("k").delay == delay


@given(
    st.lists(st.tuples(st.integers(0, MAX_AGE - HOUR), KEYS.filter(lambda names: "a" in names)), max_size=12)
)
@example([(HOUR, ("a",)), (MAX_AGE - HOUR, ("a",))])
def test_who_passed_stays_passed_while_it_writes_often_enough(history):
    """The exact promise: max age less an hour, since last_seen is written only hourly."""
    disk, now = Disk(), T + DELAY
    disk.ask(T, "a")
    disk.ask(now, "a")
    for gap, names in history:
        now += gap
        disk.forget(now)
        assert (
            disk.ask(now, names, policy=replace(POLICY, auto_whitelist_after=0)).value.reason is Reason.KNOWN
        )


def test_the_promise_is_exact():
    """An attempt an hour after the last write is not noted: idle time then counts from the write."""
    for gap, reason in ((MAX_AGE - HOUR, Reason.KNOWN), (MAX_AGE - HOUR + 1, Reason.EXPIRED)):
        disk = Disk()
        disk.ask(T, "k")
        disk.ask(T + DELAY, "k")
        assert disk.ask(T + DELAY + HOUR, "k").puts == {}
        assert disk.ask(T + DELAY + HOUR + gap, "k").value.reason is reason


HISTORIES = st.lists(st.tuples(WAITS, KEYS, SELDOM, SELDOM), max_size=15)


def play(history, *, forgetful=False):
    disk, now, changes = Disk(), T, []
    for gap, names, null_sender, beside in history:
        now += gap
        if forgetful:
            disk.forget(now)
        changes.append(disk.ask(now, names, null_sender=null_sender, same_message=beside))
    return disk, changes


@given(HISTORIES)
def test_the_same_history_gives_the_same_verdicts(history):
    one, two = play(history), play(history)
    assert one[1] == two[1]
    assert one[0].entries == two[0].entries


@given(HISTORIES)
@example([(0, ("a",), False, False), (MAX_AGE, ("b",), False, False), (DELAY, ("a", "b"), False, False)])
def test_when_the_store_forgets_changes_no_answer(history):
    """Forgetting is housekeeping: what may be forgotten decides nothing any more."""
    (_, kept), (_, forgot) = play(history), play(history, forgetful=True)
    for one, two in zip(kept, forgot, strict=True):
        assert one.value.action is two.value.action
        assert one.value.retry_after == two.value.retry_after
        assert one.durable == two.durable
        if one.value.reason is not Reason.EXPIRED:
            assert one.value.reason is two.value.reason


@given(HISTORIES)
def test_trust_grows_at_most_once_an_hour(history):
    disk, now, counts = Disk(), T, []
    for gap, names, null_sender, beside in history:
        now += gap
        before = disk.origin() or OriginRecord()
        change = disk.ask(now, names, null_sender=null_sender, same_message=beside)
        after = disk.origin() or OriginRecord()
        if after.last_counted != before.last_counted:
            assert change.value.reason in {Reason.RETRY, Reason.KNOWN}
            assert not null_sender
            assert after.passes == before.passes + 1 or after.passes == 1
            counts.append(now)
        else:
            assert after.passes == before.passes
    assert all(later - earlier >= HOUR for earlier, later in pairwise(counts))


FRESH = st.builds(
    Record,
    first_seen=st.integers(T - MAX_AGE, T + 1),
    last_seen=st.integers(T - HOUR - 1, T + 1),
    delay=st.just(120),
    attempts=st.integers(1, 5),
    passed_at=st.sampled_from([0, T - 5, T, T + 1]),
)


@given(ANY_POLICY, CASES, st.lists(st.none() | FRESH | RECORDS, max_size=3))
@settings(max_examples=500)
def test_known_at_once_is_what_decide_would_say_and_write(policy, case, records):
    stored = [None if record is None else encode_record(record) for record in records]
    times = passed_times(stored)
    verdict = None if times is None else known_at_once(policy, T, times)
    decision = decide(policy, T, case, None, records)
    nothing_to_write = decision.record is None and decision.origin_record is None
    if verdict is not None:
        assert (verdict, nothing_to_write) == (decision.verdict, True)
    else:
        assert not (decision.verdict.reason is Reason.KNOWN and nothing_to_write)


def test_known_at_once_refuses_what_cannot_be_read():
    with pytest.raises(CodecError):
        passed_times([b"nonsense"])
