"""Whatever a plugin does wrong is counted and means "no vote"."""

from __future__ import annotations

import gc
import logging

import pytest
import trio

from multigrey.errors import StoreError
from multigrey.model import Findings, Match, Origin
from multigrey.plugins.guards import (
    GuardCounters,
    PluginInfo,
    PluginKind,
    ask_all,
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


async def give(findings):
    await trio.lowlevel.checkpoint()
    return findings


async def ask(sources, counters, budget=0.5):
    guarded = [guarded_ask(source, counters, "it") for source in sources]
    return await ask_all(guarded, attempt(), budget, counters)


async def test_nobody_to_ask(counters):
    assert await ask_all([], attempt(), 0.5, counters) == Findings()


async def test_everybody_is_asked_and_the_first_in_order_counts(counters, autojump_clock):
    async def late(attempt):
        await trio.sleep(0.2)
        return Findings(matching("late but first"), Origin("a.example", named=True), frozenset({"one"}))

    async def soon(attempt):
        return Findings(matching("soon"), Origin("b.example", named=True), frozenset({"two", "unannounced"}))

    found = await ask([SlowSource(late, {"one"}), SlowSource(soon, {"two"}), SlowSource()], counters)
    assert found == Findings(
        matching("late but first"), Origin("a.example", named=True), frozenset({"one", "two"})
    )
    assert trio.current_time() == pytest.approx(0.2)
    assert counters.failures == {}


async def test_the_budget_is_one_for_all_and_quick_answers_are_kept(counters, autojump_clock):
    async def hanging(attempt):
        await trio.sleep_forever()

    quick = SlowSource(lambda attempt: give(Findings(matching("quick"), traits=frozenset({"t"}))), {"t"})
    found = await ask([SlowSource(hanging, {"late"}), quick, SlowSource(hanging)], counters)
    assert found == Findings(matching("quick"), None, frozenset({"t"}), frozenset({"late"}))
    assert trio.current_time() == pytest.approx(0.5)
    assert counters.failures == {"geo": 2}


@pytest.mark.parametrize(
    "answer",
    [
        *FAILURES,
        lambda attempt: None,
        "listed",
        Match("a", "b"),
        Findings(match=True),  # type: ignore[arg-type]
        Findings(origin="example.org"),  # type: ignore[arg-type]
        Findings(traits=["listed"]),  # type: ignore[arg-type]
        Findings(unanswered=["listed"]),  # type: ignore[arg-type]
        Findings(traits=frozenset({5})),  # type: ignore[arg-type]
        Findings(match=Match("source", None)),  # type: ignore[arg-type]
        Findings(origin=Origin(5, named=True)),  # type: ignore[arg-type]
        Findings(origin=Origin("", named=True)),
        Findings(origin=Origin("192.0.2.0/24", named=False)),
        Findings(own=None),  # type: ignore[arg-type]
        Findings(own=1),  # type: ignore[arg-type]
        Findings(listed_by="example.org"),  # type: ignore[arg-type]
        Findings(listed_by=["example.org"]),  # type: ignore[arg-type]
        Findings(listed_by=("example.org", None)),  # type: ignore[arg-type]
    ],
)
async def test_one_that_fails_never_hides_another(counters, answer):
    bad = SlowSource(answer, {"listed"})
    good = SlowSource(Findings(matching("good")))
    unanswered = frozenset({"listed"})
    assert await ask([bad, good, bad], counters) == Findings(matching("good"), unanswered=unanswered)
    assert counters.failures == {"geo": 2}


@pytest.mark.parametrize(
    ("answers", "traits", "unanswered"),
    [
        ([Findings()], set(), set()),
        ([Findings(unanswered=frozenset({"a"}))], set(), {"a"}),
        ([Findings(traits=frozenset({"a"})), Findings(unanswered=frozenset({"b"}))], {"a"}, {"b"}),
        # what one source found is found, even if another has no answer
        ([Findings(traits=frozenset({"a"})), Findings(unanswered=frozenset({"a"}))], {"a"}, set()),
        ([Findings(unanswered=frozenset({"a"})), Findings(traits=frozenset({"a"}))], {"a"}, set()),
        ([Findings(traits=frozenset({"a"}), unanswered=frozenset({"a", "b"}))], {"a"}, {"b"}),
        ([Findings(unanswered=frozenset({"a"})), Findings()], set(), {"a"}),
        # only what was announced
        ([Findings(unanswered=frozenset({"elsewhere", "c"}))], set(), {"c"}),
        ([ValueError()], set(), {"a", "b", "c"}),
        ([ValueError(), Findings(traits=frozenset({"b"}))], {"b"}, {"a", "c"}),
        ([trio.sleep_forever, Findings(traits=frozenset({"b"}))], {"b"}, {"a", "c"}),
    ],
)
async def test_what_nobody_could_tell_is_put_together(counters, autojump_clock, answers, traits, unanswered):
    async def hang(attempt):
        await trio.sleep_forever()

    sources = [SlowSource(hang if one is trio.sleep_forever else one, set("abc")) for one in answers]
    assert await ask(sources, counters) == Findings(
        traits=frozenset(traits), unanswered=frozenset(unanswered)
    )


LISTS = tuple(f"spf{number}.example" for number in range(20))


@pytest.mark.parametrize(
    ("answers", "own", "listed_by"),
    [
        ([Findings()], False, ()),
        ([Findings(own=True, listed_by=LISTS[:2])], True, LISTS[:2]),
        ([Findings(), Findings(own=True)], True, ()),
        ([Findings(own=True), ValueError()], True, ()),
        # in their order, each once
        ([Findings(listed_by=LISTS[1:3]), Findings(), Findings(listed_by=LISTS[:2])], False,
         (LISTS[1], LISTS[2], LISTS[0])),
        # no more than sixteen
        ([Findings(listed_by=LISTS)], False, LISTS[:16]),
        ([Findings(listed_by=LISTS[:10]), Findings(listed_by=LISTS[10:])], False, LISTS[:16]),
    ],
)  # fmt: skip
async def test_what_is_known_of_the_client_is_put_together(counters, answers, own, listed_by):
    sources = [SlowSource(one) for one in answers]
    assert await ask(sources, counters) == Findings(own=own, listed_by=listed_by)


async def test_a_coroutine_inside_a_coroutine_is_closed(counters, recwarn):
    async def ask_badly(attempt):
        return never_awaited(attempt)

    assert await ask([SlowSource(ask_badly)], counters) == Findings()
    gc.collect()
    assert not recwarn.list
    assert counters.failures == {"geo": 1}


async def test_a_source_with_a_nursery_of_its_own_that_fails_late(counters, autojump_clock):
    """Its group of errors holds trio.Cancelled too; only the errors are ours."""

    async def fail_when_cancelled():
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("while being cancelled")

    async def nested(attempt):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_when_cancelled)
            nursery.start_soon(trio.sleep_forever)

    good = SlowSource(Findings(matching("good")))
    assert await ask([SlowSource(nested), good], counters) == Findings(matching("good"))
    assert counters.failures["geo"] >= 1


async def test_cancellation_from_outside_goes_through(counters, autojump_clock):
    async def hanging(attempt):
        await trio.sleep_forever()

    with trio.move_on_after(0.1) as scope:
        await ask([SlowSource(hanging)], counters, budget=5)
        pytest.fail("the answer was not waited for")
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(0.1)
    assert counters.failures == {}
