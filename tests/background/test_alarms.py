"""What is told of floods and of input that cannot be true, and what of it is logged."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import trio

from multigrey.background.alarms import A_SECOND, AT_ONCE, Alarms, Over
from multigrey.identity.redaction import TOKEN, Redactor
from multigrey.model import Reason
from tests.support.clocks import START, FakeClock
from tests.support.decisions import decision
from tests.support.engines import SITE_KEY

DAY = 86_400
NET = "94.102.49.0/24"


def flood(alarms, clock, number, seconds=0, network="94.102.49"):
    """Attempts over the limit, spread over some seconds."""
    for index in range(number):
        alarms(
            decision(
                Reason.OVER_LIMIT, clock.now(), client=f"{network}.{index % 250}", origin=f"{network}.0/24"
            )
        )
        if seconds and not index % (number // seconds):
            clock.advance(1)


def natted(alarms, number):
    for index in range(number):
        alarms._room = 1
        host = f"h{index}.d{index % 50}.example"
        alarms(decision(Reason.NEW, client="172.18.0.1", helo=host, sender=f"a@{host}"))


def test_a_flood_is_told_with_its_network_since_when_and_how_much():
    clock = FakeClock()
    alarms = Alarms(clock)
    flood(alarms, clock, 31_000, seconds=1000)
    assert alarms.floods() == [Over(NET, START, clock.now() - START, 31_000)]
    assert alarms.attempts_over_limit == 31_000
    (told,) = alarms.status()["floods"]
    assert told == {"network": NET, "since": START, "seconds": clock.now() - START, "attempts": 31_000}
    clock.advance(3600)
    assert alarms.floods() == []
    assert alarms.attempts_over_limit == 31_000


@pytest.mark.parametrize("jump", [400 * DAY, -400 * DAY])
def test_a_clock_that_is_set_ends_and_begins_no_flood(jump):
    clock = FakeClock()
    alarms = Alarms(clock)
    flood(alarms, clock, 10)
    clock.step(jump)
    clock.advance(60)
    flood(alarms, clock, 10)
    assert alarms.floods() == [Over(NET, START + jump, 60, 20)]


def test_after_a_restart_a_flood_that_goes_on_is_told_again():
    clock = FakeClock()
    flood(Alarms(clock), clock, 100)
    again = Alarms(clock)
    assert again.floods() == []
    flood(again, clock, 1)
    assert [each.network for each in again.floods()] == [NET]


def test_problems_are_told_with_cause_and_remedy():
    alarms = Alarms(FakeClock())
    natted(alarms, 300)
    (told,) = alarms.status()["input"]
    assert (told["listener"], told["problem"]) == ("smtp", "one-address")
    assert "172.18.0.1" in told["what"]
    assert "NAT" in told["cause"]
    assert "PROXY protocol" in told["remedy"]


def test_of_very_many_attempts_some_are_looked_at():
    alarms = Alarms(FakeClock())
    for index in range(2 * AT_ONCE):
        alarms(decision(sender=f"{index}@example.org"))
    (listener,) = alarms._plausibility._listeners.values()
    assert len(listener._seen) == AT_ONCE


async def test_every_second_some_more_are_looked_at(autojump_clock):
    alarms = Alarms(FakeClock())
    alarms._room = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(alarms.run)
        for second in range(3):
            await trio.sleep(1 if second else 0.5)
            for index in range(2 * A_SECOND):
                alarms(decision(sender=f"{second}-{index}@example.org"))
        nursery.cancel_scope.cancel()
    (listener,) = alarms._plausibility._listeners.values()
    assert len(listener._seen) == 3 * A_SECOND


def logged(caplog):
    found = [(record.levelno, record.getMessage()) for record in caplog.records]
    caplog.clear()
    return found


def test_what_is_found_is_logged_once_and_again_each_day(caplog):
    caplog.set_level(logging.INFO)
    clock = FakeClock()
    alarms = Alarms(clock)
    natted(alarms, 300)
    flood(alarms, clock, 5)
    alarms.look()
    (input_, over) = logged(caplog)
    assert input_[0] == over[0] == logging.WARNING
    assert "172.18.0.1" in input_[1]
    assert over[1].startswith(f"{NET} is over the limit of new records: 5 attempts in the last hour")
    alarms.look()
    assert logged(caplog) == []
    clock.advance(3600)
    alarms.look()
    assert logged(caplog) == [(logging.INFO, f"flood from {NET}: over")]
    clock.advance(DAY)
    alarms.look()
    (again,) = logged(caplog)
    assert again == input_


def test_of_many_floods_some_are_logged_and_those_that_go_on_are_not_over(caplog):
    caplog.set_level(logging.INFO)
    clock = FakeClock()
    alarms = Alarms(clock)
    for index in range(40):
        flood(alarms, clock, 1 + index, network=f"{index + 11}.1.1")
    alarms.look()
    assert len(logged(caplog)) == 10
    for index in range(40):
        flood(alarms, clock, 100 - index, network=f"{index + 11}.1.1")
    alarms.look()
    assert {level for level, _ in logged(caplog)} <= {logging.WARNING}


def test_where_decisions_are_redacted_no_network_is_named(caplog):
    clock = FakeClock()
    alarms = Alarms(clock, redactor=lambda: Redactor(SITE_KEY))
    flood(alarms, clock, 3)
    named = decision(Reason.OVER_LIMIT, origin="example.org")
    alarms(replace(named, time=START))
    alarms.look()
    text = caplog.text
    assert "94.102" not in text
    assert "example.org is over the limit" in text
    hidden, shown = (each.network for each in alarms.floods())
    assert (TOKEN.fullmatch(hidden) is not None, shown) == (True, "example.org")
