"""Weeks of mail in seconds: no time passes, messages, retries and the clock are events of one queue."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from multigrey.model import Action, Attempt, Reason, Reply, Stage
from tests.support.clocks import FakeClock
from tests.support.simulation.attacks import ATTACKS_SPF, floods, unwanted
from tests.support.simulation.dns import Spf
from tests.support.simulation.mail import START, Delivery, Flood, Flooded, Kind, Message, Outcome
from tests.support.simulation.schedules import DAY, GIVE_UP, HOUR, MINUTE
from tests.support.simulation.senders import SPF, wanted
from tests.support.simulation.wiring import Site, opened

__all__ = ["TROUBLES", "Trouble", "World", "calm", "full", "simulate", "troubled"]

_PIECE = 50
"""Recipients that one transaction has at most (Postfix: smtp_destination_recipient_limit)."""
_ERRORS = 20
"""Refused recipients after which our server ends the session (Postfix: smtpd_hard_error_limit)."""
_NEXT_MX = 2
"""Seconds until the next mail server is tried."""
_ACQUAINTED = 28 * DAY

Step = Callable[[int], Awaitable[None]]


@dataclass(frozen=True)
class Trouble:
    """For a while the wall clock is wrong."""

    since: int
    """Seconds after the start."""
    lasting: int
    offset: int
    restart: bool = False
    """Whether the daemon begins with it."""


TROUBLES = (
    Trouble(5 * DAY, 40 * MINUTE, -1_699_000_000, restart=True),
    Trouble(8 * DAY + HOUR, 40 * MINUTE, 400 * DAY),
)
"""1970 after a boot until NTP, and 400 days ahead for a moment."""


@dataclass(frozen=True)
class World:
    """Everything one run depends on but the seed."""

    days: int
    kinds: Sequence[Kind]
    floods: Sequence[Flood] = ()
    size: int = 20_000
    """Attempts of one flood."""
    troubles: Sequence[Trouble] = ()
    spf: Mapping[str, Spf] | None = None


def calm(days: int, size: int = 20_000, *, spf: bool = True) -> World:
    """Nothing but wanted mail."""
    return World(days, wanted(size), size=size, spf=SPF if spf else None)


def full(days: int, size: int = 20_000, *, spf: bool = True) -> World:
    """The same mail, with all spam, attacks and floods."""
    records = {**SPF, **ATTACKS_SPF} if spf else None
    return World(days, [*wanted(size), *unwanted()], floods(), size, spf=records)


def troubled(days: int, size: int = 20_000, *, spf: bool = True) -> World:
    """The same mail as when it is calm, with a clock that goes wrong twice."""
    return World(days, wanted(size), size=size, troubles=TROUBLES, spf=SPF if spf else None)


async def simulate(world: World, seed: int) -> Outcome:
    """What became of all mail, after everything was delivered or given up."""
    clock = FakeClock(START)
    async with opened(clock, world.spf) as site:
        return await _Run(world, seed, clock, site).run()


class _Run:
    """One run."""

    def __init__(self, world: World, seed: int, clock: FakeClock, site: Site) -> None:
        self._world = world
        self._seed = seed
        self._clock = clock
        self._site = site
        self._time = START
        """As it really is."""
        self._clock_is_wrong = False
        """Nobody is expected to remember those who are first met meanwhile."""
        self._serial = itertools.count()
        self._events: list[tuple[int, int, Step]] = []
        self._met: dict[tuple[str, str, str], int] = {}
        self._shown: dict[str, tuple[int, int, tuple[str, str]]] = {}
        """By organisation: how often it came back, when that was counted last, and with which pair."""
        self._outcome = Outcome(world.days, [], {}, world.kinds)
        self._sessions = itertools.count()

    async def run(self) -> Outcome:
        world = self._world
        for kind in world.kinds:
            for number, born in enumerate(_births(kind, self._seed, world.days)):
                self._at(born, self._birth(kind, number))
        for flood in world.floods:
            self._flood(flood)
        for trouble in world.troubles:
            self._trouble(trouble)
        for hour in range(24 * (world.days + 5)):
            self._at(START + hour * HOUR, self._upkeep)
        heapq.heapify(self._events)
        while self._events:
            when, _, step = heapq.heappop(self._events)
            self._clock.advance(when - self._time)
            self._time = when
            await step(when)
        return self._outcome

    def _at(self, when: int, step: Step) -> None:
        heapq.heappush(self._events, (when, next(self._serial), step))

    async def _upkeep(self, now: int) -> None:
        await self._site.upkeep()

    # ------------------------------------------------------------------ messages

    def _birth(self, kind: Kind, number: int) -> Step:
        async def step(now: int) -> None:
            message = Message(kind, number, now, self._seed)
            self._outcome.deliveries += message.deliveries
            await self._try(message, 0, now)

        return step

    async def _try(self, message: Message, mx: int, now: int) -> None:
        """Ask one mail server for everything that is still to be delivered."""
        kind = message.kind
        waiting = message.open
        for begin in range(0, len(waiting), _PIECE):
            await self._transaction(message, waiting[begin : begin + _PIECE], kind.mx[mx], now)
        waiting = message.open
        if not waiting:
            return
        if mx + 1 < len(kind.mx):
            self._at(now + _NEXT_MX, lambda when: self._try(message, mx + 1, when))
            return
        for delivery in waiting:
            delivery.rounds += 1
            delivery.late_rounds += bool(delivery.asked_for) and now - message.born >= delivery.asked_for
        message.rounds += 1
        wait = next(message.waits, None)
        if wait is not None and now + wait - message.born < GIVE_UP:
            self._at(now + wait, lambda when: self._try(message, 0, when))

    async def _transaction(self, message: Message, asked: list[Delivery], mx: str, now: int) -> None:
        """One session; too many refusals end it before DATA, and nobody gets anything."""
        client = message.kind.client(message.random, message, message.rounds)
        sender = message.sender if client.sender is None else client.sender
        template = {
            "listener": mx,
            "client_address": client.address,
            "client_name": client.name,
            "helo": client.helo,
            "sender": sender,
            "message": f"{next(self._sessions):x}",
            "attributes": client.attributes,
        }
        accepted: list[tuple[Delivery, Reply]] = []
        refused = 0
        known = False
        for delivery in asked:
            delivery.tries += 1
            if delivery.tries == 1:
                known = self._first_try(message, delivery, now, known=known)
            reply = await self._site.judge(Attempt(recipient=delivery.recipient, **template))
            if reply.action is Action.PASS:
                accepted.append((delivery, reply))
                continue
            _refuse(delivery, reply, now)
            refused += 1
            if refused == _ERRORS:
                for taken, _ in accepted:
                    taken.lost += 1
                return
        if accepted and message.kind.data and (not sender or sender.startswith("double-bounce")):
            to = asked[0].recipient if len(asked) == 1 else ""
            reply = await self._site.judge(Attempt(recipient=to, stage=Stage.DATA, **template))
            if reply.action is not Action.PASS:
                for delivery, _ in accepted:
                    _refuse(delivery, reply, now)
                return
            accepted = [(delivery, reply) for delivery, _ in accepted]
        for delivery, reply in accepted:
            self._deliver(message, delivery, reply, now)

    def _first_try(self, message: Message, delivery: Delivery, now: int, *, known: bool) -> bool:
        """Note what was known before; returns whether somebody known has been named in this message."""
        letter = message.letter
        author = letter.who or letter.sender
        met = self._met.get((message.kind.name, author, delivery.recipient))
        delivery.follow_up = met is not None and now - met < _ACQUAINTED
        delivery.beside_known = known and not delivery.follow_up
        if message.kind.organisations:
            delivery.shown = self._shown.get(letter.organisation, (0, 0, ("", "")))[0]
        return known or delivery.follow_up

    def _deliver(self, message: Message, delivery: Delivery, reply: Reply, now: int) -> None:
        letter = message.letter
        delivery.delivered = now - message.born
        delivery.last_reason = reply.reason
        delivery.first_reason = delivery.first_reason or reply.reason
        author = letter.who or letter.sender
        met = (message.kind.name, author, delivery.recipient)
        if not self._clock_is_wrong or met in self._met:
            self._met[met] = now
        if message.kind.organisations and reply.reason is Reason.RETRY:
            pair = (author, delivery.recipient)
            count, last, before = self._shown.get(letter.organisation, (0, 0, ("", "")))
            if pair != before and now - last >= HOUR:
                self._shown[letter.organisation] = (count + 1, now, pair)

    # ------------------------------------------------------------------ floods and clocks

    def _flood(self, flood: Flood) -> None:
        random = Random(f"{self._seed}/{flood.name}")
        result = self._outcome.floods[flood.name] = Flooded()
        begin, size = START + flood.since, self._world.size

        async def step(now: int) -> None:
            # All of one second: an event for each would cost more than the attempts.
            due = size * (now - begin + 1) // flood.lasting
            while result.sent < min(due, size):
                reply = await self._site.judge(flood.attempt(random, result.sent))
                result.sent += 1
                result.passed += reply.action is Action.PASS
            if result.sent < size:
                self._at(now + 1, step)

        async def before(now: int) -> None:
            result.bytes_before = await self._site.size()

        async def after(now: int) -> None:
            result.bytes_after = await self._site.size()

        self._at(begin - 1, before)
        self._at(begin, step)
        self._at(begin + flood.lasting + 1, after)

    def _trouble(self, trouble: Trouble) -> None:
        async def begin(now: int) -> None:
            self._clock.step(trouble.offset)
            self._clock_is_wrong = True
            if trouble.restart:
                await self._site.restart()

        async def end(now: int) -> None:
            self._clock.step(-trouble.offset)
            self._clock_is_wrong = False

        self._at(START + trouble.since, begin)
        self._at(START + trouble.since + trouble.lasting, end)


def _refuse(delivery: Delivery, reply: Reply, now: int) -> None:
    age = now - delivery.born
    if not delivery.refused:
        delivery.asked_for = age + reply.retry_after
    delivery.refused.append(age)
    delivery.last_reason = reply.reason
    delivery.first_reason = delivery.first_reason or reply.reason


def _births(kind: Kind, seed: int, days: int) -> Iterator[int]:
    """When its messages are written: in order, and whatever else happens."""
    random = Random(f"{seed}/{kind.name}")
    begin = min(kind.since, days * DAY)
    lasting = min(kind.lasting or days * DAY, days * DAY - begin)
    number = kind.total or int(kind.per_day * lasting / DAY)
    times = sorted(START + begin + random.randrange(max(lasting, 1)) for _ in range(-(-number // kind.batch)))
    yield from itertools.islice((when for when in times for _ in range(kind.batch)), number)
