"""What is read and written where marks, other keys or an origin as a whole have a say."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.codec import decode_record, decode_reputation, encode_origin, encode_record, encode_reputation
from multigrey.greylist.marks import CELLS, Mark, bucket_key, find, put
from multigrey.greylist.policy import Case, Policy
from multigrey.greylist.reputation import Proof
from multigrey.greylist.stored_decision import OtherKey, StoredDecision
from multigrey.model import DAY, Action, Origin, OriginRecord, Reason, Record, Reputation, Table

FIRST = 12_000
T = FIRST * DAY
PROOF = Proof(resolved=20, domains=10, percent=95)
POLICY = Policy(delay=120, retry_window=2 * DAY, max_age=36 * DAY, auto_whitelist_after=5, proof=PROOF)
NAMED = Case(Origin("example.org", named=True), b"\x80 a key", mark_of=lambda _: b"domain mark")
MARKS = tuple((bytes([number] * 4), FIRST - 5) for number in range(10))
GOOD = Reputation(days=((FIRST - 5, 20, 20),), domains=MARKS, last_seen=T)

OWN = (Table.RECORD, b"own's digest here")
NETWORK = (Table.RECORD, b"network's digest")
TRUST = (Table.ORIGIN, b"trust")
STANDING = (Table.ORIGIN, b"standing")
TWIN = (Table.RECORD, b"the other version")
COPY = (Table.RECORD, b"this version")
PLACE = b"places"
BUCKET, NETWORK_BUCKET = bucket_key(OWN[1]), bucket_key(NETWORK[1])


def asked(at=0, **changes):
    return replace(StoredDecision(POLICY, T + at, NAMED, (OWN,), TRUST, STANDING), **changes)


def marked(at=0, **changes):
    """Over the limit."""
    return asked(at, record_keys=(OWN, NETWORK), has_marks=True, mark_digest=OWN[1], place=PLACE, **changes)


def bucket(digest=OWN[1], **changes):
    return put(None, digest, replace(Mark(T, 120), **changes), PLACE, T, 2 * DAY)


def test_keys_are_read_in_the_order_their_values_are_wanted():
    others = (OtherKey(TWIN),)
    assert asked(other_keys=others).keys == (OWN, TRUST, STANDING, TWIN)
    assert marked(other_keys=others).keys == (OWN, NETWORK, TRUST, STANDING, BUCKET, NETWORK_BUCKET, TWIN)
    assert asked(standing_key=None).keys == (OWN, TRUST)
    assert asked(standing_key=None, origin_key=None).keys == (OWN,)
    assert asked(has_marks=True).keys == (OWN, TRUST, STANDING, BUCKET)
    both = asked(has_marks=True, mark_digest=NETWORK[1])
    assert both.keys == (OWN, TRUST, STANDING, BUCKET, NETWORK_BUCKET)
    assert asked(mark_digest=NETWORK[1]).keys == (OWN, TRUST, STANDING, NETWORK_BUCKET)


NOTHING = (None,) * 6


def test_over_the_limit_a_mark_is_all_that_is_written_of_an_attempt():
    change = marked()(NOTHING)
    assert (change.value.action, change.value.reason) == (Action.DEFER, Reason.OVER_LIMIT)
    assert set(change.puts) == {BUCKET, STANDING}
    assert change.puts[BUCKET].keep_until == T + 2 * DAY
    assert find(change.puts[BUCKET].value, OWN[1], T, 2 * DAY) == Mark(T, 120)
    assert change.durable


def test_a_mark_that_has_no_room_is_not_there_and_nothing_else_is_written():
    full = None
    for number in range(CELLS):
        full = put(full, number.to_bytes(10) + bytes(6), Mark(T, 120), bytes([number]) * 6, T, 2 * DAY)
    change = marked(1)((None, None, None, None, full, None))
    assert (change.value.action, change.value.reason) == (Action.DEFER, Reason.OVER_LIMIT)
    assert "no room" in change.value.detail
    assert (change.puts, change.durable) == ({}, False)


def test_an_early_retry_is_noted_in_its_mark():
    change = marked(60)((None, None, None, None, bucket(), None))
    assert (change.value.action, change.value.reason) == (Action.DEFER, Reason.EARLY)
    assert set(change.puts) == {BUCKET}
    assert find(change.puts[BUCKET].value, OWN[1], T, 2 * DAY) == Mark(T, 120, 1)


@pytest.mark.parametrize("over", [True, False])
@pytest.mark.parametrize("digest", [OWN[1], NETWORK[1]])
def test_the_retry_of_a_mark_makes_a_record_and_counts(over, digest):
    question = marked(120) if over else replace(marked(120), mark_digest=b"")
    buckets = (bucket(), None) if digest == OWN[1] else (None, bucket(digest))
    change = question((None, None, None, None, *buckets))
    assert (change.value.action, change.value.reason) == (Action.PASS, Reason.RETRY)
    assert set(change.puts) == {OWN, NETWORK, TRUST, STANDING, bucket_key(digest)}
    assert change.puts[bucket_key(digest)] is None
    record = decode_record(change.puts[OWN].value)
    assert (record.first_seen, record.passed_at, record.passes) == (T, T + 120, 1)
    assert change.durable


def test_the_marks_of_others_are_nobodys_business():
    other = put(None, OWN[1][:2] + b"another attempt", Mark(T, 120), PLACE, T, 2 * DAY)
    question = replace(marked(500), mark_digest=b"")
    change = question((None, None, None, None, other, None))
    assert change.value.reason is Reason.NEW
    assert change == question.judged((None, None, None, None, other, None))
    assert set(change.puts) == {OWN, NETWORK, STANDING}
    assert marked(500)((None, None, None, None, other, None)).value.reason is Reason.OVER_LIMIT


def test_a_mark_older_than_the_retry_window_is_none():
    change = marked(2 * DAY + 1)((None, None, None, None, bucket(), None))
    assert change.value.reason is Reason.OVER_LIMIT
    assert find(change.puts[BUCKET].value, OWN[1], T + 2 * DAY + 1, 2 * DAY) == Mark(T + 2 * DAY + 1, 120)


def test_observed_over_the_limit_passes_and_is_marked_all_the_same():
    question = marked(policy=replace(POLICY, observe=True))
    change = question(NOTHING)
    assert (change.value.action, change.value.reason) == (Action.PASS, Reason.OVER_LIMIT)
    assert change.value.observed
    assert set(change.puts) == {BUCKET}
    assert not change.durable


@pytest.mark.parametrize(
    ("values", "changes"),
    [
        ((None, None, encode_origin(OriginRecord(9, T, T, b"k", several_keys=True)), None), {}),
        ((None, None, None, encode_reputation(replace(GOOD, proven_at=T))), {}),
        ((None, None, None, None), {"case": replace(NAMED, same_message=True)}),
    ],
)
def test_who_is_trusted_passes_over_the_limit_too(values, changes):
    change = marked(60, **changes)((*values, bucket(), None))
    assert change.value.action is Action.PASS
    assert change.puts[BUCKET] is None
    assert decode_record(change.puts[OWN].value).passed_at == T + 60


def test_without_room_for_a_record_the_mark_stays_and_speaks_again():
    change = marked(120, full=True)((None, None, None, None, bucket(), None))
    assert (change.value.action, change.value.reason) == (Action.PASS, Reason.RETRY)
    assert BUCKET not in change.puts
    assert OWN not in change.puts
    again = marked(3600, full=True)((None, None, None, None, bucket(), None))
    assert again.value.reason is Reason.RETRY


def test_without_room_for_a_mark_an_attempt_waits_but_a_marked_one_goes_on():
    change = marked(mark_room=False)(NOTHING)
    assert (change.value.action, change.value.detail, change.puts) == (
        Action.DEFER,
        "no room for its mark",
        {},
    )
    change = marked(60, mark_room=False)((None, None, None, None, bucket(), None))
    assert set(change.puts) == {BUCKET}


def test_over_the_limit_a_record_of_ones_own_still_speaks():
    stored = encode_record(Record(T, T, 120, origin="example.org"))
    change = marked(120)((stored, None, None, None, None, None))
    assert (change.value.action, change.value.reason) == (Action.PASS, Reason.RETRY)
    assert set(change.puts) == {OWN, NETWORK, TRUST, STANDING}


@pytest.mark.parametrize(
    ("other", "stored", "reason"),
    [
        (OtherKey(TWIN, waiting=True), Record(T, T, 120), Reason.RETRY),
        (OtherKey(TWIN, waiting=True), Record(T, T, 120, passed_at=T), Reason.NEW),
        (OtherKey(TWIN, before=T + 1), Record(T, T, 120), Reason.RETRY),
        (OtherKey(TWIN, before=T), Record(T, T, 120), Reason.NEW),
        (OtherKey(TWIN, before=T + 1), Record(T, T, 120, passed_at=T, passes=1), Reason.KNOWN),
        (OtherKey(TWIN), None, Reason.NEW),
        (OtherKey(TWIN, besides=4), Record(T, T, 120, client="2001:db8::1"), Reason.RETRY),
        (OtherKey(TWIN, besides=4), Record(T, T, 120, client="192.0.2.1"), Reason.NEW),
        (OtherKey(TWIN, besides=6), Record(T, T, 120, client="2001:db8::1"), Reason.NEW),
        (OtherKey(TWIN, besides=6), Record(T, T, 120, client="192.0.2.1"), Reason.RETRY),
    ],
)
def test_what_is_remembered_under_another_key_counts_under_conditions(other, stored, reason):
    question = asked(120, other_keys=(other,), copy_keys=(COPY,))
    change = question((None, None, None, None if stored is None else encode_record(stored)))
    assert change.value.reason is reason
    assert TWIN not in change.puts
    assert copied(change, COPY) == change.puts[OWN]


def copied(change, key):
    """The row under this key as its home has it."""
    entry, home = change.puts[key], change.puts[OWN]
    record, shown = decode_record(entry.value), decode_record(home.value)
    assert record.home == OWN[1]
    whole = replace(record, home=b"", sender=shown.sender, recipient=shown.recipient)
    return entry._replace(value=encode_record(whole))


def test_a_row_that_shows_no_sender_is_shown_again_as_the_home_of_an_attempt():
    """A named sender comes back without its name: then the network key, which showed nothing, is its home."""
    away = Record(T, T, 120, origin="example.org", client="192.0.2.1", home=b"some other key's")
    case = replace(NAMED, sender="a@b", recipient="c@d")
    change = asked(60, case=case)((encode_record(away), None, None))
    assert decode_record(change.puts[OWN].value) == replace(
        away, home=b"", sender="a@b", recipient="c@d", last_seen=T + 60, attempts=2, early=1
    )


def test_the_standing_is_stored_for_longer_than_it_speaks():
    change = asked()([None, None, None])
    entry = change.puts[STANDING]
    assert entry is not None
    assert decode_reputation(entry.value).hours == ((FIRST * 24, 1, 0),)
    assert entry.keep_until == T + 36 * DAY


@pytest.mark.parametrize("full", [False, True])
def test_what_a_proven_origin_sends_is_known_from_then_on_where_there_is_room(full):
    question = asked(mark_digest=OWN[1]) if full else asked()
    change = question([None, None, encode_reputation(GOOD), None])
    assert change.value.reason is Reason.AUTO_WHITELISTED
    assert set(change.puts) == ({STANDING} if full else {OWN, STANDING})


def test_what_a_provider_sends_is_known_from_then_on():
    change = asked(case=replace(NAMED, provider=True))([None, None, None])
    assert (change.value.action, change.value.reason) == (Action.PASS, Reason.PROVIDER)
    assert set(change.puts) == {OWN}
    assert not change.durable


def test_what_was_stored_before_observing_was_possible_is_read():
    change = asked(120)([encode_record(Record(T, T, 120)), None, None])
    entry = change.puts[OWN]
    assert entry is not None
    assert not decode_record(entry.value).observed


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
        record_keys=(OWN, NETWORK),
        origin_key=None if null else TRUST,
        standing_key=STANDING if standing else None,
        has_marks=at % 2 == 0,
        copy_keys=(COPY,) if at % 3 == 0 else (),
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


@given(STRANGERS, st.sampled_from([0, 1, CELLS]), st.booleans(), st.booleans())
def test_the_quick_way_of_marks_says_what_the_long_one_says(question, others, old, room):
    weigh = None if room else lambda place: (9, 9, 9)
    question = replace(question, mark_digest=OWN[1], place=PLACE, weigh=weigh)
    stored = None
    for number in range(others):
        first_seen = T - 10 * DAY if old else T
        mark, place = Mark(first_seen, 120), number.to_bytes(2) * 3
        stored = put(stored, OWN[1][:2] + number.to_bytes(8), mark, place, first_seen, 2 * DAY)
    values = [stored if key == bucket_key(OWN[1]) else None for key in question.keys]
    assert question(values) == question.judged(values)


@pytest.mark.parametrize("origin", [Origin("example.org", named=True), Origin("192.0.2.0/24", named=False)])
def test_a_stranger_makes_one_record_under_all_keys(origin):
    question = asked(case=replace(NAMED, origin=origin, sender="a@b"), record_keys=(OWN, NETWORK))
    change = question([None] * 4)
    assert (change.value.action, change.value.reason, change.durable) == (Action.DEFER, Reason.NEW, True)
    assert copied(change, NETWORK) == change.puts[OWN]
    assert decode_record(change.puts[OWN].value) == Record(T, T, 120, sender="a@b", origin=origin.text)
    assert (STANDING in change.puts) is origin.named
