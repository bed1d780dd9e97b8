"""The decision where origins have a say: patience, proven origins, observed attempts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from multigrey.greylist.decision import decide
from multigrey.greylist.policy import Case, Policy
from multigrey.greylist.reputation import Proof
from multigrey.model import DAY, Action, Origin, OriginRecord, Reason, Record, Reputation

FIRST = 12_000
T = FIRST * DAY
PROOF = Proof(resolved=20, domains=9, percent=95)
POLICY = Policy(delay=120, retry_window=2 * DAY, max_age=36 * DAY, auto_whitelist_after=5, proof=PROOF)
UNNAMED = replace(POLICY, delay=180, patience=300)
NAMED = Case(Origin("example.org", named=True), b"\x80 a key", mark_of=lambda _: b"domain mark")
CLIENT = Case(Origin("192.0.2.0/24", named=False), b"\x80 a key")
MARKS = tuple((bytes([number] * 4), FIRST - 5) for number in range(9))
GOOD = Reputation(days=((FIRST - 5, 20, 20),), domains=MARKS, last_seen=T)
BAD = Reputation(days=((FIRST - 5, 100, 20),), domains=MARKS, last_seen=T)


def played(policy, case, times):
    """The verdicts of one triplet asked about at these seconds."""
    record, verdicts = None, []
    for at in times:
        decision = decide(policy, T + at, case, None, [record])
        record = decision.record or record
        verdicts.append(decision.verdict)
    return verdicts


@pytest.mark.parametrize(
    ("times", "actions"),
    [
        # impatient, but known by name: four tries in ten minutes
        ([0, 60, 180], "ddp"),
        ([0, 60, 120], "ddp"),
    ],
)
def test_a_named_origin_waits_its_delay_only(times, actions):
    assert [verdict.action.value[0] for verdict in played(POLICY, NAMED, times)] == list(actions)


@pytest.mark.parametrize("every", [20, 30, 45, 60])
def test_who_retries_for_four_minutes_without_a_name_gets_nowhere(every):
    verdicts = played(UNNAMED, CLIENT, range(0, 241, every))
    assert {verdict.action for verdict in verdicts} == {Action.DEFER}


@pytest.mark.parametrize(
    ("times", "delays"),
    [
        ([0, 1], [180, 180]),
        ([0, 1, 2, 3, 4], [180, 180, 240, 300, 300]),
        ([0, 100, 200], [180, 180, 180]),
        ([0, 100, 170, 241], [180, 180, 240, 240]),
    ],
)
def test_each_early_retry_after_the_first_adds_a_minute_up_to_patience(times, delays):
    verdicts = played(UNNAMED, CLIENT, times)
    assert [verdict.delay for verdict in verdicts] == delays
    late = verdicts[-1]
    assert late.retry_after == (late.delay - late.age if late.action is Action.DEFER else 0)


def test_patience_never_shortens_a_delay():
    slow = replace(UNNAMED, delay=900)
    assert [verdict.delay for verdict in played(slow, CLIENT, [0, 1, 2])] == [900, 900, 900]


def test_patience_never_outgrows_the_retry_window():
    tight = replace(UNNAMED, retry_window=240)
    assert [verdict.delay for verdict in played(tight, CLIENT, [0, 1, 2, 3])] == [180, 180, 180, 180]
    assert played(tight, CLIENT, [0, 1, 2, 180])[-1].reason is Reason.RETRY


def test_a_proven_origin_passes_at_once_and_that_is_noted():
    decision = decide(POLICY, T, NAMED, None, [None], GOOD)
    assert (decision.verdict.action, decision.verdict.reason) == (Action.PASS, Reason.AUTO_WHITELISTED)
    assert decision.verdict.detail == "proven origin"
    assert decision.record == waiting(attempts=1, passed_at=T)
    assert decision.standing == replace(GOOD, proven_at=T)
    assert not decision.durable


def test_what_is_noted_already_is_not_written_again():
    standing = replace(GOOD, proven_at=T - 1, last_seen=T - 3600)
    assert decide(POLICY, T, NAMED, None, [None], standing).standing is None
    later = decide(POLICY, T + 1, NAMED, None, [None], standing).standing
    assert later == replace(standing, last_seen=T + 1)


def test_one_new_key_in_sixty_four_is_still_deferred():
    checked = replace(NAMED, key=b"\x03 a key")
    decision = decide(POLICY, T, checked, None, [None], replace(GOOD, proven_at=T))
    assert decision.verdict.reason is Reason.NEW
    assert decision.standing is not None
    assert decision.standing.hours == ((FIRST * 24, 1, 0),)


@pytest.mark.parametrize(
    ("policy", "case", "standing"),
    [
        (POLICY, NAMED, BAD),
        (POLICY, NAMED, None),
        (replace(POLICY, proof=None), NAMED, GOOD),
        (POLICY, NAMED, replace(BAD, proven_at=T - 100)),
    ],
)
def test_others_wait(policy, case, standing):
    assert decide(policy, T, case, None, [None], standing).verdict.reason is Reason.NEW


def test_who_falls_out_is_noted_with_the_deferral():
    standing = decide(POLICY, T, NAMED, None, [None], replace(BAD, proven_at=T - 100)).standing
    assert standing is not None
    assert standing.proven_at == 0
    assert standing.hours == ((FIRST * 24, 1, 0),)


def test_a_bounce_from_a_proven_origin_passes_but_a_deferred_one_is_not_counted():
    bounce = replace(NAMED, null_sender=True)
    assert decide(POLICY, T, bounce, None, [None], GOOD).verdict.action is Action.PASS
    assert decide(POLICY, T, bounce, None, [None], None).standing is None


def waiting(origin="example.org", **changes):
    return replace(Record(T, T, 120, origin=origin), **changes)


def test_a_retry_counts_for_the_origin_that_was_deferred():
    decision = decide(POLICY, T + DAY, NAMED, None, [waiting()], Reputation(hours=((FIRST * 24, 1, 0),)))
    assert decision.verdict.reason is Reason.RETRY
    hours, domains = ((FIRST * 24, 1, 1),), ((b"doma", FIRST + 1),)
    assert decision.standing == Reputation(
        hours=hours, domains=domains, last_seen=T + DAY, ages=(0, 0, 0, 0, 0, 1, 0)
    )


def test_a_retry_of_what_another_origin_was_deferred_for_does_not():
    decision = decide(POLICY, T + 200, NAMED, None, [waiting("192.0.2.0/24")], None)
    assert decision.verdict.reason is Reason.RETRY
    assert decision.standing is None


def test_of_an_address_without_a_name_only_what_comes_back_is_noted_at_first():
    assert decide(UNNAMED, T, CLIENT, None, [None], None).standing is None
    retry = decide(UNNAMED, T + 200, CLIENT, None, [waiting("192.0.2.0/24", delay=1)], None)
    assert retry.standing is not None
    assert retry.standing.hours == ((FIRST * 24, 0, 1),)
    again = decide(UNNAMED, T + 300, CLIENT, None, [None], retry.standing)
    assert again.verdict.reason is Reason.NEW
    assert again.standing is not None
    assert again.standing.hours == ((FIRST * 24, 1, 1),)


def test_an_address_that_forwards_for_ten_domains_does_not_wait_for_the_eleventh():
    marks = tuple((bytes([number] * 4), FIRST - 5) for number in range(10))
    forwarder = Reputation(days=((FIRST - 5, 12, 10),), domains=marks, last_seen=T)
    decision = decide(UNNAMED, T, CLIENT, None, [None], forwarder)
    assert decision.verdict.reason is Reason.AUTO_WHITELISTED
    nine = replace(forwarder, domains=marks[1:])
    assert decide(UNNAMED, T, CLIENT, None, [None], nine).verdict.reason is Reason.NEW


@pytest.mark.parametrize(
    ("own", "passes", "several", "trusted"),
    [(True, 2, True, True), (True, 1, True, False), (True, 2, False, False), (False, 2, True, False)],
)
def test_an_organisation_with_hosts_of_its_own_is_trusted_after_two_passes(own, passes, several, trusted):
    case = replace(NAMED, own_hosts=own)
    record = OriginRecord(passes, T - 3600, T - 3600, b"k", several_keys=several)
    reason = decide(POLICY, T, case, record, [None], None).verdict.reason
    assert reason is (Reason.AUTO_WHITELISTED if trusted else Reason.NEW)


def test_hosts_of_ones_own_do_not_switch_trust_on():
    case = replace(NAMED, own_hosts=True)
    record = OriginRecord(9, T, T, b"k", several_keys=True)
    never = replace(POLICY, auto_whitelist_after=0)
    assert decide(never, T, case, record, [None], None).verdict.reason is Reason.NEW


# ------------------------------------------------------------------ a clock that may be wrong

DOUBTED = replace(NAMED, clock_believed=False)


@pytest.mark.parametrize("jump", [-1_000_000_000, -40 * DAY, 40 * DAY, 400 * DAY, 4_000_000_000])
def test_while_the_clock_is_doubted_who_is_known_stays_known_and_nothing_is_overwritten(jump):
    known = waiting(passed_at=T, passes=3, last_seen=T, attempts=4)
    trust = OriginRecord(9, T, T, b"k", several_keys=True)
    decision = decide(POLICY, max(T + jump, 1), DOUBTED, trust, [known], replace(GOOD, proven_at=T))
    assert (decision.verdict.action, decision.verdict.reason) == (Action.PASS, Reason.KNOWN)
    assert (decision.record, decision.origin_record, decision.standing) == (None, None, None)
    right = decide(POLICY, T + 60, NAMED, trust, [known], None)
    assert right.verdict.reason is Reason.KNOWN


def test_while_the_clock_is_doubted_who_waits_does_not_wait_too_long():
    decision = decide(POLICY, T + 400 * DAY, DOUBTED, None, [waiting()], None)
    assert decision.verdict.reason is Reason.RETRY
    assert decide(POLICY, T + 400 * DAY, NAMED, None, [waiting()], None).verdict.reason is Reason.EXPIRED


@pytest.mark.parametrize("jump", [-400 * DAY, -60])
def test_while_the_clock_is_doubted_who_waits_passes_in_the_end(jump):
    decision = decide(POLICY, T + jump, DOUBTED, None, [waiting()], None)
    assert decision.verdict.action is Action.DEFER
    assert decide(POLICY, T + 120, DOUBTED, None, [waiting()], None).durable
    again = decide(POLICY, T + jump + 120, DOUBTED, None, [decision.record], None)
    assert again.verdict.reason is Reason.RETRY
    assert again.record is not None
    assert again.record.passed_at


def test_while_the_clock_is_doubted_strangers_are_deferred_and_remembered():
    decision = decide(POLICY, T, DOUBTED, None, [None], None)
    assert (decision.verdict.reason, decision.record) == (Reason.NEW, waiting())
    assert decision.standing is None


@pytest.mark.parametrize(
    ("origin_record", "case", "standing", "reason"),
    [
        (OriginRecord(9, T, T, b"k", several_keys=True), NAMED, None, Reason.AUTO_WHITELISTED),
        (None, NAMED, replace(GOOD, proven_at=T), Reason.AUTO_WHITELISTED),
        (None, replace(NAMED, same_message=True), None, Reason.SAME_MESSAGE),
    ],
)
def test_who_waited_and_is_let_in_for_another_reason_did_come_back(origin_record, case, standing, reason):
    decision = decide(POLICY, T + 60, case, origin_record, [waiting()], standing)
    assert decision.verdict.reason is reason
    assert decision.record == waiting(last_seen=T + 60, attempts=2, passed_at=T + 60)
    assert not decision.record.earned
    assert decision.standing is not None
    assert decision.standing.hours == ((FIRST * 24, 0, 1),)
    again = decide(POLICY, T + 61, case, origin_record, [decision.record], decision.standing)
    assert again.verdict.reason is Reason.KNOWN
    assert again.standing is None


OBSERVE = replace(POLICY, observe=True)


@pytest.mark.parametrize(
    ("record", "at", "reason", "attempts"),
    [(None, 0, Reason.NEW, 1), (waiting(), 60, Reason.EARLY, 2), (waiting(), 3 * DAY, Reason.EXPIRED, 1)],
)
def test_observed_attempts_pass_and_say_what_they_would_have_been(record, at, reason, attempts):
    decision = decide(OBSERVE, T + at, NAMED, None, [record], None)
    verdict = decision.verdict
    assert (verdict.action, verdict.reason, verdict.observed) == (Action.PASS, reason, True)
    assert verdict.attempts == attempts
    assert decision.record is not None
    assert (decision.record.passed_at, decision.record.passes, decision.record.observed) == (T + at, 0, True)
    assert not decision.durable
    assert decision.origin_record is None


def test_an_observed_sender_is_known_later_and_never_counts_for_trust():
    record = decide(OBSERVE, T, NAMED, None, [None], None).record
    assert record is not None
    assert decide(OBSERVE, T, NAMED, None, [None], None).standing is None
    later = decide(POLICY, T + 2 * DAY, NAMED, OriginRecord(), [record], None)
    assert later.verdict.reason is Reason.KNOWN
    assert not later.verdict.observed
    assert later.origin_record is None
    assert later.record is not None
    assert (later.record.passes, later.record.observed) == (0, True)
