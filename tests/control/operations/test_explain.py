"""`explain` and the operations about rules."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from multigrey.control.attempt_options import attempt_of
from multigrey.control.operations.explain import operations
from multigrey.control.operations.operation import OperationError
from multigrey.errors import StoreError
from multigrey.events.as_json import event_as_json
from multigrey.model import Findings
from multigrey.rules.rules import Rules
from tests.support.control import answer, collected, make_parts, make_settings
from tests.support.engines import DELAY, harness

ATTEMPT = {
    "client_address": "192.0.2.1",
    "helo": "mail.example.net",
    "sender": "a@example.net",
    "recipient": "b@example.org",
}
LINE = (
    "2026-11-22 14:03:10 H=(mail.example.net) [192.0.2.1] F=<a@example.net> temporarily rejected RCPT "
    "<b@example.org>: multigrey new id={}"
)


class Decisions:
    """Remembers what a harness reported."""

    def __init__(self, house):
        self.house = house

    async def find(self, decision_id):
        return next((event_as_json(event) for event in self.house.events if event.id == decision_id), None)

    async def about(self, words, limit):
        del words, limit
        return []


async def test_an_attempt_its_line_and_its_id_are_explained_alike():
    async with harness() as house:
        explain = collected(operations, make_parts(house, decisions=Decisions(house)))
        await house.engine.judge(attempt_of(ATTEMPT), "pass")
        (event,) = house.events
        house.clock.advance(DELAY)
        by_options = await answer(explain, "explain", attempt=ATTEMPT)
        by_id = await answer(explain, "explain", id=event.id)
        by_line = await answer(explain, "explain", line=LINE.format("none"))
        by_own_line = await answer(explain, "explain", line=LINE.format(event.id))
        assert by_options["verdict"]["reason"] == "retry"
        same = {"time", "origin", "verdict", "steps", "advice", "decided_by"}
        for other in (by_id, by_line, by_own_line):
            assert {key: other[key] for key in same} == {key: by_options[key] for key in same}
        assert by_options["then"] is None
        assert (by_id["then"]["reason"], by_id["read"]) == ("new", None)
        assert (by_line["then"], by_line["read"]) == (None, "exim")
        assert by_own_line["then"]["id"] == event.id
        assert json.loads(json.dumps(by_id)) == by_id


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "expected one of"),
        ({"attempt": ATTEMPT, "line": "x"}, "expected one of"),
        ({"attempt": "x"}, "attempt: expected a mapping"),
        ({"attempt": {}}, "sender is missing"),
        ({"line": "nothing"}, "no attempt found"),
        ({"id": ""}, "at most 64 characters"),
        ({"id": 7}, "at most 64 characters"),
        ({"id": "x" * 65}, "at most 64 characters"),
        ({"id": "gone"}, "not recorded here"),
        ({"attempt": ATTEMPT, "ask": "yes"}, "true or false"),
    ],
)
async def test_what_cannot_be_explained(options, why):
    async with harness() as house:
        with pytest.raises(OperationError, match=why):
            await answer(collected(operations, make_parts(house)), "explain", **options)


async def test_an_id_that_is_forgotten():
    async with harness() as house:
        explain = collected(operations, make_parts(house, decisions=Decisions(house)))
        with pytest.raises(OperationError, match="not in the history, or no longer"):
            await answer(explain, "explain", id="gone")


async def test_a_history_in_trouble_costs_only_what_it_alone_knows():
    class Broken:
        async def find(self, decision_id):
            raise StoreError("history is gone")

        async def about(self, words, limit):
            raise StoreError("history is gone")

    async with harness() as house:
        explain = collected(operations, make_parts(house, decisions=Broken()))
        with pytest.raises(OperationError, match="history is gone: paste its log line"):
            await answer(explain, "explain", id="7f3k2q")
        assert (await answer(explain, "explain", line=LINE.format("7f3k2q")))["then"] is None


async def test_slow_sources_are_asked_on_demand():
    asked = []

    async def ask(attempt):
        asked.append(attempt)
        return Findings(traits=frozenset({"listed"}))

    async with harness(ask=ask) as house:
        explain = collected(operations, make_parts(house))
        without = await answer(explain, "explain", attempt=ATTEMPT)
        assert (without["certain"], asked) == (False, [])
        assert (await answer(explain, "explain", attempt=ATTEMPT, ask=True))["certain"]
        assert len(asked) == 1


async def test_the_listener_says_what_trouble_means(tmp_path):
    settings = make_settings(
        tmp_path,
        '[[listen]]\naddress = "unix:{dir}/s"\nprotocol = "postfix"\nname = "mx"\non_error = "defer"\n',
    )

    class Broken:
        async def read(self, keys):
            raise StoreError("gone")

    async with harness() as house:
        house.engine.store = Broken()
        explain = collected(operations, make_parts(house, settings))
        deferred = await answer(explain, "explain", attempt={**ATTEMPT, "listener": "mx"})
        passed = await answer(explain, "explain", attempt=ATTEMPT)
        assert [each["verdict"]["action"] for each in (deferred, passed)] == ["defer", "pass"]


# --- rules -----------------------------------------------------------------------------------------

RULES = """
[[rule]]
name = "partner"
action = "greylist"
delay = "30s"
key = ["origin", "recipient"]
when = { sender_domain = "example.com", not = { recipient = ["x@example.org", "y@example.org"] } }
[[rule]]
name = "rest"
action = "observe"
when = {}
"""


async def test_rules_are_listed_and_tested(tmp_path):
    settings = make_settings(tmp_path, RULES)
    async with harness() as house:
        house.engine.setup = replace(house.engine.setup, rules=Rules(settings.rule, {}))
        rules = collected(operations, make_parts(house, settings))
        partner, rest = (await answer(rules, "rule-list"))["rules"]
        assert (partner["rule"], partner["action"]) == ("partner", "greylist")
        assert partner["settings"] == {"delay": 30, "key": ["origin", "recipient"]}
        assert partner["conditions"] == [
            'sender_domain = "example.com"',
            'not (recipient = ["x@example.org", "y@example.org"])',
        ]
        assert rest["conditions"] == []
        matched = await answer(rules, "rule-test", attempt={**ATTEMPT, "sender": "a@example.com"})
        assert matched["matches"] == "partner"
        assert [(row["truth"], row["decides"]) for row in matched["rules"]] == [
            (True, True),
            (True, False),
        ]
        other = await answer(rules, "rule-test", attempt=ATTEMPT)
        assert other["matches"] == "rest"
        assert other["rules"][0]["truth"] is False
        with pytest.raises(OperationError, match="attempt: expected a mapping"):
            await answer(rules, "rule-test")


async def test_without_rules():
    async with harness() as house:
        rules = collected(operations, make_parts(house))
        assert await answer(rules, "rule-list") == {"rules": []}
        assert (await answer(rules, "rule-test", attempt=ATTEMPT))["matches"] is None
