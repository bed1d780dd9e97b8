"""The way of one attempt: which step answers, what is written, what is reported."""

from __future__ import annotations

import dataclasses
from ipaddress import ip_address

import pytest
import trio

from multigrey.config.conditions import read_conditions
from multigrey.errors import StoreError
from multigrey.model import Action, Attempt, Findings, Match, Origin, Reason, Stage, Table
from multigrey.rules import Rule, Rules
from tests.support.engines import DELAY, MAX_AGE, WINDOW, Harness, harness

TEXT = "Greylisted, please try again later"
NOT_SPF_PASS = read_conditions({"not": {"trait": "spf:pass"}}, None)


def attempt(**changes: object) -> Attempt:
    values: dict[str, object] = {
        "listener": "postfix",
        "client_address": ip_address("192.0.2.10"),
        "client_name": "mail.example.org",
        "helo": "mail.example.org",
        "sender": "Alice@Example.org",
        "recipient": "bob@example.net",
    }
    return Attempt(**{**values, **changes})


async def judge(parts: Harness, one: Attempt, on_error: str = "pass"):
    reply = await parts.engine.judge(one, on_error)
    return None if reply is None else (reply.action, reply.reason)


async def stored(parts: Harness, table: Table = Table.RECORD) -> int:
    rows, _ = await parts.store.scan(table, b"", 1000)
    return len(rows)


async def test_the_life_of_a_triplet():
    async with harness() as parts:
        first = await parts.engine.judge(attempt(), "pass")
        assert (first.action, first.reason, first.text, first.code) == (
            Action.DEFER,
            Reason.NEW,
            TEXT,
            "4.7.1",
        )
        assert first.retry_after == DELAY
        parts.clock.advance(50)
        early = await parts.engine.judge(attempt(), "pass")
        assert (early.action, early.reason, early.retry_after) == (Action.DEFER, Reason.EARLY, DELAY - 50)
        parts.clock.advance(DELAY - 50)
        retry = await parts.engine.judge(attempt(), "pass")
        assert (retry.action, retry.reason) == (Action.PASS, Reason.RETRY)
        assert retry.header == (
            "X-Greylist: delayed 120 seconds by multigrey-0 at mx.example.org; "
            "Sun, 09 Sep 2001 01:48:40 -0000"
        )
        known = await parts.engine.judge(attempt(), "pass")
        assert (known.action, known.reason, known.header) == (Action.PASS, Reason.KNOWN, "")
        parts.clock.advance(MAX_AGE)
        assert await judge(parts, attempt()) == (Action.PASS, Reason.KNOWN)
        parts.clock.advance(MAX_AGE + 1)
        assert await judge(parts, attempt()) == (Action.DEFER, Reason.EXPIRED)


async def test_a_retry_after_the_window_starts_again():
    async with harness() as parts:
        await judge(parts, attempt())
        parts.clock.advance(WINDOW + 1)
        assert await judge(parts, attempt()) == (Action.DEFER, Reason.EXPIRED)
        parts.clock.advance(DELAY)
        assert await judge(parts, attempt()) == (Action.PASS, Reason.RETRY)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"authenticated": "joe"}, (Action.PASS, Reason.AUTHENTICATED)),
        ({"client_address": None}, (Action.PASS, Reason.NO_IDENTITY)),
        ({"sender": ""}, (Action.PASS, Reason.NULL_SENDER)),
        ({"sender": "", "stage": Stage.DATA}, (Action.DEFER, Reason.NEW)),
        ({"raw": "anything at all", "client_address": None}, (Action.DEFER, Reason.NEW)),
        ({}, (Action.DEFER, Reason.NEW)),
    ],
)
async def test_who_is_judged_without_the_store(changes, expected):
    async with harness() as parts:
        assert await judge(parts, attempt(**changes)) == expected
        assert await stored(parts) == (expected[0] is Action.DEFER)
        assert [event.verdict.reason for event in parts.events] == [expected[1]]


async def test_null_sender_at_rcpt_when_wanted():
    async with harness(null_sender_at_data=False) as parts:
        assert await judge(parts, attempt(sender="")) == (Action.DEFER, Reason.NEW)


async def test_whitelists_answer_in_order_and_name_the_entry():
    first, second = Match("a", "entry a", "postmaster"), Match("b", "entry b")
    async with harness(sources=(lambda _: None, lambda _: first, lambda _: second)) as parts:
        assert await judge(parts, attempt()) == (Action.PASS, Reason.WHITELISTED)
        assert parts.events[0].verdict.match is first
        assert await stored(parts) == 0


