"""The operation `report`: from a history, a configuration and its lists."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
import trio.testing

from multigrey.background.flow import Flow
from multigrey.background.hits import HitCounter
from multigrey.background.hours import Hours
from multigrey.config.tables.history import History as HistorySettings
from multigrey.control.operations.operation import OperationError
from multigrey.control.operations.report import operations, origin_class_of
from multigrey.history.reader import PastHistory
from multigrey.history.recorder import HistoryRecorder
from multigrey.identity.redaction import Redactor
from multigrey.model import HOUR, Reason
from multigrey.whitelists.list_source import match_of
from multigrey.whitelists.toml_file import read_lists
from tests.support.clocks import START, FakeClock
from tests.support.control import answer, collected, make_settings, parts
from tests.support.decisions import decision
from tests.support.engines import SITE_KEY

CONFIG = """
[[whitelist]]
source = "list"
path = "{dir}/list.toml"
owner = "mail team"

[[class]]
name = "codes"
target = "2m"
owner = "shop"
when.recipient = "codes@example.net"
"""
LIST = """
[[entry]]
client = "mx.example.com"
reason = "an order system"
review_by = 2001-01-01

[[entry]]
client = "mx.example.net"
owner = "shop"
reason = "codes"
added = 2000-01-01
review_by = 2030-01-01
"""


@asynccontextmanager
async def site(directory, text=""):
    settings = make_settings(directory, text)
    history = HistoryRecorder(directory, HistorySettings(), FakeClock())
    async with parts(settings=settings, decisions=history) as (house, made), trio.open_nursery() as nursery:
        nursery.start_soon(history.run)
        await trio.testing.wait_all_tasks_blocked()
        yield house, history, collected(operations, made)
        nursery.cancel_scope.cancel()


async def test_a_sender_with_many_clients_is_advised_on_where_they_are_redacted(tmp_path):
    async with site(tmp_path) as (_, history, ops):
        history.redactor, history.redact = Redactor(SITE_KEY), True
        for number in range(7):
            reason = Reason.EARLY if number else Reason.NEW
            client = f"198.51.{number}.1"
            history(decision(reason, START - 400 + number, client=client, origin=f"198.51.{number}.0/24"))
        found = await answer(ops, "report")
        assert any("retried from 7 addresses of 7 origins" in advice for advice in found["advice"])


async def test_a_report(tmp_path):
    (tmp_path / "list.toml").write_text(LIST)
    (tmp_path / "list.toml").chmod(0o644)
    async with site(tmp_path, CONFIG) as (_, history, ops):
        history(decision(time=START - 400, decision_id="one"))
        late = decision(Reason.RETRY, START, "two", verdict={"age": 400}, client="192.0.2.99")
        history(replace(late, class_="codes"))
        history(decision(time=START - 8 * 86_400, recipient="old@example.net"))
        history(decision(time=START - 10, recipient="c@example.net", origin="192.0.2.0/24"))
        found = await answer(ops, "report", by="uid 0")
        assert {name: found["delays"][name] for name in ("deferred", "returned", "waiting", "p95")} == {
            "deferred": 2, "returned": 1, "waiting": 1, "p95": 400,
        }  # fmt: skip
        assert (found["since"], found["recorded_since"], found["more"], found["unreadable"]) == (
            START - 7 * 86_400, START - 8 * 86_400, False, [],
        )  # fmt: skip
        (row,) = found["classes"]
        assert (row["name"], row["owner"], row["target"], row["over_target"]) == ("codes", "shop", 120, 1)
        assert [row["name"] for row in found["origins"]] == ["named", "unnamed"]
        (group,) = found["due"]
        assert group["owner"] == "mail team"
        assert [row["kind"] for row in group["entries"]] == ["stale"]
        assert group["entries"][0]["place"] == f"{tmp_path}/list.toml:2"
        found = await answer(ops, "report", owner="shop", since=0, limit=2)
        assert (found["traffic"]["decisions"], found["more"], found["due"]) == (2, True, [])


async def test_totals_come_from_hours_when_they_know_more(tmp_path):
    """Never from the last decisions only; the limit bounds nothing but lists."""
    async with site(tmp_path, CONFIG) as (house, history, ops):
        flow = Flow(house.store, house.clock, lambda _: "named", hours=Hours(house.store, dict))
        for number in range(40):
            event = decision(time=START - 4 * HOUR + number * 60, recipient=f"r{number}@example.net")
            history(event)
            flow(event)
            flow.hours.add(event.time, {"reason count new": 1})
        await flow.note()
        everything = await answer(ops, "report")
        assert (everything["traffic"]["decisions"], everything["counted_since"]) == (40, None)
        few = await answer(ops, "report", limit=5)
        assert (few["traffic"]["decisions"], few["delays"]["deferred"], few["listed"]) == (40, 40, 5)
        assert few["counted_since"] == START - START % HOUR - 4 * HOUR
        assert [(row["name"], row["attempts"]) for row in few["top_origins"]] == [("example.org", 40)]
        short = await answer(ops, "report", limit=5, since=START - 60)
        assert short["counted_since"] is None


async def test_what_never_came_back_is_listed_although_only_the_latest_are_read(tmp_path):
    async with site(tmp_path, CONFIG) as (_, history, ops):
        history(decision(time=START - 3 * 86_400, decision_id="first", recipient="once@example.net"))
        for number in range(10):
            history(decision(time=START - 100 + number, recipient=f"r{number}@example.net"))
        found = await answer(ops, "report", limit=5)
        assert [(row["id"], row["recipient"]) for row in found["once"]] == [("first", "once@example.net")]


async def test_hits_come_from_the_open_store(tmp_path):
    (tmp_path / "list.toml").write_text(LIST)
    (tmp_path / "list.toml").chmod(0o644)
    year = 365 * 86_400
    async with site(tmp_path, CONFIG) as (house, _, ops):
        counter = HitCounter()
        await counter.begin(house.store, START - year)
        found = await answer(ops, "report")
        assert [(row["owner"], row["kind"]) for group in found["due"] for row in group["entries"]] == [
            ("mail team", "stale"), ("mail team", "unused"), ("shop", "unused"),
        ]  # fmt: skip
        (_, entry), *_ = (each.entries for each in read_lists(tmp_path / "list.toml"))
        match = match_of(entry)
        counter(decision(Reason.WHITELISTED, START - 10, verdict={"match": match}))
        await counter.flush(house.store)
        found = await answer(ops, "report")
        assert [(row["owner"], row["kind"]) for group in found["due"] for row in group["entries"]] == [
            ("mail team", "stale"), ("mail team", "unused"),
        ]  # fmt: skip


async def test_only_the_latest_are_looked_at(tmp_path):
    async with site(tmp_path) as (_, history, ops):
        for number in range(300):
            attributes = {"protocol_name": "ESMTP"}
            history(
                decision(time=START - 300 + number, recipient=f"r{number}@example.net", attributes=attributes)
            )
            if number % 100 == 99:
                await history.flush()
        found = await answer(ops, "report", limit=100)
        assert (found["traffic"]["decisions"], found["traffic"]["first"]) == (100, START - 100)
        assert found["more"] is True
        found = await answer(ops, "report", limit=300)
        assert (found["traffic"]["decisions"], found["more"]) == (300, False)


async def test_a_list_that_cannot_be_read_is_told(tmp_path):
    async with site(tmp_path, CONFIG) as (_, _, ops):
        found = await answer(ops, "report")
        assert len(found["unreadable"]) == 1
        assert "list.toml" in found["unreadable"][0]
        assert (found["traffic"]["decisions"], found["recorded_since"]) == (0, None)


async def test_others_have_their_turn_meanwhile(tmp_path):
    async with site(tmp_path) as (_, history, ops):
        for number in range(400):
            history(decision(decision_id=str(number), recipient=f"r{number}@example.net"))
            if number % 100 == 99:
                await history.flush()
        turns = 0

        async def count():
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            found = await answer(ops, "report")
            nursery.cancel_scope.cancel()
        assert found["delays"]["deferred"] == 400
        assert turns > 10


@pytest.mark.parametrize(
    "options",
    [
        {"since": "7d"},
        {"since": -1},
        {"since": START + 1},
        {"owner": 5},
        {"limit": 0},
        {"limit": 300_001},
        {"rows": 0},
        {"rows": 1001},
        {"rows": True},
        {"nonsense": 1},
    ],
)
async def test_what_cannot_be_asked(tmp_path, options):
    async with site(tmp_path) as (_, _, ops):
        with pytest.raises(OperationError):
            await answer(ops, "report", **options)


async def test_without_a_history(tmp_path):
    async with parts() as (_, made):
        with pytest.raises(OperationError, match="enabled"):
            await answer(collected(operations, made), "report")
    async with parts(decisions=PastHistory(tmp_path, 1 << 24)) as (_, made):
        with pytest.raises(OperationError, match="cannot be read"):
            await answer(collected(operations, made), "report")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "named"),
        ({"origin": "192.0.2.0/24"}, "unnamed"),
        ({"origin": ""}, "unnamed"),
        ({"origin": "h:abcdefghijklmnop"}, "unnamed"),
        ({"raw": "text", "origin": "text"}, "unnamed"),
    ],
)
async def test_classes_of_origins(changes, expected):
    async with parts() as (_, made):
        assert origin_class_of(made.engine.setup, decision(**changes)) == expected


async def test_provider():
    async with parts() as (_, made):
        setup = replace(made.engine.setup, provider_of=lambda attempt: "example")
        assert origin_class_of(setup, decision()) == "provider"
        assert origin_class_of(setup, decision(origin="192.0.2.0/24")) == "unnamed"
