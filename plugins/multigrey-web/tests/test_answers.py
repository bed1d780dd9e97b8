"""Answers shared by all browsers: asked for once, kept for a while, never waited for too long."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
from multigrey_web.answers import Answer, Answers

from multigrey.control.client import ControlError

FRESH = 30.0


class Daemon:
    """Answers after `takes` seconds."""

    def __init__(self, takes=0.0):
        self.takes = takes
        self.asked = []
        self.trouble = None

    async def __call__(self, name, options):
        self.asked.append(name)
        await trio.sleep(self.takes)
        if self.trouble is not None:
            raise self.trouble
        return {"number": len(self.asked), **options}


@asynccontextmanager
async def answering(daemon):
    answers = Answers(daemon, FRESH)
    async with trio.open_nursery() as nursery:
        await nursery.start(answers.run)
        yield answers
        nursery.cancel_scope.cancel()


async def test_ten_who_look_cost_like_one(autojump_clock):
    daemon, found = Daemon(1.0), []
    async with answering(daemon) as answers, trio.open_nursery() as nursery:

        async def look():
            found.append(await answers.get("status", {}, patience=5))

        for _ in range(10):
            nursery.start_soon(look)
    assert daemon.asked == ["status"]
    assert found == [Answer({"number": 1})] * 10


async def test_an_answer_is_kept_and_then_asked_for_anew(autojump_clock):
    async with answering(daemon := Daemon()) as answers:
        assert (await answers.get("status", {}, patience=5)).value == {"number": 1}
        await trio.sleep(FRESH - 1)
        assert (await answers.get("status", {}, patience=5)).value == {"number": 1}
        await trio.sleep(2)
        assert (await answers.get("status", {}, patience=5)).value == {"number": 2}
        await trio.sleep(1_000)  # no page is open
    assert len(daemon.asked) == 2


async def test_what_takes_long_is_kept_ten_times_as_long(autojump_clock):
    async with answering(daemon := Daemon(13.0)) as answers:
        assert (await answers.get("waiting", {}, patience=2)).is_pending
        await trio.sleep(20)
        assert (await answers.get("waiting", {}, patience=2)).value == {"number": 1}
        await trio.sleep(110)
        assert (await answers.get("waiting", {}, patience=2)).value == {"number": 1}
        assert len(daemon.asked) == 1
        await trio.sleep(15)
        old = await answers.get("waiting", {}, patience=2)  # asked for again; the old one until then
        assert (old.value, len(daemon.asked)) == ({"number": 1}, 2)


async def test_other_options_are_another_question(autojump_clock):
    async with answering(daemon := Daemon()) as answers:
        assert (await answers.get("report", {"since": 1}, patience=5)).value["since"] == 1
        assert (await answers.get("report", {"since": 2}, patience=5)).value["since"] == 2
    assert len(daemon.asked) == 2


async def test_trouble_is_told_beside_the_old_answer_and_asked_again_soon(autojump_clock):
    async with answering(daemon := Daemon()) as answers:
        await answers.get("status", {}, patience=5)
        daemon.trouble = ControlError("the daemon broke off")
        await trio.sleep(FRESH)
        assert await answers.get("status", {}, patience=5) == Answer({"number": 1}, "the daemon broke off")
        daemon.trouble = None
        await trio.sleep(6)
        assert await answers.get("status", {}, patience=5) == Answer({"number": 3})


async def test_only_so_many_questions_at_a_time(autojump_clock):
    async with answering(Daemon(100.0)) as answers:
        for number in range(8):
            assert (await answers.get("history", {"n": number}, patience=0.1)).is_pending
        assert (await answers.get("history", {"n": 9}, patience=0.1)).trouble == "too many requests at a time"


async def test_what_was_asked_for_long_ago_is_dropped(autojump_clock):
    async with answering(daemon := Daemon()) as answers:
        for number in range(65):
            await answers.get("history", {"n": number}, patience=5)
        await answers.get("history", {"n": 1}, patience=5)
        assert len(daemon.asked) == 65
        await answers.get("history", {"n": 0}, patience=5)
    assert len(daemon.asked) == 66


async def test_before_it_runs_nothing_can_be_asked():
    answers = Answers(Daemon(), FRESH, now=lambda: 0.0)
    assert (await answers.get("status", {}, patience=1)).trouble


@pytest.mark.parametrize(
    ("answer", "is_pending"), [(Answer(), True), (Answer({}), False), (Answer(None, "no"), False)]
)
def test_pending(answer, is_pending):
    assert answer.is_pending is is_pending
