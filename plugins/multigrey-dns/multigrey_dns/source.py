"""The slow source, which asks all lists at once within one budget, and the service that tests them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address

import trio

from multigrey.api import Attempt, Findings, Match
from multigrey_dns.codes import LEVELS, Code, CodePattern, picked
from multigrey_dns.settings import Blocklist, DnsSettings, ListTable, Whitelist
from multigrey_dns.subjects import Of, subject_of
from multigrey_dns.zones import Codes, Zone

__all__ = ["DnsSource", "List", "Watcher", "lists_of"]

_MARGIN = 0.1
"""The part of the caller's remaining time that is reserved for returning what was found."""
_QUIET_SECONDS = 60.0
_FIRST_PAUSE = 10.0
"""Seconds until a zone that failed its test is tested again; doubled each time."""

_log = logging.getLogger(__name__)

Question = tuple[Zone, str]


@dataclass(frozen=True, slots=True)
class List:
    """One list: its zone, the part of an attempt that it is asked about, and the answers that count."""

    table: Whitelist | Blocklist
    zone: Zone
    of: Of
    patterns: tuple[CodePattern, ...]

    def question(self, attempt: Attempt) -> Question | None:
        """The question to ask about an attempt; None if there is none."""
        address = attempt.client_address
        if self.of is Of.CLIENT_ADDRESS and isinstance(address, IPv6Address) and not self.table.ipv6:
            return None
        subject = subject_of(attempt, self.of)
        return (self.zone, subject) if subject is not None and self.zone.can_list(subject) else None


def lists_of(settings: DnsSettings, zone_of: Callable[[str, str, ListTable], Zone]) -> list[List]:
    """Return every list of the configuration; lists with the same zone share one Zone object.

    `zone_of` makes a zone from its name, its label for the log, and its first table.
    """
    grouped: dict[tuple[str, bool], list[ListTable]] = {}
    for table in settings.tables:
        grouped.setdefault((table.zone, table.subject.is_domain), []).append(table)
    zones = {
        key: zone_of(key[0], ", ".join(table.name for table in tables), tables[0])
        for key, tables in grouped.items()
    }
    return [
        List(table, zones[table.zone, table.subject.is_domain], table.subject, table.patterns)
        for table in settings.tables
    ]


class DnsSource:
    """The slow source `dns`."""

    def __init__(self, lists: Sequence[List], settings: DnsSettings) -> None:
        """`lists`: the first whitelist that matches counts."""
        self.traits = settings.traits
        self._lists = tuple(lists)
        self._budget = settings.budget
        self._most = settings.questions
        self._score = dict(settings.score)
        self._in_flight = 0
        self._said: float | None = None

    async def ask(self, attempt: Attempt) -> Findings:
        """Return a match for the first whitelist that lists the attempt, and a trait for each blocklist.

        A list that gave no answer within the budget lets no mail pass, and its trait stays unknown.
        """
        asked = [(entry, q) for entry in self._lists if (q := entry.question(attempt)) is not None]
        answers: dict[Question, Codes] = {}
        missing: list[Question] = []
        for question in dict.fromkeys(question for _, question in asked):
            zone, subject = question
            known = zone.recall(subject)
            if known is not None:
                answers[question] = known
            elif zone.may_ask():
                missing.append(question)
        if missing and self._has_room(len(missing)):
            await self._ask_all(missing, answers)
        return self._findings([(entry, answers.get(question)) for entry, question in asked])

    def _has_room(self, more: int) -> bool:
        if self._in_flight + more <= self._most:
            return True
        now = trio.current_time()
        if self._said is None or now - self._said >= _QUIET_SECONDS:
            self._said = now
            _log.warning(
                "more than %d DNS questions at a time (questions in [plugins.dns]): others are not asked",
                self._most,
            )
        return False

    async def _ask_all(self, questions: Sequence[Question], answers: dict[Question, Codes]) -> None:
        """Ask all questions at once, and put the answers that came in time into `answers`."""
        deadline = self._deadline()

        async def ask(question: Question) -> None:
            zone, subject = question
            codes = await zone.ask(subject, deadline)
            if codes is not None:
                answers[question] = codes

        self._in_flight += len(questions)
        try:
            async with trio.open_nursery() as nursery:
                for question in questions:
                    nursery.start_soon(ask, question)
        finally:
            self._in_flight -= len(questions)

    def _deadline(self) -> float:
        """The end of the budget, or a little before the caller's deadline, which would lose all answers."""
        now = trio.current_time()
        left = (trio.current_effective_deadline() - now) * (1 - _MARGIN)
        return now + min(self._budget, left)

    def _findings(self, answers: Sequence[tuple[List, Codes | None]]) -> Findings:
        """The findings from the answers; None stands for a question without an answer."""
        match: Match | None = None
        traits: set[str] = set()
        unanswered: set[str] = set()
        score = possible = 0
        for entry, codes in answers:
            counted = () if codes is None else picked(codes, entry.patterns)
            if isinstance(entry.table, Blocklist):
                if codes is None:
                    unanswered.add(entry.table.trait)
                    possible += entry.table.weight
                elif counted:
                    traits.add(entry.table.trait)
                    score += entry.table.weight
            elif counted and match is None:
                match = _match(entry.table, counted[-1])
        reached = _reached(self._score, score)
        unanswered |= _reached(self._score, score + possible) - reached
        return Findings(match=match, traits=frozenset(traits | reached), unanswered=frozenset(unanswered))


def _match(table: Whitelist, code: Code) -> Match:
    level = f" ({LEVELS[code.packed[-1]]})" if table.levels else ""
    return Match(f"dnswl:{table.name}", f"{code}{level}", table.owner)


def _reached(thresholds: Mapping[str, int], score: int) -> set[str]:
    return {f"dnsbl-score:{word}" for word, least in thresholds.items() if score >= least}


class Watcher:
    """The service `dns`: tests every zone at the start and then regularly."""

    def __init__(self, zones: Sequence[Zone], every: float, refresh: Callable[[], None]) -> None:
        """`every`: seconds between two tests of a sound zone; `refresh` is called before each test."""
        self._zones = tuple(zone for zone in zones if zone.needs_tests)
        self._every = every
        self._refresh = refresh

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Test until cancelled.  A zone that failed is tested again after 10 s, then less and less often."""
        async with trio.open_nursery() as nursery:
            for zone in self._zones:
                nursery.start_soon(self._watch, zone)
            task_status.started()
            await trio.sleep_forever()

    async def _watch(self, zone: Zone) -> None:
        pause = _FIRST_PAUSE
        while True:
            self._refresh()
            if await zone.test():
                pause = _FIRST_PAUSE
                await trio.sleep(self._every)
            else:
                await trio.sleep(min(pause, self._every))
                pause *= 2
