"""Saying things seldom."""

from __future__ import annotations

from multigrey.throttle import Throttle


def test_the_same_thing_once_in_a_while():
    seldom = Throttle(seconds=60)
    assert [seldom.due("a", at) for at in (0, 1, 59.9, 60, 61, 120)] == [
        True,
        False,
        False,
        True,
        False,
        True,
    ]


def test_different_things_do_not_wait_for_each_other():
    seldom = Throttle()
    assert seldom.due("a", 0)
    assert seldom.due("b", 0)


def test_it_counts_what_it_held_back():
    seldom = Throttle()
    for at in range(4):
        seldom.due("a", at)
    assert seldom.held_back("a") == 3
    assert seldom.held_back("a") == 0


def test_it_remembers_a_bounded_number_of_things():
    seldom = Throttle(size=3)
    for name in "abcd":
        seldom.due(name, 0)
    assert seldom.due("a", 1), "the oldest was dropped"
    assert not seldom.due("d", 1)
