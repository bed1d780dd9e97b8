"""One DNS list zone: its cached answers, and whether it answers and can be trusted.

A zone can fail in two ways.  If it does not answer, a breaker stops the questions for a while.  Or it
answers wrongly: a resolver invents addresses, a closed list now lists every address, or a list refuses
to answer a resolver that asks too much.  So an answer counts only if all its addresses are codes and
none is a refusal.  And a zone is used only while it passes the test of RFC 5782 section 5: it lists
what every list lists, and does not list what no list does.
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
"""Seconds between two log lines of the same kind about a zone."""
_MOST_CODES = 256
"""Most addresses in one answer; real lists have fewer for one subject."""

_log = logging.getLogger(__name__)


class KnownEntries(NamedTuple):
    """A subject that a zone must list, and one that it must not list."""

    listed: str
    unlisted: str


@dataclass(frozen=True, slots=True)
class ZoneOptions:
    """The options of a zone; times in seconds."""

    refused: tuple[CodePattern, ...]
    """Codes by which the list refuses to answer."""
    test: KnownEntries | None
    """None: the zone is used without a test."""
    cache_min: float = 10.0
    cache_max: float = 3600.0
    cache_size: int = 10_000


class Health(Enum):
    """The result of a zone's tests."""

    UNTESTED = "untested"
    SOUND = "sound"
    OFF = "off"


class Zone:
    """A zone that is asked through one resolver."""

    def __init__(
        self,
        name: str,
        label: str,
        options: ZoneOptions,
        resolver: Resolver,
        monotonic: Callable[[], float] = trio.current_time,
    ) -> None:
        """`label` names the zone in the log: its own name may contain the key of a subscription."""
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
        """The cached codes for a subject; None if they are not cached."""
        return self._held.get(subject)

    def can_list(self, subject: str) -> bool:
        """Whether an entry for this subject is possible: the length of names is limited."""
        return len(subject) + 1 + len(self.name) <= NAME_OCTETS

    def may_ask(self) -> bool:
        """Whether the zone may be asked at the moment."""
        return not self._breaker.open and (self.health is Health.SOUND or self._being_tested)

    async def ask(self, subject: str, deadline: float) -> Codes | None:
        """Return the codes for a subject, empty if it is not listed; None without a valid answer.

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
            self._warn("answer", "DNS list %s: answers are ignored: %s", self.label, complaint)
            self._failed(complaint)
            return None
        self._succeeded()
        if self.health is not Health.SOUND:  # checked again: a test can have failed while we waited
            return None
        ttl = min(max(answer.ttl, self._options.cache_min), self._options.cache_max)
        self._held.put(subject, answer.addresses, ttl)
        return answer.addresses

    async def _answer(self, subject: str, deadline: float) -> Answer:
        """The answer of the resolver.  Raises ResolverError, also at `deadline`."""
        with trio.move_on_at(deadline):
            return await self._resolver.addresses(f"{subject}.{self.name}")
        raise ResolverError("no answer in time")

    def _complaint(self, answer: Answer) -> str:
        """Why an answer is not valid; "" if it is."""
        codes = answer.addresses
        if outside := sorted(code for code in codes if not is_code(code)):
            return (
                f"it answered {outside[0]}, but lists answer with 127.x.y.z (the name server invents "
                "answers, or the zone has a new owner)"
            )
        if refusals := picked(codes, self._options.refused):
            return (
                f"it answered {refusals[0]}, by which lists refuse to answer (too many questions, or "
                "questions through a public name server)"
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
        """Whether the zone has to be tested."""
        return self._options.test is not None

    async def test(self) -> bool:
        """Ask about the test entries and switch the zone on or off.  Returns whether it is sound.

        A missing answer proves nothing: a sound zone stays on, any other zone stays as it is.
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
        """The answers about the test entries; a text is the reason why there was no answer."""
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
            return self._switch_off("it lists an entry that no list has, so it may list everything")
        if isinstance(listed, Answer) and not listed.addresses:
            return self._switch_off("it does not list its test entry, so it may list nothing")
        if isinstance(listed, str) or isinstance(unlisted, str):
            why = listed if isinstance(listed, str) else unlisted
            if self.health is Health.UNTESTED:
                self._warn("unanswered", "DNS list %s is not used until it answers: %s", self.label, why)
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
        """Log a warning, but each kind at most once in `_QUIET_SECONDS`."""
        now = self._monotonic()
        last = self._said.get(what)
        if last is not None and now - last < _QUIET_SECONDS:
            return
        self._said[what] = now
        _log.warning(message, *arguments)
