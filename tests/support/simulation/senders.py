"""The wanted mail: who sends how much of it, from where, and how long it may take.

The mix was fixed before the mechanisms it measures.  It is that of a site of some two thousand messages
a day: a third from big providers, a third from organisations with hosts of their own, and the rest from
everything that greylisting is known to hurt (public reports of administrators; see `schedules` for the
times).  Figures a day are low where a class is rare in the field, but never so low that it could be lost
in an average: each has its own row in the table.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.support.simulation.dns import Spf, hosts_of, networks_of
from tests.support.simulation.hosts import (
    HERE,
    HOSTER,
    PEOPLE,
    among,
    block,
    cloud_host,
    dual_stack,
    friend_of,
    hoster_server,
    hosts_without_name,
    index_of,
    ipv4,
    ipv6_only,
    named_pool,
    only,
    own_host,
    own_hosts,
    pair,
    people,
    rotating_ipv6,
    someone,
    spf_addresses,
    spf_hosts,
    srs,
    ticket_token,
    tokens,
    two_of_one_network,
    uuid_token,
    verp,
)
from tests.support.simulation.mail import BOTH, Client, Kind, Letter, MakeLetter, Message, Role
from tests.support.simulation.providers import GOOGLE, OUTLOOK, providers
from tests.support.simulation.schedules import (
    BULK,
    DAY,
    HOUR,
    LOGIN,
    MACHINE,
    MINUTE,
    after,
    exim,
    four_hourly,
    hourly,
    impatient,
    mixed,
    never,
    postfix,
    probing,
    sendmail,
)

__all__ = ["FLOODED", "FLOOD_LASTING", "FLOOD_SINCE", "HOSTED", "NEIGHBOURS", "NEWSLETTER", "SPF", "wanted"]

HOSTED = "goodhoster-example.net"
"""A hoster nobody has listed as one: rented servers and its own mail servers below one domain."""


def _staff(name: str, per_day: float, schedule: object, domain: str, **more: object) -> Kind:
    values = {"organisations": True, **more}
    return Kind(name, per_day, schedule, own_host(domain), people(only(domain)), **values)  # type: ignore[arg-type]


def _organisations() -> list[Kind]:
    orgs = people(among("org", 30))
    desk, codes = only("desk-example.com"), only("login-example.com")
    return [
        _staff("office, Exim", 27, exim, "office-example.org"),
        _staff("office, Postfix", 27, postfix, "firm-example.org", mx=BOTH),
        _staff("university, Sendmail", 27, sendmail, "campus-example.org"),
        _staff("hourly queue", 9, hourly, "slow-example.org"),
        _staff("impatient application", 7, impatient, "app-example.org"),
        Kind("organisations, named hosts", 200, mixed, own_hosts(4), orgs, organisations=True, mx=BOTH),
        Kind(
            "organisations, SPF only",
            60,
            postfix,
            spf_hosts,
            people(among("plain", 20)),
            organisations=True,
        ),
        Kind(
            "cloud hosts with SPF",
            40,
            postfix,
            cloud_host,
            people(among("cloud", 20)),
            organisations=True,
            mx=BOTH,
        ),
        Kind("IPv6-only hosts", 20, postfix, ipv6_only, people(among("six", 6)), organisations=True),
        Kind(
            "dual stack, named",
            20,
            postfix,
            dual_stack(named=True),
            people(among("dual", 6)),
            organisations=True,
        ),
        Kind(
            "ticket system, tokens",
            30,
            postfix,
            own_host("desk-example.com"),
            tokens(ticket_token, desk),
            organisations=True,
            deadline=MACHINE,
        ),
        Kind(
            "login codes, application",
            20,
            impatient,
            own_host("login-example.com"),
            tokens(uuid_token, codes),
            organisations=True,
            deadline=LOGIN,
        ),
        Kind(
            "login codes, Postfix",
            10,
            postfix,
            own_host("signup-example.com"),
            tokens(uuid_token, only("signup-example.com")),
            role=Role.HOPELESS,
            deadline=LOGIN,
        ),
        Kind(
            "monitoring, named host",
            15,
            postfix,
            own_host("watch-example.org"),
            people(only("watch-example.org"), 2),
            organisations=True,
            deadline=MACHINE,
        ),
        *_hosted(),
    ]


def _hosted() -> list[Kind]:
    """Customers of a hoster, below its domain; the hoster's own mail servers are a pool."""

    def rented(random: Random, message: Message, number: int) -> Client:
        del random, number
        which = index_of(message.letter.organisation)
        name = f"srv{which}.{HOSTED}"
        return Client(block(name, 53) + 11, name, name)

    return [
        Kind("rented servers, named", 30, postfix, rented, people(among("renter", 20)), mx=BOTH),
        Kind(
            "hoster's mail servers",
            20,
            postfix,
            named_pool(HOSTED, "20.150.0.0", 8, "out-"),
            people(among("tenant", 20)),
            pool=True,
        ),
    ]


