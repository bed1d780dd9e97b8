"""One zone: its memory, its breaker, and whether it is believed.  Time is trio's, and jumps."""

from __future__ import annotations

import logging
from ipaddress import IPv4Address

import pytest
import trio
import trio.testing
from fakeresolver import FakeResolver
from multigrey_dns.codes import parse_pattern
from multigrey_dns.zones import Health, KnownEntries, Zone, ZoneOptions

ZONE = "list.example.org"
SUBJECT = "5.2.0.192"
NAME = f"{SUBJECT}.{ZONE}"
LISTED = frozenset({IPv4Address("127.0.0.2")})
POINTS = KnownEntries("2.0.0.127", "1.0.0.127")
REFUSED = (parse_pattern("127.0.0.1"), parse_pattern("127.255.255.*"))


@pytest.fixture
def resolver():
    resolver = FakeResolver()
    resolver.sound(ZONE)
    return resolver


@pytest.fixture
def make(resolver):
    def make(test=None, **options) -> Zone:
        return Zone(ZONE, "example", ZoneOptions(REFUSED, test, **options), resolver)

    return make


def ask(zone, subject=SUBJECT, seconds=0.5):
    return zone.ask(subject, trio.current_time() + seconds)


# --- answers and memory ---


async def test_an_answer_is_remembered_for_its_time(make, resolver, autojump_clock):
    zone = make()
    resolver.names[NAME] = ["127.0.0.2"]
    assert zone.recall(SUBJECT) is None
    assert await ask(zone) == LISTED
    await trio.sleep(299)
    assert zone.recall(SUBJECT) == LISTED
    await trio.sleep(1)
    assert zone.recall(SUBJECT) is None
    assert resolver.questions == [NAME]


async def test_that_something_is_not_listed_is_remembered_too(make, resolver, autojump_clock):
    zone = make()
    assert await ask(zone) == frozenset()
    assert zone.recall(SUBJECT) == frozenset()


@pytest.mark.parametrize(("ttl", "kept"), [(0, 20), (5, 20), (60, 60), (86400, 90)])
async def test_times_are_kept_within_bounds(make, resolver, ttl, kept, autojump_clock):
    zone = make(cache_min=20, cache_max=90)
    resolver.ttl = ttl
    await ask(zone)
    await trio.sleep(kept - 0.5)
    assert zone.recall(SUBJECT) is not None
    await trio.sleep(1)
    assert zone.recall(SUBJECT) is None


async def test_the_memory_is_bounded(make, autojump_clock):
    zone = make(cache_size=3)
    for number in range(5):
        await ask(zone, f"{number}.2.0.192")
    held = [number for number in range(5) if zone.recall(f"{number}.2.0.192") is not None]
    assert held == [2, 3, 4]


async def test_a_failure_is_not_remembered(make, resolver, autojump_clock):
    zone = make()
    resolver.names[NAME] = "fail"
    assert await ask(zone) is None
    assert zone.recall(SUBJECT) is None
    resolver.names[NAME] = ["127.0.0.2"]
    assert await ask(zone) == LISTED


async def test_it_gives_up_at_the_deadline(make, resolver, autojump_clock):
    zone = make()
    resolver.names[NAME] = "hang"
    start = trio.current_time()
    assert await ask(zone, seconds=0.5) is None
    assert trio.current_time() - start == pytest.approx(0.5)


async def test_after_the_deadline_nothing_is_asked_and_nobody_blamed(make, resolver, autojump_clock):
    zone = make()
    for _ in range(10):
        assert await ask(zone, seconds=0) is None
    assert resolver.questions == []
    assert zone.may_ask()


async def test_a_name_that_would_be_too_long_is_not_asked(make, autojump_clock):
    zone = make()
    longest = 253 - len(ZONE) - 1
    assert zone.can_list("a" * longest)
    assert not zone.can_list("a" * (longest + 1))


# --- the breaker ---


@pytest.mark.parametrize("how", ["fail", "hang", ["203.0.113.1"], ["127.255.255.254"]])
async def test_who_does_not_answer_is_not_asked_for_a_while(make, resolver, how, caplog, autojump_clock):
    zone = make()
    resolver.names["*"] = how
    for number in range(5):
        assert zone.may_ask(), number
        await ask(zone)
    assert not zone.may_ask()
    assert await ask(zone) is None
    assert len(resolver.questions) == 5
    assert caplog.text.count("example is not asked for a while") == 1

    resolver.names["*"] = ["127.0.0.2"]
    await trio.sleep(10)
    assert zone.may_ask()
    assert await ask(zone) == LISTED
    assert zone.may_ask()


