"""A clock that is wrong for a while: nobody who is known or waits loses anything by it."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from multigrey.clock import GuardedClock
from multigrey.model import DAY, HOUR, Attempt, Reason
from tests.support.clocks import FakeClock
from tests.support.engines import DELAY, MAX_AGE, Harness, harness

JUMPS = [HOUR, HOUR + 100, DAY, 6 * DAY, 8 * DAY, 40 * DAY, 3650 * DAY, 200 * 365 * DAY]


class Site:
    """An engine whose clock is guarded as a daemon's; it can be started again with the same store."""

    def __init__(self, store):
        self.store, self.raw = store, FakeClock(1_760_000_000)

    async def start(self, clock=None):
        house = Harness(self.store)
        self.engine, self.clock = house.engine, clock or GuardedClock(self.raw)
        self.engine.clock = self.clock
        self.engine.shared.clock_believed = self.clock.believed
        self.engine.shared._set_back = self.clock.set_back
        self.clock.compare(await self.store.newest(), MAX_AGE)

    async def ask(self, who, then=0):
        """What senders of this kind are told; afterwards so many seconds pass."""
        attempts = [
            Attempt("x", ip_address(f"192.0.{n}.1"), None, "h", f"{who}@a{n}.example", "b@example.org")
            for n in range(3)
        ]
        told = {(await self.engine.judge(attempt, "pass")).reason for attempt in attempts}
        self.raw.advance(then)
        (reason,) = told
        return reason


async def before(site):
    """Some senders are known, others wait."""
    await site.start()
    assert await site.ask("known", DELAY) is Reason.NEW
    assert await site.ask("known", 5 * HOUR) is Reason.RETRY
    assert await site.ask("known") is Reason.KNOWN
    assert await site.ask("waiting", 60) is Reason.NEW


async def after(site):
    """The clock is right again, for the first hour and then."""
    assert await site.ask("known") is Reason.KNOWN
    assert await site.ask("late", HOUR - DELAY) is Reason.RETRY
    assert await site.ask("at the end", DELAY) is Reason.NEW
    assert await site.ask("at the end") is Reason.RETRY
    assert await site.ask("known", HOUR) is Reason.KNOWN
    assert site.clock.believed()
    assert [await site.ask(who) for who in ("known", "waiting", "late")] == [Reason.KNOWN] * 3


@pytest.mark.parametrize("lasting", [600, 3 * HOUR])
@pytest.mark.parametrize("jump", [*JUMPS, *(-jump for jump in JUMPS if jump < 1_760_000_000)])
async def test_while_the_daemon_runs(jump, lasting):
    async with harness() as house:
        site = Site(house.store)
        await before(site)
        site.raw.step(jump)
        assert await site.ask("known", DELAY) is Reason.KNOWN
        assert await site.ask("waiting", lasting) is Reason.RETRY
        assert await site.ask("late", DELAY) is Reason.NEW
        assert await site.ask("known") is Reason.KNOWN
        site.raw.step(-jump)
        await after(site)


@pytest.mark.parametrize("lasting", [600, 3 * HOUR])
@pytest.mark.parametrize(
    "jump", [HOUR, DAY, 6 * DAY, 40 * DAY, 3650 * DAY, -HOUR, -DAY, -40 * DAY, -3650 * DAY]
)
async def test_from_the_start_on(jump, lasting):
    """Those who wait over a start with a wrong clock may wait once more; those who are known never do."""
    async with harness() as house:
        site = Site(house.store)
        await before(site)
        site.raw.step(jump)
        await site.start()
        assert await site.ask("known", lasting) is Reason.KNOWN
        assert await site.ask("late", DELAY) is Reason.NEW
        assert await site.ask("known") is Reason.KNOWN
        site.raw.step(-jump)
        assert await site.ask("late", DELAY) is Reason.RETRY
        assert await site.ask("known", HOUR) is Reason.KNOWN
        assert await site.ask("known") is Reason.KNOWN


@pytest.mark.parametrize("jump", [40 * DAY, 3650 * DAY])
async def test_without_the_guard_they_do_lose_it(jump):
    """What the tests above would see if the wall clock were believed at once."""

    class Believing(GuardedClock):
        def now(self):
            return self._clock.now()

        def believed(self):
            return True

    async with harness() as house:
        site = Site(house.store)
        await before(site)
        await site.start(Believing(site.raw))
        site.raw.step(jump)
        assert await site.ask("known") is Reason.EXPIRED
