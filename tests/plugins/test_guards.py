"""Whatever a plugin does wrong is counted and means "no vote"."""

from __future__ import annotations

import gc
import logging

import pytest

from multigrey.errors import StoreError
from multigrey.model import Findings, Match
from multigrey.plugins.guards import (
    GuardCounters,
    PluginInfo,
    PluginKind,
    describe,
    guarded_ask,
    guarded_holds,
    guarded_match,
    guarded_text,
)
from tests.support.clocks import FakeClock
from tests.support.plugins import SlowSource, Source, Text, Trait, attempt, matching

GEO = PluginInfo("geo", "multigrey-geo 1.0")


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def counters(clock):
    kinds = (PluginKind.KEY_COMPONENT, PluginKind.WHITELIST_SOURCE, PluginKind.TRAIT, PluginKind.SLOW_SOURCE)
    return GuardCounters(clock, {(kind, "it"): GEO for kind in kinds})


async def never_awaited(attempt):
    pytest.fail("nobody should run this")


class Rude(Exception):  # noqa: N818  (what it is matters, not its name)
    def __str__(self):
        raise RuntimeError("not even a text")


FAILURES = [
    ValueError("broken"),
    StoreError("not ours to raise"),
    RecursionError(),
    MemoryError(),
    SystemExit(1),
    Rude(),
    ExceptionGroup("several", [ValueError()]),
]


@pytest.mark.parametrize("value", ["text", "", None])
def test_text_comes_through(counters, value):
    assert guarded_text(Text(value), counters, "it").text(attempt()) == value
    assert counters.failures == {}


@pytest.mark.parametrize("answer", [*FAILURES, 7, b"text", Match("a", "b"), never_awaited])
def test_bad_text_is_none(counters, answer):
    component = guarded_text(Text(answer), counters, "it")
    for count in (1, 2):
        assert component.text(attempt()) is None
        assert counters.failures == {"geo": count}


def test_a_match_comes_through(counters):
    match = matching()
    assert guarded_match(Source(match), counters, "it")(attempt()) is match
    assert guarded_match(Source(None), counters, "it")(attempt()) is None
    assert counters.failures == {}


@pytest.mark.parametrize("answer", [*FAILURES, True, "example.org", ("a", "b", "c"), never_awaited])
def test_a_bad_match_is_none(counters, answer):
    assert guarded_match(Source(answer), counters, "it")(attempt()) is None
    assert counters.failures == {"geo": 1}


def test_a_coroutine_is_no_match_and_leaves_no_warning(counters, recwarn):
    """An un-awaited coroutine is true; taken for a match it would let everything in."""
    assert guarded_match(Source(never_awaited), counters, "it")(attempt()) is None
    gc.collect()
    assert not recwarn.list
    assert counters.failures == {"geo": 1}


@pytest.mark.parametrize("value", [True, False])
def test_a_trait_comes_through(counters, value):
    assert guarded_holds(Trait(value), counters, "it").holds(attempt()) is value
    assert counters.failures == {}


@pytest.mark.parametrize("answer", [*FAILURES, 1, None, "yes", never_awaited])
def test_a_bad_trait_does_not_hold(counters, answer):
    assert guarded_holds(Trait(answer), counters, "it").holds(attempt()) is False
    assert counters.failures == {"geo": 1}


def test_guarding_twice_is_guarding_once(counters):
    for guard, thing in (
        (guarded_text, Text("x")),
        (guarded_holds, Trait(True)),
        (guarded_ask, SlowSource()),
    ):
        once = guard(thing, counters, "it")
        assert guard(once, counters, "it") is once


def test_cancellation_and_control_c_are_not_kept_from_anybody(counters):
    with pytest.raises(KeyboardInterrupt):
        guarded_match(Source(KeyboardInterrupt()), counters, "it")(attempt())


def test_said_at_most_once_a_minute_for_each_plugin(counters, clock, caplog):
    other = PluginInfo("other", "/etc/multigrey/plugins/other.py")
    counters = GuardCounters(clock, {(PluginKind.TRAIT, "it"): GEO, (PluginKind.TRAIT, "that"): other})
    first = guarded_holds(Trait(ValueError("bad\nthing")), counters, "it")
    second = guarded_holds(Trait(3), counters, "that")
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            first.holds(attempt())
            second.holds(attempt())
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert said[0].startswith(
        "plugin geo (multigrey-geo 1.0) failed and was ignored: trait it: ValueError: bad\\nthing (at "
    )
    assert said[1] == (
        "plugin other (/etc/multigrey/plugins/other.py) failed and was ignored: trait that: "
        "returned a int instead of True or False"
    )
    caplog.clear()
    clock.advance(60)
    first.holds(attempt())
    assert "(and 2 failures before this one)" in caplog.records[0].getMessage()
    assert counters.failures == {"geo": 4, "other": 3}


def test_what_nobody_registered_is_built_in(counters):
    guarded_match(Source(7), counters, "role-addresses")(attempt())
    assert counters.failures == {"multigrey": 1}


def test_describe():
    assert describe(ValueError("a")) == "ValueError: a"
    assert describe(ValueError()) == "ValueError"
    assert describe(Rude()) == "Rude: (no text)"
    assert len(describe(ValueError("\n" * 5000))) < 700
    assert describe(ValueError("a\nb\udcff")).isprintable()


@pytest.mark.parametrize(
    ("kind", "make", "good"),
    [
        ("key component it", lambda answer, counters: guarded_text(Text(answer), counters, "it").text, "x"),
        ("trait it", lambda answer, counters: guarded_holds(Trait(answer), counters, "it").holds, False),
        ("whitelist source it", lambda answer, counters: guarded_match(Source(answer), counters, "it"), None),
    ],
)
def test_trouble_lasts_from_the_first_failure_to_the_next_answer(counters, kind, make, good):
    answer = make(good, counters)
    answer(attempt())
    assert counters.troubles == {}
    for error in (ValueError("first"), ValueError("second")):
        make(error, counters)(attempt())
        assert counters.troubles["geo"].startswith(f"{kind}: ValueError: first (at ")
    answer(attempt())
    assert counters.troubles == {}


async def test_trouble_of_a_slow_source_lasts_until_it_finds_something_out(counters):
    works = guarded_ask(SlowSource(traits={"listed"}), counters, "it")
    counters.late(PluginKind.SLOW_SOURCE, "it", 0.5)
    counters.late(PluginKind.SLOW_SOURCE, "it", 0.7)
    assert counters.troubles == {"geo": "slow source it: no answer within 0.5 s"}
    silent = SlowSource(Findings(unanswered=works.traits), works.traits)
    await guarded_ask(silent, counters, "it").ask(attempt())
    assert counters.troubles.keys() == {"geo"}
    await works.ask(attempt())
    assert counters.troubles == {}


def test_one_object_that_works_does_not_end_the_trouble_of_another(counters):
    guarded_match(Source(7), counters, "role-addresses")(attempt())
    guarded_holds(Trait(True), counters, "it").holds(attempt())
    assert counters.troubles == {
        "multigrey": "whitelist source role-addresses: returned a int instead of a Match or None"
    }
