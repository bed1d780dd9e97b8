"""How many marks each network holds, in fixed memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.errors import CodecError
from multigrey.greylist.marks import Mark, put
from multigrey.greylist.weights import Weights

NOW = 1_700_000_000
WINDOW = 2 * 86400


def place(top=0, middle=0, leaf=0) -> bytes:
    return b"".join(part.to_bytes(2) for part in (top, middle, leaf))


def noted(*times: int) -> tuple[int, int, int]:
    weights = Weights()
    for time in times:
        weights.note(place(1, 2, 3), time, WINDOW)
    return weights.of(place(1, 2, 3))


def test_each_network_counts_for_itself():
    weights = Weights()
    weights.note(place(1, 2, 3), NOW, WINDOW)
    weights.note(place(1, 2, 4), NOW, WINDOW)
    weights.note(place(1, 5, 6), NOW, WINDOW)
    assert weights.of(place(1, 2, 3)) == (3, 2, 1)
    assert weights.of(place(1, 5, 9)) == (3, 1, 0)
    assert weights.of(place(9, 9, 9)) == (0, 0, 0)


# fmt: off
TIMES = [
    ([NOW, NOW + WINDOW - 1],                   2),
    ([NOW, NOW + WINDOW],                       2),
    ([NOW, NOW + WINDOW, NOW + 2 * WINDOW],     2),
    ([NOW, NOW + 2 * WINDOW],                   1),
    ([NOW, NOW + 99 * WINDOW],                  1),
    ([NOW, NOW - 10 * WINDOW, NOW - 9 * WINDOW - 1], 3),
    ([NOW, NOW - 10 * WINDOW, NOW],             1),
]
# fmt: on


@pytest.mark.parametrize(("times", "number"), TIMES)
def test_what_is_older_than_a_window_or_two_is_forgotten(times, number):
    assert noted(*times) == (number, number, number)


def test_what_the_store_holds_is_counted_after_a_restart():
    bucket = None
    for number in range(5):
        digest = bytes(2) + number.to_bytes(8) + bytes(6)
        bucket = put(bucket, digest, Mark(NOW, 300), place(1, 2, number), NOW, WINDOW)
    weights = Weights()
    weights.add(bucket)
    weights.note(place(1, 2, 3), NOW, WINDOW)
    assert weights.of(place(1, 2, 3)) == (6, 6, 2)
    with pytest.raises(CodecError):
        weights.add(b"rubbish")


@given(st.lists(st.builds(place, *[st.integers(0, 5)] * 3)))
def test_nobody_counts_for_less_than_he_made(made):
    weights = Weights()
    for who in made:
        weights.note(who, NOW, WINDOW)
    for who in made:
        top, middle, leaf = weights.of(who)
        assert top == sum(other[:2] == who[:2] for other in made)
        assert middle >= sum(other[:4] == who[:4] for other in made)
        assert leaf >= made.count(who)