def _small_servers() -> list[Kind]:
    return [
        Kind(
            "server without name",
            27,
            postfix,
            hosts_without_name(30),
            people(among("site", 30)),
            mx=BOTH,
        ),
        Kind("hoster by SPF include", 60, postfix, hoster_server, people(among("hosted", 40))),
        Kind("cloud hosts without SPF", 30, postfix, cloud_host, people(among("lone", 20))),
        Kind("unnamed twins in one /24", 15, postfix, two_of_one_network, people(among("twin", 8))),
        Kind("rotating IPv6", 14, postfix, rotating_ipv6, people(among("rotor", 5))),
        Kind("dual stack, unnamed", 15, postfix, dual_stack(named=False), people(among("both", 6))),
        Kind(
            "monitoring, unnamed host",
            10,
            postfix,
            hosts_without_name(5, 31),
            people(among("alarm", 5), 2),
            deadline=MACHINE,
        ),
        Kind(
            "queue every four hours",
            6,
            four_hourly,
            hosts_without_name(5, 37),
            people(among("tardy", 5)),
            deadline=BULK,
        ),
        Kind(
            "never retries, named host",
            6,
            never,
            own_host("never-example.org"),
            people(only("never-example.org")),
            role=Role.HOPELESS,
        ),
        Kind(
            "never retries, unnamed",
            6,
            never,
            hosts_without_name(5, 43),
            people(among("once", 5)),
            role=Role.HOPELESS,
        ),
    ]


# ------------------------------------------------------------------ many recipients, lists, forwarders


def _group(domains: Callable[[Random, int], str]) -> MakeLetter:
    """One message to three people who are written to each week, and now and then to somebody new."""

    def letter(random: Random, number: int) -> Letter:
        domain = domains(random, number)
        author = f"team@{domain}"
        usual = tuple(f"{PEOPLE[(len(domain) + index) % 11]}{index}@{HERE}" for index in range(3))
        new = (f"new{number}@{HERE}",) if number % 3 == 0 else ()
        return Letter(author, (*usual, *new), domain)

    return letter


def _burst(domain: str, part: int) -> MakeLetter:
    """A quarter of a list's members (Postfix sends to 50 at a time), one of them new each time."""

    def letter(random: Random, number: int) -> Letter:
        del random
        quarter = number % 4
        who = tuple(f"member{quarter}x{index}@{HERE}" for index in range(part - 1))
        return Letter(f"club-bounces@{domain}", (*who, f"joined{number}@{HERE}"), domain)

    return letter


def _forwarded(random: Random, number: int) -> Letter:
    """Somebody's mail, for an alias that leads here."""
    del number
    author, _ = pair(random, among("author", 100)(random, 0))
    return Letter(author, (friend_of(random, author, 2),), "")


def _lists_and_forwarders() -> list[Kind]:
    forward = named_pool("forward-example.org", "20.160.0.0", 4)
    letters = named_pool("letters-example.org", "20.170.0.0", 8)
    club = "lists.club-example.com"
    return [
        Kind(
            "newsletter, VERP",
            27,
            postfix,
            verp(letters, "letters-example.org"),
            people(among("subscription", 5)),
            pool=True,
            deadline=BULK,
        ),
        Kind("forwarder, SRS", 20, exim, srs(forward, "forward-example.org"), _forwarded, pool=True),
        Kind("forwarder, plain", 20, postfix, own_host("alias-example.org"), _forwarded, mx=BOTH),
        Kind(
            "list, 200 members at once",
            4,
            postfix,
            own_host(club),
            _burst(club, 50),
            deadline=BULK,
            batch=4,
        ),
        Kind(
            "list from unnamed host",
            2,
            postfix,
            lambda random, message, number: Client(ipv4("45.10.57.5"), None, "lists.guild-example.com"),
            _burst("guild-example.com", 25),
            deadline=BULK,
            batch=2,
        ),
        Kind(
            "groups with new recipients",
            12,
            postfix,
            own_hosts(2),
            _group(among("crew", 4)),
            organisations=True,
        ),
        Kind(
            "groups, unnamed host",
            12,
            postfix,
            hosts_without_name(5, 49),
            _group(among("band", 4)),
        ),
    ]


