"""How hosts and authors look: building stones for `senders` and `attacks`.

Addresses: providers and pools 20/8, organisations 31/8, servers without a name 45.10/16 (so that they
are neighbours of the floods), hosters and clouds 51/8 to 54/8, infected machines 60/8 and up; IPv6 in
the block for documentation (RFC 9637).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from random import Random
from uuid import UUID
from zlib import crc32

from tests.support.simulation.mail import Client, Letter, MakeClient, MakeLetter, Message
from tests.support.simulation.schedules import DAY

PEOPLE = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "mallory"]
HERE = "example.net"
"""Where all this mail goes to."""


def ipv4(base: str, offset: int = 0) -> IPv4Address:
    return IPv4Address(base) + offset


def block(name: str, first: int) -> IPv4Address:
    """A /24 of its own for each name, somewhere in the /8 of this first octet."""
    return IPv4Address((first << 24) + (crc32(name.encode()) % 65_536 << 8))


def dashed(address: IPv4Address) -> str:
    return str(address).replace(".", "-")


# ------------------------------------------------------------------ authors


def someone(random: Random) -> str:
    """Any recipient here."""
    return f"{random.choice(PEOPLE)}{random.randint(1, 40)}@{HERE}"


def friend_of(random: Random, author: str, friends: int = 4) -> str:
    """One of the few people an author writes to."""
    which = crc32(author.encode()) + random.randint(1, friends)
    return f"{PEOPLE[which % 11]}{which % 40}@{HERE}"


def pair(random: Random, domain: str, friends: int = 4) -> tuple[str, str]:
    author = f"{random.choice(PEOPLE)}@{domain}"
    return author, friend_of(random, author, friends)


def people(domains: Callable[[Random, int], str], friends: int = 4) -> MakeLetter:
    """People of organisations, who mostly write to the same few."""

    def letter(random: Random, number: int) -> Letter:
        domain = domains(random, number)
        author, friend = pair(random, domain, friends)
        return Letter(author, (friend,), domain)

    return letter


def among(name: str, number: int) -> Callable[[Random, int], str]:
    """One of so many domains; small numbers are busier than great ones."""

    def domain(random: Random, serial: int) -> str:
        del serial
        return f"{name}{int(number * random.random() ** 1.5)}-example.com"

    return domain


def only(domain: str) -> Callable[[Random, int], str]:
    return lambda random, number: domain


def index_of(domain: str) -> int:
    """The number that `among` put into a domain."""
    return int("".join(character for character in domain if character.isdigit()) or "0")


Token = Callable[[Random], str]


def ses_token(random: Random) -> str:
    """Amazon SES: 0102018f8a7b6c5d-1e2f3a4b-5c6d-7e8f-9a0b-1c2d3e4f5a6b-000000."""
    rest = str(UUID(int=random.getrandbits(128)))
    return f"0102018f{random.getrandbits(32):08x}-{rest}-000000"


def mandrill_token(random: Random) -> str:
    """Mandrill: bounce-md_30571234.65f1a2b3.v1-0123456789abcdef0123456789abcdef."""
    return f"bounce-md_30571234.{random.getrandbits(32):08x}.v1-{random.getrandbits(128):032x}"


def ticket_token(random: Random) -> str:
    return f"ticket+{random.getrandbits(64):016x}"


def uuid_token(random: Random) -> str:
    return f"bounce-{UUID(int=random.getrandbits(128))}"


def tokens(token: Token, domains: Callable[[Random, int], str], prefix: str = "") -> MakeLetter:
    """Envelope senders with a random token in each message; the author behind it is always the same."""

    def letter(random: Random, number: int) -> Letter:
        domain = domains(random, number)
        author = f"system@{domain}"
        return Letter(f"{token(random)}@{prefix}{domain}", (friend_of(random, author, 12),), domain, author)

    return letter


# ------------------------------------------------------------------ hosts


def pool(name_of: Callable[[Random, int, IPv4Address], str], base: str, hosts: int = 40) -> MakeClient:
    """Many hosts in a dozen networks, any of which makes the next try; HELO is the verified name."""

    def client(random: Random, message: Message, number: int) -> Client:
        del message, number
        which = random.randrange(hosts)
        address = ipv4(base, 256 * (which % 12) + which)
        name = name_of(random, which, address)
        return Client(address, name, name)

    return client


def named_pool(domain: str, base: str, hosts: int = 40, label: str = "mail-x") -> MakeClient:
    return pool(lambda random, which, address: f"{label}{which}.{domain}", base, hosts)


def own_host(domain: str, first: int = 31) -> MakeClient:
    """One mail server with a proper name."""
    address = block(domain, first) + 25
    return lambda random, message, number: Client(address, f"mx.{domain}", f"mx.{domain}")


def own_hosts(most: int) -> MakeClient:
    """One to `most` named hosts for each organisation; a message waits on the host it was written on."""

    def client(random: Random, message: Message, number: int) -> Client:
        del random, number
        domain = message.letter.organisation
        which = message.number % (1 + index_of(domain) % most)
        name = f"mx{which}.{domain}"
        return Client(block(name, 31) + 25, name, name)

    return client


def hosts_without_name(sites: int, first: int = 0) -> MakeClient:
    """Small servers in 45.10/16 whose provider gives them no name, or a generated one."""

    def client(random: Random, message: Message, number: int) -> Client:
        del random, number
        which = index_of(message.letter.organisation) % sites
        address = ipv4("45.10.0.7", 256 * (first + which))
        name = f"{dashed(address)}.static.example-isp.net" if which % 2 else None
        return Client(address, name, f"mail.{message.letter.organisation}")

    return client


def two_of_one_network(random: Random, message: Message, number: int) -> Client:
    """A server without a name and its twin next to it: now one tries, now the other."""
    del random
    which = index_of(message.letter.organisation)
    side = (message.number + number) % 2
    address = ipv4("45.10.60.20", 256 * which + 5 * side)
    return Client(address, None, f"mail{side}.{message.letter.organisation}")


def cloud_host(random: Random, message: Message, number: int) -> Client:
    """A rented machine under the name its hoster made of its address."""
    del random, number
    domain = message.letter.organisation
    address = block(domain, 54) + 9
    name = f"ec2-{dashed(address)}.us-west-2.compute.amazonaws.com"
    return Client(address, name, f"mail.{domain}")


def spf_addresses(domain: str) -> Sequence[IPv4Address]:
    """The two hosts of an organisation that has nothing but an SPF record."""
    return block(f"a.{domain}", 51) + 5, block(f"b.{domain}", 51) + 6


def spf_hosts(random: Random, message: Message, number: int) -> Client:
    """Two hosts without a name in two networks: the next try may come from the other one."""
    domain = message.letter.organisation
    return Client(random.choice(spf_addresses(domain)), None, f"out.{domain}")


HOSTER = "52.30.0.0"
"""The hoster's mail servers that its customers' SPF records include: four networks."""


def hoster_server(random: Random, message: Message, number: int) -> Client:
    """A web server that a hoster's customers share; the hoster's name is no customer's."""
    del random, number
    which = index_of(message.letter.organisation) % 12
    address = ipv4(HOSTER, 256 * (which % 4) + which)
    return Client(address, f"www{which}.your-server.de", f"www{which}.your-server.de")


