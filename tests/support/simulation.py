"""Weeks of mail in seconds: senders as they are in the field, against the engine with default settings.

    python -m tests.support.simulation [seed]

prints for each class of senders what became of its mail.  Nothing is random but the seed, and no time
passes: messages, retries and the clock are events of one queue.  Senders come back from another
address of their pool, with another bounce address or under another IPv6 address, as real ones do;
spam programs mostly do not come back, or do so too soon.
"""

from __future__ import annotations

import heapq
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from random import Random
from tempfile import TemporaryDirectory
from zlib import crc32

import trio

from multigrey.assemble import assemble
from multigrey.config.load import load
from multigrey.engine import Engine
from multigrey.model import Action, Attempt, Reason
from tests.support.clocks import FakeClock
from tests.support.engines import SITE_KEY, memory_store

MINUTE, HOUR, DAY = 60, 3600, 86_400
START = 1_700_000_000
WEEKS = 8
"""Long enough for trust to be earned, and to be looked at afterwards."""
SETTLED = START + 4 * 7 * DAY
"""From here on organisations that mail every day have shown what they do."""

Person = tuple[str, str, str]
"""Sender, recipient, and the organisation they belong to."""
MakeAttempt = Callable[[Random, "Message", int], Attempt]
Schedule = Callable[[Random], Iterator[int]]


@dataclass
class Message:
    """One message to one recipient, and what became of it."""

    kind: str
    number: int
    sender: str
    recipient: str
    born: int
    tries: int = 0
    refused: list[int] = field(default_factory=list)
    """Seconds after its birth at which it was deferred."""
    asked_for: int = 0
    """Age at which the first deferral said a retry would pass."""
    delivered: int | None = None
    """Seconds after its birth; None: never."""
    first_reason: Reason | None = None
    last_reason: Reason | None = None
    follow_up: bool = False
    """Sender and recipient have exchanged mail in the last four weeks."""
    proven: bool = False
    """Of an organisation that had four weeks to show that it comes back."""


@dataclass(frozen=True)
class Kind:
    """A class of senders."""

    name: str
    legitimate: bool
    messages: int
    schedule: Schedule
    attempt: MakeAttempt
    people: Callable[[Random, int], tuple[str, str]]
    pool: bool = False
    spread: float = 1.0
    """Part of the whole time over which its messages are spread."""


# ------------------------------------------------------------------ how long they wait


def big_provider(random: Random) -> Iterator[int]:
    """A first retry after 200 to 285 seconds, then only hours later."""
    yield random.randint(200, 285)
    while True:
        yield 3 * HOUR + random.randint(-600, 600)


def postfix(random: Random) -> Iterator[int]:
    """Postfix: minimal_backoff_time 300 s, doubled up to 4000 s, at queue runs."""
    wait = 300
    while True:
        yield wait + random.randint(0, 300)
        wait = min(2 * wait, 4000)


def exim(random: Random) -> Iterator[int]:
    """Exim: every 15 minutes for two hours, then geometrically; queue runs every half hour."""
    for _ in range(8):
        yield 15 * MINUTE + random.randint(0, 900)
    wait = HOUR
    while True:
        yield int(wait)
        wait = min(wait * 1.5, 8 * HOUR)


def sendmail(random: Random) -> Iterator[int]:
    """Sendmail: a queue run each half hour or hour."""
    every = random.choice([30 * MINUTE, HOUR])
    yield random.randint(1, every)
    while True:
        yield every


def hourly(random: Random) -> Iterator[int]:
    """A queue that runs once an hour."""
    yield random.randint(1, HOUR)
    while True:
        yield HOUR


def impatient(random: Random) -> Iterator[int]:
    """An application that tries for ten minutes only: after one, two, three and four more."""
    del random
    yield from (60, 120, 180, 240)


def never(random: Random) -> Iterator[int]:
    """Fire and forget."""
    del random
    yield from ()


def eager(random: Random) -> Iterator[int]:
    """Retries every 20 to 60 seconds for four minutes."""
    age = 0
    while True:
        wait = random.randint(20, 60)
        age += wait
        if age > 4 * MINUTE:
            return
        yield wait


# ------------------------------------------------------------------ who they are

