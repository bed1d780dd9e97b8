"""The way of one attempt: which step answers, what is written, what is reported."""

from __future__ import annotations

import dataclasses
from ipaddress import ip_address

import pytest
import trio

from multigrey.config.values.when import read_conditions
from multigrey.engine.setup import LOOPBACK
from multigrey.errors import StoreError
from multigrey.model import Action, Attempt, Findings, Match, Origin, Reason, Stage, Table
from multigrey.rules.rules import Rule, Rules
from tests.support.engines import DELAY, MAX_AGE, WINDOW, Harness, harness

D, P = Action.DEFER, Action.PASS
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
        (
            Rule("r", ("yes",), "greylist", delay=7, text="Wait"),
            (Action.DEFER, Reason.NEW),
            "4.7.1",
            "Wait",
        ),
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


CAROL = "carol@example.net"


async def met(parts, *recipients):
    """Recipients for whom this sender has passed."""
    for recipient in recipients or ("bob@example.net",):
        await judge(parts, attempt(recipient=recipient))
    parts.clock.advance(DELAY)
    for recipient in recipients or ("bob@example.net",):
        await judge(parts, attempt(recipient=recipient))


async def test_a_known_recipient_carries_the_others_of_its_message():
    async with harness() as parts:
        await met(parts, "bob@example.net", "dave@example.net", "erin@example.net")
        parts.clock.advance(3600)
        for recipient in ("bob@example.net", "dave@example.net", "erin@example.net"):
            assert await judge(parts, attempt(message="m2", recipient=recipient)) == (P, Reason.KNOWN)
        carol = attempt(message="m2", recipient=CAROL)
        assert await judge(parts, carol) == (P, Reason.SAME_MESSAGE)
        other_message = attempt(message="m3", recipient="frank@example.net")
        assert await judge(parts, other_message) == (D, Reason.NEW)
        other_sender = attempt(message="m2", recipient="eve@example.net", sender="x@example.com")
        assert await judge(parts, other_sender) == (D, Reason.NEW)
        assert await judge(parts, dataclasses.replace(carol, message="m4")) == (P, Reason.KNOWN)


async def test_the_known_recipient_may_come_first_within_one_round():
    async with harness() as parts:
        await met(parts)
        parts.clock.advance(3600)
        asked = [attempt(message="m2"), attempt(message="m2", recipient=CAROL)]
        begun = parts.engine.begin_all([(one, "pass") for one in asked])
        assert [reply.reason for reply in begun] == [Reason.KNOWN, Reason.SAME_MESSAGE]


async def test_one_pair_that_came_back_does_not_open_a_whole_dictionary():
    async with harness() as parts:
        await judge(parts, attempt(message="m1"))
        parts.clock.advance(DELAY)
        assert await judge(parts, attempt(message="m2")) == (P, Reason.RETRY)
        told = [await judge(parts, attempt(message="m2", recipient=f"r{n}@example.net")) for n in range(50)]
        assert told == [(P, Reason.SAME_MESSAGE)] + [(D, Reason.NEW)] * 49
        parts.clock.advance(60)
        assert await judge(parts, attempt(message="m3")) == (P, Reason.KNOWN)
        assert await judge(parts, attempt(message="m3", recipient="s@example.net")) == (D, Reason.NEW)


async def test_those_that_come_back_carry_as_many_as_they_are():
    """Postfix refuses twenty and ends the session: the rest of fifty has not been asked about."""
    people = [f"r{number}@example.net" for number in range(50)]
    async with harness() as parts:
        for recipient in people[:20]:
            assert await judge(parts, attempt(message="m1", recipient=recipient)) == (D, Reason.NEW)
        parts.clock.advance(DELAY)
        told = [(await judge(parts, attempt(message="m2", recipient=recipient)))[1] for recipient in people]
        assert told == [Reason.RETRY] * 20 + [Reason.SAME_MESSAGE] * 20 + [Reason.NEW] * 10


async def test_a_message_carries_ten_in_the_domain_of_the_recipient_that_passed():
    async with harness() as parts:
        await met(parts)
        parts.clock.advance(3600)
        assert await judge(parts, attempt(message="m2")) == (P, Reason.KNOWN)
        elsewhere = attempt(message="m2", recipient="bob@example.com")
        assert await judge(parts, elsewhere) == (D, Reason.NEW)
        told = [await judge(parts, attempt(message="m2", recipient=f"r{n}@example.net")) for n in range(50)]
        assert told == [(P, Reason.SAME_MESSAGE)] * 10 + [(D, Reason.NEW)] * 40
        # Who was carried carries nobody.
        parts.clock.advance(7200)
        assert await judge(parts, attempt(message="m4", recipient="r1@example.net")) == (P, Reason.KNOWN)
        assert await judge(parts, attempt(message="m4", recipient="r60@example.net")) == (D, Reason.NEW)


