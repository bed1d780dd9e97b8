"""What SPF gives a sender in the engine: trust sooner for its own hosts, and a group for a provider's."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_address

import pytest
from spfzone import Zone, source

from multigrey.api import Action, Attempt, Reason
from multigrey.config.origin_lists import load_origins, registered_domain
from multigrey.identity.components import ClientNetwork, OriginText, Recipient, Sender
from multigrey.identity.keys import ORIGIN_KEY, KeyScheme
from multigrey.plugins.guards import GuardCounters, guarded_ask
from multigrey.plugins.slow_calls import ask_all
from tests.support.clocks import FakeClock
from tests.support.engines import DELAY, SITE_KEY, harness

HOUR = 3600
NEW, RETRY = (Action.DEFER, Reason.NEW), (Action.PASS, Reason.RETRY)
TRUSTED = (Action.PASS, Reason.AUTO_WHITELISTED)
HOSTER = tuple(f"198.51.100.{number}" for number in range(1, 200))
GOOGLE = ("209.85.220.41", "209.85.128.9")
BOTS = [str(ip_address(0x05010101 + number * 0x00010007)) for number in range(1000)]
"""Each in a /16 of its own."""
ZONE = {
    ("example.org", "TXT"): "v=spf1 a mx -all",
    ("example.org", "A"): "192.0.2.1",
    ("example.org", "MX"): ((10, "mx.example.org"),),
    ("mx.example.org", "A"): ("203.0.113.1", "203.0.113.2"),
    ("one.example", "TXT"): "v=spf1 include:spf.hoster.example -all",
    ("two.example", "TXT"): "v=spf1 include:spf.hoster.example -all",
    ("spf.hoster.example", "TXT"): "v=spf1 ip4:198.51.100.0/24 -all",
    # as short as a record has to be: the bots are listed in twenty records of fifty
    ("herd.example", "TXT"): "v=spf1 include:0.herd.example -all",
    **{
        (f"{number}.herd.example", "TXT"): (
            "v=spf1 " + " ".join(f"ip4:{bot}" for bot in BOTS[number * 125 : (number + 1) * 125])
            + (f" include:{number + 1}.herd.example" if number < 7 else "") + " -all"
        )
        for number in range(8)
    },
    ("customer.example", "TXT"): "v=spf1 include:_spf.google.com -all",
    ("_spf.google.com", "TXT"): "v=spf1 include:_netblocks.google.com ~all",
    ("_netblocks.google.com", "TXT"): "v=spf1 ip4:209.85.128.0/17 ~all",
    ("large.example", "TXT"): "v=spf1 ip4:69.171.232.0/24 ip4:66.220.144.0/20 -all",
}  # fmt: skip


@asynccontextmanager
async def engine():
    """An engine that asks the source, with the origins that come with multigrey."""
    origins = load_origins()
    counters = GuardCounters(FakeClock(), {})
    spf = source(Zone(ZONE), registered_domain=registered_domain, budget=5)
    ask = partial(ask_all, [guarded_ask(spf, counters, "spf")], budget_seconds=10, counters=counters)
    network, recipient = ClientNetwork(24, 64), Recipient("+")

    async with harness(
        scheme=KeyScheme(SITE_KEY, ORIGIN_KEY, (OriginText(), Sender(), recipient), network, recipient),
        origin_of=origins.of,
        provider_of=origins.provider_of,
        provider_by_spf=origins.word_by_spf,
        registered_domain=registered_domain,
        retries=origins.retries,
        retrying=frozenset({"google"}),
        ask=ask,
    ) as parts:
        yield parts
    assert counters.failures == {}


def attempt(address, sender, recipient="bob@example.net", name=None, helo="somewhere"):
    return Attempt("postfix", ip_address(address), name, helo, sender, recipient)


async def told(parts, wait, address, sender, recipient="bob@example.net", **more):
    parts.clock.advance(wait)
    reply = await parts.engine.judge(attempt(address, sender, recipient, **more), "pass")
    return reply.action, reply.reason


@pytest.mark.parametrize(
    "hosts",
    [
        # the same host each time, in whose network slow sources need not be asked; and a pool
        ("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "203.0.113.1", "203.0.113.2", "192.0.2.1"),
    ],
)
async def test_an_organisation_is_trusted_after_two_counted_passes_of_its_own_hosts(hosts):
    first, second, third, fourth = hosts
    async with engine() as parts:
        assert await told(parts, 0, first, "a@example.org", "one@example.net") == NEW
        assert await told(parts, DELAY, second, "a@example.org", "one@example.net") == RETRY
        assert await told(parts, HOUR, third, "b@example.org", "two@example.net") == NEW
        assert await told(parts, DELAY, fourth, "b@example.org", "two@example.net") == RETRY
        for number, host in enumerate(("192.0.2.1", "203.0.113.1", "203.0.113.2")):
            assert await told(parts, 1, host, f"c{number}@example.org", "three@example.net") == TRUSTED
        # no other client is, in any domain that it claims
        assert await told(parts, 1, "198.51.100.1", "c@example.org", "four@example.net") == NEW
        assert await told(parts, 1, "192.0.2.9", "c@example.org", "five@example.net") == NEW


async def test_one_pair_that_comes_back_twice_is_no_organisation():
    async with engine() as parts:
        assert await told(parts, 0, "192.0.2.1", "a@example.org") == NEW
        assert await told(parts, DELAY, "192.0.2.1", "a@example.org") == RETRY
        for host in ("192.0.2.1", "203.0.113.1", "192.0.2.1"):
            assert (await told(parts, 2 * HOUR, host, "a@example.org"))[0] is Action.PASS
        assert await told(parts, 1, "192.0.2.1", "b@example.org") == NEW


async def test_two_domains_with_one_include_gain_nothing_from_each_other():
    async with engine() as parts:
        for number, host in enumerate(HOSTER[:3]):
            wanted = ("a@one.example", f"{number}@example.net")
            assert await told(parts, HOUR, host, *wanted) == NEW
            assert await told(parts, DELAY, host, *wanted) == RETRY
        assert await told(parts, HOUR, HOSTER[9], "a@two.example") == NEW
        # nor is a service's range one of hosts of its own: today's rule stays
        assert await told(parts, 1, HOSTER[9], "b@one.example", "new@example.net") == NEW


async def test_a_herd_that_is_listed_one_by_one_gains_nothing_by_two_that_retry():
    async with engine() as parts:
        for number, bot in enumerate(BOTS[:2]):
            wanted = (f"a{number}@herd.example", f"{number}@example.net")
            assert await told(parts, HOUR, bot, *wanted) == NEW
            assert parts.events[-1].origin.endswith("/24"), "so many single hosts are not a sender"
            assert await told(parts, DELAY, BOTS[number + 9], *wanted) == NEW
            assert await told(parts, 1, bot, *wanted) == RETRY
            for _ in range(5):
                assert (await told(parts, 2 * HOUR, bot, *wanted))[0] is Action.PASS
        for number, bot in enumerate(BOTS):
            wanted = (f"b{number}@herd.example", f"victim{number}@example.net")
            assert await told(parts, 10, bot, *wanted) == NEW


async def test_a_provider_whose_name_is_missing_is_grouped_and_not_passed():
    first, second = GOOGLE
    async with engine() as parts:
        assert await told(parts, 0, first, "a@customer.example") == NEW
        assert parts.events[-1].origin == "google"
        # its next server passes by the same name, whether that can be verified or not
        assert await told(parts, DELAY, second, "a@customer.example") == RETRY
        assert parts.events[-1].origin == "google"
        # a forged client is nobody's
        assert await told(parts, 1, "192.0.2.77", "b@customer.example") == NEW
        assert parts.events[-1].origin == "192.0.2.0/24"


async def test_large_senders_whose_names_hold_the_address_pass_on_the_retry():
    """Names made from the address give no origin, but an SPF pass of the client does."""
    hosts = ("69.171.232.143", "66.220.144.147")
    names = [f"{host.replace('.', '-')}.mail-mail.large-hosts.example" for host in hosts]
    async with engine() as parts:
        for host, name, wait, expected in zip(hosts, names, (0, DELAY), (NEW, RETRY), strict=True):
            assert await told(parts, wait, host, "n@large.example", name=name, helo=name) == expected
            assert parts.events[-1].origin == "spf:large.example"