_PEOPLE = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "mallory"]


def _people(random: Random, domain: str) -> tuple[str, str]:
    """Somebody of a domain, and one of the few people they write to."""
    sender = f"{random.choice(_PEOPLE)}@{domain}"
    friend = crc32(sender.encode()) + random.randint(1, 4)
    return sender, f"{_PEOPLE[friend % 11]}{friend % 40}@example.net"


def customers(domains: int) -> Callable[[Random, int], tuple[str, str]]:
    """People of so many organisations, who mostly write to the same few."""

    def people(random: Random, number: int) -> tuple[str, str]:
        del number
        return _people(random, f"customer{random.randint(1, domains)}.example.com")

    return people


def staff(domain: str) -> Callable[[Random, int], tuple[str, str]]:
    """People of one organisation."""

    def people(random: Random, number: int) -> tuple[str, str]:
        del number
        return _people(random, domain)

    return people


def sites(number_of_sites: int) -> Callable[[Random, int], tuple[str, str]]:
    """Small organisations, each with a server of its own."""

    def people(random: Random, number: int) -> tuple[str, str]:
        return _people(random, f"site{number % number_of_sites}.example.com")

    return people


def strangers(random: Random, number: int) -> tuple[str, str]:
    """Made-up senders."""
    recipient = f"{random.choice(_PEOPLE)}{random.randint(1, 40)}@example.net"
    return f"offer{number}@spam{random.randint(1, 10_000)}.com", recipient


def _ipv4(number: int) -> IPv4Address:
    return IPv4Address("11.0.0.0") + number


def _attempt(message: Message, address: IPv4Address | IPv6Address, **more: str | None) -> Attempt:
    values = {"client_name": None, "helo": "unknown", "sender": message.sender, **more}
    return Attempt(listener="postfix", client_address=address, recipient=message.recipient, **values)  # type: ignore[arg-type]


def pool(domain: str, base: int, addresses: int = 40, networks: int = 12) -> MakeAttempt:
    """A provider: each try from any of many addresses in many networks, all under one verified domain."""

    def attempt(random: Random, message: Message, number: int) -> Attempt:
        del number
        which = random.randrange(addresses)
        address = _ipv4(base + 256 * (which % networks) + which)
        name = f"mail-x{which}.{domain}"
        return _attempt(message, address, client_name=name, helo=name)

    return attempt


def host(domain: str, base: int) -> MakeAttempt:
    """One mail server with a proper name."""

    def attempt(random: Random, message: Message, number: int) -> Attempt:
        del random, number
        return _attempt(message, _ipv4(base + 25), client_name=f"mx.{domain}", helo=f"mx.{domain}")

    return attempt


def hosts_without_name(base: int, number_of_hosts: int) -> MakeAttempt:
    """Small servers whose provider gives them no name, or a generated one."""

    def attempt(random: Random, message: Message, number: int) -> Attempt:
        del random, number
        which = message.number % number_of_hosts
        address = _ipv4(base + 256 * which + 7)
        name = f"{str(address).replace('.', '-')}.static.example-isp.net" if which % 2 else None
        return _attempt(message, address, client_name=name, helo=f"srv{which}.example.org")

    return attempt


def verp(domain: str, base: int) -> MakeAttempt:
    """A newsletter server whose bounce address is another one with every try."""
    send = pool(domain, base, 8, 3)

    def attempt(random: Random, message: Message, number: int) -> Attempt:
        made = send(random, message, number)
        token = random.getrandbits(96).to_bytes(12).hex()
        local, _, rest = message.recipient.partition("@")
        bounce = f"bounces+{message.number}-{token}-{local}={rest}@em.{domain}"
        return _with_sender(made, bounce)

    return attempt


def srs(domain: str, base: int) -> MakeAttempt:
    """A forwarder that rewrites senders; hash and time stamp change with the day."""
    send = pool(domain, base, 4, 2)

    def attempt(random: Random, message: Message, number: int) -> Attempt:
        made = send(random, message, number)
        day = (message.born + sum(message.refused[-1:])) // DAY % 1024
        local, _, rest = message.sender.partition("@")
        stamp = "abcdefghijklmnopqrstuvwxyz234567"
        rewritten = (
            f"SRS0={random.randrange(16**4):04x}={stamp[day // 32]}{stamp[day % 32]}={rest}={local}@{domain}"
        )
        return _with_sender(made, rewritten)

    return attempt