async def test_while_it_probes_nobody_else_asks(make, resolver, autojump_clock):
    zone = make()
    resolver.names["*"] = "hang"
    for _ in range(5):
        await ask(zone)
    await trio.sleep(10)
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask, zone)
    assert len(resolver.questions) == 6


async def test_that_a_name_does_not_exist_is_an_answer(make, resolver, autojump_clock):
    zone = make()
    for number in range(20):
        await ask(zone, f"{number}.2.0.192")
    assert zone.may_ask()


async def test_being_cancelled_blames_nobody(make, resolver, autojump_clock):
    zone = make()
    resolver.names["*"] = "hang"
    for _ in range(20):
        with trio.move_on_after(0.1) as scope:
            await ask(zone)
        assert scope.cancelled_caught
    assert zone.may_ask()


# --- lies ---


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (["203.0.113.1"], "203.0.113.1, but lists answer with 127.x.y.z"),
        (["0.0.0.0"], "0.0.0.0, but lists answer with"),
        (["127.0.0.2", "203.0.113.1"], "203.0.113.1, but lists answer with"),
        (["127.255.255.252"], "127.255.255.252, by which lists refuse"),
        (["127.255.255.254"], "127.255.255.254, by which lists refuse"),
        (["127.255.255.255"], "127.255.255.255, by which lists refuse"),
        (["127.0.0.1"], "127.0.0.1, by which lists refuse"),
        (["127.0.0.2", "127.255.255.255"], "127.255.255.255, by which lists refuse"),
        ([f"127.0.{one}.{two}" for one in (2, 3) for two in range(200)], "too many addresses"),
    ],
)
async def test_what_is_not_believed(make, resolver, answer, said, caplog, autojump_clock):
    zone = make()
    resolver.names[NAME] = answer
    assert await ask(zone) is None
    assert zone.recall(SUBJECT) is None
    assert said in caplog.text
    assert "DNS list example" in caplog.text
    assert ZONE not in caplog.text, "a zone's name may hold the key of a subscription"


async def test_complaints_are_seldom(make, resolver, caplog, autojump_clock):
    zone = make()
    resolver.names[NAME] = ["203.0.113.1"]
    for _ in range(100):
        await ask(zone)
        await trio.sleep(30)
    assert caplog.text.count("answers are ignored") == 1
    await trio.sleep(3600)
    await ask(zone)
    assert caplog.text.count("answers are ignored") == 2


# --- the test ---


async def test_before_it_was_tested_a_zone_is_not_asked(make, resolver, autojump_clock):
    zone = make(POINTS)
    assert not zone.may_ask()
    assert await ask(zone) is None
    assert resolver.questions == []


async def test_a_sound_zone(make, resolver, caplog, autojump_clock):
    zone = make(POINTS)
    assert await zone.test()
    assert sorted(resolver.questions) == [f"1.0.0.127.{ZONE}", f"2.0.0.127.{ZONE}"]
    assert zone.health is Health.SOUND
    resolver.names[NAME] = ["127.0.0.2"]
    assert await ask(zone) == LISTED
    assert caplog.text == ""


async def test_without_a_test_it_is_believed(make, resolver, autojump_clock):
    zone = make()
    assert not zone.needs_tests
    assert await zone.test()
    assert resolver.questions == []


WRONG = [
    ({"1.0.0.127": ["127.0.0.2"]}, "may list everything"),
    ({"2.0.0.127": []}, "may list nothing"),
    ({"2.0.0.127": ["203.0.113.1"]}, "lists answer with 127.x.y.z"),
    ({"1.0.0.127": ["203.0.113.1"]}, "lists answer with 127.x.y.z"),
    ({"2.0.0.127": ["127.255.255.254"]}, "refuse to answer"),
    ({"1.0.0.127": ["127.0.0.1"]}, "refuse to answer"),
    ({"2.0.0.127": ["127.255.255.254"], "1.0.0.127": "hang"}, "refuse to answer"),
    ({"2.0.0.127": "fail", "1.0.0.127": ["127.0.0.2"]}, "may list everything"),
    ({"2.0.0.127": [], "1.0.0.127": "fail"}, "may list nothing"),
]


