from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address

import pytest
import trio

from multigrey.control.operations.export import CHECK_ADDRESS, RetryingClients, operations
from multigrey.control.operations.operation import OperationError
from multigrey.history.recorder import HistoryRecorder
from multigrey.model import Action, Attempt, DecisionEvent, Reason, Verdict
from tests.support.clocks import START
from tests.support.control import collected, items, make_settings, parts

DAY = 86_400
RETRY = Verdict(Action.PASS, Reason.RETRY, delay=120, age=200, attempts=2)
KNOWN = Verdict(Action.PASS, Reason.KNOWN)


def attempt(client: str, sender: str = "a@example.org") -> Attempt:
    return Attempt("exim", ip_address(client), None, "", sender, "b@example.net")


def event(client: str = "192.0.2.1", time: int = START, verdict: Verdict = RETRY) -> DecisionEvent:
    return DecisionEvent(time, f"i{time}", attempt(client), verdict, "example.org")


class TestProven:
    @pytest.mark.parametrize(
        "other",
        [
            event(verdict=KNOWN),
            event(verdict=Verdict(Action.DEFER, Reason.NEW)),
            event(verdict=Verdict(Action.PASS, Reason.WHITELISTED)),
            event(verdict=Verdict(Action.PASS, Reason.AUTO_WHITELISTED)),
            event(verdict=Verdict(Action.PASS, Reason.SAME_MESSAGE)),
            event(verdict=Verdict(Action.PASS, Reason.RULE)),
            event(verdict=replace(RETRY, observed=True)),
            replace(event(), attempt=attempt("192.0.2.1", CHECK_ADDRESS)),
            replace(event(), attempt=replace(attempt("192.0.2.1"), raw="a key of somebody's own")),
        ],
    )
    def test_who_did_not_come_back_is_left_out(self, other):
        proven = RetryingClients()
        proven.add(other)
        assert proven.rows() == []

    def test_an_address_counts_once_with_its_first_and_last_time(self):
        proven = RetryingClients()
        for time, verdict in [(90, KNOWN), (50, RETRY), (20, RETRY), (10, KNOWN)]:
            proven.add(event(time=time, verdict=verdict))
        assert proven.rows() == [("192.0.2.1", 20, 90)]

    def test_those_seen_last_come_first(self):
        proven = RetryingClients()
        for number in range(5):
            proven.add(event(f"192.0.2.{number}", number))
        assert [row[0] for row in proven.rows()] == [f"192.0.2.{number}" for number in (4, 3, 2, 1, 0)]

    def test_clients_without_an_address_are_counted(self):
        proven = RetryingClients()
        proven.add(replace(event(), attempt=replace(attempt("192.0.2.1"), client_address=None)))
        assert (proven.rows(), proven.hidden) == ([], 1)

    def test_memory_is_bounded(self):
        proven = RetryingClients(most=3)
        for number in range(100):
            proven.add(event(f"192.0.2.{number}", START - number))
        proven.add(event("192.0.2.0", START + 5))
        assert proven.rows() == [
            ("192.0.2.0", START, START + 5),
            ("192.0.2.1", START - 1, START - 1),
            ("192.0.2.2", START - 2, START - 2),
        ]


@asynccontextmanager
async def remembering(tmp_path):
    """A house that remembers, and how to ask it."""
    settings = make_settings(tmp_path)
    async with parts(settings=settings) as (house, made):
        history = HistoryRecorder(tmp_path, settings.history, house.clock)
        house.engine.subscribers = (history,)
        export = collected(operations, replace(made, decisions=history))

        async def ask(**options):
            await history.flush()
            *pieces, end = await items(export, "export", **options)
            return [tuple(row) for piece in pieces for row in piece["addresses"]], end

        async with trio.open_nursery() as nursery:
            nursery.start_soon(history.run)
            await trio.testing.wait_all_tasks_blocked()
            yield house, history, ask
            nursery.cancel_scope.cancel()


class TestExport:
    async def test_only_the_client_that_came_back_is_told(self, tmp_path):
        """One of a pool is deferred and another one comes back: only of that one it is known."""
        async with remembering(tmp_path) as (house, _, ask):
            for client in ("192.0.2.1", "198.51.100.1", "2001:db8::1"):
                await house.engine.judge(attempt(client), "pass")
            house.clock.advance(200)
            for client in ("192.0.2.77", "2001:db8::1"):
                await house.engine.judge(attempt(client), "pass")
            rows, end = await ask()
            assert rows == [
                ("192.0.2.77", START + 200, START + 200),
                ("2001:db8::1", START + 200, START + 200),
            ]
            expected = {"time": START + 200, "recorded_since": START, "number": 2, "more": 0, "hidden": 0}
            assert end == expected

    async def test_ages_and_number(self, tmp_path):
        async with remembering(tmp_path) as (_, history, ask):
            for number in reversed(range(20)):
                history(event(f"192.0.2.{number}", START - number * DAY))
            rows, _ = await ask(since=10 * DAY)
            assert [row[0] for row in rows] == [f"192.0.2.{number}" for number in range(11)]
            rows, end = await ask(since=10 * DAY, max=4)
            assert [row[0] for row in rows] == [f"192.0.2.{number}" for number in range(4)]
            assert (end["number"], end["more"]) == (4, 7)

    @pytest.mark.parametrize("options", [{"max": 0}, {"max": True}, {"since": "2d"}, {"max": 10**9}])
    async def test_refuses_other_numbers(self, options):
        async with parts() as (_, made):
            with pytest.raises(OperationError, match="expected a number"):
                await items(collected(operations, made), "export", **options)

    async def test_without_a_history_nobody_is_known(self):
        async with parts() as (_, made):
            with pytest.raises(OperationError, match="enabled is false"):
                await items(collected(operations, made), "export")

    async def test_works_on_a_stopped_store(self):
        async with parts() as (_, made):
            assert collected(operations, made).get("export").offline
