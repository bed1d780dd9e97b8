"""Generated names of real senders at the engine: what they share, and what bots in the same domain get."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from multigrey.config.origin_lists import load_origins
from multigrey.identity.components import ClientNetwork, OriginText, Recipient, Sender
from multigrey.identity.keys import ORIGIN_KEY, KeyScheme
from multigrey.model import Action, Attempt, Reason
from tests.support.engines import DELAY, SITE_KEY, harness

ATTEMPT = Attempt("test", None, None, "", "", "")
HOUR = 3600


@pytest.fixture(scope="module")
def changes():
    origins = load_origins()
    network, recipient = ClientNetwork(24, 64), Recipient("+")
    scheme = KeyScheme(SITE_KEY, ORIGIN_KEY, (OriginText(), Sender(), recipient), network, recipient)
    return {
        "scheme": scheme,
        "origins": origins,
        "origin_of": origins.of,
        "provider_of": origins.provider_of,
        "registered_domain": lambda name: name,
    }


def attempt(address, name, sender, recipient):
    return replace(
        ATTEMPT,
        client_address=ip_address(address),
        client_name=name,
        helo=name,
        sender=sender,
        recipient=recipient,
    )


async def judged(parts, *attempts):
    return [await parts.engine.judge(each, "pass") for each in attempts]


async def test_a_retry_from_another_host_with_its_address_in_its_name(changes):
    hosts = [("69.171.232.143", "69-171-232-143"), ("66.220.144.147", "66-220-144-147")]
    first, second = (
        attempt(address, f"{name}.mail-mail.big.example", "notify@big.example", "bob@example.net")
        for address, name in hosts
    )
    async with harness(**changes) as parts:
        await judged(parts, first)
        parts.clock.advance(DELAY)
        (reply,) = await judged(parts, second)
    assert (reply.action, reply.reason) == (Action.PASS, Reason.RETRY)


@pytest.mark.parametrize("kind", ["c-{}.hsd1.isp.example", "{}.static.isp.example"])
async def test_infected_hosts_never_inherit_the_trust_of_their_provider(changes, kind):
    async with harness(**changes) as parts:
        for number in range(1000):
            mail = attempt(
                f"198.51.{number % 3}.{number % 200}",
                f"mta-{number % 9}.isp.example",
                f"user{'abcdefghij'[number % 10]}@isp.example",
                f"r{number}@example.net",
            )
            replies = await judged(parts, mail)
            if replies[0].action is Action.DEFER:
                parts.clock.advance(HOUR)
                await judged(parts, mail)
        (trusted,) = await judged(
            parts, attempt("198.51.2.7", "mta-4.isp.example", "new@isp.example", "carol@example.net")
        )
        assert trusted.action is Action.PASS
        bots = []
        for number in range(500):
            address = f"73.{1 + number // 250}.{number % 250}.{1 + number % 200}"
            name = kind.format(address.replace(".", "-"))
            bots.append(attempt(address, name, "x@isp.example", f"victim{number}@example.net"))
        replies = await judged(parts, *bots)
    assert {reply.action for reply in replies} == {Action.DEFER}
