"""Buckets of marks: what goes in comes out, and a flood pushes out nothing but itself."""

from __future__ import annotations

import random
from collections import Counter
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.errors import CodecError, NewerFormatError
from multigrey.greylist import marks
from multigrey.greylist.marks import CELLS, PATIENCE, Mark, bucket_key, find, place_of, put, remove
from multigrey.greylist.weights import Weights
from multigrey.model import Origin, Table

NOW = 1_700_000_000
WINDOW = 2 * 86400
KEY = b"k" * 32
NOBODY = Origin("192.0.2.0/24", named=False)
SIZE = 23


def digest(number: int) -> bytes:
    """Of one bucket, each with a fingerprint of its own."""
    return b"\x12\x34" + number.to_bytes(8) + bytes(6)


def place(top=0, middle=0, leaf=0) -> bytes:
    return b"".join(part.to_bytes(2) for part in (top, middle, leaf))


def of(address: str, origin=NOBODY) -> bytes:
    return place_of(origin, ip_address(address), KEY)


def filled(places, now=NOW, delay=300) -> bytes:
    """A bucket with a mark for each place, by number, a second after the other; all have room."""
    bucket = None
    for number, who in enumerate(places):
        first_seen = now - len(places) + number
        bucket = put(bucket, digest(number), Mark(first_seen, delay), who, now, WINDOW)
        assert bucket is not None
    return bucket


def numbers(bucket, most=200) -> set[int]:
    """Which of `digest(number)` are in it."""
    return {number for number in range(most) if find(bucket, digest(number), NOW, 10**9)}


def lost(before, number, who, now=NOW, weigh=None, delay=300) -> int:
    """Who goes when one more comes."""
    after = put(before, digest(number), Mark(now, delay), who, now, WINDOW, weigh)
    if after is None:
        return number
    (gone,) = (numbers(before) | {number}) - numbers(after)
    return gone


# --- one bucket -------------------------------------------------------------------------------------


def test_layout_of_a_bucket():
    """On disk: changing this needs another version."""
    bucket = put(None, bytes(range(16)), Mark(0x01020304, 0x05060708, 9), b"abcdef", NOW, WINDOW)
    assert bucket.hex() == "01" + "0203040506070809" + "01020304" + "05060708" + "09" + b"abcdef".hex()
    assert bucket_key(bytes(range(16))) == (Table.MARK, b"\x00\x00" + bytes(14))
    assert bucket_key(b"\xff" * 16) == (Table.MARK, b"\xff\xfe" + bytes(14))
    keys = {bucket_key(number.to_bytes(2) + bytes(14)) for number in range(1 << 16)}
    assert len(keys) == marks.BUCKETS


def test_a_mark_is_found_only_by_its_own_digest():
    bucket = filled([place()] * 3)
    assert find(bucket, digest(1), NOW, WINDOW) == Mark(NOW - 2, 300)
    assert find(bucket, digest(3), NOW, WINDOW) is None
    assert find(None, digest(1), NOW, WINDOW) is None


def test_a_fingerprint_across_two_marks_is_none():
    """What looks like one begins in the middle of a mark."""
    bucket = put(filled([place(7, 8, 9)]), digest(1), Mark(NOW, 300), place(), NOW, WINDOW)
    inside = bucket[10:18]
    assert find(bucket, b"\x12\x34" + inside + bytes(6), NOW, WINDOW) is None
    bucket = put(bucket, b"\x12\x34" + inside + bytes(6), Mark(NOW, 77), place(), NOW, WINDOW)
    assert find(bucket, b"\x12\x34" + inside + bytes(6), NOW, WINDOW) == Mark(NOW, 77)


@pytest.mark.parametrize(("age", "there"), [(WINDOW, True), (WINDOW + 1, False), (-86400, True)])
def test_the_retry_window_ends_it(age, there):
    bucket = put(None, digest(1), Mark(NOW - age, 300), place(), NOW - age, WINDOW)
    assert (find(bucket, digest(1), NOW, WINDOW) is not None) is there
    after = put(bucket, digest(2), Mark(NOW, 300), place(), NOW, WINDOW)
    assert marks.count(after) == 1 + there


def test_an_early_retry_changes_its_mark_in_place_and_keeps_its_maker():
    bucket = filled([place(1), place(2), place(3)])
    after = put(bucket, digest(1), Mark(NOW - 2, 360, 2), place(9), NOW, WINDOW)
    assert find(after, digest(1), NOW, WINDOW) == Mark(NOW - 2, 360, 2)
    assert marks.places(after) == [place(1), place(2), place(3)]
    full = filled([place(1)] * CELLS)
    assert put(full, digest(5), Mark(NOW - CELLS + 5, 1, 1), place(1), NOW, WINDOW) is not None


