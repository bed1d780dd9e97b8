"""One zone: what it answered, whether it is alive, and whether it can be believed.

A zone can be wrong in two ways.  It does not answer: then a breaker stops asking for a while.  Or it
answers what is not true: a resolver that invents addresses, a list that was closed and now lists
everybody, one that refuses to answer a resolver of so many questions.  So an answer is only taken
when all of it is codes, none of them a refusal; and a zone is only asked while it passes the test of
RFC 5782 section 5: it lists what every list lists, and does not list what no list does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import trio

from multigrey.api import Breaker, TtlCache
from multigrey_dns.codes import Code, CodePattern, is_code, picked
from multigrey_dns.resolver import Answer, Resolver, ResolverError
from multigrey_dns.subjects import NAME_OCTETS

__all__ = ["Codes", "Health", "KnownEntries", "Zone", "ZoneOptions"]

Codes = frozenset[Code]

_TEST_SECONDS = 5.0
_QUIET_SECONDS = 3600.0
"""How long a zone does not repeat a complaint."""
_MOST_CODES = 256
"""No list has more to say about one subject."""

_log = logging.getLogger(__name__)


class KnownEntries(NamedTuple):
    """What a zone must list and what it must not, as subjects of questions."""

    listed: str
    unlisted: str


@dataclass(frozen=True, slots=True)
class ZoneOptions:
    """How a zone is treated; seconds."""

    refused: tuple[CodePattern, ...]
    """Codes that mean "I do not answer you"."""
    test: KnownEntries | None
    """None: believed without a test."""
    cache_min: float = 10.0
    cache_max: float = 3600.0
    cache_size: int = 10_000


class Health(Enum):
    """What is known of a zone's truthfulness."""

    UNTESTED = "untested"
    SOUND = "sound"
    OFF = "off"


