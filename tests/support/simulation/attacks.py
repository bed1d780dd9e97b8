"""The unwanted mail: spam programs, attacks on other senders, floods.

Fixed before the mechanisms it measures.  A bot does not come back unless its class says so.  About half of
all one-shot spam comes from plain infected machines; each further class tries one way in that was reported,
or that a mechanism might open.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from random import Random

from multigrey.model import Attempt
from tests.support.simulation.dns import Spf, hosts_of
from tests.support.simulation.hosts import HERE, PEOPLE, among, dashed, ipv4, only, pair, people, someone
from tests.support.simulation.mail import (
    BOTH,
    Client,
    Flood,
    Kind,
    Letter,
    MakeClient,
    MakeLetter,
    Message,
    Role,
)
from tests.support.simulation.providers import ACCESS_PROVIDERS, provider_pools
from tests.support.simulation.schedules import DAY, HOUR, big_provider, eager, never, postfix
from tests.support.simulation.senders import (
    FLOOD_LASTING,
    FLOOD_SINCE,
    FLOODED,
    HOSTED,
)

__all__ = ["ATTACKS_SPF", "floods", "unwanted"]

INFECTED = ((0.9, 40), (0.8, 40), (0.7, 40), (0.65, 40), (0.6, 40), (0.0, 700))
"""For each of `ACCESS_PROVIDERS`: how many infected customers announce another name than their own, and
how many pairs of sender and recipient all of them try on one day.  The same list goes to all providers.

Of the last one everybody announces their own name, but most pairs are tried once: what is deferred does
not come back.
"""
DENSE = "isp7-example.net"
"""Its infected customers announce their own names and try few pairs often, so that most deferrals seem to
come back.  Nothing but the networks tells this from a pool of mail servers: shown, in no goal."""
OPAQUE_A_DAY = 160
_THOUSAND = "thousand-example.com"


def _address(random: Random, first: int, last: int) -> IPv4Address:
    return IPv4Address(random.randrange(first << 24, (last + 1) << 24))


def stranger(random: Random, number: int) -> Letter:
    """A made-up sender."""
    return Letter(f"offer{number}@spam{random.randint(1, 10_000)}-example.com", (someone(random),))


def _foreign_name(random: Random) -> str:
    return random.choice(
        [
            "localhost",
            "friend",
            "google.com",
            f"WIN-{random.getrandbits(30):X}",
            f"mail.brand{random.randint(1, 500)}-example.com",
            f"smtp{random.randint(1, 9)}.shop{random.randint(1, 500)}-example.org",
            f"brand{random.randint(1, 500)}-example.net",
        ]
    )


def bot(random: Random, message: Message, number: int) -> Client:
    """An infected home machine: its provider's generated name, or none, and any HELO."""
    del number
    address = _address(Random(f"{message.kind.name}/{message.number}"), 60, 67)
    name = f"{dashed(address)}.dyn.example-isp.net" if message.number % 3 else None
    return Client(address, name, _foreign_name(random))


def bot_with_a_list(random: Random, message: Message, number: int) -> Client:
    """Machines of one provider that work off one list: the same sender and recipient from everywhere."""
    del message, number
    address = _address(random, 68, 69)
    return Client(address, f"{dashed(address)}.dyn.example-isp.net", "mail.example.com")


def own_domain(random: Random, message: Message, number: int) -> Client:
    """A spammer's rented host with everything in order."""
    domain = f"cheap{message.number}-example.com"
    return Client(ipv4("77.0.0.0", 256 * (message.number % 60_000)), f"mx.{domain}", f"mx.{domain}")


def pretender(random: Random, message: Message, number: int) -> Client:
    """Calls itself a provider's server; no name can be verified."""
    return Client(_address(random, 78, 78), None, "mail-ot1-f45.google.com")


def reverse_pretender(random: Random, message: Message, number: int) -> Client:
    """The same with a reverse name to match, from networks whose reverse zone the spammer owns."""
    name = f"mail-ot1-f{random.randrange(256)}.google.com"
    return Client(_address(random, 79, 79), None, name, attributes={"reverse_client_name": name})


def opaque(isp: str, foreign: float) -> MakeClient:
    """An infected customer under a name that does not give the address away."""

    def client(random: Random, message: Message, number: int) -> Client:
        first = 80 + int(isp[3])
        address = _address(random, first, first)
        label = "".join(random.choices("bcdfghjkmnpqrstvwxz23456789", k=7))
        name = f"cust-{label}.{isp}" if random.random() < 0.5 else f"{label}.{isp}"
        return Client(address, name, _foreign_name(random) if random.random() < foreign else name)

    return client