def test_a_mark_that_begins_again_is_the_newest():
    bucket = put(filled([place(1)] * CELLS), digest(5), Mark(NOW, 300), place(2), NOW, WINDOW)
    assert marks.count(bucket) == CELLS
    assert marks.places(bucket) == [place(1)] * (CELLS - 1) + [place(2)]


def test_numbers_that_do_not_fit():
    bucket = put(None, digest(1), Mark(1 << 40, 1 << 40, 999), place(), NOW, WINDOW)
    assert find(bucket, digest(1), NOW, WINDOW) == Mark((1 << 32) - 1, (1 << 32) - 1, 255)
    bucket = put(None, digest(1), Mark(-5, -5, -5), place(), NOW, WINDOW)
    assert find(bucket, digest(1), 0, WINDOW) == Mark(0, 0, 0)


def test_removing():
    bucket = filled([place()] * 3)
    after = remove(bucket, digest(1))
    assert numbers(after) == {0, 2}
    assert remove(after, digest(1)) == after
    assert remove(remove(after, digest(0)), digest(2)) is None
    assert remove(None, digest(0)) is None


def test_the_bucket_comes_due_with_its_newest_mark():
    bucket = filled([place()] * 3)
    assert marks.newest(bucket) == NOW - 1
    assert marks.newest(remove(bucket, digest(2))) == NOW - 2


MALFORMED = [
    (b"", "does not begin with a version"),
    (b"\0" * 24, "does not begin with a version"),
    (b"\1", "has 1 octets: not 1 to 40 whole marks"),
    (b"\1" * 23, "has 23 octets"),
    (b"\1" * 25, "has 25 octets"),
    (b"\1" * (1 + (CELLS + 1) * SIZE), "whole marks"),
]


@pytest.mark.parametrize(("bucket", "words"), MALFORMED)
def test_what_is_no_bucket(bucket, words):
    with pytest.raises(CodecError, match=words):
        marks.count(bucket)


def test_a_bucket_of_a_later_version():
    with pytest.raises(NewerFormatError, match="has version 2, this multigrey reads up to 1"):
        marks.count(b"\2" * 24)


@given(st.binary(max_size=1 + SIZE * 3) | st.builds(lambda tail: b"\1" + tail, st.binary(max_size=SIZE * 3)))
def test_stored_bytes_are_read_or_refused(bucket):
    calls = [
        lambda: marks.count(bucket),
        lambda: marks.newest(bucket),
        lambda: marks.places(bucket),
        lambda: find(bucket, digest(1), NOW, WINDOW),
        lambda: put(bucket, digest(1), Mark(NOW, 300), place(), NOW, WINDOW),
        lambda: remove(bucket, digest(1)),
    ]
    refused = []
    for call in calls:
        try:
            call()
        except CodecError:
            refused.append(call)
    assert refused in ([], calls)


# --- who makes a mark --------------------------------------------------------------------------------


def test_places_are_the_networks_around_a_client():
    one = of("192.0.2.1")
    assert len(one) == 6
    assert one[:4] == of("192.0.2.200")[:4]
    assert one[4:] != of("192.0.2.200")[4:]
    assert one[:2] == of("192.0.99.1")[:2]
    assert one[2:4] != of("192.0.99.1")[2:4]
    assert one[:2] != of("192.1.2.1")[:2]
    six = of("2001:db8:1:2::1")
    assert six == of("2001:db8:1:2:ffff::1")
    assert six[:4] == of("2001:db8:1:3::1")[:4] != of("2001:db8:2:2::1")[:4]
    assert six[:2] == of("2001:db8:2:2::1")[:2] != of("2001:db9:1:2::1")[:2]


def test_a_name_stands_for_both_networks_unless_it_is_only_claimed():
    name = Origin("example.org", named=True)
    assert of("192.0.2.1", name)[:4] == of("2001:db8::1", name)[:4]
    assert of("192.0.2.1", name)[4:] == of("192.0.2.1")[4:]
    assert of("192.0.2.1", Origin("example.org", named=True, claimed=True)) == of("192.0.2.1")
    assert place_of(name, None, KEY)[:4] == of("192.0.2.1", name)[:4]
    assert len(place_of(Origin("", named=False), None, KEY)) == 6


def test_places_stay_over_restarts_and_differ_between_sites():
    assert of("192.0.2.1").hex() == "21efa43bc3f4"
    assert of("192.0.2.1") != place_of(NOBODY, ip_address("192.0.2.1"), b"another key")


# --- who has to go ----------------------------------------------------------------------------------

BUSY, QUIET = place(1, 1, 1), place(1, 1, 2)
SINGLY = [place(1, 1, number) for number in range(CELLS)]
"""Addresses of one network."""

