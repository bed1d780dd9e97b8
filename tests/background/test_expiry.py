"""Forgetting: what is due goes, in slices, and never because a clock was wrong."""

from __future__ import annotations

import logging

import pytest
import trio

from multigrey.background.expiry import keep_forgetting
from multigrey.clock import ClockGuard, GuardedClock
from multigrey.errors import StoreError
from tests.support.clocks import START

HOUR = 3600
DAY = 86_400
LONGEST = 36 * DAY

AT_START = [
    # now, newest keep_until of the store, paused
    (START, 0, False),  # an empty store
    (START, START + 1, False),
    (START, START, False),
    (START, START - 1, True),
    (START, 1, True),
]


@pytest.mark.parametrize(("now", "newest", "paused"), AT_START)
def test_at_start(now, newest, paused):
    guard = ClockGuard.at_start(now, 500.0, newest)
    assert (guard.paused_at is not None) is paused
    assert guard.look(now, 500.0) is not paused


LOOKS = [
    # name, (seconds by the wall clock, seconds by the monotonic clock, whether forgetting goes on) …
    ("both move", [(30, 30, True), (30, 30, True), (86_400, 86_400, True)]),
    ("slewed", [(31, 30, True), (29, 30, True)]),
    ("set by an hour", [(30 + HOUR, 30, True), (30 - HOUR, 30, True)]),
    ("set ahead by more", [(31 + HOUR, 30, False), (30, 30, False)]),
    ("set back by more", [(29 - HOUR, 30, False), (30, 30, False)]),
    ("woken up after a long sleep", [(8 * HOUR, 0, False)]),
    ("the wall stood still", [(0, HOUR + 1, False)]),
    (
        "believed after an hour",
        [(2 * HOUR, 0, False), (HOUR - 1, HOUR - 1, False), (1, 1, True), (30, 30, True)],
    ),
    ("believed after one long pause", [(2 * HOUR, 0, False), (HOUR, HOUR, True)]),
    (
        "set again: another hour",
        [
            (2 * HOUR, 0, False),
            (1800, 1800, False),
            (-2 * HOUR, 0, False),
            (1800, 1800, False),
            (1799, 1799, False),
            (1, 1, True),
        ],
    ),
    (
        "set again when just about to be believed",
        [(2 * HOUR, 0, False), (3 * HOUR + 1, HOUR, False), (HOUR, HOUR, True)],
    ),
]


@pytest.mark.parametrize(("name", "looks"), LOOKS, ids=[row[0] for row in LOOKS])
def test_the_guard(name, looks):
    guard = ClockGuard.at_start(START, 500.0, START + 9)
    wall, monotonic, seen = START, 500.0, []
    for by_wall, by_monotonic, _ in looks:
        wall, monotonic = wall + by_wall, monotonic + by_monotonic
        seen.append((by_wall, by_monotonic, guard.look(wall, monotonic)))
    assert seen == looks


def test_everything_due_at_start_is_believed_after_a_day():
    guard = ClockGuard.at_start(START, 0.0, START - 1)
    assert [guard.look(START + s, float(s)) for s in (0, 30, DAY - 1, DAY)] == [False, False, False, True]


NEWEST = START + LONGEST
"""Of a store that saw somebody pass at START."""

TIMES = [
    # name, what the wall clock shows at the start, then (monotonic, wall, the time gone by, believed) …
    ("right", 0, [(10, START + 10, START + 10, True)]),
    (
        "1970 until it is set",
        -START,
        [(60, -START + 60 + START, START + 60, False), (300, START + 300, START + 300, True)],
    ),
    (
        "1970 and never set",
        -START,
        [(60, 60, START + 60, False), (DAY - 1, DAY - 1, START + DAY - 1, False), (DAY, DAY, DAY, True)],
    ),
    (
        "400 days ahead at the start, then set right",
        400 * DAY,
        [
            (60, START + 400 * DAY + 60, START + 400 * DAY + 60, False),
            (300, START + 300, START + 300, True),
        ],
    ),
    (
        "400 days ahead for a moment",
        0,
        [
            (60, START + 60, START + 60, True),
            (90, START + 90 + 400 * DAY, START + 90, False),
            (900, START + 900 + 400 * DAY, START + 900, False),
            (990, START + 990, START + 990, False),
            (990 + 3600, START + 4590, START + 4590, True),
        ],
    ),
    (
        "set back by three years for good",
        0,
        [
            (60, START + 60 - 1000 * DAY, START + 60, False),
            (3660, START + 3660 - 1000 * DAY, START + 3660, False),
            (DAY + 60, START - 999 * DAY + 60, START - 999 * DAY + 60, True),
        ],
    ),
    (
        "set back by three days for good",
        0,
        [
            (60, START + 60 - 3 * DAY, START + 60, False),
            (3660, START + 3660 - 3 * DAY, START + 3660 - 3 * DAY, True),
        ],
    ),
    (
        "asleep for a day",
        0,
        [(60, START + DAY, START + DAY, False), (120, START + DAY + 60, START + DAY + 60, False)],
    ),
]


