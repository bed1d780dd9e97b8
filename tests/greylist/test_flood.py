"""Floods: who is named, since when, how often; and that counting them takes bounded memory."""

from __future__ import annotations

from dataclasses import replace
from timeit import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.greylist.flood import Floods
from multigrey.identity.addresses import network_and_wider, widened
from multigrey.model import HOUR, Reason
from tests.support.decisions import decision

NET, WIDE = "94.102.49.0/24", "94.102.0.0/16"
V6 = ("2001:db8:1:2::/64", "2001:db8::/32")


def shown(floods: Floods, now: float) -> list[tuple[str, float, int]]:
    return [(each.network, each.began, each.attempts) for each in floods.floods(now)]


@pytest.mark.parametrize(("times", "now", "expected"), [
    ([], 0, []),
    ([0], 0, [(NET, 0, 1)]),
    ([0, 1, 2], 3, [(NET, 0, 3)]),
    ([0, 3000], 3599, [(NET, 0, 2)]),
    ([0, 3000], 3600, [(NET, 0, 1)]),                       # the first minute is an hour old
    ([0], 3599, [(NET, 0, 1)]),
    ([0], 3600, []),                                        # over: an hour without any
    ([0, 3599, 7198], 7198, [(NET, 0, 1)]),                 # it goes on: began long ago
    ([0, 3600], 3600, [(NET, 3600, 1)]),                    # over, and another one
    ([0, 3599, 9000], 9000, [(NET, 9000, 1)]),
    ([100, 50], 100, [(NET, 100, 2)]),                      # a clock that goes back a little harms nothing
])  # fmt: skip
def test_since_when_and_how_often(times, now, expected):
    floods = Floods()
    for time in times:
        floods.note(time, NET, WIDE)
    assert shown(floods, now) == expected
    assert floods.attempts == len(times)


def test_a_rate_of_an_hour_is_that_of_the_last_one():
    floods = Floods()
    for time in range(10 * HOUR):
        floods.note(time, NET, WIDE)
    assert shown(floods, 10 * HOUR - 1) == [(NET, 0, HOUR)]


@pytest.mark.parametrize(("networks", "named"), [(1, 1), (3, 3), (4, 1), (200, 1), (5_000, 1)])
def test_many_networks_of_a_wider_one_are_told_by_it(networks, named):
    floods = Floods()
    for index in range(networks):
        floods.note(index / 100, f"10.0.{index}.0/24", "10.0.0.0/16")
    found = floods.floods(networks / 100)
    assert len(found) == named
    assert sum(each.attempts for each in found) == networks
    if named == 1 and networks > 1:
        assert found[0].network == "10.0.0.0/16"


def test_most_attempts_come_first_and_names_have_no_wider_network():
    floods = Floods()
    floods.note(0, "example.org")
    for _ in range(3):
        floods.note(0, NET, WIDE)
    assert [each.network for each in floods.floods(0)] == [NET, "example.org"]


@given(st.lists(st.integers(0, 400), max_size=600))
def test_memory_is_bounded_and_a_flood_that_goes_on_is_never_lost(others):
    floods = Floods(most=8)
    for time, other in enumerate(others):
        floods.note(time, NET, WIDE)
        floods.note(time, f"10.{other}.0.0/24", f"10.{other}.0.0/16")
    found = floods.floods(len(others))
    assert len(found) <= 16
    assert not others or (NET, 0, len(others)) in shown(floods, len(others) - 1)
    assert len(floods._networks) <= 8
    assert len(floods._wider) <= 8


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"origin": "94.102.49.0/24", "client": "94.102.49.7"}, (NET, WIDE)),
        ({"origin": "94.102.49.0/28", "client": "94.102.49.7"}, (NET, WIDE)),  # limits count /24s
        ({"origin": "2001:db8:1:2::/64", "client": "2001:db8:1:2::3"}, V6),
        ({"origin": "example.org", "client": "94.102.49.7"}, ("example.org", "")),
        ({"origin": "h:abcdefghijklmnop", "client_address": None}, ("h:abcdefghijklmnop", "")),
        ({"origin": "", "client": "94.102.49.7"}, (NET, WIDE)),
    ],
)
def test_whose_limit_it_is(changes, expected):
    assert network_and_wider(decision(Reason.OVER_LIMIT, **changes)) == expected


def test_widened():
    few = {f"10.0.{index}.0/24": "10.0.0.0/16" for index in range(3)}
    few["example.org"] = ""
    assert widened(few) == {name: name for name in few}
    many = few | {"10.0.9.0/24": "10.0.0.0/16"}
    assert set(widened(many).values()) == {"10.0.0.0/16", "example.org"}


def test_counting_is_quick():
    """Some 1.5 us here: a flood is not to be helped by being counted."""
    floods = Floods()
    event = replace(decision(Reason.OVER_LIMIT, client="94.102.49.7", origin=NET))

    def count():
        floods.note(0.0, *network_and_wider(event))

    assert min(timeit(count, number=1000) for _ in range(5)) / 1000 < 100e-6
