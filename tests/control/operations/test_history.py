"""The operation `history`: stories from what is remembered."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager

import pytest
import trio
import trio.testing

from multigrey.config.tables.history import History as HistorySettings
from multigrey.control.operations.history import operations
from multigrey.control.operations.operation import OperationError
from multigrey.errors import CommandError
from multigrey.history.reader import PastHistory
from multigrey.history.recorder import HistoryRecorder
from multigrey.model import DAY, Reason
from tests.support.clocks import START, FakeClock
from tests.support.control import collected, parts
from tests.support.decisions import decision


@asynccontextmanager
async def site(directory):
    history = HistoryRecorder(directory, HistorySettings(), FakeClock())
    async with parts(decisions=history) as (_, made), trio.open_nursery() as nursery:
        nursery.start_soon(history.run)
        await trio.testing.wait_all_tasks_blocked()
        yield history, collected(operations, made)
        nursery.cancel_scope.cancel()


async def ask(ops, **options):
    async with aclosing(ops.get("history").stream(options)) as rows:
        head, *pages = [row async for row in rows]
    return head, [story for page in pages for story in page["stories"]]


async def test_stories(tmp_path):
    async with site(tmp_path) as (history, ops):
        history(decision(decision_id="one"))
        history(decision(Reason.RETRY, START + 300, "two", verdict={"age": 300}, client="192.0.2.99"))
        history(decision(decision_id="other", recipient="c@example.net"))
        head, (story, other) = await ask(ops, about="a@example.org", by="uid 0")
        assert head == {
            "time": START,
            "since": None,
            "recorded_since": START,
            "not_recorded": "",
            "retry_window": 2 * DAY,
            "decisions": 3,
            "more": False,
        }
        assert [each["id"] for each in story["decisions"]] == ["one", "two"]
        assert {
            name: story[name]
            for name in ("sender", "recipient", "ending", "first", "last", "delay", "clients", "origins")
        } == {
            "sender": "a@example.org",
            "recipient": "b@example.net",
            "ending": "accepted",
            "first": START,
            "last": START + 300,
            "delay": 300,
            "clients": 2,
            "origins": 1,
        }
        assert other["ending"] == "waiting"
        head, _ = await ask(ops, latest=True, limit=2)
        assert (head["decisions"], head["more"]) == (2, True)
        head, found = await ask(ops, recipient="b@example.net", since=START + 1)
        assert (head["since"], head["decisions"], found[0]["first"]) == (START + 1, 1, START)
        head, found = await ask(ops, about="example.org", limit=1)
        assert (head["decisions"], head["more"], len(found)) == (1, True, 1)
        assert await ask(ops, about="example.com") == (
            {
                "time": START,
                "since": None,
                "recorded_since": START,
                "not_recorded": "",
                "retry_window": 2 * DAY,
                "decisions": 0,
                "more": False,
            },
            [],
        )


async def test_many_stories_come_in_pieces(tmp_path):
    async with site(tmp_path) as (history, ops):
        for number in range(250):
            history(decision(decision_id=str(number), recipient=f"r{number}@example.net"))
            if number == 125:  # only so many are kept between two writes
                await history.flush()
        async with aclosing(ops.get("history").stream({"about": "example.org"})) as rows:
            _, *pages = [row async for row in rows]
        assert [len(page["stories"]) for page in pages] == [100, 100, 50]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"about": ""},
        {"about": 5},
        {"about": "nonsense"},
        {"about": "192.0.0.0/8"},
        {"about": "example.org", "since": "7d"},
        {"about": "example.org", "since": -1},
        {"about": "example.org", "limit": 0},
        {"about": "example.org", "nonsense": 1},
    ],
)
async def test_what_cannot_be_asked(tmp_path, options):
    async with site(tmp_path) as (_, ops):
        with pytest.raises((OperationError, CommandError)):
            await ask(ops, **options)


async def test_without_a_history(tmp_path):
    async with parts() as (_, made):
        with pytest.raises(OperationError, match="enabled"):
            await ask(collected(operations, made), about="example.org")
    async with parts(decisions=PastHistory(tmp_path, 1 << 24)) as (_, made):
        with pytest.raises(OperationError, match="cannot be read"):
            await ask(collected(operations, made), about="example.org")
