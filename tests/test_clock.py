"""How long ago something was, by clocks that are set."""

from __future__ import annotations

import pytest

from multigrey.clock import Since, SystemClock
from tests.support.clocks import START, FakeClock

DAYS = 86_400


@pytest.mark.parametrize("jump", [0, 1, -1, 400 * DAYS, -400 * DAYS, 3 - START])
def test_a_wall_clock_that_is_set_changes_no_duration(jump):
    clock = FakeClock()
    since = Since(clock)
    clock.advance(90)
    clock.step(jump)
    assert since.seconds == 90
    assert clock.now() - since.time == 90 or abs(jump) <= 2


def test_the_moment_is_told_as_the_clock_has_it_now():
    clock = FakeClock(now=3)  # no battery, and no time from the network yet
    since = Since(clock)
    clock.advance(20)
    assert since.time == 3
    clock.step(START)
    assert since.time == START + 3
    clock.step(-START)
    assert since.time == 3


def test_the_moment_stays_the_same_second_while_clocks_drift_and_round():
    clock = FakeClock()
    since = Since(clock)
    for _ in range(3):
        clock.advance(50)
        clock.step(1)
        clock.step(-1 if since.time == START else 0)
    assert since.time == START


def test_the_machine_s_clocks():
    since = Since(SystemClock())
    assert since.seconds in {0, 1}
    assert abs(SystemClock().now() - since.time) <= 2