@pytest.mark.parametrize(("answers", "said"), WRONG)
async def test_one_that_fails_is_off_until_it_behaves(make, resolver, answers, said, caplog, autojump_clock):
    zone = make(POINTS)
    assert await zone.test()
    resolver.names[NAME] = ["127.0.0.2"]
    assert await ask(zone) == LISTED

    for subject, answer in answers.items():
        resolver.names[f"{subject}.{ZONE}"] = answer
    for _ in range(3):
        assert not await zone.test()
    assert zone.health is Health.OFF
    assert zone.recall(SUBJECT) is None, "what a liar said is forgotten"
    assert not zone.may_ask()
    assert await ask(zone) is None
    assert caplog.text.count("example is switched off until it passes its test") == 1
    assert said in caplog.text

    resolver.sound(ZONE)
    resolver.names[f"1.0.0.127.{ZONE}"] = []
    assert await zone.test()
    assert "passes its test and is in use again" in caplog.text
    assert zone.recall(SUBJECT) is None
    assert await ask(zone) == LISTED


@pytest.mark.parametrize("how", ["fail", "hang"])
async def test_without_an_answer_a_sound_zone_stays_on(make, resolver, how, autojump_clock):
    zone = make(POINTS)
    await zone.test()
    resolver.names = {"*": how}
    assert not await zone.test()
    assert zone.health is Health.SOUND


@pytest.mark.parametrize("how", ["fail", "hang"])
async def test_without_an_answer_one_that_was_off_stays_off(make, resolver, how, autojump_clock):
    zone = make(POINTS)
    resolver.names = {}
    await zone.test()
    resolver.names = {"*": how}
    assert not await zone.test()
    assert zone.health is Health.OFF


async def test_one_that_never_answered_is_not_used(make, resolver, caplog, autojump_clock):
    zone = make(POINTS)
    resolver.names = {"*": "fail"}
    for _ in range(5):
        assert not await zone.test()
    assert zone.health is Health.UNTESTED
    assert not zone.may_ask()
    assert caplog.text.count("is not used until it answers: SERVFAIL") == 1


async def test_passing_the_test_closes_the_breaker(make, resolver, caplog, autojump_clock):
    caplog.set_level(logging.INFO)
    zone = make(POINTS)
    await zone.test()
    resolver.names[NAME] = "fail"
    for _ in range(5):
        await ask(zone)
    assert not zone.may_ask()
    await zone.test()
    assert zone.may_ask()
    assert "example answers again" in caplog.text


async def test_an_answer_that_comes_after_the_test_failed_is_not_taken(
    make, resolver, nursery, autojump_clock
):
    zone = make(POINTS)
    await zone.test()
    resolver.names[NAME] = ["127.0.0.2"]
    resolver.pause = 0.2
    answers = []

    async def ask_slowly():
        answers.append(await ask(zone))

    nursery.start_soon(ask_slowly)
    await trio.testing.wait_all_tasks_blocked()
    resolver.pause = 0.0
    resolver.names[f"1.0.0.127.{ZONE}"] = ["127.0.0.2"]
    await zone.test()
    await trio.sleep(1)
    assert answers == [None]
    assert zone.recall(SUBJECT) is None


async def test_later_tests_keep_nobody_waiting(make, resolver, nursery, autojump_clock):
    zone = make(POINTS)
    await zone.test()
    resolver.pause = 0.3
    nursery.start_soon(zone.test)
    await trio.testing.wait_all_tasks_blocked()
    resolver.pause = 0.0
    start = trio.current_time()
    assert await ask(zone) == frozenset()
    assert trio.current_time() == start


async def test_a_question_waits_for_the_first_test(make, resolver, nursery, autojump_clock):
    zone = make(POINTS)
    resolver.names[NAME] = ["127.0.0.2"]
    resolver.pause = 0.1
    nursery.start_soon(zone.test)
    await trio.testing.wait_all_tasks_blocked()
    assert zone.may_ask()
    assert await ask(zone) == LISTED
    assert resolver.questions[2:] == [NAME]


async def test_a_first_test_that_takes_too_long_is_not_waited_for(make, resolver, nursery, autojump_clock):
    zone = make(POINTS)
    resolver.pause = 3.0
    nursery.start_soon(zone.test)
    await trio.testing.wait_all_tasks_blocked()
    start = trio.current_time()
    assert await ask(zone, seconds=0.5) is None
    assert trio.current_time() - start == pytest.approx(0.5)
    assert len(resolver.questions) == 2


async def test_a_first_test_that_is_cancelled_keeps_nobody_waiting(make, resolver, autojump_clock):
    zone = make(POINTS)
    resolver.names["*"] = "hang"
    resolver.names[f"2.0.0.127.{ZONE}"] = "hang"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(zone.test)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert zone.health is Health.UNTESTED
    assert not zone.may_ask()
    assert await ask(zone) is None