@pytest.mark.parametrize(("name", "offset", "looks"), TIMES, ids=[row[0] for row in TIMES])
def test_time_goes_on_while_the_wall_clock_is_doubted(name, offset, looks):
    guard = ClockGuard.at_start(START + offset, 0.0, NEWEST, LONGEST)
    for monotonic, wall, time, believed in looks:
        assert (guard.time(wall, float(monotonic)), guard.paused_at is None) == (time, believed)


@pytest.mark.parametrize("wall", [START, 60, 946_684_860])
def test_every_time_is_doubted_before_the_store_was_looked_at(wall):
    clock = GuardedClock(StandingClock(wall))
    assert not clock.believed()
    clock.compare(wall + LONGEST, LONGEST)
    assert clock.believed()
    assert clock.now() == wall


class StandingClock:
    """Stands still."""

    def __init__(self, wall):
        self.wall = wall

    def now(self):
        return self.wall

    def monotonic(self):
        return 5.0


@pytest.mark.parametrize(
    ("steps", "set_back"),
    [
        ([(60, 60)], 0),
        ([(60, 60), (61, 59)], 0),
        ([(600, 60)], 0),
        ([(60, 60), (20, 120)], 100),
        ([(60, 60), (20 - DAY, 120)], 0),  # not believed yet
        ([(60, 60), (20 - DAY, 120), (HOUR + 20 - DAY, HOUR + 120)], DAY + 100),
        ([(60 + DAY, 60), (120, 120), (HOUR + 200, HOUR + 200)], DAY),
    ],
)
def test_how_far_time_went_back(steps, set_back):
    guard = ClockGuard.at_start(START, 0.0, NEWEST, LONGEST)
    for wall, monotonic in steps:
        guard.time(START + wall, float(monotonic))
    assert guard.set_back == set_back


# ---------------------------------------------------------------- the task


class TrioClock:
    """The test's own time, as both clocks; `offset` is what somebody did to the wall clock."""

    offset = 0

    def now(self):
        return START + int(trio.current_time()) + self.offset

    def monotonic(self):
        return trio.current_time()


class Due:
    """Stands for a store that has so many entries due; notes what it is told."""

    def __init__(self, due=0, *, newest=START + 30 * DAY):
        self.due = due
        self.newest_entry = newest
        self.calls = []
        self.on_forget = lambda: None

    async def newest(self):
        return self.newest_entry

    async def forget(self, before, limit):
        self.calls.append((trio.current_time(), before))
        self.on_forget()
        gone = min(self.due, limit)
        self.due -= gone
        return gone


async def forget_for(seconds, clock, store):
    with trio.move_on_after(seconds):
        await keep_forgetting(GuardedClock(clock), store, LONGEST, trio.Event())


async def test_forgets_again_and_again_what_is_due_now(autojump_clock):
    store, clock = Due(), TrioClock()
    start = trio.current_time()
    await forget_for(100, clock, store)
    assert [at - start for at, _ in store.calls] == [0, 30, 60, 90]
    assert all(before == START + int(at) for at, before in store.calls)


async def test_forgets_in_slices_until_nothing_is_due(autojump_clock):
    store = Due(1_700)
    await forget_for(20, TrioClock(), store)
    assert store.due == 0
    assert len(store.calls) == 4
    moments = [at for at, _ in store.calls]
    assert len(set(moments)) == 4  # it gave way in between
    assert moments[-1] - moments[0] < 1


async def test_forgets_nothing_when_everything_seems_due_at_start(autojump_clock, caplog):
    store = Due(5, newest=START - 1)
    start = trio.current_time()
    await forget_for(DAY + 100, TrioClock(), store)
    assert [at - start for at, _ in store.calls][:1] == [DAY]
    assert len(caplog.records) == 1
    assert "check the clock" in caplog.text


async def test_pauses_for_an_hour_and_says_so_once_when_the_clock_is_set(autojump_clock, caplog):
    store, clock = Due(5), TrioClock()
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(forget_for, 2 * HOUR, clock, store)
        await trio.sleep(45)
        clock.offset = 7 * DAY
    moments = [at - start for at, _ in store.calls]
    assert moments[:3] == [0, 30, 60 + HOUR]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "was set" in caplog.text


async def test_the_clock_is_set_between_two_slices(autojump_clock, caplog):
    store, clock = Due(100_000), TrioClock()

    def set_clock():
        if len(store.calls) == 3:
            clock.offset = 86_400 * 400

    store.on_forget = set_clock
    await forget_for(600, clock, store)
    assert len(store.calls) == 3
    assert all(before <= START + int(at) for at, before in store.calls)
    assert len(caplog.records) == 1


async def test_a_store_in_trouble_is_asked_again_later(autojump_clock, caplog):
    store = Due(3)
    moods = iter([StoreError("disk full"), StoreError("disk full"), None, None])

    def fail():
        mood = next(moods)
        if mood is not None:
            raise mood

    store.on_forget = fail
    start = trio.current_time()
    await forget_for(100, TrioClock(), store)
    assert [at - start for at, _ in store.calls] == [0, 30, 60, 90]
    assert store.due == 0
    assert [record.getMessage() for record in caplog.records] == ["cannot forget what is due: disk full"] * 2
