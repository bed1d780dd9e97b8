"""The operation `where`: its options; what it finds is tested by the command."""

from __future__ import annotations

import re
from contextlib import aclosing

import pytest
import trio
import trio.testing

from multigrey.config.tables.history import History as HistorySettings
from multigrey.control.operations import explain, history
from multigrey.control.operations.operation import OperationError, OptionError
from multigrey.control.operations.where import operations
from multigrey.errors import AddressError, StoreError
from multigrey.history import recorder
from multigrey.history.reader import PastHistory
from multigrey.model import HOUR
from tests.support.control import answer, collected, make_parts
from tests.support.decisions import decision
from tests.support.engines import harness


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, OptionError),
        ({"addresses": "bob"}, AddressError),
        ({"addresses": ["a@x.example"]}, OptionError),
        ({"addresses": "a@x.example", "from": "bob"}, AddressError),
        ({"addresses": "a@x.example", "since": -1}, OptionError),
        ({"addresses": "a@x.example", "since": "now"}, OptionError),
        ({"addresses": "a@x.example", "more": 1}, OptionError),
    ],
)
async def test_wrong_options(tmp_path, options, error):
    async with harness() as house:
        where = collected(operations, make_parts(house, decisions=PastHistory(tmp_path, 1 << 20)))
        with pytest.raises(error):
            await answer(where, "where", **options)


async def test_without_a_history_it_says_so(tmp_path):
    async with harness() as house:
        where = collected(operations, make_parts(house))
        with pytest.raises(OperationError, match="enabled is false"):
            await answer(where, "where", addresses="a@x.example")


async def test_a_history_that_cannot_be_read(tmp_path, monkeypatch):
    def broken(self, work):
        raise StoreError("gone")

    monkeypatch.setattr(PastHistory, "_do", broken)
    async with harness() as house:
        where = collected(operations, make_parts(house, decisions=PastHistory(tmp_path, 1 << 20)))
        with pytest.raises(OperationError, match="cannot be read: gone"):
            await answer(where, "where", addresses="a@x.example")


async def test_what_the_history_lacks_is_said_by_all_who_look_back(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "MOST_A_SECOND", 0)
    async with harness() as house, trio.open_nursery() as nursery:
        kept = recorder.HistoryRecorder(tmp_path, HistorySettings(), house.clock)
        nursery.start_soon(kept.run)
        await trio.testing.wait_all_tasks_blocked()
        made = make_parts(house, decisions=kept)
        where, past, told = (
            collected(each, made) for each in (operations, history.operations, explain.operations)
        )
        mail = {"sender": "a@example.org", "recipient": "b@example.net"}
        assert (await answer(where, "where", addresses="b@example.net"))["not_recorded"] == ""
        kept(decision(time=house.clock.now()))
        sentence = kept.gap()
        assert "1 decision of the time looked at" in sentence
        found = await answer(where, "where", addresses="b@example.net")
        assert (found["stories"], found["not_recorded"]) == ([], sentence)
        async with aclosing(past.get("history").stream({"about": "b@example.net"})) as rows:
            assert [row["not_recorded"] async for row in rows] == [sentence]
        for options in ({"id": "nosuchid"}, {"about": "b@example.net"}, {"attempt": mail}):
            with pytest.raises(OperationError, match=re.escape(f"; {sentence}")):
                await answer(told, "explain", **options)
        house.clock.advance(2 * HOUR)
        since = house.clock.now() - 60
        assert (await answer(where, "where", addresses="b@example.net", since=since))["not_recorded"] == ""
        nursery.cancel_scope.cancel()
