"""The memory and the breaker of slow sources, with a clock of the test's own."""

from __future__ import annotations

from multigrey.plugins.lookups import Breaker, TtlCache
from tests.support.clocks import FakeClock


def test_a_value_is_believed_for_its_time_and_no_longer() -> None:
    clock = FakeClock()
    cache: TtlCache[str, int] = TtlCache(clock.monotonic)
    cache.put("a", 1, 60)
    clock.advance(59)
    assert cache.get("a") == 1
    clock.advance(1)
    assert cache.get("a") is None
    assert len(cache) == 0


def test_nothing_is_remembered_for_no_time_and_what_was_known_goes() -> None:
    cache: TtlCache[str, int] = TtlCache(FakeClock().monotonic)
    cache.put("a", 1, 60)
    cache.put("a", 2, 0)
    assert cache.get("a") is None


def test_the_oldest_value_makes_room() -> None:
    cache: TtlCache[int, int] = TtlCache(FakeClock().monotonic, size=3)
    for number in (1, 2, 3):
        cache.put(number, number, 60)
    cache.put(1, 10, 60)
    cache.put(4, 4, 60)
    assert [cache.get(number) for number in (1, 2, 3, 4)] == [10, None, 3, 4]


def test_the_breaker_opens_probes_and_closes() -> None:
    clock = FakeClock()
    breaker = Breaker(clock.monotonic, failures=2, pause=10, longest=30)
    breaker.failed()
    assert breaker.allows()
    assert not breaker.open
    breaker.failed()
    assert breaker.open
    assert not breaker.allows()
    clock.advance(10)
    assert not breaker.open
    assert breaker.allows()
    assert not breaker.allows(), "one probe at a time"
    breaker.succeeded()
    assert breaker.allows()
    assert breaker.allows()


def test_a_probe_that_fails_makes_the_pause_longer_up_to_the_longest() -> None:
    clock = FakeClock()
    breaker = Breaker(clock.monotonic, failures=1, pause=10, longest=30)
    breaker.failed()
    for pause in (10, 20, 30, 30):
        clock.advance(pause - 1)
        assert not breaker.allows()
        clock.advance(1)
        assert breaker.allows()
        breaker.failed()


def test_successes_between_failures_keep_it_closed() -> None:
    breaker = Breaker(FakeClock().monotonic, failures=2)
    for _ in range(5):
        breaker.failed()
        breaker.succeeded()
    assert breaker.allows()