def campaign(pairs: int) -> MakeLetter:
    """One of today's pairs; tomorrow there are others."""

    def letter(random: Random, number: int) -> Letter:
        which = f"{number // OPAQUE_A_DAY}x{random.randrange(pairs)}"
        return Letter(f"deal{which}@bargain-example.info", (someone(Random(which)),))

    return letter


def _listed(random: Random, number: int) -> Letter:
    """Twenty pairs, used again and again by a whole bot net."""
    del random
    return Letter(f"deal{number % 20}@example.info", (f"{PEOPLE[number % 11]}{number % 20}@{HERE}",))


def customer_of_the_isp(random: Random, message: Message, number: int) -> Client:
    """An infected customer that sends as its provider: name, HELO and sender agree."""
    address = _address(random, 73, 73)
    name = f"c-{dashed(address)}.hsd1.{ACCESS_PROVIDERS[0]}"
    return Client(address, name, name)


def foreign_rented(random: Random, message: Message, number: int) -> Client:
    """Fifty rented servers below the hoster's domain that announce anything but their names."""
    which = 100 + message.number % 50
    return Client(ipv4("53.200.0.9", 256 * which), f"srv{which}.{HOSTED}", f"mail.{_foreign_name(random)}")


@lru_cache(maxsize=1)
def _thousand() -> tuple[IPv4Address, ...]:
    random = Random(1000)
    return tuple(sorted({_address(random, 70, 72) for _ in range(1000)}))


def _of_the_thousand(random: Random, message: Message, number: int) -> Client:
    """A bot that the spammer's domain authorises by SPF; the first two retry, and none of the others."""
    bots = _thousand()
    retries = message.kind.role is Role.RETRYING
    which = message.number % 2 if retries else 2 + message.number % (len(bots) - 2)
    return Client(bots[which], None, f"h{which}.{_THOUSAND}")


def _from_the_thousand(random: Random, number: int) -> Letter:
    return Letter(f"offer{number}@{_THOUSAND}", (someone(random),))


def _snowshoe(random: Random, message: Message, number: int) -> Client:
    """A spammer's many hosts with names of their own domain."""
    which = message.number % 60
    name = f"mx{which}.snowshoe-example.com"
    return Client(ipv4("74.0.0.9", 256 * which), name, name)


def _one_shot() -> list[Kind]:
    def kind(
        name: str, per_day: float, client: MakeClient, letter: MakeLetter = stranger, **more: object
    ) -> Kind:
        return Kind(name, per_day, never, client, letter, **{"role": Role.ONE_SHOT, **more})  # type: ignore[arg-type]

    def as_customer(random: Random, number: int) -> Letter:
        author, friend = pair(random, among("client", 150)(random, number))
        return Letter(author, (friend,))

    return [
        kind("one-shot bots", 600, bot),
        kind("bot net with a list", 200, bot_with_a_list, _listed),
        kind("spam from own domains", 100, own_domain),
        kind("pretended provider", 100, pretender),
        kind("only the worst MX", 100, bot, mx=("mx2",)),
        kind("known pairs forged", 60, bot, as_customer),
        kind("null sender, 1 recipient", 40, bot, _nobody("", 1)),
        kind("null sender, 2 recipients", 10, bot, _nobody("", 2)),
        kind("null sender, 50 recipients", 1, bot, _nobody("", 50)),
        kind("forged probe, 1 recipient", 20, bot, _nobody("double-bounce", 1)),
        kind("forged probe, 2 recipients", 10, bot, _nobody("double-bounce", 2)),
        kind("forged probe, 50 recipients", 1, bot, _nobody("double-bounce", 50)),
        kind("foreign HELO at a hoster", 60, foreign_rented, since=2 * DAY),
        kind(ISP_BOTS, 100, customer_of_the_isp, people(only(ACCESS_PROVIDERS[0]), 20), since=5 * DAY),
        kind(SPF_BOTS, 100, _of_the_thousand, _from_the_thousand, since=DAY),
    ]


ISP_BOTS = "sending as their ISP"
SPF_BOTS = "1,000 authorised by SPF"
DICTIONARY = "dictionary behind it"


def _nobody(local: str, recipients: int) -> MakeLetter:
    def letter(random: Random, number: int) -> Letter:
        sender = f"{local}@victim{random.randint(1, 500)}-example.com" if local else ""
        return Letter(sender, tuple({someone(random): None for _ in range(recipients)}))

    return letter


_OPENERS = 20


def _opener(random: Random, number: int) -> Letter:
    """The one pair for which a spammer's host retries."""
    return Letter(f"list@opener{number}-example.com", (f"opened{number}@{HERE}",))


