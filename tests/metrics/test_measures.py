"""Adding up: bounds as Prometheus wants them, and a loop that is held up."""

from __future__ import annotations

import math

import pytest
import trio

from multigrey.metrics.measures import Histogram, LoopLag, Timings


@pytest.mark.parametrize(
    ("seen", "buckets"),
    [
        ([], [(1, 0), (5, 0), (math.inf, 0)]),
        ([1], [(1, 1), (5, 1), (math.inf, 1)]),
        ([1.01, 5, 5.01], [(1, 0), (5, 2), (math.inf, 3)]),
        ([0, -1, 10**9], [(1, 2), (5, 2), (math.inf, 3)]),
    ],
)
def test_values_lie_below_the_bound_they_equal(seen, buckets):
    histogram = Histogram((1, 5))
    for each in seen:
        histogram.observe(each)
    assert histogram.buckets() == buckets
    assert histogram.total == len(seen)
    assert histogram.sum == sum(seen)


def test_every_bound_ascends():
    timings = Timings()
    for histogram in (timings.answers, timings.commits, timings.batches, LoopLag().seen):
        assert list(histogram.bounds) == sorted(set(histogram.bounds))


def clock(*late: float):
    """A clock by which a loop is so late at each look at it, and then no more."""
    rest = iter(late)
    return lambda: trio.current_time() + next(rest, 0.0)


async def test_a_loop_that_is_held_up_is_late(autojump_clock):
    lag = LoopLag()
    assert (lag.latest, lag.worst) == (0.0, 0.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lag.run, clock(0.0, 0.4))
        await trio.sleep(0.3)
        assert (lag.latest, lag.worst, lag.seen.total) == (pytest.approx(0.4), pytest.approx(0.4), 1)
        await trio.sleep(30)
        assert (lag.latest, lag.worst) == (pytest.approx(0.0), pytest.approx(0.4))
        await trio.sleep(31)
        assert lag.worst == pytest.approx(0.0)
        nursery.cancel_scope.cancel()
    assert lag.seen.sum == pytest.approx(0.4)
    assert lag.seen.total > 240
