"""An attempt goes on without slow sources at the end of its time, whatever they do."""

from __future__ import annotations

import gc
import threading

import pytest
import trio

from multigrey.errors import StoreError
from multigrey.model import Findings, Match, Origin
from multigrey.plugins.guards import GuardCounters, PluginInfo, PluginKind, guarded_ask
from multigrey.plugins.slow_calls import HANGING, ask_all
from tests.support.clocks import FakeClock
from tests.support.plugins import SlowSource, attempt, matching

GEO = PluginInfo("geo", "multigrey-geo 1.0")
FAILURES = [
    ValueError("broken"),
    StoreError("not ours to raise"),
    SystemExit(1),
    ExceptionGroup("several", [ValueError()]),
]


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def counters(clock):
    return GuardCounters(clock, {(PluginKind.SLOW_SOURCE, "it"): GEO})


async def never_awaited(attempt):
    pytest.fail("nobody should run this")


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


class Shielded:
    """A source whose calls ignore that they are cancelled, until the test lets them end."""

    traits = frozenset({"listed"})

    def __init__(self) -> None:
        self.calls = 0
        self.let_go = trio.Event()

    async def ask(self, attempt):
        self.calls += 1
        with trio.CancelScope(shield=True):
            await self.let_go.wait()
        return Findings(traits=self.traits)


@pytest.fixture
async def bad():
    """A source whose calls end when the test has ended, however that was."""
    source = Shielded()
    yield source
    source.let_go.set()


async def test_a_source_that_ignores_its_cancellation_holds_nobody(counters, autojump_clock, bad):
    found = await ask([bad, SlowSource(Findings(matching("good")))], counters)
    assert trio.current_time() == pytest.approx(0.5)
    assert found == Findings(matching("good"), unanswered=bad.traits)
    assert counters.timeouts == {"geo": 1}


async def test_a_caller_is_cancelled_although_its_source_is_not(counters, autojump_clock, bad):
    with trio.move_on_after(0.1):
        await ask([bad], counters, budget=5)
    assert trio.current_time() == pytest.approx(0.1)
    assert counters.failures == {}


async def test_a_source_is_not_called_while_too_many_of_its_calls_hang(counters, autojump_clock, bad):
    guarded = guarded_ask(bad, counters, "it")
    for _ in range(20):
        found = await ask_all([guarded], attempt(), 0.5, counters)
        assert found == Findings(unanswered=bad.traits)
    # The last of them need a second to show that they hang: two or three more are called meanwhile.
    assert HANGING < bad.calls <= HANGING + 3
    calls = bad.calls
    assert counters.calls == {"geo": calls}
    assert counters.failures == {"geo": 20}
    before = trio.current_time()
    assert await ask_all([guarded], attempt(), 0.5, counters) == Findings(unanswered=bad.traits)
    assert trio.current_time() == before, "what is not called is not waited for"
    bad.let_go.set()
    await trio.testing.wait_all_tasks_blocked()
    assert await ask_all([guarded], attempt(), 0.5, counters) == Findings(traits=bad.traits)
    assert bad.calls == calls + 1
    assert guarded.cancelled == {}


async def test_many_calls_that_are_late_and_end_are_not_taken_for_hanging(counters, autojump_clock):
    async def hang(attempt):
        await trio.sleep_forever()

    guarded = guarded_ask(SlowSource(hang), counters, "it")
    async with trio.open_nursery() as nursery:
        for _ in range(300):
            nursery.start_soon(ask_all, [guarded], attempt(), 0.5, counters)
    assert counters.calls == {"geo": 300}
    assert counters.timeouts == {"geo": 300}
    await trio.testing.wait_all_tasks_blocked()
    assert guarded.cancelled == {}


async def test_there_is_an_end_to_calls_that_hang_at_once(counters, autojump_clock, bad):
    guarded = guarded_ask(bad, counters, "it")
    for _ in range(3):
        async with trio.open_nursery() as nursery:
            for _ in range(600):
                nursery.start_soon(ask_all, [guarded], attempt(), 0.01, counters)
    assert 1000 <= bad.calls <= 1200


async def test_a_thread_that_does_not_return_holds_nobody(counters):
    gate = threading.Event()
    bad = SlowSource(lambda attempt: trio.to_thread.run_sync(gate.wait))
    try:
        with trio.fail_after(10):
            assert await ask([bad], counters, budget=0.05) == Findings()
        assert counters.timeouts == {"geo": 1}
    finally:
        gate.set()
