"""`whitelist-test`, and mail that somebody waits for."""

from __future__ import annotations

import pytest

from multigrey.control.attempt_options import attempt_of
from multigrey.control.operations.operation import BY, Level, OperationError
from multigrey.control.operations.whitelist import LONGEST_EXPECTED, operations
from multigrey.engine.setup import SourceInfo
from multigrey.model import Match
from multigrey.overrides.expectations import Expectations
from tests.support.control import answer, collected, make_parts
from tests.support.engines import harness

ATTEMPT = {"client_address": "192.0.2.1", "sender": "a@example.net", "recipient": "b@example.org"}


def joined(house):
    expectations = Expectations(house.store, house.clock.now)
    house.engine.setup = expectations.joined(house.engine.setup)
    made = make_parts(house)
    made.core.expectations = expectations
    return collected(operations, made)


async def test_an_entry_and_what_it_hides():
    first, second = (
        Match("list", "a.toml:1 client=192.0.2.0/24", "ops"),
        Match("list", "a.toml:5 client=192.0.2.1"),
    )
    changes = {
        "sources": (lambda _: first, lambda _: None),
        "about_sources": (
            SourceInfo("list", "/etc/a.toml", every=lambda _: [first, second]),
            SourceInfo("more"),
        ),
    }
    async with harness(**changes) as house:
        told = await answer(joined(house), "whitelist-test", attempt=ATTEMPT)
        assert told["matches"]
        expected, listed, more = told["sources"]
        assert (expected["source"], expected["matches"]) == ("expect", False)
        assert (listed["entry"], listed["owner"], listed["hidden"]) == (first.entry, "ops", [second.entry])
        assert not more["matches"]
        assert told["note"] == ""


async def test_a_forwarders_sender_is_told():
    async with harness() as house:
        sender = "SRS0=hhhh=tt=partner.example=alice@forwarder.example"
        told = await answer(joined(house), "whitelist-test", attempt={**ATTEMPT, "sender": sender})
        assert not told["matches"]
        assert told["note"].endswith("entries never match the inner address alice@partner.example")


async def test_expected_mail_passes_until_it_is_over():
    async with harness() as house:
        operate = joined(house)
        options = {"recipient": "B@example.org", "from": "example.net", "seconds": 900, "reason": "a code"}
        made = await answer(operate, "expect", **options, **{BY: "root (uid 0)"})
        row = made["expected"]
        assert (row["recipient"], row["from"], row["asked_by"]) == (
            "b@example.org",
            "example.net",
            "root (uid 0)",
        )
        assert (await answer(operate, "expect-list"))["expected"] == [row]
        reply = await house.engine.judge(attempt_of(ATTEMPT), "pass")
        assert reply.reason.value == "whitelisted"
        assert house.events[-1].verdict.match.owner == "root (uid 0)"
        house.clock.advance(900)
        reply = await house.engine.judge(attempt_of(ATTEMPT), "pass")
        assert reply.reason.value == "new"
        assert (await answer(operate, "expect-list"))["expected"] == []


async def test_what_is_expected_can_be_withdrawn():
    async with harness() as house:
        operate = joined(house)
        for domain in ("example.net", ""):
            await answer(operate, "expect", recipient="b@example.org", seconds=60, **{"from": domain})
        gone = await answer(operate, "expect-cancel", recipient="b@example.org", **{"from": "example.net"})
        assert [row["from"] for row in gone["cancelled"]] == ["example.net"]
        gone = await answer(operate, "expect-cancel", recipient="b@example.org")
        assert [row["from"] for row in gone["cancelled"]] == [None]
        assert (await answer(operate, "expect-cancel", recipient="b@example.org")) == {"cancelled": []}


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("expect", {"recipient": "b@example.org"}, "seconds: expected"),
        ("expect", {"recipient": "b@example.org", "seconds": 0}, "seconds: expected"),
        ("expect", {"recipient": "b@example.org", "seconds": True}, "seconds: expected"),
        ("expect", {"recipient": "b@example.org", "seconds": LONGEST_EXPECTED + 1}, "seconds: expected"),
        ("expect", {"recipient": "nobody", "seconds": 60}, "is not a recipient"),
        ("expect", {"recipient": 7, "seconds": 60}, "recipient must be a text"),
        ("expect", {"recipient": "b@example.org", "seconds": 60, "from": "a@b c"}, "is not a sender"),
        ("expect-cancel", {}, "is not a recipient"),
        ("expect-cancel", {"recipient": "b@example.org", "from": "a b"}, "is not a domain"),
        ("whitelist-test", {}, "attempt: expected a mapping"),
    ],
)
async def test_what_is_refused(name, options, why):
    async with harness() as house:
        with pytest.raises(OperationError, match=why):
            await answer(joined(house), name, **options)


async def test_who_may_do_what():
    async with harness() as house:
        levels = {each.name: each.level for each in operations(make_parts(house))}
        assert levels["expect"] is levels["expect-cancel"] is Level.OPERATE
        assert levels["expect-list"] is levels["whitelist-test"] is Level.READ