@pytest.mark.parametrize(
    "changes",
    [{"sender": ""}, {"message": ""}],
    ids=["the null sender", "no message id"],
)
async def test_what_never_carries(changes):
    async with harness(null_sender_at_data=False) as parts:
        await judge(parts, attempt(**changes))
        parts.clock.advance(DELAY)
        await judge(parts, attempt(**changes))
        parts.clock.advance(3600)
        assert (await judge(parts, attempt(**{"message": "m2", **changes})))[1] is Reason.KNOWN
        carol = attempt(**{"message": "m2", "recipient": CAROL, **changes})
        assert await judge(parts, carol) == (D, Reason.NEW)


@pytest.mark.parametrize("carries", [True, False])
async def test_an_entry_that_says_something_of_the_sender_carries(carries):
    def match(one):
        return Match("expect", "x", carries=carries) if one.recipient == "bob@example.net" else None

    async with harness(sources=(match,)) as parts:
        assert await judge(parts, attempt(message="m2")) == (P, Reason.WHITELISTED)
        told = await judge(parts, attempt(message="m2", recipient=CAROL))
        assert told == ((P, Reason.SAME_MESSAGE) if carries else (D, Reason.NEW))


async def test_message_pass_can_be_switched_off():
    async with harness(message_pass=False) as parts:
        await met(parts)
        parts.clock.advance(3600)
        await judge(parts, attempt(message="m2"))
        carol = attempt(message="m2", recipient=CAROL)
        assert await judge(parts, carol) == (D, Reason.NEW)


# ------------------------------------------------------------------ probes and bounces

PROBE = "double-bounce@partner.example"


@pytest.mark.parametrize(
    ("sender", "reason"),
    [("", Reason.NULL_SENDER), (PROBE, Reason.PROBE), ("double-bounce-3f7kq@p.example", Reason.PROBE)],
)
async def test_a_probe_is_not_delayed_and_its_message_is_judged_at_data(sender, reason):
    async with harness() as parts:
        one = attempt(sender=sender, message="m1")
        assert await judge(parts, one) == (P, reason)
        assert await judge(parts, one) == (P, reason)
        at_data = dataclasses.replace(one, stage=Stage.DATA)
        assert await judge(parts, at_data) == (D, Reason.NEW)
        parts.clock.advance(DELAY)
        again = dataclasses.replace(at_data, message="m2")
        assert await judge(parts, again) == (P, Reason.RETRY)


@pytest.mark.parametrize("sender", ["", PROBE])
@pytest.mark.parametrize("number", [2, 50])
async def test_a_forged_probe_with_several_recipients_never_passes(sender, number):
    async with harness() as parts:
        told = [
            await judge(parts, attempt(sender=sender, message="m1", recipient=f"r{n}@example.net"))
            for n in range(number)
        ]
        assert told[0][0] is P
        assert set(told[1:]) == {(D, Reason.NEW)}
        # Whatever the mail server says of the recipients then.
        for recipient in ("", "r0@example.net"):
            at_data = attempt(sender=sender, message="m1", recipient=recipient, stage=Stage.DATA)
            assert (await judge(parts, at_data))[0] is D
        assert {event.attempt.recipient for event in parts.events[-2:]} == {"r0@example.net"}


@pytest.mark.parametrize("sender", ["", PROBE])
async def test_several_recipients_at_data_are_judged_by_the_first_one(sender):
    async with harness() as parts:
        both = ("bob@example.net", CAROL)
        for message in ("m1", "m2"):
            told = [await judge(parts, attempt(sender=sender, message=message, recipient=r)) for r in both]
            at_data = attempt(sender=sender, message=message, recipient="", stage=Stage.DATA)
            told.append(await judge(parts, at_data))
            parts.clock.advance(DELAY)
        assert [action for action, _ in told] == [P, P, P]
        assert [reason for _, reason in told][1:] == [Reason.RETRY, Reason.RETRY]


async def test_several_recipients_of_a_message_nobody_remembers_do_not_pass_unjudged():
    async with harness() as parts:
        at_data = attempt(sender="", message="m1", recipient="", stage=Stage.DATA)
        assert await judge(parts, at_data) == (D, Reason.NEW)
        parts.clock.advance(DELAY)
        assert await judge(parts, dataclasses.replace(at_data, message="m2")) == (P, Reason.RETRY)


async def test_a_probe_without_a_message_id_is_judged_as_any_other():
    async with harness() as parts:
        assert await judge(parts, attempt(sender=PROBE, message="")) == (D, Reason.NEW)
        assert await judge(parts, attempt(sender="", message="")) == (P, Reason.NULL_SENDER)


async def test_senders_of_login_codes_are_no_probes():
    async with harness() as parts:
        for sender in ("verify@shop.example", "verification@shop.example"):
            assert await judge(parts, attempt(sender=sender, message="m1")) == (D, Reason.NEW)


