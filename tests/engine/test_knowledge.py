"""What an engine learns from mail: names that lose and regain their word, played with a real engine."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from multigrey.config.origin_lists import load_origins, registered_domain
from multigrey.engine.knowledge import Knowledge
from multigrey.engine.progress import Progress
from multigrey.evidence.name_ledger import FLUSH_EVERY, NameLedger
from multigrey.greylist.policy import Policy
from multigrey.greylist.reputation import Proof
from multigrey.identity.components import ClientNetwork, OriginText, Recipient, Sender
from multigrey.identity.keys import ORIGIN_KEY, KeyScheme
from multigrey.model import Action, Attempt, Origin, Reason
from tests.support.engines import DELAY, MAX_AGE, SITE_KEY, WINDOW, harness

D, P = Action.DEFER, Action.PASS
ORIGINS = load_origins()
POLICY = Policy(DELAY, WINDOW, MAX_AGE, 5, proof=Proof(10, 4, 95))


def scheme() -> KeyScheme:
    network, recipient = ClientNetwork(24, 64), Recipient("+")
    return KeyScheme(SITE_KEY, ORIGIN_KEY, (OriginText(), Sender(), recipient), network, recipient)


def house():
    return harness(
        scheme=scheme(),
        policy=POLICY,
        unnamed_policy=POLICY,
        origin_of=ORIGINS.of,
        origins=ORIGINS,
        registered_domain=registered_domain,
    )


def bot(number, helo=None, **changes):
    """A host of an access provider, in a network of its own."""
    name = f"unit-{number}.isp.example"
    values = {
        "listener": "postfix",
        "client_address": ip_address(f"198.18.{number}.9"),
        "client_name": name,
        "helo": helo or name,
        "sender": f"offer{number}@spam.example",
        "recipient": f"bob{number}@example.net",
    }
    return Attempt(**{**values, **changes})


async def play(parts, *steps):
    told = []
    for wait, one in steps:
        parts.clock.advance(wait)
        parts.engine.knowledge.go_on(parts.clock.now())
        reply = await parts.engine.judge(one, "pass")
        told.append((reply.action, reply.reason))
    return told


async def doubted(parts):
    """Five customers announce five other domains."""
    parts.engine.shared.knowledge = Knowledge(b"", NameLedger(SITE_KEY))
    await play(parts, *[(1, bot(number, helo=f"mail.firm{number}.example")) for number in range(6)])
    parts.clock.advance(FLUSH_EVERY)


async def test_a_name_in_doubt_no_longer_joins_networks():
    same = {"sender": "deal@spam.example", "recipient": "carol@example.net"}
    async with house() as parts:
        await doubted(parts)
        told = await play(parts, (1, bot(20, **same)), (DELAY, bot(21, **same)))
        assert told == [(D, Reason.NEW), (D, Reason.NEW)]
        assert {event.origin for event in parts.events[-2:]} == {"198.18.20.0/24", "198.18.21.0/24"}


async def test_who_waits_or_is_known_under_the_name_loses_nothing_when_it_falls_into_doubt():
    waits = {"sender": "waits@good.example", "recipient": "carol@example.net"}
    knows = {"sender": "knows@good.example", "recipient": "dave@example.net"}
    async with house() as parts:
        await play(parts, (1, bot(30, **knows)), (DELAY, bot(31, **knows)), (1, bot(32, **waits)))
        await doubted(parts)
        told = await play(parts, (DELAY, bot(33, **waits)), (1, bot(34, **knows)))
        assert told == [(P, Reason.RETRY), (P, Reason.KNOWN)]


async def test_what_began_after_the_doubt_is_not_found_under_the_name():
    async with house() as parts:
        await doubted(parts)
        mail = bot(40, client_name="mx.isp.example", helo="mx.isp.example")
        again = replace(mail, client_address=ip_address("198.18.99.9"))
        await play(parts, (1, mail), (DELAY, again))
        forged = bot(41, sender=mail.sender, recipient=mail.recipient)
        assert await play(parts, (1, forged)) == [(D, Reason.NEW)]


async def test_other_hosts_of_the_domain_keep_their_name():
    async with house() as parts:
        await doubted(parts)
        first = bot(50, client_name="mta-1.isp.example", helo="mta-1.isp.example")
        other = replace(first, client_address=ip_address("198.18.200.9"), client_name="mta-2.isp.example")
        assert await play(parts, (1, first), (DELAY, other)) == [(D, Reason.NEW), (P, Reason.RETRY)]


async def test_hosts_with_names_made_alike_are_one_sender_while_nothing_speaks_against_themselves():
    """Bots with names of which no two are alike put all names of their kind in doubt."""
    words = ["amber", "birch", "cedar", "dunes", "elder", "fjord", "gorse", "heath", "ivory", "jetty"]
    bots = [
        bot(100 + number, client_name=f"{word}.isp.example", helo=f"mail.firm{number}.example")
        for number, word in enumerate(words * 2)
    ]
    async with house() as parts:
        parts.engine.shared.knowledge = Knowledge(b"", NameLedger(SITE_KEY))
        await play(parts, *[(1, one) for one in bots])
        parts.clock.advance(FLUSH_EVERY)
        first = bot(50, client_name="relay-1.isp.example", helo="relay-1.isp.example")
        other = replace(first, client_address=ip_address("198.18.200.9"), client_name="relay-2.isp.example")
        forged = replace(other, client_name="heron.isp.example", helo="heron.isp.example")
        assert await play(
            parts, (1, first), (DELAY, forged), (1, replace(other, helo="relay-2.isp.example"))
        ) == [
            (D, Reason.NEW),
            (D, Reason.NEW),
            (P, Reason.RETRY),
        ]
        assert parts.events[-1].origin == "198.18.200.0/24", "but it is no named origin"


async def test_who_is_known_keeps_the_name_of_hosts_like_it():
    """Two customers of a hoster send on for weeks, known and never deferred, until its spammers come."""
    async with house() as parts:
        parts.engine.shared.knowledge = Knowledge(b"", NameLedger(SITE_KEY))
        two = [bot(number, sender=f"info@firm{number}.example") for number in (200, 210)]
        await play(parts, *[(1, one) for one in two])
        await play(parts, *[(300, one) for one in two])
        for _ in range(40):
            told = await play(parts, *[(43_000, one) for one in two])
            assert {reason for _, reason in told} == {Reason.KNOWN}
        await play(parts, *[(1, bot(number, helo=f"mail.firm{number}.example")) for number in range(30)])
        parts.clock.advance(FLUSH_EVERY)
        parts.engine.knowledge.go_on(parts.clock.now())
        assert parts.engine.knowledge.names.doubted == {}


async def test_what_was_learned_survives_a_restart():
    async with house() as parts:
        await doubted(parts)
        parts.engine.knowledge.go_on(parts.clock.now())
        await parts.engine.knowledge.flush(parts.store)
        again = Knowledge(b"", NameLedger(SITE_KEY))
        await again.begin(parts.store, parts.clock.now())
        one = bot(60)
        progress = Progress(parts.engine.setup, one, parts.clock.now())
        again.place(progress)
        assert progress.origin == Origin("198.18.60.0/24", named=False)
        assert progress.doubted.name == Origin("isp.example", named=True)


async def test_a_retry_by_the_other_ip_version_joins_the_first_attempt():
    old = bot(1, client_name=None, helo="mail.own.example", sender="a@own.example")
    new = replace(old, client_address=ip_address("2001:db8:7::1"))
    forged = replace(new, helo="mail.other.example")
    async with house() as parts:
        assert await play(parts, (1, old), (DELAY, forged), (1, new)) == [
            (D, Reason.NEW),
            (D, Reason.NEW),
            (P, Reason.RETRY),
        ]


async def test_so_does_one_of_a_host_that_has_a_name_by_one_of_them_only():
    named = bot(1, client_name="mail.own.example", helo="mail.own.example", sender="a@own.example")
    nameless = replace(named, client_address=ip_address("2001:db8:7::1"), client_name=None)
    elsewhere = replace(nameless, client_address=ip_address("203.0.113.77"))
    for steps in ([named, nameless], [nameless, named]):
        async with house() as parts:
            assert await play(parts, (1, steps[0]), (DELAY, steps[1])) == [(D, Reason.NEW), (P, Reason.RETRY)]
    async with house() as parts:
        assert await play(parts, (1, named), (DELAY, elsewhere)) == [(D, Reason.NEW), (D, Reason.NEW)]
