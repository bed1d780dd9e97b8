from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address

import pytest

from multigrey.cli.watch import watch as command
from multigrey.control.feed import Followers, Rates
from multigrey.control.operations import watch
from multigrey.control.operations.operation import OperationError
from multigrey.control.operations.watch import operations, read_filter, shown_event
from multigrey.identity.redaction import Redactor
from multigrey.model import Action, Attempt, DecisionEvent, Reason, Verdict
from tests.support.control import collected, items, parts
from tests.support.engines import SITE_KEY

EVENT = DecisionEvent(
    1_000_000_000,
    "abc234",
    Attempt(
        "exim@tcp:127.0.0.1:10024",
        ip_address("192.0.2.7"),
        "mx7.example.org",
        "mx7",
        "News+Bounce@Example.org",
        "info+list@example.net",
    ),
    Verdict(Action.DEFER, Reason.EARLY, retry_after=60, delay=120, age=60, attempts=2),
    "example.org",
)


class TestFilter:
    @pytest.mark.parametrize(
        ("options", "wanted"),
        [
            ({}, True),
            ({"action": ["defer"]}, True),
            ({"action": ["pass"]}, False),
            ({"action": ["pass", "defer"], "reason": "early"}, True),
            ({"reason": ["new"]}, False),
            ({"listener": ["exim@tcp:127.0.0.1:10024"]}, True),
            ({"listener": ["/^exim/"]}, True),
            ({"listener": ["postfix"]}, False),
            ({"sender": ["example.org"]}, True),
            ({"sender": ["news+bounce@example.org"]}, True),
            ({"sender": [".org"]}, True),
            ({"sender": ["<>"]}, False),
            ({"sender": ["/^news/"]}, True),
            ({"sender": ["other@"]}, False),
            ({"recipient": ["info@example.net"]}, True),
            ({"recipient": ["example.org"]}, False),
            ({"client": ["192.0.2.7"]}, True),
            ({"client": ["192.0.2.0/28"]}, True),
            ({"client": ["192.0.2.8"]}, False),
            ({"client": [".example.org"]}, True),
            ({"client": ["198.51.100.0/24", "mx7.example.org"]}, True),
            ({"client": ["mx8.example.org"]}, False),
            ({"origin": ["example.org"]}, True),
            ({"origin": [".org"]}, True),
            ({"origin": ["192.0.2.0/24"]}, False),
            ({"origin": ["example.org"], "sender": ["example.com"]}, False),
            ({"sender": None, "recipient": [], "by": "root"}, True),
        ],
    )
    def test_matches_or_not(self, options, wanted):
        assert read_filter(options)(EVENT) is wanted

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"action": ["wait"]}, "action: unknown value 'wait' (known: pass, defer, reject)"),
            ({"reason": "late"}, "reason: unknown value 'late'"),
            ({"sender": ["a b"]}, "sender: "),
            ({"sender": ["/(/"]}, "sender: "),
            ({"recipient": [7]}, "recipient: expected up to 100 texts"),
            ({"client": ["x" * 2_000]}, "client: expected up to 100 texts"),
            ({"origin": ["a"] * 101}, "origin: expected up to 100 texts"),
            ({"helo": ["a"]}, "unknown filter 'helo' (known: action, reason,"),
        ],
    )
    def test_says_what_could_match_nothing(self, options, text):
        with pytest.raises(OperationError) as error:
            read_filter(options)
        assert text in str(error.value)

    def test_an_attempt_without_anything_matches_no_filter(self):
        nobody = DecisionEvent(0, "x", Attempt("l", None, None, "", "", "", raw="free text"), EVENT.verdict)
        for name, value in {"client": "192.0.2.0/24", "sender": "example.org", "origin": "a"}.items():
            assert not read_filter({name: [value]})(nobody)


def test_numbers_are_numbers():
    shown = shown_event(EVENT)
    assert shown["time"] == 1_000_000_000
    assert {name: shown[name] for name in ("retry_after", "delay", "age", "attempts")} == {
        "retry_after": 60,
        "delay": 120,
        "age": 60,
        "attempts": 2,
    }
    assert (shown["id"], shown["origin"], shown["observed"]) == ("abc234", "example.org", False)


@asynccontextmanager
async def watched(**options):
    """A house whose engine tells followers, and what `watch` says to these options."""
    async with parts() as (house, made):
        followers = Followers(capacity=300)
        house.engine.subscribers = (followers,)
        stream = collected(operations, replace(made, follow=followers.follow)).get("watch").stream
        assert stream is not None
        async with aclosing(stream(options)) as items:
            yield house, items, followers


def attempt(recipient: str = "b@example.net") -> Attempt:
    return Attempt("exim", ip_address("192.0.2.1"), None, "", "a@example.org", recipient)


