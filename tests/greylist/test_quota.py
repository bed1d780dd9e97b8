"""New records an hour: limits, nesting, memory that does not grow, clocks that jump."""

from __future__ import annotations

import sys
from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multigrey.greylist.quota import NewRecordLimits, NewRecordQuota, networks_of
from multigrey.model import HOUR, Origin

NOW = 1_000_000_000
KEY = b"k" * 32
NAMED = Origin("example.org", named=True)


def unnamed(text):
    return Origin(text, named=False)


def counter(new=10, named=100, size=4096):
    return NewRecordQuota(NewRecordLimits(new, named), size, key=KEY)


def note(counts, address, times=1, now=NOW, origin=None):
    for _ in range(times):
        counts.note(origin or unnamed("x"), ip_address(address), now)


def over(counts, address, now=NOW, origin=None):
    found = counts.over(origin or unnamed("x"), ip_address(address), now)
    return None if found is None else found.text


@pytest.mark.parametrize(
    ("address", "networks"),
    [
        ("192.0.2.7", ((4, 16, 0xC000), (4, 24, 0xC00002))),
        (
            "2001:db8:1:2ff::7",
            (
                (6, 32, 0x20010DB8),
                (6, 48, 0x20010DB80001),
                (6, 56, 0x20010DB8000102),
                (6, 64, 0x20010DB8000102FF),
            ),
        ),
    ],
)
def test_networks_are_told_widest_first(address, networks):
    assert networks_of(ip_address(address)) == networks


def test_the_limit_is_the_number_that_is_allowed():
    counts = counter(10)
    note(counts, "192.0.2.1", 9)
    assert over(counts, "192.0.2.200") is None
    note(counts, "192.0.2.2")
    assert over(counts, "192.0.2.200") == "192.0.2.0/24"
    assert over(counts, "192.0.3.1") is None
    assert counts.count(unnamed("x"), ip_address("192.0.2.9"), NOW) == 10


@pytest.mark.parametrize(
    ("addresses", "wide", "beside"),
    [
        ([f"192.0.{n}.1" for n in range(12)], "192.0.0.0/16", "192.1.0.1"),
        ([f"2001:db8:0:{n:x}::1" for n in range(12)], "2001:db8::/56", "2001:db8:0:100::1"),
        ([f"2001:db8:0:{n:x}00::1" for n in range(12)], "2001:db8::/48", "2001:db8:1::1"),
        ([f"2001:db8:{n:x}::1" for n in range(12)], "2001:db8::/32", "2001:db9::1"),
    ],
)
def test_networks_next_to_each_other_have_a_limit_together(addresses, wide, beside):
    counts = counter(10)
    while over(counts, addresses[0]) is None:
        for address in addresses:
            note(counts, address)
            if over(counts, address):
                break
    factor = {"/16": 10, "/56": 2, "/48": 4, "/32": 10}[wide[-3:]]
    assert sum(counts.count(unnamed("x"), ip_address(address), NOW) for address in addresses) == 10 * factor
    assert {over(counts, address) for address in addresses} == {wide}
    assert over(counts, beside) is None