class Zone:
    """A zone to ask, through one resolver."""

    def __init__(
        self,
        name: str,
        label: str,
        options: ZoneOptions,
        resolver: Resolver,
        monotonic: Callable[[], float] = trio.current_time,
    ) -> None:
        """`label` stands for the zone in the log: its name may hold the key of a subscription."""
        self.name = name
        self.label = label
        self.health = Health.SOUND if options.test is None else Health.UNTESTED
        self._options = options
        self._resolver = resolver
        self._monotonic = monotonic
        self._breaker = Breaker(monotonic)
        self._down = False
        self._held = self._empty_cache()
        self._first_test: trio.Event | None = None
        self._said: dict[str, float] = {}

    # --- asking ---

    def recall(self, subject: str) -> Codes | None:
        """The codes it gave for a subject, if they are remembered."""
        return self._held.get(subject)

    def can_list(self, subject: str) -> bool:
        """Whether there can be an entry of this subject: names have a longest length."""
        return len(subject) + 1 + len(self.name) <= NAME_OCTETS

    def may_ask(self) -> bool:
        """Whether asking makes sense at the moment."""
        return not self._breaker.open and (self.health is Health.SOUND or self._being_tested)

    async def ask(self, subject: str, deadline: float) -> Codes | None:
        """The codes for a subject, none when it is not listed; None when there was no answer to believe.

        Never raises.  Gives up at `deadline` (trio's clock).  Waits for a first test that is under way.
        """
        with trio.move_on_at(deadline):
            if self._first_test is not None:
                await self._first_test.wait()
        late = trio.current_time() >= deadline
        if late or self.health is not Health.SOUND or not self._breaker.allows():
            return None
        try:
            answer = await self._answer(subject, deadline)
        except ResolverError as error:
            self._failed(str(error))
            return None
        if complaint := self._complaint(answer):
            self._warn("answer", "DNS list %s is not believed: %s", self.label, complaint)
            self._failed(complaint)
            return None
        self._succeeded()
        if self.health is not Health.SOUND:  # a test has failed meanwhile
            return None
        ttl = min(max(answer.ttl, self._options.cache_min), self._options.cache_max)
        self._held.put(subject, answer.addresses, ttl)
        return answer.addresses

    async def _answer(self, subject: str, deadline: float) -> Answer:
        """Raises ResolverError, after `deadline` too."""
        with trio.move_on_at(deadline):
            return await self._resolver.addresses(f"{subject}.{self.name}")
        raise ResolverError("no answer in time")

    def _complaint(self, answer: Answer) -> str:
        """Why an answer cannot be believed; "" when it can."""
        codes = answer.addresses
        if outside := sorted(code for code in codes if not is_code(code)):
            return (
                f"it answered {outside[0]}, and lists answer 127.x.y.z (the name server invents answers, "
                "or the zone belongs to somebody else now)"
            )
        if refusals := picked(codes, self._options.refused):
            return (
                f"it answered {refusals[0]}, by which lists refuse to answer (too many questions, or asked "
                "through a public name server)"
            )
        return "it answered with too many addresses" if len(codes) > _MOST_CODES else ""

    def _succeeded(self) -> None:
        self._breaker.succeeded()
        if self._down:
            self._down = False
            _log.info("DNS list %s answers again", self.label)

    def _failed(self, why: str) -> None:
        self._breaker.failed()
        if self._breaker.open:
            self._down = True
            self._warn("down", "DNS list %s is not asked for a while: %s", self.label, why)

    # --- testing ---

    @property
    def needs_tests(self) -> bool:
        """Whether it is to be tested at all."""
        return self._options.test is not None

    async def test(self) -> bool:
        """Ask for the test points and switch the zone on or off; whether it was found sound.

        Without an answer nothing is proved: a sound zone stays on, any other waits.
        """
        points = self._options.test
        if points is None:
            return True
        if self.health is Health.UNTESTED:
            self._first_test = trio.Event()
        try:
            return self._judge(await self._answers(points))
        finally:
            if self._first_test is not None:
                self._first_test.set()
                self._first_test = None

    @property
    def _being_tested(self) -> bool:
        return self._first_test is not None

    async def _answers(self, points: KnownEntries) -> Sequence[Answer | str]:
        """What it says about the test points; a text is the reason there was no answer."""
        found: list[Answer | str] = ["", ""]
        deadline = trio.current_time() + _TEST_SECONDS

        async def ask(index: int) -> None:
            try:
                found[index] = await self._answer(points[index], deadline)
            except ResolverError as error:
                found[index] = str(error)

        async with trio.open_nursery() as nursery:
            for index in range(len(points)):
                nursery.start_soon(ask, index)
        return found

    def _judge(self, answers: Sequence[Answer | str]) -> bool:
        listed, unlisted = answers
        for answer in answers:
            if isinstance(answer, Answer) and (complaint := self._complaint(answer)):
                return self._switch_off(complaint)
        if isinstance(unlisted, Answer) and unlisted.addresses:
            return self._switch_off("it lists what no list does, so it lists everybody")
        if isinstance(listed, Answer) and not listed.addresses:
            return self._switch_off("it does not list its test entry, so it lists nobody")
        if isinstance(listed, str) or isinstance(unlisted, str):
            why = listed if isinstance(listed, str) else unlisted
            if self.health is Health.UNTESTED:
                self._warn("unanswered", "DNS list %s is not used before it answers: %s", self.label, why)
            return False
        return self._switch_on()

    def _switch_on(self) -> bool:
        if self.health is Health.OFF:
            _log.warning("DNS list %s passes its test and is in use again", self.label)
        self.health = Health.SOUND
        self._said.clear()
        self._succeeded()
        return True

    def _switch_off(self, why: str) -> bool:
        if self.health is not Health.OFF:
            self.health = Health.OFF
            self._held = self._empty_cache()
            _log.warning("DNS list %s is switched off until it passes its test: %s", self.label, why)
        return False

    def _empty_cache(self) -> TtlCache[str, Codes]:
        return TtlCache(self._monotonic, self._options.cache_size)

    def _warn(self, what: str, message: str, *arguments: object) -> None:
        """Complain, but not all the time about the same."""
        now = self._monotonic()
        last = self._said.get(what)
        if last is not None and now - last < _QUIET_SECONDS:
            return
        self._said[what] = now
        _log.warning(message, *arguments)
