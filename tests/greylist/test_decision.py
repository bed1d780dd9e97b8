"""The decision as tables: what is known, what time it is, what comes out and what is written."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import NamedTuple

import pytest

from multigrey.codec import decode_origin, encode_origin, encode_record
from multigrey.errors import CodecError, NewerFormatError
from multigrey.greylist.decision import Decision, decide
from multigrey.greylist.policy import Case, Policy
from multigrey.greylist.record_choice import choose_record, keep_until
from multigrey.greylist.stored_decision import StoredDecision, record_puts
from multigrey.model import HOUR, Action, Entry, Origin, OriginRecord, Reason, Record, Table

T = 1_000_000_000
DELAY = 120
WINDOW = 2 * 86_400
MAX_AGE = 36 * 86_400
DAY = 86_400

PASS, DEFER = Action.PASS, Action.DEFER
NEW, EARLY, EXPIRED, RETRY = Reason.NEW, Reason.EARLY, Reason.EXPIRED, Reason.RETRY
KNOWN, SAME, TRUSTED = Reason.KNOWN, Reason.SAME_MESSAGE, Reason.AUTO_WHITELISTED

POLICY = Policy(delay=DELAY, retry_window=WINDOW, max_age=MAX_AGE, auto_whitelist_after=5)
SHOWN = {
    "client": "192.0.2.1",
    "sender": "alice@example.org",
    "recipient": "bob@example.net",
    "origin": "192.0.2.0/24",
}
CASE = Case(
    origin=Origin("192.0.2.0/24", named=False),
    key=b"first key digest",
    client=SHOWN["client"],
    sender=SHOWN["sender"],
    recipient=SHOWN["recipient"],
)
OTHER_KEY = b"other key digest"


def pending(first, last=None, *, delay=DELAY, attempts=1, early=0):
    """A record that never passed; times relative to T."""
    last = first if last is None else last
    return Record(T + first, T + last, delay, attempts, early, 0, 0, **SHOWN)


def passed(first, at, last=None, *, delay=DELAY, attempts=2, early=0, passes=1):
    """A record that passed; times relative to T.  `passes` 0: together with another recipient."""
    last = at if last is None else last
    return Record(T + first, T + last, delay, attempts, early, T + at, passes, **SHOWN)


def judge(at, *records, case=CASE, policy=POLICY, origin=None):
    return decide(policy, T + at, case, origin, records)


class Row(NamedTuple):
    name: str
    at: int
    records: tuple[Record | None, ...]
    action: Action
    reason: Reason
    retry_after: int
    written: Record | None
    """Under every key."""
    durable: bool


DEAD = MAX_AGE + 1
RETRIED = {"attempts": 2}

TABLE = [
    # the delay
    Row("nothing known", 0, (None,), DEFER, NEW, 120, pending(0), True),
    Row("no key at all", 0, (), DEFER, NEW, 120, pending(0), True),
    Row(
        "again in the same second",
        0,
        (pending(0),),
        DEFER,
        EARLY,
        120,
        pending(0, 0, attempts=2, early=1),
        True,
    ),
    Row("a second short", 119, (pending(0),), DEFER, EARLY, 1, pending(0, 119, attempts=2, early=1), True),
    Row("exactly the delay", 120, (pending(0),), PASS, RETRY, 0, passed(0, 120), True),
    Row("a second over", 121, (pending(0),), PASS, RETRY, 0, passed(0, 121), True),
    Row(
        "third early retry: first seen stays",
        100,
        (pending(0, 80, attempts=3, early=2),),
        DEFER,
        EARLY,
        20,
        pending(0, 100, attempts=4, early=3),
        True,
    ),
    Row(
        "early retries don't put off the pass",
        120,
        (pending(0, 119, attempts=9, early=8),),
        PASS,
        RETRY,
        0,
        passed(0, 120, attempts=10, early=8),
        True,
    ),
    # the delay of the record, not of the policy, holds
    Row(
        "record waits longer",
        120,
        (pending(0, delay=600),),
        DEFER,
        EARLY,
        480,
        pending(0, 120, delay=600, attempts=2, early=1),
        True,
    ),
    Row(
        "record's longer delay over",
        600,
        (pending(0, delay=600),),
        PASS,
        RETRY,
        0,
        passed(0, 600, delay=600),
        True,
    ),
    Row("record waits less", 30, (pending(0, delay=30),), PASS, RETRY, 0, passed(0, 30, delay=30), True),
    Row("record's delay is 0", 0, (pending(0, delay=0),), PASS, RETRY, 0, passed(0, 0, delay=0), True),
    # the retry window
    Row("last second of the window", WINDOW, (pending(0),), PASS, RETRY, 0, passed(0, WINDOW), True),
    Row("window over", WINDOW + 1, (pending(0),), DEFER, EXPIRED, 120, pending(WINDOW + 1), True),
    Row(
        "early retries don't stretch the window",
        WINDOW + 1,
        (pending(0, WINDOW, delay=WINDOW + 9, attempts=7, early=6),),
        DEFER,
        EXPIRED,
        120,
        pending(WINDOW + 1),
        True,
    ),
    Row(
        "a new delay when it starts again",
        WINDOW + 1,
        (pending(0, delay=600),),
        DEFER,
        EXPIRED,
        120,
        pending(WINDOW + 1),
        True,
    ),
    # known
    Row("at once after the pass", 120, (passed(0, 120),), PASS, KNOWN, 0, None, False),
    Row("an hour later, to the second", 120 + HOUR, (passed(0, 120),), PASS, KNOWN, 0, None, False),
    Row(
        "more than an hour later",
        121 + HOUR,
        (passed(0, 120),),
        PASS,
        KNOWN,
        0,
        passed(0, 120, 121 + HOUR, attempts=3, passes=2),
        False,
    ),
    Row(
        "idle exactly max age",
        120 + MAX_AGE,
        (passed(0, 120),),
        PASS,
        KNOWN,
        0,
        passed(0, 120, 120 + MAX_AGE, attempts=3, passes=2),
        False,
    ),
    Row("idle longer", 121 + MAX_AGE, (passed(0, 120),), DEFER, EXPIRED, 120, pending(121 + MAX_AGE), True),
    Row(
        "idle counts from the last, not the first pass",
        MAX_AGE + 400,
        (passed(0, 120, 400),),
        PASS,
        KNOWN,
        0,
        passed(0, 120, MAX_AGE + 400, attempts=3, passes=2),
        False,
    ),
    Row(
        "known before its delay is over",
        10,
        (passed(0, 5, delay=600, passes=0),),
        PASS,
        KNOWN,
        0,
        None,
        False,
    ),
    Row(
        "passed with another recipient: known, but no pass of its own",
        121 + HOUR,
        (passed(0, 120, passes=0),),
        PASS,
        KNOWN,
        0,
        passed(0, 120, 121 + HOUR, attempts=3, passes=0),
        False,
    ),
    # the clock went back
    Row(
        "first seen in the future",
        0,
        (pending(500),),
        DEFER,
        EARLY,
        120,
        pending(0, 0, attempts=2, early=1),
        True,
    ),
    Row(
        "first seen in the future, no delay",
        0,
        (pending(500, delay=0),),
        PASS,
        RETRY,
        0,
        passed(0, 0, delay=0),
        True,
    ),
    Row(
        "last seen in the future",
        60,
        (pending(0, 100),),
        DEFER,
        EARLY,
        60,
        pending(0, 60, attempts=2, early=1),
        True,
    ),
    Row("last seen in the future, delay over", 150, (pending(0, 200),), PASS, RETRY, 0, passed(0, 150), True),
    Row("known, passed in the future", 0, (passed(-120, 500),), PASS, KNOWN, 0, passed(-120, 0), False),
    Row(
        "known, all of it in the future",
        -9999,
        (passed(0, 120, 300),),
        PASS,
        KNOWN,
        0,
        passed(-9999, -9999),
        False,
    ),
    Row(
        "known, first seen in the future only", 0, (passed(500, -10),), PASS, KNOWN, 0, passed(0, -10), False
    ),
    Row(
        "known, far in the future",
        0,
        (passed(10 * MAX_AGE, 10 * MAX_AGE),),
        PASS,
        KNOWN,
        0,
        passed(0, 0),
        False,
    ),
    # several keys: passed wins, else the oldest; written under every key
    Row("new under both", 0, (None, None), DEFER, NEW, 120, pending(0), True),
    Row("known under the second only", 200, (None, passed(0, 120)), PASS, KNOWN, 0, passed(0, 120), False),
    Row("known under both", 200, (passed(0, 120), passed(0, 120)), PASS, KNOWN, 0, None, False),
    Row("passed wins over older", 200, (pending(-50), passed(0, 120)), PASS, KNOWN, 0, passed(0, 120), False),
    Row(
        "passed wins, other order", 200, (passed(0, 120), pending(-50)), PASS, KNOWN, 0, passed(0, 120), False
    ),
    Row("the oldest of two", 120, (pending(60), pending(0)), PASS, RETRY, 0, passed(0, 120), True),
    Row("the oldest, other order", 120, (pending(0), pending(60)), PASS, RETRY, 0, passed(0, 120), True),
    Row(
        "the oldest of three is early",
        119,
        (pending(60), None, pending(0, 5)),
        DEFER,
        EARLY,
        1,
        pending(0, 119, attempts=2, early=1),
        True,
    ),
    Row(
        "the oldest after both clocks are settled: first listed",
        0,
        (pending(500, attempts=4), pending(300, attempts=7)),
        DEFER,
        EARLY,
        120,
        pending(0, 0, attempts=5, early=1),
        True,
    ),
    Row("last used of two passed", 200, (passed(0, 120), passed(0, 130)), PASS, KNOWN, 0, None, False),
    Row(
        "the last used of two passed is written",
        200 + HOUR,
        (passed(0, 120), passed(-9, 130, delay=7)),
        PASS,
        KNOWN,
        0,
        passed(-9, 130, 200 + HOUR, delay=7, attempts=3, passes=2),
        False,
    ),
    # a record that nothing could come of any more never hides one that counts
    Row(
        "dead passed, live pending",
        DEAD + 130,
        (passed(0, 120), pending(DEAD + 10)),
        PASS,
        RETRY,
        0,
        passed(DEAD + 10, DEAD + 130),
        True,
    ),
    Row(
        "live pending, dead passed",
        DEAD + 129,
        (pending(DEAD + 10), passed(0, 120)),
        DEFER,
        EARLY,
        1,
        pending(DEAD + 10, DEAD + 129, attempts=2, early=1),
        True,
    ),
    Row(
        "dead pending, live pending",
        WINDOW + 121,
        (pending(0), pending(WINDOW + 1)),
        PASS,
        RETRY,
        0,
        passed(WINDOW + 1, WINDOW + 121),
        True,
    ),
    Row(
        "dead passed, dead pending",
        DEAD + 120,
        (passed(0, 120), pending(7)),
        DEFER,
        EXPIRED,
        120,
        pending(DEAD + 120),
        True,
    ),
    Row(
        "dead pending, live passed",
        WINDOW + 9,
        (pending(0), passed(WINDOW, WINDOW)),
        PASS,
        KNOWN,
        0,
        passed(WINDOW, WINDOW),
        False,
    ),
    Row(
        "dead passed, pending in the last second of its window",
        DEAD + 120,
        (passed(0, 120), pending(DEAD + 120 - WINDOW)),
        PASS,
        RETRY,
        0,
        passed(DEAD + 120 - WINDOW, DEAD + 120),
        True,
    ),
    Row(
        "dead passed, nothing",
        DEAD + 120,
        (passed(0, 120), None),
        DEFER,
        EXPIRED,
        120,
        pending(DEAD + 120),
        True,
    ),
    # known, but not in step under every key
    Row(
        "fresh here, stale there",
        2 * HOUR,
        (passed(0, 120, HOUR + 5), passed(0, 120)),
        PASS,
        KNOWN,
        0,
        passed(0, 120, HOUR + 5),
        False,
    ),
    Row(
        "fresh here, dead there",
        DEAD + 200,
        (passed(0, 120, DEAD + 100), passed(0, 120)),
        PASS,
        KNOWN,
        0,
        passed(0, 120, DEAD + 100),
        False,
    ),
    Row(
        "both seen within the hour",
        HOUR + 120,
        (passed(0, 120), passed(0, 120, HOUR)),
        PASS,
        KNOWN,
        0,
        None,
        False,
    ),
    Row(
        "in the future under one key only",
        200,
        (passed(0, 120), passed(0, 120, 999)),
        PASS,
        KNOWN,
        0,
        passed(0, 120, 200),
        False,
    ),
]


@pytest.mark.parametrize("row", TABLE, ids=[row.name for row in TABLE])
def test_table(row):
    decision = judge(row.at, *row.records)
    verdict = decision.verdict
    assert (verdict.action, verdict.reason, verdict.retry_after) == (row.action, row.reason, row.retry_after)
    assert decision.record == row.written
    assert decision.durable is row.durable
    assert not verdict.observed
    assert verdict.rule == verdict.text == verdict.detail == ""
    assert verdict.match is None


NUMBERS = [
    # name, at, record, (delay, age, attempts) of the verdict
    ("new", 0, None, (120, 0, 1)),
    ("early", 60, pending(0, delay=600, attempts=3), (600, 60, 4)),
    ("retry", 700, pending(0, delay=600, attempts=3), (600, 700, 4)),
    ("known, not written", 700, passed(0, 650, delay=600, attempts=4), (600, 700, 4)),
    ("known, written", 9000, passed(0, 650, delay=600, attempts=4), (600, 9000, 4)),
    ("expired", WINDOW + 1, pending(0, delay=600, attempts=3), (120, 0, 1)),
]


@pytest.mark.parametrize(("name", "at", "record", "expected"), NUMBERS, ids=[row[0] for row in NUMBERS])
def test_numbers_of_the_verdict(name, at, record, expected):
    verdict = judge(at, record).verdict
    assert (verdict.delay, verdict.age, verdict.attempts) == expected


def test_what_a_record_shows_stays_when_another_client_brings_the_retry():
    first = replace(pending(0), client="198.51.100.9", sender="x@example.com", origin="198.51.100.0/24")
    record = judge(120, first).record
    assert (record.client, record.sender, record.origin) == (
        "198.51.100.9",
        "x@example.com",
        "198.51.100.0/24",
    )


def test_an_address_is_shown_as_text():
    record = judge(0, None, case=replace(CASE, client=ip_address("2001:db8::1"))).record
    assert record.client == "2001:db8::1"


def test_a_delay_of_0_still_asks_to_come_back_once():
    policy = replace(POLICY, delay=0)
    first = judge(0, None, policy=policy)
    assert (first.verdict.action, first.verdict.reason, first.verdict.retry_after) == (DEFER, NEW, 0)
    second = judge(0, first.record, policy=policy)
    assert (second.verdict.action, second.verdict.reason) == (PASS, RETRY)
    assert second.record.earned


def test_an_idle_record_starts_again_even_within_the_retry_window():
    policy = replace(POLICY, max_age=3600)
    decision = judge(3721, passed(0, 120), policy=policy)
    assert (decision.verdict.reason, decision.record) == (EXPIRED, pending(3721))


def test_an_hour_is_an_hour():
    assert HOUR == 3600


def test_records_are_kept_as_long_as_they_can_count():
    assert keep_until(POLICY, pending(5)) == T + 5 + WINDOW
    assert keep_until(POLICY, pending(5, 60)) == T + 5 + WINDOW
    assert keep_until(POLICY, passed(0, 120, 300)) == T + 300 + MAX_AGE


@pytest.mark.parametrize(
    ("records", "chosen"),
    [
        ((), None),
        ((None, None), None),
        ((None, pending(3)), pending(3)),
        ((pending(3), pending(2), pending(4)), pending(2)),
        ((pending(3, attempts=1), pending(3, attempts=2)), pending(3, attempts=1)),
        ((passed(0, 9, 50), pending(-5), passed(0, 9, 60)), passed(0, 9, 60)),
        ((passed(0, 9, attempts=5), passed(1, 9)), passed(0, 9, attempts=5)),
        ((pending(1500),), pending(1000)),
        ((pending(0, 1500),), pending(0, 1000)),
        ((passed(900, 1200, 1500),), passed(900, 1000)),
        ((passed(-5, 1200, 800),), passed(-5, 1000, 800)),
    ],
)
def test_choose_record(records, chosen):
    assert choose_record(records, T + 1000) == chosen


# ---------------------------------------------------------------- same message

BESIDE = replace(CASE, same_message=True)

SAME_MESSAGE = [
    ("a new recipient", 0, (None,), SAME, passed(0, 0, attempts=1, passes=0), (120, 0, 1)),
    ("under every key", 0, (None, None), SAME, passed(0, 0, attempts=1, passes=0), (120, 0, 1)),
    ("an early one", 60, (pending(0),), SAME, passed(0, 60, passes=0), (120, 60, 2)),
    (
        "an early one with its own delay",
        60,
        (pending(0, delay=99),),
        SAME,
        passed(0, 60, delay=99, passes=0),
        (99, 60, 2),
    ),
    ("one that is due is a retry", 120, (pending(0),), RETRY, passed(0, 120), (120, 120, 2)),
    ("one that is known is known", 130, (passed(0, 120),), KNOWN, None, (120, 130, 2)),
    (
        "one past the window",
        WINDOW + 1,
        (pending(0),),
        SAME,
        passed(WINDOW + 1, WINDOW + 1, attempts=1, passes=0),
        (120, 0, 1),
    ),
    (
        "one idle for too long",
        DEAD + 120,
        (passed(0, 120),),
        SAME,
        passed(DEAD + 120, DEAD + 120, attempts=1, passes=0),
        (120, 0, 1),
    ),
    (
        "one with odd figures",
        60,
        (replace(pending(0), passes=3),),
        SAME,
        passed(0, 60, passes=0),
        (120, 60, 2),
    ),
    ("one from the future", 0, (pending(50),), SAME, passed(0, 0, passes=0), (120, 0, 2)),
]


@pytest.mark.parametrize(
    ("name", "at", "records", "reason", "written", "numbers"),
    SAME_MESSAGE,
    ids=[row[0] for row in SAME_MESSAGE],
)
def test_same_message(name, at, records, reason, written, numbers):
    decision = judge(at, *records, case=BESIDE)
    verdict = decision.verdict
    assert (verdict.action, verdict.reason, verdict.retry_after) == (PASS, reason, 0)
    assert decision.record == written
    assert (verdict.delay, verdict.age, verdict.attempts) == numbers
    assert decision.durable is (reason is RETRY)
    if reason is SAME:
        assert decision.origin_record is None
        assert not decision.record.earned


# ---------------------------------------------------------------- auto-whitelist


def proven(passes=5, counted=-DAY, seen=None, *, several=True, first=CASE.key):
    seen = counted if seen is None else seen
    return OriginRecord(passes, T + counted, T + seen, first, several)


NULL = replace(CASE, null_sender=True)
NEVER = replace(POLICY, auto_whitelist_after=0)
ONCE = replace(POLICY, auto_whitelist_after=1)

TRUST = [
    # name, origin record, case, policy, reason at T with nothing else known
    ("proven", proven(), CASE, POLICY, TRUSTED),
    ("proven more than once over", proven(50), CASE, POLICY, TRUSTED),
    ("one pass short", proven(4), CASE, POLICY, NEW),
    ("always the same key", proven(50, several=False), CASE, POLICY, NEW),
    ("unknown", None, CASE, POLICY, NEW),
    ("idle exactly max age", proven(counted=-MAX_AGE), CASE, POLICY, TRUSTED),
    ("idle longer", proven(counted=-DEAD), CASE, POLICY, NEW),
    ("counted long ago, seen lately", proven(counted=-DEAD, seen=-DAY), CASE, POLICY, TRUSTED),
    ("null sender", proven(), NULL, POLICY, NEW),
    ("switched off", proven(), CASE, NEVER, NEW),
    ("switched off, nothing counted", proven(0), CASE, NEVER, NEW),
    ("one is enough, but not of one key", proven(1, several=False), CASE, ONCE, NEW),
    ("one is enough", proven(1), CASE, ONCE, TRUSTED),
    ("in the future", proven(counted=DAY), CASE, POLICY, TRUSTED),
    ("beside a recipient of the same message", proven(), BESIDE, POLICY, TRUSTED),
]


@pytest.mark.parametrize(("name", "origin", "case", "policy", "reason"), TRUST, ids=[row[0] for row in TRUST])
def test_whether_an_origin_is_trusted(name, origin, case, policy, reason):
    decision = judge(0, None, case=case, policy=policy, origin=origin)
    assert decision.verdict.reason is reason
    if reason is TRUSTED:
        assert decision.verdict.action is PASS
        assert decision.verdict.retry_after == 0
        assert decision.record is not None, "the pair is known from now on"
        assert (decision.record.passed_at, decision.record.passes, decision.record.attempts) == (T, 0, 1)
        assert not decision.durable
    else:
        assert decision.origin_record is None


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ((pending(-10),), TRUSTED),
        ((pending(-WINDOW - 1),), TRUSTED),
        ((passed(-DEAD - 120, -DEAD),), TRUSTED),
        ((pending(-120),), RETRY),
        ((passed(-DAY, -DAY + 120),), KNOWN),
    ],
    ids=["early", "past the window", "idle", "due", "known"],
)
def test_trust_beside_what_is_known_of_the_triplet(records, reason):
    assert judge(0, *records, origin=proven()).verdict.reason is reason


REFRESH = [
    ("seen within the hour", proven(seen=-HOUR), None),
    ("seen longer ago", proven(seen=-HOUR - 1), proven(seen=0)),
    ("seen in the future", proven(seen=5), proven(seen=0)),
    ("counted in the future", proven(counted=999, seen=0), proven(counted=0, seen=0)),
]


@pytest.mark.parametrize(("name", "origin", "written"), REFRESH, ids=[row[0] for row in REFRESH])
def test_an_auto_whitelisted_pass_refreshes_its_origin_hourly(name, origin, written):
    decision = judge(0, None, origin=origin)
    assert decision.verdict.reason is TRUSTED
    assert decision.origin_record == written


ONE = OriginRecord(1, T, T, CASE.key, several_keys=False)
DUE = pending(-120)
STALE = passed(-DAY, -DAY + 120)
STALE_BESIDE = passed(-DAY, -DAY + 120, passes=0)
OTHER = replace(CASE, key=OTHER_KEY)

COUNT = [
    # name, record, origin record before, case, policy, origin record written
    ("the first retry", DUE, None, CASE, POLICY, ONE),
    ("a known pass, hourly", STALE, None, CASE, POLICY, ONE),
    ("a known pass within the hour", passed(-HOUR - 120, -HOUR), None, CASE, POLICY, None),
    ("known through another recipient", STALE_BESIDE, None, CASE, POLICY, None),
    ("an early retry", pending(-119), None, CASE, POLICY, None),
    ("a first attempt", None, proven(2), CASE, POLICY, None),
    ("same key again", DUE, proven(1, several=False), CASE, POLICY, replace(ONE, passes=2)),
    (
        "a second key",
        DUE,
        proven(1, several=False),
        OTHER,
        POLICY,
        OriginRecord(2, T, T, CASE.key, several_keys=True),
    ),
    ("a second key stays", DUE, proven(7), CASE, POLICY, OriginRecord(8, T, T, CASE.key, several_keys=True)),
    (
        "an hour after the last",
        DUE,
        proven(2, -HOUR),
        CASE,
        POLICY,
        OriginRecord(3, T, T, CASE.key, several_keys=True),
    ),
    ("a second short of an hour", DUE, proven(2, -HOUR + 1), CASE, POLICY, None),
    (
        "just refreshed, but not counted",
        DUE,
        proven(6, -DAY, -1),
        CASE,
        POLICY,
        OriginRecord(7, T, T, CASE.key, several_keys=True),
    ),
    (
        "idle exactly max age",
        DUE,
        proven(2, -MAX_AGE),
        OTHER,
        POLICY,
        OriginRecord(3, T, T, CASE.key, several_keys=True),
    ),
    ("idle longer: forgotten", DUE, proven(9, -DEAD), OTHER, POLICY, replace(ONE, first_key=OTHER_KEY)),
    ("null sender", DUE, None, NULL, POLICY, None),
    ("null sender, proven origin", DUE, proven(), NULL, POLICY, None),
    ("switched off", DUE, None, CASE, NEVER, None),
    ("counted in the future: an hour from now on", DUE, proven(2, DAY), CASE, POLICY, proven(2, 0)),
    (
        "seen in the future only",
        DUE,
        proven(2, -DAY, 60),
        CASE,
        POLICY,
        OriginRecord(3, T, T, CASE.key, several_keys=True),
    ),
    ("future and a first attempt", None, proven(2, DAY), CASE, POLICY, proven(2, 0)),
    ("future and an early retry", pending(-1), proven(2, DAY), CASE, POLICY, proven(2, 0)),
    ("future and known", passed(-HOUR - 120, -HOUR), proven(2, -DAY, 3), CASE, POLICY, proven(2, -DAY, 0)),
]


@pytest.mark.parametrize(
    ("name", "record", "origin", "case", "policy", "written"), COUNT, ids=[row[0] for row in COUNT]
)
def test_what_counts_for_an_origin(name, record, origin, case, policy, written):
    assert judge(0, record, case=case, policy=policy, origin=origin).origin_record == written


def test_an_earned_record_stays_earned_when_the_clock_goes_back():
    earned = judge(120, pending(0)).record
    settled = judge(-5000, earned).record
    assert settled.last_seen == T - 5000
    later = judge(-5000 + HOUR + 1, settled)
    assert later.verdict.reason is KNOWN
    assert later.origin_record == OriginRecord(1, later.record.last_seen, later.record.last_seen, CASE.key)


def test_an_early_recipient_that_passed_with_another_never_counts():
    beside = judge(60, pending(0), case=BESIDE).record
    for hours in range(1, 5):
        decision = judge(60 + hours * (HOUR + 1), beside)
        assert (decision.verdict.reason, decision.origin_record) == (KNOWN, None)
        beside = decision.record


def test_five_passes_of_two_keys_over_five_hours_make_trust():
    """The story of issue and man page, with every write played back."""
    origin, records, reasons = None, {}, []
    for n, (at, key) in enumerate(
        [
            (0, "a"),
            (120, "a"),
            (200, "b"),
            (400, "b"),
            (4000, "a"),
            (8000, "b"),
            (12_000, "a"),
            (16_000, "a"),
            (20_000, "c"),
        ]
    ):
        case = replace(CASE, key=key.encode())
        decision = judge(at, records.get(key), case=case, origin=origin)
        records[key] = decision.record or records.get(key)
        origin = decision.origin_record or origin
        reasons.append((n, decision.verdict.reason, origin.passes if origin else 0))
    assert reasons == [
        (0, NEW, 0),
        (1, RETRY, 1),
        (2, NEW, 1),
        (3, RETRY, 1),  # within the hour
        (4, KNOWN, 2),
        (5, KNOWN, 3),
        (6, KNOWN, 4),
        (7, KNOWN, 5),
        (8, TRUSTED, 5),
    ]


# ---------------------------------------------------------------- Question: the same over stored bytes

FIRST, SECOND = (Table.RECORD, b"1" * 16), (Table.RECORD, b"2" * 16)
ORIGIN = (Table.ORIGIN, b"3" * 16)


def question(at, *, keys=(FIRST, SECOND), origin=ORIGIN, case=CASE, policy=POLICY):
    return StoredDecision(policy, T + at, case, keys, origin)


def test_question_reads_record_keys_then_the_origin():
    assert question(0).keys == (FIRST, SECOND, ORIGIN)
    assert question(0, origin=None).keys == (FIRST, SECOND)


def test_question_writes_the_result_under_every_key():
    change = question(60)([None, encode_record(pending(0)), None])
    assert change.value.reason is EARLY
    assert change.puts == record_puts(POLICY, pending(0, 60, attempts=2, early=1), (FIRST, SECOND))
    assert change.durable


def test_question_writes_the_origin_with_the_first_pass():
    change = question(120)([encode_record(pending(0)), None, encode_origin(proven(2))])
    known = record_puts(POLICY, passed(0, 120), (FIRST, SECOND))
    counted = Entry(encode_origin(OriginRecord(3, T + 120, T + 120, CASE.key, True)), T + 120 + MAX_AGE)
    assert change.puts == {**known, ORIGIN: counted}
    assert change.durable


def test_question_without_an_origin_key_counts_nothing():
    change = question(120, origin=None)([None, encode_record(pending(0))])
    assert change.value.reason is RETRY
    assert set(change.puts) == {FIRST, SECOND}


def test_question_of_a_known_sender_writes_nothing():
    stored = encode_record(passed(0, 120))
    change = question(200)([stored, stored, None])
    assert (change.value.reason, change.puts, change.durable) == (KNOWN, {}, False)


def test_question_refreshes_a_trusted_origin():
    change = question(0)([None, None, encode_origin(proven())])
    assert change.value.reason is TRUSTED
    assert set(change.puts) == {FIRST, SECOND, ORIGIN}
    assert change.puts[ORIGIN] == Entry(encode_origin(proven(seen=0)), T + MAX_AGE)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    ("value", "error"), [(b"", CodecError), (b"\x91\x01", CodecError), (b"\x91\x7f", NewerFormatError)]
)
def test_question_refuses_what_it_cannot_read(place, value, error):
    values = [None, None, None]
    values[place] = value
    with pytest.raises(error):
        question(0)(values)


def test_question_reports_a_counter_that_no_longer_fits():
    full = encode_record(pending(0, attempts=2**64 - 1))
    with pytest.raises(CodecError):
        question(60)([full, None, None])


def test_what_question_writes_decodes_to_what_decide_says():
    stored = [encode_record(STALE), None, encode_origin(proven(3, several=False))]
    change = question(0, case=OTHER)(stored)
    decision = judge(0, STALE, None, case=OTHER, origin=proven(3, several=False))
    assert isinstance(decision, Decision)
    assert change.value == decision.verdict
    written = {key: entry for key, entry in change.puts.items() if key != ORIGIN}
    assert written == record_puts(POLICY, decision.record, (FIRST, SECOND))
    assert decode_origin(change.puts[ORIGIN].value) == decision.origin_record