def rotating_ipv6(random: Random, message: Message, number: int) -> Attempt:
    """A server that takes any address of its /64."""
    del number
    network = int(IPv6Address("2600:db8:77::")) + ((message.number % 5) << 64)
    return _attempt(message, IPv6Address(network + random.getrandbits(64)), helo="mail.example.org")


def bot(random: Random, message: Message, number: int) -> Attempt:
    """An infected home machine: its provider's generated name, or none, and any HELO."""
    del number
    address = _ipv4(1_000_000 + Random(message.number).randrange(10_000_000))
    name = f"{str(address).replace('.', '-')}.dyn.example-isp.net" if message.number % 3 else None
    return _attempt(
        message, address, client_name=name, helo=random.choice(["localhost", "friend", "google.com"])
    )


def bot_net_with_a_list(random: Random, message: Message, number: int) -> Attempt:
    """Machines of one provider that work off one list: the same sender and recipient from everywhere."""
    del number
    address = _ipv4(20_000_000 + 256 * message.number + random.randrange(256))
    name = f"{str(address).replace('.', '-')}.dyn.example-isp.net"
    return _attempt(message, address, client_name=name, helo="mail.example.com")


def own_domain(random: Random, message: Message, number: int) -> Attempt:
    """A spammer's rented host with everything in order: but it does not come back."""
    del random, number
    domain = f"cheap{message.number}.com"
    address = _ipv4(40_000_000 + 256 * message.number)
    return _attempt(message, address, client_name=f"mx.{domain}", helo=f"mx.{domain}")


def pretender(random: Random, message: Message, number: int) -> Attempt:
    """Calls itself a provider; no name can be verified."""
    del number
    address = _ipv4(50_000_000 + random.randrange(1_000_000))
    return _attempt(message, address, helo="mail-x1.provider.com")


def _with_sender(attempt: Attempt, sender: str) -> Attempt:
    attempt.sender = sender  # type: ignore[misc]  (made two lines above, nobody else has it)
    return attempt


def listed(random: Random, number: int) -> tuple[str, str]:
    """Twenty pairs, used again and again by a whole bot net."""
    del random
    return f"deal{number % 20}@example.info", f"{_PEOPLE[number % 11]}{number % 20}@example.net"


KINDS: Sequence[Kind] = (
    Kind("provider pool", True, 6000, big_provider, pool("provider.com", 0), customers(300), pool=True),
    Kind("second pool, Postfix", True, 2000, postfix, pool("mailer.org", 60_000), customers(60), pool=True),
    Kind("office, Exim", True, 1500, exim, host("office.org", 100_000), staff("office.org")),
    Kind("office, Postfix", True, 1500, postfix, host("firm.org", 101_000), staff("firm.org")),
    Kind("university, Sendmail", True, 1500, sendmail, host("campus.org", 102_000), staff("campus.org")),
    Kind("hourly queue", True, 500, hourly, host("slow.org", 103_000), staff("slow.org")),
    Kind("server without name", True, 1500, postfix, hosts_without_name(110_000, 30), sites(30)),
    Kind("newsletter, VERP", True, 1500, postfix, verp("letters.org", 130_000), customers(5), pool=True),
    Kind("forwarder, SRS", True, 1000, exim, srs("forward.org", 140_000), customers(100), pool=True),
    Kind("rotating IPv6", True, 800, postfix, rotating_ipv6, sites(5)),
    Kind("impatient application", True, 400, impatient, host("app.org", 150_000), staff("app.org")),
    Kind("one-shot bots", False, 10_000, never, bot, strangers),
    Kind("bot net with a list", False, 3000, never, bot_net_with_a_list, listed),
    Kind("eager bots", False, 2000, eager, bot, strangers),
    Kind("spam from own domains", False, 1000, never, own_domain, strangers),
    Kind("pretended provider", False, 1000, never, pretender, strangers),
)


# ------------------------------------------------------------------ the run


