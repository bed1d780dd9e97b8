from __future__ import annotations

from ipaddress import ip_address

import trio

from multigrey.control.feed import OTHERS, Followers, Rates, totals
from multigrey.model import Action, Attempt, DecisionEvent, Reason, Verdict
from tests.support.clocks import FakeClock

PASSED = Verdict(Action.PASS, Reason.KNOWN)
DEFERRED = Verdict(Action.DEFER, Reason.NEW)
REJECTED = Verdict(Action.REJECT, Reason.RULE)


def event(number: int = 0, *, origin: str = "example.org", verdict: Verdict = PASSED) -> DecisionEvent:
    attempt = Attempt("exim", ip_address("192.0.2.1"), None, "", "a@example.org", "b@example.net")
    return DecisionEvent(1_000_000_000, f"id{number}", attempt, verdict, origin)


class TestFollowers:
    async def test_every_follower_gets_every_decision_in_order(self):
        followers = Followers()
        one, other = followers.follow(), followers.follow()
        for number in range(3):
            followers(event(number))
        for follower in (one, other):
            assert [(await anext(follower)).id for _ in range(3)] == ["id0", "id1", "id2"]

    async def test_one_that_comes_later_gets_only_what_is_decided_then(self):
        followers = Followers()
        followers(event(0))
        follower = followers.follow()
        followers(event(1))
        assert (await anext(follower)).id == "id1"
        assert follower.lost() == 0

    async def test_a_slow_one_loses_the_oldest_and_is_told_how_many_once(self):
        followers = Followers(capacity=3)
        slow, quick = followers.follow(), followers.follow()
        for number in range(5):
            followers(event(number))
            await anext(quick)
        events, lost = slow.taken()
        assert ([each.id for each in events], lost) == (["id2", "id3", "id4"], 2)
        assert slow.taken() == ([], 0)
        assert quick.lost() == 0

    async def test_whoever_waits_is_woken(self, autojump_clock):
        followers = Followers()
        follower = followers.follow()
        got: list[str] = []

        async def read() -> None:
            async for each in follower:
                got.append(each.id)
                if len(got) == 2:
                    return

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            for number in range(2):
                await trio.testing.wait_all_tasks_blocked()
                followers(event(number))
        assert got == ["id0", "id1"]

    async def test_one_that_left_is_told_nothing_any_more(self):
        followers = Followers()
        gone, stays = followers.follow(), followers.follow()
        await gone.aclose()
        await gone.aclose()
        followers(event())
        assert (len(followers), gone.taken(), len(stays.taken()[0])) == (1, ([], 0), 1)


class TestRates:
    def test_counts_by_origin_and_span(self):
        clock = FakeClock()
        rates = Rates(clock)
        rates(event(verdict=DEFERRED))
        clock.advance(200)
        rates(event(verdict=PASSED))
        rates(event(verdict=REJECTED, origin="example.net"))
        clock.advance(30)
        rates(event(verdict=PASSED))
        counts = {each.origin: each.counts for each in totals(rates.now())}
        assert counts == {
            "example.org": ((2, 0, 2), (3, 1, 2), (3, 1, 2)),
            "example.net": ((1, 0, 0), (1, 0, 0), (1, 0, 0)),
        }
        assert rates.since.time == 1_000_000_000

    def test_what_is_older_than_the_longest_span_is_gone(self):
        clock = FakeClock()
        rates = Rates(clock)
        rates(event())
        clock.advance(899)
        assert [each.counts for each in totals(rates.now())] == [((0, 0, 0), (0, 0, 0), (1, 0, 1))]
        clock.advance(1)
        assert totals(rates.now()) == []

    def test_setting_the_wall_clock_changes_nothing(self):
        clock = FakeClock()
        rates = Rates(clock)
        rates(event())
        clock.step(-86_400)
        rates(event())
        assert [each.counts[0] for each in totals(rates.now())] == [(2, 0, 2)]

    def test_too_many_origins_are_counted_together(self):
        clock = FakeClock()
        rates = Rates(clock, most=2)
        for number in range(10):
            rates(event(origin=f"192.0.{number}.0/24", verdict=DEFERRED))
        rates(event(origin="192.0.1.0/24", verdict=DEFERRED))
        counts = {each.origin: each.counts[0] for each in totals(rates.now())}
        assert counts == {"192.0.0.0/24": (1, 1, 0), "192.0.1.0/24": (2, 2, 0), OTHERS: (8, 8, 0)}

    def test_memory_is_bounded_however_long_it_counts(self):
        clock = FakeClock()
        rates = Rates(clock, most=2)
        for number in range(1_000):
            for origin in range(5):
                rates(event(origin=f"{number}.{origin}.example.org"))
            clock.advance(10)
        assert len(totals(rates.now())) <= 90 * 3
