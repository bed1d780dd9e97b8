"""A loop that is held up."""

from __future__ import annotations

import pytest
import trio

from multigrey.background.loop_lag import LoopLag


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
