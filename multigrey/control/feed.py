"""The feed of decisions for `watch`, and the counts of decisions by origin for `top`.

Both are subscribers of the engine, which calls them for every decision.  Without a follower `Followers`
only looks at an empty tuple; with one it appends to a queue.  A follower cannot delay the daemon: if it
reads too slowly, the oldest decisions are dropped, and the follower learns how many.
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
"""Most decisions kept for one slow follower.  An attempt takes about a kilobyte, at worst some dozen."""

SPANS = (60, 300, 900)
"""The spans that counts are given for, in seconds."""
OTHERS = ""
"""The name under which all origins are counted together that were too many to be counted one by one."""

_SLOT = 10
_MOST_ORIGINS = 200
"""Most origins counted one by one in each slot of ten seconds: only a busy server has as many."""


class Follower(AsyncIterator[DecisionEvent]):
    """Every decision from the moment the follower was made, until `aclose`."""

    def __init__(self, capacity: int, leave: Callable[[Follower], None]) -> None:
        """`aclose` calls `leave` with this follower."""
        self._waiting: deque[DecisionEvent] = deque(maxlen=capacity)
        self._leave = leave
        self._arrived = trio.Event()
        self._lost = 0

    def tell(self, event: DecisionEvent) -> None:
        """Queue a decision; when the queue is full, the oldest decision is dropped."""
        waiting = self._waiting
        if len(waiting) == waiting.maxlen:
            self._lost += 1
        elif not waiting:
            self._arrived.set()
        waiting.append(event)

    def taken(self) -> tuple[list[DecisionEvent], int]:
        """All queued decisions, oldest first, and how many were lost before them; empties the queue."""
        found, lost = list(self._waiting), self._lost
        self._waiting.clear()
        self._lost = 0
        return found, lost

    def lost(self) -> int:
        """How many decisions were lost since the last call."""
        lost, self._lost = self._lost, 0
        return lost

    async def arrived(self) -> None:
        """Wait until a decision is queued."""
        while not self._waiting:
            self._arrived = trio.Event()
            await self._arrived.wait()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> DecisionEvent:
        await self.arrived()
        return self._waiting.popleft()

    async def aclose(self) -> None:
        """End the subscription."""
        self._leave(self)


class Followers:
    """A subscriber of the engine that passes every decision on to all followers."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        """`capacity`: most decisions kept for each follower."""
        self._capacity = capacity
        self._followers: tuple[Follower, ...] = ()

    def __len__(self) -> int:
        return len(self._followers)

    def __call__(self, event: DecisionEvent) -> None:
        """Pass a decision on; never waits."""
        for follower in self._followers:
            follower.tell(event)

    def follow(self) -> Follower:
        """Start following: every decision from now on.  The caller has to close the follower."""
        follower = Follower(self._capacity, self._forget)
        self._followers = (*self._followers, follower)
        return follower

    def _forget(self, follower: Follower) -> None:
        self._followers = tuple(each for each in self._followers if each is not follower)


class OriginCounts(NamedTuple):
    """The decisions about one origin: attempts, deferred and passed for each of `SPANS`."""

    origin: str
    """`OTHERS`: all origins that were not counted one by one."""
    counts: tuple[tuple[int, int, int], ...]


_Slot = dict[str, list[int]]
Slots = list[tuple[int, _Slot]]
"""For each slot its age in seconds, and by origin: attempts, deferred, passed."""


class Rates:
    """A subscriber of the engine that counts decisions by origin over the last quarter of an hour.

    Its memory is bounded: each ten seconds it counts `most` origins one by one, and the rest as `OTHERS`.
    """

    def __init__(self, clock: Clock, most: int = _MOST_ORIGINS) -> None:
        """Counts by the monotonic clock, so that setting the wall clock changes nothing."""
        self._clock = clock
        self._most = most
        self._slots: deque[tuple[int, _Slot]] = deque(maxlen=SPANS[-1] // _SLOT)
        self.since = Since(clock)
        """When counting began."""

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
        """The counts until now.

        This is quick.  The lists in it are shared, so a count may still grow while the caller reads it.
        """
        now = int(self._clock.monotonic()) // _SLOT
        return [((now - number) * _SLOT, slot.copy()) for number, slot in self._slots]


def totals(slots: Slots) -> list[OriginCounts]:
    """Every origin with its counts, in no particular order.  Takes a while: may run in a thread.

    A span ends now and begins at the start of a slot of ten seconds, so it may be up to ten seconds short.
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
    """The counts of one origin; each span includes the shorter ones."""
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