class Yes:
    def holds(self, attempt: Attempt) -> bool:
        return True


@pytest.mark.parametrize(
    ("rule", "expected", "code", "text"),
    [
        (Rule("r", ("yes",), "pass"), (Action.PASS, Reason.RULE), "4.7.1", ""),
        (Rule("r", ("yes",), "defer"), (Action.DEFER, Reason.RULE), "4.3.0", None),
        (Rule("r", ("yes",), "reject", text="No"), (Action.REJECT, Reason.RULE), "5.7.1", "No"),
        (Rule("r", ("yes",), "greylist", delay=7, text="Wait"), (Action.DEFER, Reason.NEW), "4.7.1", "Wait"),
    ],
)
async def test_rules(rule, expected, code, text):
    async with harness(rules=Rules([rule], {"yes": Yes()})) as parts:
        reply = await parts.engine.judge(attempt(), "pass")
        assert (reply.action, reply.reason, reply.code) == (*expected, code)
        assert text is None or reply.text == text
        assert parts.events[0].verdict.rule == "r"
        if rule.delay:
            assert reply.retry_after == rule.delay


async def test_a_retry_is_not_judged_again_by_a_later_rules_delay():
    async with harness() as parts:
        await judge(parts, attempt())
        rules = Rules([Rule("slow", ("yes",), "greylist", delay=3600)], {"yes": Yes()})
        parts.engine.setup = dataclasses.replace(parts.engine.setup, rules=rules)
        parts.clock.advance(DELAY)
        assert await judge(parts, attempt()) == (Action.PASS, Reason.RETRY)