class TestWatch:
    async def test_tells_decisions_as_they_are_made(self):
        async with watched() as (house, items, _):
            assert await anext(items) == {"decisions": [], "lost": 0}
            await house.engine.judge(attempt(), "pass")
            told = await anext(items)
            assert [(each["action"], each["reason"]) for each in told["decisions"]] == [("defer", "new")]
            assert told["decisions"][0]["retry_after"] == 120

    async def test_hides_people_where_the_log_hides_them(self, autojump_clock):
        async with watched(recipient=["b@example.net"]) as (house, items, _):
            redactor = Redactor(SITE_KEY)
            house.engine.setup = replace(house.engine.setup, redactor=redactor)
            await anext(items)
            await house.engine.judge(attempt(), "pass")
            ((told,),) = [(await anext(items))["decisions"]]
        assert told["sender"] == redactor.address("a@example.org")
        assert told["origin"] == redactor.token("192.0.2.0/24")
        text = repr(told)
        assert not any(word in text for word in ("a@example", "b@example", "192.0.2"))

    async def test_tells_only_what_is_wanted(self, autojump_clock):
        async with watched(recipient=["c@example.net"]) as (house, items, _):
            await anext(items)
            await house.engine.judge(attempt(), "pass")
            await house.engine.judge(attempt("c@example.net"), "pass")
            told = await anext(items)
            assert [each["recipient"] for each in told["decisions"]] == ["c@example.net"]

    async def test_more_than_anybody_reads_is_counted(self, autojump_clock):
        async with watched() as (_, items, followers):
            await anext(items)
            event = DecisionEvent(0, "x", attempt(), EVENT.verdict)
            for _ in range(1_000):
                followers(event)
            told = [await anext(items) for _ in range(4)]
            assert [len(each["decisions"]) for each in told] == [16] * 3 + [2]
            assert [each["lost"] for each in told] == [950] + [0] * 3

    async def test_losses_among_what_was_not_wanted_are_told_too(self, autojump_clock):
        async with watched(action=["pass"]) as (_, items, followers):
            await anext(items)
            for _ in range(301):
                followers(EVENT)
            assert await anext(items) == {"decisions": [], "lost": 1}

    async def test_who_leaves_is_forgotten(self):
        async with watched() as (_, items, followers):
            await anext(items)
            assert len(followers) == 1
            await items.aclose()
            assert len(followers) == 0

    async def test_a_stopped_daemon_decides_nothing(self):
        async with parts() as (_, made):
            for name in ("watch", "top"):
                with pytest.raises(OperationError, match="does not run"):
                    await items(collected(operations, made), name)


class TestTop:
    async def pictures(self, number: int = 1, **options):
        async with parts() as (house, made):
            rates = Rates(house.clock)
            for origin, verdict, times in [
                ("example.org", Verdict(Action.PASS, Reason.KNOWN), 3),
                ("192.0.2.0/24", Verdict(Action.DEFER, Reason.NEW), 2),
                ("", Verdict(Action.DEFER, Reason.NEW), 1),
            ]:
                for _ in range(times):
                    rates(DecisionEvent(0, "x", attempt(), verdict, origin))
            house.clock.advance(100)
            top = collected(operations, replace(made, rates=rates))
            return await items(top, "top", limit=number, **options)

    async def test_shows_the_busiest_first(self):
        (picture,) = await self.pictures(span=300)
        assert [(each["origin"], each["counts"][1]) for each in picture["origins"]] == [
            ("example.org", [3, 0, 3]),
            ("192.0.2.0/24", [2, 2, 0]),
            (None, [1, 1, 0]),
        ]
        assert picture["all"] == [[0, 0, 0], [6, 3, 3], [6, 3, 3]]
        assert (picture["spans"], picture["number"]) == ([60, 300, 900], 3)

    async def test_in_the_order_asked_for_and_no_more_rows(self):
        (picture,) = await self.pictures(span=900, order="deferred", rows=1)
        assert [each["origin"] for each in picture["origins"]] == ["192.0.2.0/24"]
        assert picture["number"] == 3

    async def test_a_new_picture_each_second(self, autojump_clock):
        assert len(await self.pictures(3)) == 3

    @pytest.mark.parametrize(
        "options",
        [{"span": 61}, {"order": "name"}, {"rows": 0}, {"rows": True}, {"rows": "9"}, {"span": [60]}],
    )
    async def test_refuses_what_it_does_not_know(self, options):
        async with parts() as (house, made):
            top = collected(operations, replace(made, rates=Rates(house.clock)))
            with pytest.raises(OperationError, match="expected"):
                await items(top, "top", **options)


def test_every_filter_of_the_command_line_is_known():
    names = {option.name for option in command.params} - {"config", "json_", "state_dir", "control"}
    assert names == set(watch.FILTERS)