def _base31(random: Random) -> str:
    """What Postfix appends to the probe sender, without a delimiter, while address_verify_sender_ttl is set.

    The time divided by that, in digits that are no vowels (verify_sender_addr.c); the other form has a
    delimiter in its configured sender.
    """
    return "".join(random.choices("0123456789BCDFGHJKLMNPQRSTVWXYZ", k=random.randint(4, 6)))


def _null_senders() -> list[Kind]:
    def null(random: Random, number: int) -> Letter:
        domain = among("bouncer", 60)(random, number)
        return Letter("", (someone(random),), domain, f"<>@{domain}")

    def probe(random: Random, number: int) -> Letter:
        domain = among("prober", 40)(random, number)
        token = ("", f"-{_base31(random)}", _base31(random))[number % 3]
        return Letter(f"double-bounce{token}@{domain}", (someone(random),), domain, f"double-bounce@{domain}")

    return [
        Kind("address probes", 20, probing, own_hosts(2), probe, data=False),
        Kind("callouts", 20, probing, own_hosts(2), null, data=False),
        Kind("non-delivery reports", 15, postfix, own_hosts(2), null, deadline=BULK),
        Kind("vacation replies", 15, mixed, own_hosts(2), null),
    ]


NEWSLETTER = "newsletter, unnamed /24"


def _big_newsletter(size: int) -> Kind:
    """One mailing to a great many recipients here, from machines without names."""

    def letter(random: Random, number: int) -> Letter:
        sender = f"issue7-{random.getrandbits(64):016x}-{number}@bulletin-example.com"
        return Letter(sender, (f"reader{number}@{HERE}",), "bulletin-example.com", "bulletin")

    def client(random: Random, message: Message, number: int) -> Client:
        del message, number
        which = random.randrange(16)
        return Client(ipv4("45.10.80.10", which), None, f"out{which}.bulletin-example.com")

    return Kind(
        NEWSLETTER,
        0,
        postfix,
        client,
        letter,
        pool=True,
        deadline=BULK,
        total=size,
        since=2 * DAY,
        lasting=2 * HOUR,
    )


NEIGHBOURS = "neighbours of a flood"
FLOODED = "45.10.200.0"
"""The /24 that a flood comes from, and these neighbours."""
FLOOD_SINCE, FLOOD_LASTING = 3 * DAY + 10 * HOUR, 5 * HOUR + 30 * MINUTE


def _neighbours(wait: int, number: int) -> Kind:
    """Wanted mail from within the flooding /24, while the flood goes on."""

    def client(random: Random, message: Message, round_number: int) -> Client:
        del random, round_number
        which = message.number
        return Client(
            ipv4(FLOODED, 10 * number + which % 5), None, f"mail{which}.neighbour{number}-example.com"
        )

    def letter(random: Random, serial: int) -> Letter:
        author, friend = pair(random, f"n{serial}.neighbour{number}-example.com")
        return Letter(author, (friend,))

    return Kind(
        f"{NEIGHBOURS}, {wait // MINUTE} min",
        0,
        after(wait),
        client,
        letter,
        deadline=BULK,
        total=20,
        since=FLOOD_SINCE + 20 * MINUTE,
        lasting=40 * MINUTE,
    )


def wanted(size: int) -> list[Kind]:
    """All of it; `size` is that of a flood: a quarter of it, or 20,000, go out as one newsletter."""
    return [
        *providers(),
        *_organisations(),
        *_small_servers(),
        *_lists_and_forwarders(),
        *_null_senders(),
        _big_newsletter(min(size // 4, 20_000)),
        *(_neighbours(wait, index) for index, wait in enumerate((5 * MINUTE, HOUR, 4 * HOUR), 1)),
    ]


def _spf() -> dict[str, Spf]:
    """What the domains publish."""
    outlook = Spf(include="spf.protection.outlook.com", networks=networks_of(OUTLOOK, 12))
    google = Spf(include="_spf.google.com", networks=networks_of(GOOGLE, 12))
    hoster = Spf(include="_spf.your-server.de", networks=networks_of(HOSTER, 4))
    return {
        **{f"company{number}-example.com": outlook for number in range(120)},
        **{f"customer{number}-example.com": google for number in range(150)},
        **{f"hosted{number}-example.com": hoster for number in range(40)},
        **{f"plain{n}-example.com": hosts_of(spf_addresses(f"plain{n}-example.com")) for n in range(20)},
        **{f"cloud{n}-example.com": hosts_of([block(f"cloud{n}-example.com", 54) + 9]) for n in range(20)},
        "greetings-example.com": Spf(
            include="_spf.postcards-example.com", networks=networks_of("20.130.0.0", 12)
        ),
    }


SPF = _spf()