class Asked:
    """A slow source under a test's control."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.times = 0

    async def __call__(self, attempt: Attempt) -> Findings:
        self.times += 1
        await trio.lowlevel.checkpoint()
        return self.findings


async def test_slow_sources_are_asked_only_when_the_sender_would_wait():
    slow = Asked(Findings())
    async with harness(ask=slow) as parts:
        assert await judge(parts, attempt()) == (Action.DEFER, Reason.NEW)
        assert slow.times == 1
        parts.clock.advance(DELAY)
        assert await judge(parts, attempt()) == (Action.PASS, Reason.RETRY)
        assert await judge(parts, attempt()) == (Action.PASS, Reason.KNOWN)
        assert slow.times == 1


async def test_a_slow_sources_match_passes_and_writes_nothing():
    match = Match("dnswl", "list.example")
    async with harness(ask=Asked(Findings(match=match))) as parts:
        assert await judge(parts, attempt()) == (Action.PASS, Reason.WHITELISTED)
        assert parts.events[0].verdict.match is match
        assert await stored(parts) == 0


async def test_rules_see_what_slow_sources_found():
    rules = Rules([Rule("listed", ("dnsbl:x",), "reject")], {})
    async with harness(ask=Asked(Findings(traits=frozenset({"dnsbl:x"}))), rules=rules) as parts:
        assert await judge(parts, attempt()) == (Action.REJECT, Reason.RULE)


@pytest.mark.parametrize(
    ("findings", "answer"),
    [
        (Findings(), (Action.REJECT, Reason.RULE)),
        (Findings(traits=frozenset({"spf:pass"})), (Action.DEFER, Reason.NEW)),
        (Findings(unanswered=frozenset({"spf:pass"})), (Action.DEFER, Reason.NEW)),
        (Findings(unanswered=frozenset({"spf:fail"})), (Action.REJECT, Reason.RULE)),
    ],
)
async def test_nobody_is_rejected_for_what_nobody_could_tell(findings, answer):
    rules = Rules([Rule("no pass", action="reject", when=NOT_SPF_PASS)], {})
    async with harness(ask=Asked(findings), rules=rules) as parts:
        assert await judge(parts, attempt()) == answer


async def test_a_named_origin_matches_from_another_network():
    slow = Asked(Findings(origin=Origin("spf:example.org", named=True)))
    async with harness(ask=slow) as parts:
        assert await judge(parts, attempt()) == (Action.DEFER, Reason.NEW)
        parts.clock.advance(DELAY)
        elsewhere = attempt(client_address=ip_address("198.51.100.77"))
        assert await judge(parts, elsewhere) == (Action.PASS, Reason.RETRY)
        slow.findings = Findings()
        assert await judge(parts, elsewhere) == (Action.PASS, Reason.KNOWN), "under its network too"


async def test_further_recipients_of_a_message_pass_with_a_retry():
    async with harness() as parts:
        await judge(parts, attempt(message="m1"))
        parts.clock.advance(DELAY)
        assert await judge(parts, attempt(message="m2")) == (Action.PASS, Reason.RETRY)
        carol = attempt(message="m2", recipient="carol@example.net")
        assert await judge(parts, carol) == (Action.PASS, Reason.SAME_MESSAGE)
        other_message = attempt(message="m3", recipient="dave@example.net")
        assert await judge(parts, other_message) == (Action.DEFER, Reason.NEW)
        other_sender = attempt(message="m2", recipient="eve@example.net", sender="x@example.com")
        assert await judge(parts, other_sender) == (Action.DEFER, Reason.NEW)
        assert await judge(parts, dataclasses.replace(carol, message="m4")) == (Action.PASS, Reason.KNOWN)


async def test_message_pass_can_be_switched_off():
    async with harness(message_pass=False) as parts:
        await judge(parts, attempt(message="m1"))
        parts.clock.advance(DELAY)
        await judge(parts, attempt(message="m2"))
        carol = attempt(message="m2", recipient="carol@example.net")
        assert await judge(parts, carol) == (Action.DEFER, Reason.NEW)


async def test_one_header_per_message():
    async with harness() as parts:
        recipients = ("bob@example.net", "carol@example.net")
        for recipient in recipients:
            await judge(parts, attempt(message="m1", recipient=recipient))
        parts.clock.advance(DELAY)
        replies = [
            await parts.engine.judge(attempt(message="m2", recipient=recipient), "pass")
            for recipient in recipients
        ]
        assert [reply.reason for reply in replies] == [Reason.RETRY, Reason.RETRY]
        assert [bool(reply.header) for reply in replies] == [True, False]


async def test_no_header_when_switched_off():
    async with harness(header=False) as parts:
        await judge(parts, attempt())
        parts.clock.advance(DELAY)
        assert (await parts.engine.judge(attempt(), "pass")).header == ""


@pytest.mark.parametrize("on_error", ["pass", "defer", "silent"])
async def test_a_failing_store(on_error):
    async with harness() as parts:

        def submit(keys, decide, seen=()):
            raise StoreError("no room")

        parts.store.submit = submit
        reply = await parts.engine.judge(attempt(), on_error)
        if on_error == "silent":
            assert reply is None
        else:
            assert reply.action is Action(on_error)
            assert reply.code == ("4.3.0" if on_error == "defer" else "4.7.1")
        assert parts.events[0].verdict.detail == "no room"


async def test_an_unreadable_record_is_an_error_and_stays():
    async with harness() as parts:
        await judge(parts, attempt())
        rows, _ = await parts.store.scan(Table.RECORD, b"", 10)
        from multigrey.model import Change, Entry

        key = (Table.RECORD, rows[0][0])
        await parts.store.apply([key], lambda _: Change(None, {key: Entry(b"\xc1", None)}, durable=True))
        assert await judge(parts, attempt()) == (Action.PASS, Reason.ERROR)
        assert await parts.store.read([key]) == [b"\xc1"]


async def test_auto_whitelist_is_earned_for_a_sender_domain():
    """Five counted passes, an hour apart, under two keys; then other senders of the domain pass."""
    async with harness() as parts:
        for number in range(5):
            one = attempt(recipient=f"r{number}@example.net")
            assert (await judge(parts, one))[1] is Reason.NEW
            parts.clock.advance(DELAY)
            assert (await judge(parts, one))[1] is Reason.RETRY
            parts.clock.advance(3600)
        fresh = attempt(sender="other@example.org", recipient="new@example.net")
        assert await judge(parts, fresh) == (Action.PASS, Reason.AUTO_WHITELISTED)
        other_domain = attempt(sender="other@example.com", recipient="new@example.net")
        assert await judge(parts, other_domain) == (Action.DEFER, Reason.NEW)
        neighbour = dataclasses.replace(fresh, client_address=ip_address("192.0.2.11"))
        assert await judge(parts, neighbour) == (Action.DEFER, Reason.NEW)


async def test_every_decision_is_reported_once_with_its_own_id():
    async with harness() as parts:
        for _ in range(3):
            await judge(parts, attempt())
        assert [event.id for event in parts.events] == ["id0000", "id0001", "id0002"]
        assert parts.engine.figures() == {"defer new": 1, "defer early": 2}
        assert parts.events[0].origin == "192.0.2.0/24"


async def test_an_overdue_decision_is_reported():
    async with harness() as parts:
        reply = parts.engine.overdue(parts.engine.pending(attempt()), "defer", 3)
        parts.engine.report()
        assert (reply.action, reply.reason) == (Action.DEFER, Reason.ERROR)
        assert parts.events[0].verdict.detail == "no decision within 3 s"
