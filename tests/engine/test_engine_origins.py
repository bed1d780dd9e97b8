"""The way of one attempt where it matters who is sending: names, slow sources, modes and limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

import pytest

from multigrey.codec import decode_record, decode_reputation
from multigrey.config.origin_lists import load_origins
from multigrey.engine.stages import OBSERVE, OFF
from multigrey.greylist.policy import Policy
from multigrey.greylist.quota import NewRecordLimits, NewRecordQuota
from multigrey.greylist.reputation import Proof
from multigrey.identity.components import ClientNetwork, OriginText, Recipient, Sender
from multigrey.identity.keys import ORIGIN_KEY, KeyScheme
from multigrey.model import Action, Attempt, Findings, Origin, Reason, Table
from multigrey.rules.rules import Rule, Rules
from tests.support.engines import MAX_AGE, SITE_KEY, WINDOW, Harness, harness

NAMED_DELAY, UNNAMED_DELAY = 120, 180
PROOF = Proof(resolved=10, domains=4, percent=95)
NAMED = Policy(NAMED_DELAY, WINDOW, MAX_AGE, 5, proof=PROOF)
UNNAMED = Policy(UNNAMED_DELAY, WINDOW, MAX_AGE, 5, patience=300, proof=PROOF)
D, P = Action.DEFER, Action.PASS


@pytest.fixture(scope="module")
def origins():
    return load_origins()


def scheme(*names: str) -> KeyScheme:
    network, recipient = ClientNetwork(24, 64), Recipient("+")
    components = {"origin": OriginText(), "sender": Sender(), "recipient": recipient}
    return KeyScheme(SITE_KEY, names, [components[name] for name in names], network, recipient)


@asynccontextmanager
async def engine(origins: Any, **changes: Any) -> AsyncIterator[Harness]:
    values = {
        "scheme": scheme(*ORIGIN_KEY),
        "policy": NAMED,
        "unnamed_policy": UNNAMED,
        "origin_of": origins.of,
        "provider_of": origins.provider_of,
        **changes,
    }
    async with harness(**values) as parts:
        yield parts


def attempt(address: str = "192.0.2.10", name: str | None = "mx1.example.org", **changes: Any) -> Attempt:
    values = {
        "listener": "postfix",
        "client_address": ip_address(address),
        "client_name": name,
        "helo": name or "somewhere",
        "sender": "alice@example.com",
        "recipient": "bob@example.net",
        **changes,
    }
    return Attempt(**values)


async def play(parts: Harness, *steps: tuple[int, Attempt]) -> list[tuple[Action, Reason]]:
    """What each attempt is told, asked about so many seconds after the one before."""
    told = []
    for wait, one in steps:
        parts.clock.advance(wait)
        reply = await parts.engine.judge(one, "pass")
        assert reply is not None
        told.append((reply.action, reply.reason))
    return told


async def test_a_pool_under_one_name_passes_on_its_first_retry(origins):
    async with engine(origins) as parts:
        told = await play(
            parts,
            (0, attempt("192.0.2.10", "mx1.example.org")),
            (NAMED_DELAY, attempt("198.51.100.7", "mx9.example.org")),
            (5, attempt("203.0.113.200", "out.example.org")),
        )
    assert told == [(D, Reason.NEW), (P, Reason.RETRY), (P, Reason.KNOWN)]


async def test_first_named_then_unnamed_and_the_reverse(origins):
    """A look-up that fails once, or another mail server without look-ups, changes nothing."""
    async with engine(origins) as parts:
        told = await play(
            parts,
            (0, attempt()),
            (NAMED_DELAY, attempt(name=None)),
            (0, attempt("198.51.100.10", None, sender="carol@example.com")),
            (UNNAMED_DELAY, attempt("198.51.100.10", sender="carol@example.com")),
        )
    assert told == [(D, Reason.NEW), (P, Reason.RETRY), (D, Reason.NEW), (P, Reason.RETRY)]


async def test_a_known_pool_is_known_at_its_new_addresses_without_their_name(origins):
    async with engine(origins) as parts:
        told = await play(
            parts,
            (0, attempt()),
            (NAMED_DELAY, attempt()),
            (1, attempt("198.51.100.7", "mx9.example.org")),
            (1, attempt("198.51.100.7", None)),
        )
    assert told[2:] == [(P, Reason.KNOWN), (P, Reason.KNOWN)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (attempt("192.0.2.10", None), attempt("198.51.100.10", None)),
        (
            attempt("192.0.2.10", "192-0-2-10.dyn.example.org"),
            attempt("198.51.100.10", "198-51-100-10.dyn.example.org"),
        ),
        (
            attempt("192.0.2.10", None, helo="mail.google.com"),
            attempt("198.51.100.10", None, helo="mail.google.com"),
        ),
        (
            attempt("192.0.2.10", helo="mail.example.com"),
            attempt("198.51.100.10", helo="mail.example.com"),
        ),
    ],
    ids=["no name", "generated names", "only HELO", "HELO elsewhere"],
)
async def test_strangers_in_other_networks_never_pass_for_each_other(origins, one, other):
    async with engine(origins) as parts:
        told = await play(parts, (0, one), (300, other))
    assert told == [(D, Reason.NEW), (D, Reason.NEW)]


async def test_a_bounce_address_that_changes_with_every_retry(origins):
    first, second = (
        attempt(sender=f"bounces+{number}-{token}-bob=example.net@em.example.org")
        for number, token in [("81231", "9f86d081884c7d65"), ("81231", "2c26b46b68ffc68f")]
    )
    async with engine(origins) as parts:
        assert await play(parts, (0, first), (NAMED_DELAY, second)) == [(D, Reason.NEW), (P, Reason.RETRY)]


async def test_an_impatient_sender_with_a_name_is_let_in(origins):
    async with engine(origins) as parts:
        told = await play(parts, (0, attempt()), (60, attempt()), (120, attempt()))
    assert told[-1] == (P, Reason.RETRY)


async def test_a_program_that_retries_every_half_minute_is_not(origins):
    async with engine(origins) as parts:
        told = await play(parts, *[(30, attempt(name=None))] * 9)
    assert {action for action, _ in told} == {D}


async def test_a_rotating_ipv6_address(origins):
    async with engine(origins) as parts:
        told = await play(
            parts, (0, attempt("2001:db8:1:2:3::4", None)), (200, attempt("2001:db8:1:2:9:8:7:6", None))
        )
    assert told == [(D, Reason.NEW), (P, Reason.RETRY)]


async def standings(parts: Harness) -> list[Any]:
    rows, _ = await parts.store.scan(Table.ORIGIN, b"", 100)
    return [decode_reputation(value) for _, value in rows if value[:1] == b"\x97"]


async def test_what_comes_back_is_counted_for_a_named_origin(origins):
    async with engine(origins) as parts:
        await play(parts, (0, attempt()), (NAMED_DELAY, attempt("198.51.100.7", "mx9.example.org")))
        [standing] = await standings(parts)
    assert [row[1:] for row in standing.hours] == [(1, 1)]
    assert len(standing.domains) == 1


async def test_a_spammers_fresh_domain_at_a_trusted_provider_waits_until_the_origin_is_proven(origins):
    async with engine(origins) as parts:
        for number in range(30):
            message = attempt(
                sender=f"alice@customer{number % 12}.example", recipient=f"bob{number}@example.net"
            )
            await play(parts, (10, message), (NAMED_DELAY, message))
        fresh = attempt(sender="x@fresh.example", recipient="carol@example.net")
        assert await play(parts, (0, fresh)) == [(D, Reason.NEW)]
        proven = [attempt(sender="x@new.example", recipient=f"r{n}@example.net") for n in range(200)]
        told = await play(parts, (4 * 86_400, proven[0]), *[(0, one) for one in proven[1:]])
        passed = told.count((P, Reason.AUTO_WHITELISTED))
        assert told.count((D, Reason.NEW)) == 200 - passed
        assert 185 <= passed < 200


async def test_a_forged_forwarding_uses_nobody_elses_records_or_trust(origins):
    """Who sends chooses the local part, and so what SRS seems to have wrapped up."""
    async with engine(origins) as parts:
        for number in range(6):
            real = attempt(sender="ceo@partner.example", recipient=f"bob{number}@example.net")
            await play(parts, (3600, real), (NAMED_DELAY, real))
        trusted = attempt(sender="ceo@partner.example", recipient="new@example.net")
        assert await play(parts, (0, trusted)) == [(P, Reason.AUTO_WHITELISTED)]
        for forged in (
            "SRS0=abcd=XY=partner.example=ceo@fresh.example",
            "SRS1=abcd=a.example==hh=tt=partner.example=ceo@fresh.example",
            "z+SRS=abcd=XY=partner.example=ceo@fresh.example",
        ):
            for recipient in ("other@example.net", "bob1@example.net"):
                told = await play(parts, (0, attempt(sender=forged, recipient=recipient)))
                assert told in ([(D, Reason.NEW)], [(D, Reason.EARLY)])


# ------------------------------------------------------------------ slow sources


def says(findings: Findings, asked: list[Attempt]):
    async def ask(one: Attempt) -> Findings:
        asked.append(one)
        return findings

    return ask


SPF = Findings(origin=Origin("spf:example.com", named=True))


async def test_what_a_slow_source_finds_of_the_origin_joins_unrelated_networks(origins):
    asked: list[Attempt] = []
    async with engine(origins, ask=says(SPF, asked)) as parts:
        told = await play(
            parts,
            (0, attempt("192.0.2.10", None)),
            (NAMED_DELAY, attempt("198.51.100.10", None)),
            (1, attempt("203.0.113.10", None)),
            (1, attempt("203.0.113.10", None)),
        )
        assert told == [(D, Reason.NEW), (P, Reason.RETRY), (P, Reason.KNOWN), (P, Reason.KNOWN)]
        assert len(asked) == 3, "who is known at once asks nobody"
        assert [event.origin for event in parts.events[:3]] == ["spf:example.com"] * 3


async def test_a_name_of_its_own_stays_the_origin_and_the_key_is_widened(origins):
    async with engine(origins, ask=says(SPF, [])) as parts:
        told = await play(parts, (0, attempt()), (NAMED_DELAY, attempt("198.51.100.10", None)))
        assert told == [(D, Reason.NEW), (P, Reason.RETRY)]
        assert parts.events[0].origin == "example.org"


# ------------------------------------------------------------------ modes


async def test_observing_lets_everybody_pass_and_says_what_would_have_been(origins):
    observed = {"policy": _observing(NAMED), "unnamed_policy": _observing(UNNAMED), "mode": OBSERVE}
    async with engine(origins, **observed) as parts:
        told = await play(parts, (0, attempt()), (1, attempt()))
        assert told == [(P, Reason.NEW), (P, Reason.KNOWN)]
        first, second = (event.verdict for event in parts.events)
        assert (first.observed, first.retry_after) == (True, NAMED_DELAY)
        assert not second.observed
        rows, _ = await parts.store.scan(Table.RECORD, b"", 10)
        assert all(decode_record(value).observed for _, value in rows)
        assert await standings(parts) == []


def _observing(policy: Policy) -> Policy:
    return Policy(**{name: getattr(policy, name) for name in policy.__slots__} | {"observe": True})


@pytest.mark.parametrize("action", ["defer", "reject"])
async def test_observing_refuses_nobody_either(origins, action):
    async with engine(origins, mode=OBSERVE, rules=Rules([Rule("no", action=action)])) as parts:
        assert await play(parts, (0, attempt())) == [(P, Reason.RULE)]
        assert parts.events[0].verdict.observed
        assert parts.events[0].verdict.rule == "no"


async def test_a_rule_that_only_observes(origins):
    async with engine(origins, rules=Rules([Rule("trial", action="observe")])) as parts:
        assert await play(parts, (0, attempt())) == [(P, Reason.NEW)]
        verdict = parts.events[0].verdict
        assert (verdict.observed, verdict.rule) == (True, "trial")


async def test_switched_off_nothing_is_looked_at_or_remembered(origins):
    async with engine(origins, mode=OFF, rules=Rules([Rule("no", action="reject")])) as parts:
        assert await play(parts, (0, attempt()), (0, attempt())) == [(P, Reason.MODE_OFF)] * 2
        rows, _ = await parts.store.scan(Table.RECORD, b"", 10)
        assert rows == []


# ------------------------------------------------------------------ rules with numbers of their own


async def test_a_rule_with_a_window_a_key_and_a_code_of_its_own(origins):
    rule = Rule("strict", delay=600, key=("sender", "recipient"), code="4.7.0", text="later")
    schemes = {("sender", "recipient"): scheme("sender", "recipient")}
    async with engine(origins, rules=Rules([rule]), schemes=schemes) as parts:
        first = await parts.engine.judge(attempt(name=None), "pass")
        assert (first.code, first.text, first.retry_after) == ("4.7.0", "later", 600)
        assert await play(parts, (600, attempt("198.51.100.1", None))) == [(P, Reason.RETRY)]


# ------------------------------------------------------------------ limits


async def test_over_its_limit_an_origin_gets_marks_and_only_its_own_retries_pass(origins):
    async with engine(origins) as parts:
        parts.engine.shared.quota = NewRecordQuota(NewRecordLimits(5, 5))
        flood = [attempt(name=None, sender=f"x{number}@example.com") for number in range(20)]
        told = await play(parts, *[(1, one) for one in flood])
        assert told[:5] == [(D, Reason.NEW)] * 5
        assert set(told[5:]) == {(D, Reason.OVER_LIMIT)}
        rows, _ = await parts.store.scan(Table.RECORD, b"", 100)
        assert len(rows) == 5
        more = [attempt(name=None, sender=f"y{number}@example.com") for number in range(20)]
        assert set(await play(parts, (UNNAMED_DELAY, more[0]), *[(1, one) for one in more])) == {
            (D, Reason.OVER_LIMIT),
            (D, Reason.EARLY),
        }
        assert await play(parts, (0, flood[-1]), (0, flood[0]), (9, flood[-1])) == [
            (P, Reason.RETRY),
            (P, Reason.RETRY),
            (P, Reason.KNOWN),
        ]
        # What passed is an ordinary record, and its mark is gone.
        rows, _ = await parts.store.scan(Table.RECORD, b"", 100)
        assert len(rows) == 6
        rows, _ = await parts.store.scan(Table.MARK, b"", 100)
        assert len(rows) == 20 + 15 - 1


async def test_an_early_retry_of_a_mark_waits_on_and_patience_holds(origins):
    async with engine(origins) as parts:
        parts.engine.shared._is_full = lambda: True
        one = attempt(name=None)
        told = await play(parts, (0, one), (30, one), (30, one), (30, one), (100, one), (110, one))
        assert told == [(D, Reason.OVER_LIMIT), *[(D, Reason.EARLY)] * 4, (P, Reason.RETRY)]
        delays = [event.verdict.delay for event in parts.events]
        assert delays[:5] == [UNNAMED_DELAY, UNNAMED_DELAY, 240, 300, 300]


async def test_a_marked_pool_passes_from_another_network_and_counts_for_its_name(origins):
    async with engine(origins) as parts:
        parts.engine.shared._is_full = lambda: True
        first = attempt("192.0.2.10", "mx1.example.org")
        told = await play(parts, (0, first), (NAMED_DELAY, attempt("198.51.100.7", "mx9.example.org")))
        assert told == [(D, Reason.OVER_LIMIT), (P, Reason.RETRY)]
        [standing] = await standings(parts)
        assert [row[1:] for row in standing.hours] == [(1, 1)]


async def test_a_mark_made_without_a_name_is_found_with_one(origins):
    async with engine(origins) as parts:
        parts.engine.shared._is_full = lambda: True
        told = await play(parts, (0, attempt(name=None)), (UNNAMED_DELAY, attempt()))
        assert told == [(D, Reason.OVER_LIMIT), (P, Reason.RETRY)]


async def test_a_mark_older_than_the_window_begins_anew(origins):
    async with engine(origins) as parts:
        parts.engine.shared._is_full = lambda: True
        told = await play(parts, (0, attempt()), (WINDOW + 1, attempt()), (NAMED_DELAY, attempt()))
        assert told == [(D, Reason.OVER_LIMIT)] * 2 + [(P, Reason.RETRY)]


async def test_nobody_looks_for_marks_where_there_are_none(origins):
    async with engine(origins) as parts:
        await parts.engine.knowledge.marks.look(parts.store)
        assert not parts.engine.knowledge.marks.exist
        parts.engine.shared._is_full = lambda: True
        assert await play(parts, (0, attempt())) == [(D, Reason.OVER_LIMIT)]
        parts.engine.shared._is_full = lambda: False
        assert await play(parts, (NAMED_DELAY, attempt())) == [(P, Reason.RETRY)]
        await parts.engine.knowledge.marks.look(parts.store)
        assert not parts.engine.knowledge.marks.exist


async def test_origins_that_had_to_be_looked_up_are_limited_by_their_network(origins):
    """Whoever owns a domain can have an SPF record, and so an origin, for each of its sub-domains."""

    async def ask(one: Attempt) -> Findings:
        return Findings(origin=Origin("spf:" + one.sender.partition("@")[2], named=True))

    async with engine(origins, ask=ask) as parts:
        parts.engine.shared.quota = NewRecordQuota(NewRecordLimits(5, 100))
        flood = [attempt(name=None, sender=f"x@d{number}.example.com") for number in range(30)]
        told = await play(parts, *[(1, one) for one in flood])
        assert told.count((D, Reason.OVER_LIMIT)) == 25
        rows, _ = await parts.store.scan(Table.RECORD, b"", 100)
        assert len(rows) == 10
        assert await standings(parts) == []


async def test_a_full_store_leaves_texts_of_the_asker_to_themselves(origins):
    async with engine(origins) as parts:
        parts.engine.shared._is_full = lambda: True
        one, other = (attempt(raw=text) for text in ("one", "other"))
        assert await play(parts, (0, one), (300, one), (0, other)) == [
            (D, Reason.NEW),
            (P, Reason.RETRY),
            (D, Reason.NEW),
        ]


async def test_what_is_blocked_stays_blocked_for_a_client_with_a_name(origins):
    schemes = {("sender",): scheme("sender")}
    rules = Rules([Rule("own key", key=("sender",), traits=("slow",))])
    async with engine(origins, schemes=schemes, rules=rules) as parts:
        parts.block(attempt(name=None))
        assert await play(parts, (0, attempt()), (200, attempt())) == [(Action.REJECT, Reason.RULE)] * 2


async def test_a_full_store_takes_no_more_records_but_marks(origins):
    async with engine(origins) as parts:
        parts.engine.shared._is_full = lambda: True
        flood = [attempt(sender=f"x{number}@example.com") for number in range(20)]
        assert set(await play(parts, *[(0, one) for one in flood])) == {(D, Reason.OVER_LIMIT)}
        rows, _ = await parts.store.scan(Table.RECORD, b"", 100)
        assert rows == []
