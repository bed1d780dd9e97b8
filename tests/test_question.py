"""What is read and written where a coarse record or an origin as a whole has a say."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.codec import decode_record, decode_standing, encode_origin, encode_record, encode_standing
from multigrey.decision import Case, Policy
from multigrey.model import Action, Origin, OriginRecord, Reason, Record, Standing, Table
from multigrey.question import Question
from multigrey.standing import DAY, Proof

FIRST = 12_000
T = FIRST * DAY
PROOF = Proof(resolved=20, domains=10, percent=95, retry_window=2 * DAY)
POLICY = Policy(delay=120, retry_window=2 * DAY, max_age=36 * DAY, auto_whitelist_after=5, proof=PROOF)
NAMED = Case(Origin("example.org", named=True), b"\x80 a key", domain=b"domain digest")
MARKS = tuple((bytes([number] * 4), FIRST - 5) for number in range(10))
GOOD = Standing(days=((FIRST - 5, 20, 20),), domains=MARKS, last_seen=T)

OWN = (Table.RECORD, b"own")
COARSE = (Table.RECORD, b"coarse")
TRUST = (Table.ORIGIN, b"trust")
STANDING = (Table.ORIGIN, b"standing")


def asked(at=0, **changes):
    return replace(Question(POLICY, T + at, NAMED, (OWN,), TRUST, STANDING, COARSE), **changes)


def test_keys_are_read_in_the_order_their_values_are_wanted():
    assert asked().keys == (OWN, COARSE, TRUST, STANDING)
    assert asked(coarse_key=None, standing_key=None).keys == (OWN, TRUST)
    assert asked(coarse_key=None, standing_key=None, origin_key=None).keys == (OWN,)


def test_over_the_limit_one_coarse_record_is_all_that_is_written():
    change = asked()([None, None, None, None])
    assert (change.value.action, change.value.reason) == (Action.DEFER, Reason.OVER_LIMIT)
    assert list(change.puts) == [COARSE]
    assert change.durable


def test_over_the_limit_a_retry_passes_by_the_coarse_record_and_earns_nothing():
    stored = encode_record(Record(T, T, 120, origin="example.org"))
    change = asked(120)([None, stored, None, None])
    assert (change.value.action, change.value.reason) == (Action.PASS, Reason.OVER_LIMIT)
    assert list(change.puts) == [COARSE]


def passed_coarsely(at):
    return encode_record(Record(T, T + at, 120, attempts=2, passed_at=T + at, passes=1, origin="example.org"))


def test_over_the_limit_what_passed_holds_for_an_hour_and_using_it_does_not_prolong_that():
    stored = passed_coarsely(120)
    known = asked(120 + 3600)([None, stored, None, None])
    assert (known.value.action, known.value.reason) == (Action.PASS, Reason.OVER_LIMIT)
    assert known.puts == {}
    later = asked(120 + 3601)([None, stored, None, None])
    assert (later.value.action, later.value.reason) == (Action.DEFER, Reason.OVER_LIMIT)


def test_over_the_limit_only_a_retry_opens_the_record_that_many_share():
    observing = replace(POLICY, observe=True)
    trusted = encode_origin(OriginRecord(9, T, T, b"k", several_keys=True))
    waiting = encode_record(Record(T, T, 120, origin="example.org"))
    for question, values in [
        (asked(policy=observing), [None, None, None, None]),
        (asked(policy=observing), [None, waiting, None, None]),
        (asked(60), [None, waiting, trusted, None]),
        (asked(60, case=replace(NAMED, same_message=True)), [None, waiting, None, None]),
        (asked(60), [None, waiting, None, encode_standing(replace(GOOD, proven_at=T))]),
    ]:
        change = question(values)
        assert change.value.action is Action.PASS
        assert COARSE not in change.puts


def test_over_the_limit_a_record_of_ones_own_still_speaks():
    stored = encode_record(Record(T, T, 120, origin="example.org"))
    change = asked(120)([stored, None, None, None])
    assert (change.value.action, change.value.reason) == (Action.PASS, Reason.RETRY)
    assert set(change.puts) == {OWN, TRUST, STANDING}


def test_the_standing_is_stored_for_longer_than_it_speaks():
    change = asked(coarse_key=None)([None, None, None])
    entry = change.puts[STANDING]
    assert entry is not None
    assert decode_standing(entry.value).days == ((FIRST, 1, 0),)
    assert entry.keep_until == T + 36 * DAY


def test_a_proven_origin_writes_nothing_else():
    change = asked(coarse_key=None)([None, None, encode_standing(GOOD)])
    assert change.value.reason is Reason.AUTO_WHITELISTED
    assert list(change.puts) == [STANDING]


def test_what_was_stored_before_observing_was_possible_is_read():
    change = asked(120)([encode_record(Record(T, T, 120)), None, None, None])
    entry = change.puts[OWN]
    assert entry is not None
    assert not decode_record(entry.value).observed


def test_over_the_limit_a_message_that_passed_goes_on_passing():
    case = replace(NAMED, same_message=True)
    change = asked(case=case)([None, None, None, None])
    assert (change.value.action, change.value.reason) == (Action.PASS, Reason.SAME_MESSAGE)


STRANGERS = st.builds(
    lambda origin, texts, client, null, same, policy, numbers, standing, at: asked(
        at,
        policy=replace(policy, delay=numbers[0], retry_window=numbers[1], max_age=numbers[2]),
        case=replace(
            NAMED,
            origin=origin,
            null_sender=null,
            same_message=same,
            client=client,
            sender="" if null else texts[0],
            recipient=texts[1],
        ),
        record_keys=(OWN, COARSE),
        origin_key=None if null else TRUST,
        standing_key=STANDING if standing and origin.named else None,
        coarse_key=None,
    ),
    st.sampled_from([Origin("example.org", named=True), Origin("192.0.2.0/24", named=False)]),
    st.tuples(st.text(max_size=9), st.sampled_from(["a@example.net", "b\udcff@example.net", ""])),
    st.sampled_from([ip_address("192.0.2.1"), ip_address("2001:db8::1"), "", "a token"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([POLICY, replace(POLICY, proof=None), replace(POLICY, observe=True)]),
    st.tuples(st.integers(1, 9999), st.integers(1, 9_999_999), st.integers(1, 9_999_999)),
    st.booleans(),
    st.integers(0, 99),
)


@given(STRANGERS)
def test_the_quick_way_of_strangers_says_what_the_long_one_says(question):
    nothing = [None] * len(question.keys)
    assert question(nothing) == question.judged(nothing)


@pytest.mark.parametrize("origin", [Origin("example.org", named=True), Origin("192.0.2.0/24", named=False)])
def test_a_stranger_makes_one_record_under_all_keys(origin):
    question = asked(
        case=replace(NAMED, origin=origin, sender="a@b"), record_keys=(OWN, COARSE), coarse_key=None
    )
    change = question([None] * 4)
    assert (change.value.action, change.value.reason, change.durable) == (Action.DEFER, Reason.NEW, True)
    assert change.puts[OWN] == change.puts[COARSE]
    assert decode_record(change.puts[OWN].value) == Record(T, T, 120, sender="a@b", origin=origin.text)
    assert (STANDING in change.puts) is origin.named
