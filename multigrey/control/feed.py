"""Decisions as they are made, for whoever watches; and how many each origin had lately.

Both are listeners of the engine, called for every decision: without a follower `Followers` costs one
look at an empty tuple, with one an append.  Nobody can hold up the daemon: a follower who reads too
slowly loses the oldest decisions, and is told how many.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple, Self

import trio

from multigrey.clock import Clock, Since
from multigrey.model import Action, DecisionEvent

__all__ = ["OTHERS", "SPANS", "Follower", "Followers", "OriginCounts", "Rates", "Slots", "totals"]

CAPACITY = 1_000
"""Decisions kept for one follower who is slow; an attempt takes a kilobyte, at worst some dozen."""

SPANS = (60, 300, 900)
"""Seconds that rates are told for."""
OTHERS = ""
"""Stands for the origins that were too many to be counted one by one."""

_SLOT = 10
_MOST_ORIGINS = 200
"""Origins counted one by one in each ten seconds: that many new ones need a busy server."""


class Follower(AsyncIterator[DecisionEvent]):
    """Every decision from the moment it was made, until `aclose`."""

    def __init__(self, capacity: int, leave: Callable[[Follower], None]) -> None:
        """`leave` is called with this follower when it wants no more."""
        self._waiting: deque[DecisionEvent] = deque(maxlen=capacity)
        self._leave = leave
        self._arrived = trio.Event()
        self._lost = 0

    def tell(self, event: DecisionEvent) -> None:
        """Keep a decision for it; the oldest one goes when there are too many."""
        waiting = self._waiting
        if len(waiting) == waiting.maxlen:
            self._lost += 1
        elif not waiting:
            self._arrived.set()
        waiting.append(event)

    def taken(self) -> tuple[list[DecisionEvent], int]:
        """Everything that waits now, oldest first, and how many were lost before that."""
        found, lost = list(self._waiting), self._lost
        self._waiting.clear()
        self._lost = 0
        return found, lost

    def lost(self) -> int:
        """How many decisions were lost since this was last asked."""
        lost, self._lost = self._lost, 0
        return lost

    async def arrived(self) -> None:
        """Wait until there is something to take."""
        while not self._waiting:
            self._arrived = trio.Event()
            await self._arrived.wait()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> DecisionEvent:
        await self.arrived()
        return self._waiting.popleft()

    async def aclose(self) -> None:
        """Want no more."""
        self._leave(self)


class Followers:
    """A listener of the engine that hands every decision on to whoever follows."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        """`capacity`: decisions kept for each follower at most."""
        self._capacity = capacity
        self._followers: tuple[Follower, ...] = ()

    def __len__(self) -> int:
        return len(self._followers)

    def __call__(self, event: DecisionEvent) -> None:
        """Hand a decision on: never waits."""
        for follower in self._followers:
            follower.tell(event)

    def follow(self) -> Follower:
        """Every decision from now on; to be closed when nobody reads it any more."""
        follower = Follower(self._capacity, self._forget)
        self._followers = (*self._followers, follower)
        return follower

    def _forget(self, follower: Follower) -> None:
        self._followers = tuple(each for each in self._followers if each is not follower)


class OriginCounts(NamedTuple):
    """Decisions about one origin: for each of `SPANS` how many attempts, deferred, passed."""

    origin: str
    """`OTHERS`: all those that were not counted one by one."""
    counts: tuple[tuple[int, int, int], ...]


_Slot = dict[str, list[int]]
Slots = list[tuple[int, _Slot]]
"""Age in seconds, and by origin: attempts, deferred, passed."""


class Rates:
    """A listener of the engine that counts decisions by origin over the last quarter of an hour.

    Its memory is bounded: in ten seconds it counts `most` origins, everything else goes to `OTHERS`.
    """

    def __init__(self, clock: Clock, most: int = _MOST_ORIGINS) -> None:
        """Counts by the monotonic clock, so that setting the wall clock changes nothing."""
        self._clock = clock
        self._most = most
        self._slots: deque[tuple[int, _Slot]] = deque(maxlen=SPANS[-1] // _SLOT)
        self.since = Since(clock)
        """Since when there are counts."""

    def __call__(self, event: DecisionEvent) -> None:
        """Count a decision."""
        number = int(self._clock.monotonic()) // _SLOT
        slots = self._slots
        if not slots or slots[-1][0] != number:
            slots.append((number, {}))
        slot = slots[-1][1]
        counts = slot.get(event.origin)
        if counts is None:
            origin = event.origin if len(slot) < self._most else OTHERS
            counts = slot.setdefault(origin, [0, 0, 0])
        counts[0] += 1
        action = event.verdict.action
        if action is Action.DEFER:
            counts[1] += 1
        elif action is Action.PASS:
            counts[2] += 1

    def now(self) -> Slots:
        """What was counted by now; quick, and what is counted later changes it hardly."""
        now = int(self._clock.monotonic()) // _SLOT
        return [((now - number) * _SLOT, slot.copy()) for number, slot in self._slots]


def totals(slots: Slots) -> list[OriginCounts]:
    """Every origin with its counts, in no particular order.  Takes a while: may run in a thread.

    A span ends now and begins where one of the slots of ten seconds does, so it may be up to ten seconds
    short.
    """
    bands: list[_Slot] = [{} for _ in SPANS]
    for age, slot in slots:
        if age >= SPANS[-1]:
            continue
        band = bands[sum(age >= span for span in SPANS)]
        for origin, (attempts, deferred, passed) in slot.items():
            counts = band.get(origin)
            if counts is None:
                band[origin] = [attempts, deferred, passed]
            else:
                counts[0] += attempts
                counts[1] += deferred
                counts[2] += passed
    return [_summed(origin, bands) for origin in {origin for band in bands for origin in band}]


def _summed(origin: str, bands: Sequence[_Slot]) -> OriginCounts:
    """Each span holds what the shorter ones hold."""
    attempts = deferred = passed = 0
    counts = []
    for band in bands:
        found = band.get(origin)
        if found is not None:
            attempts += found[0]
            deferred += found[1]
            passed += found[2]
        counts.append((attempts, deferred, passed))
    return OriginCounts(origin, tuple(counts))