def _engine(clock: FakeClock, directory: str) -> Engine:
    """An engine with the default configuration."""
    setup = assemble(load(None, {"STATE_DIRECTORY": directory}), SITE_KEY, clock).setup
    ids = (str(number) for number in itertools.count())
    return Engine(clock=clock, store=memory_store(), setup=setup, ids=ids, host="mx.example.net", version="0")


def _born(random: Random, kinds: Sequence[Kind]) -> list[tuple[int, int, Kind, Message]]:
    events = []
    serial = itertools.count()
    for kind in kinds:
        for number in range(kind.messages):
            born = START + random.randrange(int(WEEKS * 7 * DAY * kind.spread))
            sender, recipient = kind.people(random, number)
            events.append((born, next(serial), kind, Message(kind.name, number, sender, recipient, born)))
    return events


async def simulate(seed: int = 1, kinds: Sequence[Kind] = KINDS) -> list[Message]:
    """All messages, in the order of their birth, after everything was delivered or given up."""
    random = Random(seed)
    clock = FakeClock(START)
    events = _born(random, kinds)
    messages = sorted((event[3] for event in events), key=lambda message: message.born)
    waits: dict[int, Iterator[int]] = {}
    serial = itertools.count(len(events))
    met: dict[Person, int] = {}
    heapq.heapify(events)
    with TemporaryDirectory() as directory:
        engine = _engine(clock, directory)
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.store.run)
            while events:
                when, _, kind, message = heapq.heappop(events)
                clock.advance(when - clock.now())
                if await _tried(engine, kind, message, random, met, when):
                    continue
                schedule = waits.setdefault(id(message), kind.schedule(random))
                wait = next(schedule, None)
                if wait is not None and when + wait - message.born < 4 * DAY:
                    heapq.heappush(events, (when + wait, next(serial), kind, message))
            nursery.cancel_scope.cancel()
    return messages


async def _tried(
    engine: Engine, kind: Kind, message: Message, random: Random, met: dict[Person, int], now: int
) -> bool:
    """One try; returns whether it was let in."""
    pair = (message.sender, message.recipient, kind.name)
    if not message.tries:
        message.follow_up = now - met.get(pair, 0) < 28 * DAY
        message.proven = now >= SETTLED
    reply = await engine.judge(kind.attempt(random, message, message.tries), "pass")
    assert reply is not None
    message.first_reason = message.first_reason or reply.reason
    message.last_reason = reply.reason
    message.tries += 1
    if reply.action is Action.PASS:
        message.delivered = now - message.born
        met[pair] = now
        return True
    if not message.refused:
        message.asked_for = reply.retry_after
    message.refused.append(now - message.born)
    return False


# ------------------------------------------------------------------ what came of it


@dataclass(frozen=True)
class Row:
    """What became of one class."""

    name: str
    legitimate: bool
    messages: int
    delivered: int
    delayed: int
    median: int
    """Delay of delivered mail that was delayed, in seconds; so are the next two."""
    p95: int
    longest: int


def rows(messages: Sequence[Message], kinds: Sequence[Kind] = KINDS) -> list[Row]:
    """One row for each class."""
    return [_row(kind, [message for message in messages if message.kind == kind.name]) for kind in kinds]


def _row(kind: Kind, messages: Sequence[Message]) -> Row:
    waited = sorted(message.delivered for message in messages if message.delivered)
    return Row(
        kind.name,
        kind.legitimate,
        len(messages),
        sum(message.delivered is not None for message in messages),
        len(waited),
        _quantile(waited, 0.5),
        _quantile(waited, 0.95),
        waited[-1] if waited else 0,
    )


def _quantile(ordered: Sequence[int], part: float) -> int:
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)] if ordered else 0


def main(seed: int = 1) -> None:
    """Print a line for each class."""
    write = sys.stdout.write
    write(
        f"{'class':24}{'messages':>9}{'delivered':>10}{'delayed':>9}{'median':>8}{'p95':>8}{'longest':>9}\n"
    )
    for row in rows(trio.run(simulate, seed)):
        write(
            f"{row.name:24}{row.messages:9}{row.delivered:10}{row.delayed:9}"
            f"{row.median:7}s{row.p95:7}s{row.longest:8}s\n"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