# ------------------------------------------------------------------ own clients and providers


@pytest.mark.parametrize(
    ("address", "own"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("10.1.2.3", False),
        ("192.168.1.1", False),
        ("::2", False),
        ("198.51.100.7", True),
        ("198.51.100.8", False),
        ("2001:db8:5::1", True),
    ],
)
async def test_own_clients_pass(address, own):
    networks = {4: [*LOOPBACK[4], (0, int(ip_address("198.51.100.7")))], 6: [(0, 1), (80, 0x20010DB80005)]}
    async with harness(own_networks=networks) as parts:
        told = await judge(parts, attempt(client_address=ip_address(address)))
        assert told == ((P, Reason.OWN_NETWORK) if own else (D, Reason.NEW))


ORIGIN = Origin("big", named=True)


def provider(**changes):
    values = {"origin_of": lambda *_: ORIGIN, "retrying": frozenset({"big"}), "retries": lambda _: True}
    return {**values, **changes}


async def test_a_provider_that_is_known_to_retry_is_not_delayed():
    async with harness(**provider()) as parts:
        assert await judge(parts, attempt()) == (P, Reason.PROVIDER)
        assert await judge(parts, attempt()) == (P, Reason.KNOWN)
        tightened = dataclasses.replace(parts.engine.setup, providers_pass=False)
        parts.engine.setup = tightened
        assert await judge(parts, attempt()) == (P, Reason.KNOWN), "it is remembered for such a day"
        assert await judge(parts, attempt(recipient=CAROL)) == (D, Reason.NEW)


async def test_a_provider_passes_also_when_the_store_fails_or_is_full():
    async with harness(**provider()) as parts:
        parts.engine.shared._is_full = lambda: True
        assert await judge(parts, attempt()) == (P, Reason.PROVIDER)
        assert await stored(parts) == 0
        assert await stored(parts, Table.MARK) == 0

        def broken(*_):
            raise StoreError("disk full")

        parts.store.peek = broken
        assert await judge(parts, attempt(), "defer") == (P, Reason.PROVIDER)


async def test_a_bounce_of_a_provider_passes_without_being_remembered():
    async with harness(**provider()) as parts:
        assert await judge(parts, attempt(sender="")) == (P, Reason.PROVIDER)
        assert await stored(parts) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"providers_pass": False},
        {"origin_of": lambda *_: Origin("192.0.2.0/24", named=False), "retries": lambda _: False},
    ],
)
async def test_otherwise_it_is(changes):
    async with harness(**provider(**changes)) as parts:
        assert await judge(parts, attempt()) == (D, Reason.NEW)


async def test_rules_and_blocks_come_before_providers_and_own_clients():
    rules = Rules([Rule("no", action="reject")])
    async with harness(**provider(rules=rules)) as parts:
        assert await judge(parts, attempt()) == (Action.REJECT, Reason.RULE)
        loopback = attempt(client_address=ip_address("127.0.0.1"))
        assert await judge(parts, loopback) == (Action.REJECT, Reason.RULE)
    async with harness(**provider()) as parts:
        parts.block(attempt())
        assert await judge(parts, attempt()) == (Action.REJECT, Reason.RULE)


@pytest.mark.parametrize(
    ("found", "told"), [("bad", (Action.REJECT, Reason.RULE)), ("good", (Action.PASS, Reason.PROVIDER))]
)
async def test_a_rule_on_what_slow_sources_find_comes_before_providers(found, told):
    rules = Rules([Rule("listed", traits=("bad",), action="reject")])
    slow = Asked(Findings(traits=frozenset({found})))
    async with harness(**provider(rules=rules, ask=slow)) as parts:
        assert await judge(parts, attempt()) == told


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
        assert await judge(parts, neighbour) == (P, Reason.KNOWN), "the pair is known in its network"
        other_pair = dataclasses.replace(neighbour, recipient="newer@example.net")
        assert await judge(parts, other_pair) == (D, Reason.NEW), "but trust is not shared"


async def test_every_decision_is_reported_once_with_its_own_id():
    async with harness() as parts:
        for _ in range(3):
            await judge(parts, attempt())
        assert [event.id for event in parts.events] == ["id0000", "id0001", "id0002"]
        assert parts.engine.figures() == {"defer new": 1, "defer early": 2}
        assert parts.events[0].origin == "192.0.2.0/24"


async def test_an_overdue_decision_is_reported():
    async with harness() as parts:
        progress = parts.engine.progress(attempt())
        progress.on_error = "defer"
        reply = parts.engine.overdue(progress, 3)
        parts.engine.report()
        assert (reply.action, reply.reason) == (Action.DEFER, Reason.ERROR)
        assert parts.events[0].verdict.detail == "no decision within 3 s"