def test_all_unnamed_clients_of_an_ip_version_have_a_limit_together():
    counts = counter(10)
    for number in range(499):
        note(counts, IPv4Address(number << 16))
    assert over(counts, "192.0.2.1") is None
    note(counts, "198.51.100.1")
    assert over(counts, "192.0.2.1") == "0.0.0.0/0"
    assert over(counts, "2001:db8::1") is None
    assert over(counts, "192.0.2.1", origin=NAMED) is None
    assert over(counts, "192.0.2.1", NOW + HOUR + HOUR // 2) is None
    for number in range(500):
        note(counts, IPv6Address(number << 96))
    assert over(counts, "2001:db8::1") == "::/0"


def test_cycling_through_the_narrow_networks_gains_no_second_coarse_record():
    counts = counter(1)
    origins = set()
    made = 0
    for number in range(2000):
        address = IPv6Address((0x20010DB8 << 96) + (number << 64))
        coarse = counts.over(unnamed("x"), address, NOW)
        if coarse is None:
            counts.note(unnamed("x"), address, NOW)
            made += 1
        else:
            origins.add(coarse.text)
    assert made == 4
    assert origins == {"2001:db8::/56", "2001:db8::/48"}


def test_a_named_origin_counts_by_itself_wherever_it_sends_from():
    counts = counter(10, 100)
    for number in range(99):
        counts.note(NAMED, ip_address(f"192.0.{number}.1"), NOW)
    assert over(counts, "192.0.2.1", origin=NAMED) is None
    counts.note(NAMED, None, NOW)
    assert counts.over(NAMED, ip_address("198.51.100.1"), NOW) is NAMED
    assert counts.over(NAMED, None, NOW) is NAMED
    assert counts.count(NAMED, None, NOW) == 100
    assert over(counts, "192.0.2.1") is None
    assert over(counts, "192.0.2.1", origin=Origin("example.net", named=True)) is None


def test_an_unnamed_flood_beside_it_does_not_count_for_a_named_origin():
    counts = counter(10, 100)
    note(counts, "192.0.2.1", 200)
    assert over(counts, "192.0.2.1", origin=NAMED) is None


def test_nought_is_no_limit_and_a_client_nobody_knows_is_not_counted():
    counts = counter(0, 0)
    note(counts, "192.0.2.1", 50)
    note(counts, "192.0.2.1", 50, origin=NAMED)
    assert over(counts, "192.0.2.1") is None
    assert over(counts, "192.0.2.1", origin=NAMED) is None
    counts = counter(1)
    counts.note(unnamed(""), None, NOW)
    assert counts.over(unnamed(""), None, NOW) is None
    assert counts.count(unnamed(""), None, NOW) == 0


def test_limits_can_be_replaced():
    counts = counter(10)
    note(counts, "192.0.2.1", 10)
    counts.limits = NewRecordLimits(11, 100)
    assert over(counts, "192.0.2.1") is None
    note(counts, "192.0.2.1")
    assert over(counts, "192.0.2.1") is not None


def test_an_hour_slides():
    counts = counter(10)
    note(counts, "198.51.100.1", now=NOW)  # the first hour begins
    note(counts, "192.0.2.1", 20, now=NOW + HOUR - 1)
    assert over(counts, "192.0.2.1", NOW + HOUR - 1) is not None
    assert over(counts, "192.0.2.1", NOW + HOUR) is not None  # no second share at the full hour
    assert over(counts, "192.0.2.1", NOW + HOUR + HOUR // 2) is not None  # 20 * 0.5
    assert over(counts, "192.0.2.1", NOW + HOUR + HOUR // 2 + 1) is None
    assert counts.count(unnamed("x"), ip_address("192.0.2.1"), NOW + 2 * HOUR - 900) == 5
    assert counts.count(unnamed("x"), ip_address("192.0.2.1"), NOW + 2 * HOUR) == 0


@pytest.mark.parametrize("step", [-1, -60, -HOUR, -10 * HOUR, -NOW])
def test_a_clock_set_back_is_forgotten_within_two_hours(step):
    counts = counter(10)
    note(counts, "192.0.2.1", 20)
    assert over(counts, "192.0.2.1", NOW + step) is not None
    assert over(counts, "192.0.2.1", NOW + step + 2 * HOUR) is None


@pytest.mark.parametrize("step", [2 * HOUR, 1000 * HOUR])
def test_a_clock_set_forward_only_ends_the_hour(step):
    counts = counter(10)
    note(counts, "192.0.2.1", 20)
    assert over(counts, "192.0.2.1", NOW + step) is None
    note(counts, "192.0.2.1", 10, now=NOW + step)
    assert over(counts, "192.0.2.1", NOW + step) is not None


def test_a_flood_ends_in_the_limit_for_each_hour():
    counts = counter(10)
    made = 0
    for second in range(0, 10 * HOUR, 5):
        if over(counts, "192.0.2.1", NOW + second) is None:
            note(counts, "192.0.2.1", now=NOW + second)
            made += 1
    assert 90 <= made <= 120


def test_memory_is_fixed():
    counts = counter(size=1000)

    def octets():
        return sum(sys.getsizeof(getattr(counts, name)) for name in counts.__slots__)

    note(counts, "192.0.2.1")
    assert 4 * 4 * 1024 < octets() < 4 * 4 * 1024 + 4000  # without an hour before
    note(counts, "192.0.2.1", now=NOW + HOUR)
    before = octets()
    assert 2 * 4 * 4 * 1024 < before < 2 * 4 * 4 * 1024 + 4000
    for number in range(5000):
        counts.note(Origin(f"host{number}.example", named=True), None, NOW + HOUR + number)
        counts.note(unnamed("x"), IPv6Address(number << 64), NOW + HOUR + number)
    assert octets() == before
    assert NewRecordQuota(NewRecordLimits(), 4)._width == 4
    assert NewRecordQuota(NewRecordLimits(), 65_537)._width == 1 << 16


addresses = st.one_of(
    st.integers(0, 2**32 - 1).map(IPv4Address),
    st.integers(0, 255).map(lambda n: IPv4Address((192 << 24) + (n << 6))),
    st.integers(0, 2**128 - 1).map(IPv6Address),
    st.integers(0, 2**20).map(lambda n: IPv6Address((0x20010DB8 << 96) + (n << 60))),
)


@given(st.lists(addresses, max_size=60), st.sampled_from([1, 4, 64]))
def test_nobody_is_ever_counted_for_less_than_he_did(clients, size):
    counts = counter(size=size)
    truth = Counter()
    for client in clients:
        counts.note(unnamed("x"), client, NOW)
        truth[networks_of(client)[-1]] += 1
    for client in clients:
        assert counts.count(unnamed("x"), client, NOW) >= truth[networks_of(client)[-1]]


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**31))
def test_millions_of_strangers_neither_hide_a_heavy_one_nor_burden_a_light_one(seed):
    """A 64th of the size under a 64th of a million: the same load on each cell."""
    counts = counter(100, 10_000, size=65_536 // 64)
    light, heavy = Origin("light.example", named=True), Origin("heavy.example", named=True)
    for number in range(1_000_000 // 64):
        counts.note(Origin(f"{seed}-{number}.example", named=True), None, NOW)
        if number % 100 == 0:
            counts.note(heavy, None, NOW)
    assert counts.count(heavy, None, NOW) >= 157
    assert counts.count(light, None, NOW) < 60


def test_the_cells_depend_on_the_key():
    one, other = counter(), NewRecordQuota(NewRecordLimits(), 4096, key=b"other")
    marks = [made._marks_of(NAMED, None) for made in (one, counter(), other)]
    assert marks[0] == marks[1] != marks[2]


def test_names_that_were_no_utf8_are_counted():
    origin = Origin("\udcff.example", named=True)
    counts = counter()
    counts.note(origin, None, NOW)
    assert counts.count(origin, None, NOW) == 1