def ipv6_only(random: Random, message: Message, number: int) -> Client:
    """A named host without IPv4."""
    del random, number
    domain = message.letter.organisation
    address = IPv6Address("3fff:100::25") + (crc32(domain.encode()) << 64)
    return Client(address, f"mx.{domain}", f"mx.{domain}")


def rotating_ipv6(random: Random, message: Message, number: int) -> Client:
    """A server that takes any address of its /64."""
    del number
    network = int(IPv6Address("3fff:77::")) + (index_of(message.letter.organisation) << 64)
    address = IPv6Address(network + random.getrandbits(64))
    return Client(address, None, f"mail.{message.letter.organisation}")


def dual_stack(*, named: bool) -> MakeClient:
    """IPv6 and IPv4 by turns: what was deferred by one is tried by the other."""

    def client(random: Random, message: Message, number: int) -> Client:
        del random
        domain = message.letter.organisation
        mark = crc32(domain.encode())
        six = IPv6Address("3fff:200::25") + (mark << 64)
        four = ipv4("45.10.100.0", 256 * (mark % 20) + 30 + index_of(domain))
        address = four if (message.number + number) % 2 else six
        return Client(address, f"mx.{domain}" if named else None, f"mx.{domain}")

    return client


def verp(client: MakeClient, domain: str) -> MakeClient:
    """A newsletter server whose bounce address is another one with every try."""

    def made(random: Random, message: Message, number: int) -> Client:
        token = random.getrandbits(96).to_bytes(12).hex()
        local, _, rest = message.letter.recipients[0].partition("@")
        bounce = f"bounces+{message.number}-{token}-{local}={rest}@em.{domain}"
        return client(random, message, number)._replace(sender=bounce)

    return made


def srs(client: MakeClient, domain: str) -> MakeClient:
    """A forwarder that rewrites senders; hash and time stamp change with the day."""

    def made(random: Random, message: Message, number: int) -> Client:
        day = (message.born + sum(message.deliveries[0].refused[-1:])) // DAY % 1024
        local, _, rest = message.sender.partition("@")
        stamp = "abcdefghijklmnopqrstuvwxyz234567"
        day_text = f"{stamp[day // 32]}{stamp[day % 32]}"
        rewritten = f"SRS0={random.randrange(16**4):04x}={day_text}={rest}={local}@{domain}"
        return client(random, message, number)._replace(sender=rewritten)

    return made


def sometimes_nameless(client: MakeClient, part: float) -> MakeClient:
    """Our resolver has trouble: the reverse name is there, but was not confirmed."""

    def made(random: Random, message: Message, number: int) -> Client:
        seen = client(random, message, number)
        if number and random.random() >= part:
            return seen
        reverse = {"reverse_client_name": seen.name or "unknown"}
        return seen._replace(name=None, attributes=reverse)

    return made