def _opener_host(random: Random, message: Message, number: int) -> Client:
    which = message.number % _OPENERS
    return Client(ipv4("75.0.0.9", 256 * which), None, f"mail.opener{which}-example.com")


def _dictionary(random: Random, number: int) -> Letter:
    """The recipient it retried for, and 49 words."""
    which = number % _OPENERS
    words = tuple(f"{random.getrandbits(40):x}@{HERE}" for _ in range(49))
    return Letter(f"list@opener{which}-example.com", (f"opened{which}@{HERE}", *words))


def _retrying() -> list[Kind]:
    pools = provider_pools()

    def kind(
        name: str, per_day: float, client: MakeClient, letter: MakeLetter = stranger, **more: object
    ) -> Kind:
        values = {"role": Role.RETRYING, "schedule": postfix, **more}
        return Kind(name, per_day, client=client, letter=letter, **values)  # type: ignore[arg-type]

    return [
        kind("two of the 1,000", 12, _of_the_thousand, _from_the_thousand),
        kind("snowshoe, one in ten retries", 6, _snowshoe, _from_snowshoe),
        kind("snowshoe, the others", 54, _snowshoe, _from_snowshoe, schedule=never, since=DAY),
        kind("compromised tenants", 40, pools["microsoft"], schedule=big_provider),
        kind("abuse of Amazon SES", 30, pools["ses"], schedule=big_provider),
        kind("reverse names pretended", 60, reverse_pretender, _listed, schedule=never),
        kind("one pair that retries", 0, _opener_host, _opener, total=_OPENERS, lasting=2 * DAY),
        kind(DICTIONARY, 6, _opener_host, _dictionary, schedule=never, since=3 * DAY),
    ]


def _from_snowshoe(random: Random, number: int) -> Letter:
    return Letter(f"deal{number % 40}@snowshoe-example.com", (someone(random),))


def _opaque(isp: str, foreign: float, pairs: int) -> Kind:
    letter = campaign(pairs)
    name = f"opaque bots of {isp}"
    return Kind(name, OPAQUE_A_DAY, never, opaque(isp, foreign), letter, role=Role.OPAQUE, isp=isp)


def unwanted() -> list[Kind]:
    """All of it but the floods."""
    return [
        *_one_shot(),
        *(
            _opaque(isp, foreign, pairs)
            for isp, (foreign, pairs) in zip(ACCESS_PROVIDERS, INFECTED, strict=True)
        ),
        replace(_opaque(DENSE, 0.0, 40), role=Role.RETRYING, isp=""),
        Kind("eager bots", 120, eager, bot, stranger, role=Role.EAGER),
        Kind("eager bots at both MX", 30, eager, bot, stranger, role=Role.EAGER, mx=BOTH),
        *_retrying(),
    ]


ATTACKS_SPF = {_THOUSAND: hosts_of(_thousand()), "snowshoe-example.com": Spf()}


# ------------------------------------------------------------------ floods


def _one_shot_attempt(random: Random, address: IPv4Address | IPv6Address) -> Attempt:
    word = random.getrandbits(64)
    return Attempt(
        listener="mx1",
        client_address=address,
        client_name=None,
        helo=f"h{word % 1000}",
        sender=f"{word:x}@x{word % 9973}-example.org",
        recipient=f"{random.getrandbits(48):x}@{HERE}",
        message=f"flood{word}",
    )


def _from_one_network(random: Random, number: int) -> Attempt:
    return _one_shot_attempt(random, ipv4(FLOODED, 64 + random.randrange(192)))


def _from_ipv6(random: Random, number: int) -> Attempt:
    return _one_shot_attempt(random, IPv6Address((0x3FFF0300 << 96) + random.getrandbits(96)))


def _from_many_networks(random: Random, number: int) -> Attempt:
    """256 networks in 64 networks of /16, one of which is that of small honest servers."""
    network = random.randrange(256)
    wide, narrow = divmod(network, 4)
    base = "45.10.204.0" if wide == 0 else f"91.{wide}.7.0"
    return _one_shot_attempt(random, ipv4(base, 256 * narrow + random.randrange(256)))


def floods() -> list[Flood]:
    """One a day, and of five hours and a half each."""
    return [
        Flood("one /24", FLOOD_SINCE, FLOOD_LASTING, _from_one_network),
        Flood("one IPv6 /32", FLOOD_SINCE + DAY, FLOOD_LASTING, _from_ipv6),
        Flood("256 networks of /24", FLOOD_SINCE + 2 * DAY - HOUR, FLOOD_LASTING, _from_many_networks),
    ]