# fmt: off
LOSERS = [
    ("one address: its newest",             [BUSY] * 40,                              BUSY,           40),
    ("a neighbour comes: the flood's",      [BUSY] * 40,                              QUIET,          39),
    ("the flood goes on: its own",          [QUIET] + [BUSY] * 39,                    BUSY,           40),
    ("a neighbour's newest is kept",        [BUSY] * 39 + [QUIET],                    BUSY,           40),
    ("network before address",              [*SINGLY[:38], place(2), place(2)],       place(3),       37),
    ("the second column",                   [*SINGLY[:30], *[place(1, 2)] * 10],      place(1, 3),    29),
    ("all equal: the newcomer",             [place(n) for n in range(40)],            place(50),      40),
    ("a second one of one address: that",      [place(n) for n in range(40)],            place(7),       40),
]
# fmt: on


@pytest.mark.parametrize(("name", "there", "comes", "expected"), LOSERS)
def test_who_goes(name, there, comes, expected):
    assert lost(filled(there), 40, comes) == expected


# fmt: off
RANKS = [
    # ages of the first three of an address's marks, then thirty-seven of a minute, and who goes
    ("waiting: the newest",         [120, 110, 100],                              300,   40),
    ("due: after all that wait",    [400, 390, 380],                              300,   40),
    ("six hours old: the oldest",   [PATIENCE + 3, PATIENCE + 2, 60],             300,   0),
    ("six hours, exactly: not yet", [PATIENCE, 100, 90],                          300,   40),
    ("a delay of a day",            [PATIENCE + 3, PATIENCE + 2, 80],             86400, 40),
]
# fmt: on


@pytest.mark.parametrize(("name", "ages", "delay", "expected"), RANKS)
def test_which_of_an_address_goes(name, ages, delay, expected):
    bucket = None
    for number, age in enumerate([*ages, *[60] * (CELLS - len(ages))]):
        bucket = put(bucket, digest(number), Mark(NOW - age, delay), BUSY, NOW, WINDOW)
    assert lost(bucket, 40, BUSY, delay=delay) == expected


def test_what_a_retry_would_pass_now_goes_last():
    later = NOW + 400
    bucket = filled([BUSY] * CELLS)
    assert lost(bucket, 40, QUIET, later) == CELLS - 1  # all are due: the newest
    bucket = remove(bucket, digest(3))
    bucket = put(bucket, digest(50), Mark(later, 300), BUSY, later, WINDOW)
    assert lost(bucket, 40, QUIET, later) == 50


def test_weights_tell_a_heavy_address_from_a_light_one():
    """Forty addresses with a mark each: the bucket alone would send away the neighbour."""
    neighbour = place(1, 1, 99)

    def weigh(who):
        return 10_000, 10_000, 20 if who == neighbour else 250

    assert lost(filled(SINGLY), 40, neighbour) == 40
    assert lost(filled(SINGLY), 40, neighbour, weigh=weigh) == CELLS - 1
    assert lost(filled([neighbour, *SINGLY[1:]]), 40, place(1, 1, 98), weigh=weigh) == 40


def test_a_neighbour_is_not_taken_for_its_network():
    """Its network floods as much as others do, and has no other mark in this bucket."""
    there = [place(number, number, number) for number in range(CELLS)]
    neighbour = place(99, 99, 99)

    def weigh(who):
        return (4_100, 4_100, 20) if who == neighbour else (4_000, 4_000, 4_000)

    assert lost(filled(there), 40, neighbour, weigh=weigh) == CELLS - 1


def test_an_address_with_many_marks_is_spared_while_a_network_has_more():
    """A newsletter beside a flood from everywhere in one wide network."""
    there = [place(1, number, number) for number in range(CELLS - 5)] + [place(2, 2, 2)] * 5

    def weigh(who):
        return (20_000, 20_000, 20_000) if who[:2] == place(2)[:2] else (1_000_000, 15, 15)

    assert lost(filled(there), 40, place(2, 2, 2), weigh=weigh) == CELLS - 6


places_ = st.builds(place, *[st.integers(0, 3)] * 3)
attempts = st.lists(st.tuples(st.integers(0, 120), places_, st.integers(0, 500)), max_size=120)


@given(attempts, st.booleans())
def test_a_bucket_is_a_bounded_dictionary(attempts, weighed):
    bucket, now, weights = None, NOW, Weights()
    for number, who, seconds in attempts:
        now += seconds
        weights.note(who, now, WINDOW)
        before = bucket
        mark = Mark(now, 300, number % 3)
        after = put(before, digest(number), mark, who, now, WINDOW, weights.of if weighed else None)
        known = set() if before is None else numbers(before)
        if after is None:
            assert number not in known
            assert marks.count(before) == CELLS
            continue
        bucket = after
        assert 0 < marks.count(after) <= CELLS
        assert find(after, digest(number), now, WINDOW) == mark
        assert len((known | {number}) - numbers(after)) == max(0, len(known | {number}) - CELLS)
    if bucket is not None:
        kept = numbers(bucket)
        assert marks.count(bucket) == len(kept)
        for number in sorted(kept):
            assert bucket is not None
            bucket = remove(bucket, digest(number))
        assert bucket is None


@given(st.lists(places_, min_size=CELLS, max_size=CELLS), places_)
def test_nobody_loses_to_who_has_more(there, comes):
    """Counted in the bucket: an address goes only if no neighbour in its network has more."""
    everybody = [*there, comes]
    loser = everybody[lost(filled(there), CELLS, comes)]
    leaves = Counter(everybody)
    siblings = [who for who in leaves if who[:4] == loser[:4]]
    assert leaves[loser] == max(leaves[who] for who in siblings)
    tops = Counter(who[:2] for who in everybody)
    assert 2 * tops[loser[:2]] >= max(tops.values())
    if comes != loser:
        assert leaves[loser] > 1 or leaves[comes] == 1 or comes[:4] != loser[:4]


# --- floods, in numbers -----------------------------------------------------------------------------


class Floods:
    """One thirty-second of a whole table: of a million attempts, 31,250 fall into it."""

    PART = marks.BUCKETS // 32

    def __init__(self) -> None:
        self.buckets: dict[bytes, bytes] = {}
        self.weights = Weights()
        self.random = random.Random(7)

    def digest(self) -> bytes:
        return (self.random.randrange(self.PART) << 1).to_bytes(2) + self.random.randbytes(14)

    def put(self, digest: bytes, who: bytes, now: int = NOW) -> None:
        _, key = bucket_key(digest)
        self.weights.note(who, now, WINDOW)
        mark = Mark(now, 300)
        kept = put(self.buckets.get(key), digest, mark, who, now, WINDOW, self.weights.of)
        if kept is not None:
            self.buckets[key] = kept

    def flood(self, number: int, who, now: int = NOW) -> None:
        for _ in range(number):
            self.put(self.digest(), who(self.random), now)

    def send(self, number: int, who: bytes, now: int) -> list[bytes]:
        digests = [self.digest() for _ in range(number)]
        for each in digests:
            self.put(each, who, now)
        return digests

    def kept(self, digests: list[bytes], now: int) -> int:
        found = (find(self.buckets.get(bucket_key(each)[1]), each, now, WINDOW) for each in digests)
        return sum(mark is not None for mark in found)


CLIENTS = [of(f"192.0.2.{number}") for number in range(256) if number != 77]
WIDE = [of(f"198.51.{number}.9") for number in range(256)]
SPREAD = [of(f"{20 + number // 200}.{number % 200}.7.9") for number in range(256)]
SIXES = [of(f"2001:db8:{n:x}:1::1") for n in range(1, 4000)]

FLOODS = [
    ("one client", lambda _: CLIENTS[9], of("192.0.2.77")),
    ("all others of a /24", lambda chance: chance.choice(CLIENTS), of("192.0.2.77")),
    ("256 networks of a /16", lambda chance: chance.choice(WIDE), of("198.51.100.77")),
    ("256 networks anywhere", lambda chance: chance.choice(SPREAD), of("20.100.7.77")),
    ("everywhere in a /32", lambda chance: chance.choice(SIXES), of("192.0.2.77")),
]


@pytest.mark.parametrize(("name", "who", "neighbour"), FLOODS, ids=[name for name, *_ in FLOODS])
def test_a_million_and_a_half_leave_room_for_twenty(name, who, neighbour):
    """Before and after; a stranger elsewhere, too."""
    floods = Floods()
    floods.flood(42_000, who)  # 1.35 million in all: the table is full
    stranger = of("9.9.9.9")
    sent = floods.send(20, neighbour, NOW + 60)
    also = floods.send(20, stranger, NOW + 60)
    for hour in range(1, 5):
        floods.flood(2_000, who, NOW + 3600 * hour)
        assert (floods.kept(sent, NOW + 3600 * hour), floods.kept(also, NOW + 3600 * hour)) == (20, 20)
    assert max(map(marks.count, floods.buckets.values())) == CELLS


@pytest.mark.parametrize("before", [0, 31_250])
def test_a_newsletter_of_twenty_thousand(before):
    """By itself, and beside a million attempts of one network: 20,000, of which 625 are in this part."""
    floods = Floods()
    floods.flood(before, lambda _: CLIENTS[9])
    sent = floods.send(625, of("9.9.9.9"), NOW + 60)
    floods.flood(before // 4, lambda _: CLIENTS[9], NOW + 600)
    assert floods.kept(sent, NOW + 900) == 625


def test_nobody_floods_and_nothing_is_lost():
    floods = Floods()
    sent = [floods.send(625, of(f"198.51.{number}.9"), NOW) for number in range(30)]
    assert sum(floods.kept(each, NOW) for each in sent) == 30 * 625
