"""Alarms for the administrator: floods, and input of listeners that cannot be true.

The alarms are a subscriber of the engine: they are given decisions after the answers are sent.  All attempts
over the limit of new records are counted.  Of the others a limited number per second is looked at, which is
all of them on most servers.  Everything is kept in memory only: after a restart, a flood that goes on is
reported again as soon as it is over the limit again.

A finding is logged once, and again each day for as long as it holds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import trio

from multigrey.analysis.plausibility import Implausible, Plausibility
from multigrey.clock import Clock
from multigrey.config.settings import Listen
from multigrey.greylist.flood import Floods
from multigrey.identity.addresses import network_and_wider
from multigrey.identity.redaction import Redactor
from multigrey.model import DAY, DecisionEvent, Reason
from multigrey.text import counted
from multigrey.throttle import Throttle

__all__ = ["AT_ONCE", "A_SECOND", "Alarms", "Over", "untold"]

logger = logging.getLogger(__name__)

A_SECOND = 100
"""Attempts that are looked at in a second: each takes two or three microseconds."""
AT_ONCE = 1_000
"""Attempts that are looked at even if they come within one second."""
_EVERY = 60
"""Seconds between two checks for what has to be logged."""
_AGAIN = float(DAY)
_MOST_LOGGED = 10
"""Networks that are logged at a time."""
_TELL_ADDRESSES_ONLY = frozenset({"greylistd"})


def untold(listens: Iterable[Listen]) -> frozenset[str]:
    """The listeners whose protocol has neither names nor HELOs of clients."""
    return frozenset(listen.name for listen in listens if listen.protocol in _TELL_ADDRESSES_ONLY)


class Over(NamedTuple):
    """A network, or named origin, that is over the limit of new records."""

    network: str
    since: int
    """Wall-clock second of its first attempt over the limit."""
    seconds: int
    """How long ago that is."""
    attempts: int
    """In the last hour."""

    def as_mapping(self) -> Mapping[str, Any]:
        """The flood as JSON values."""
        return self._asdict()


class Alarms:
    """The alarms of one daemon."""

    def __init__(
        self,
        clock: Clock,
        untold: frozenset[str] = frozenset(),
        redactor: Callable[[], Redactor | None] = lambda: None,
    ) -> None:
        """`untold`: listeners that are given neither names nor HELOs; `redactor` hides networks."""
        self._clock = clock
        self._floods = Floods()
        self._plausibility = Plausibility(untold)
        self._redactor = redactor
        self._seldom = Throttle(_AGAIN)
        self._holding: Mapping[str, str] = {}
        self._room = AT_ONCE

    def __call__(self, event: DecisionEvent) -> None:
        """Take note of a decision; the hot path."""
        if event.verdict.reason is Reason.OVER_LIMIT:
            self._floods.note(self._clock.monotonic(), *network_and_wider(event))
        if self._room > 0:
            self._room -= 1
            self._plausibility.note(event, self._clock.monotonic())

    @property
    def attempts_over_limit(self) -> int:
        """Since the start."""
        return self._floods.attempts

    def floods(self) -> list[Over]:
        """Floods that are over the limit, or were in the last hour; most attempts in the last hour first.

        Where `[log] redact` is on, networks are tokens.
        """
        now, monotonic = self._clock.now(), self._clock.monotonic()
        redactor = self._redactor()
        found = []
        for flood in self._floods.floods(monotonic):
            ago = int(monotonic - flood.began)
            network = flood.network if redactor is None else redactor.field("origin", flood.network)
            found.append(Over(network, now - ago, ago, flood.attempts))
        return found

    def problems(self) -> Sequence[Implausible]:
        """Input of listeners that cannot be true."""
        return self._plausibility.problems()

    def own_share(self) -> Mapping[str, float]:
        """By listener, the share of its last 200 attempts that came from own clients."""
        return self._plausibility.own_share()

    def status(self) -> Mapping[str, Any]:
        """The part of `status` about alarms."""
        return {
            "floods": [flood.as_mapping() for flood in self.floods()],
            "input": [problem.as_mapping() for problem in self.problems()],
        }

    async def run(self) -> None:
        """Log what is found, for ever."""
        while True:
            for _ in range(_EVERY):
                self._room = min(self._room + A_SECOND, AT_ONCE)
                await trio.sleep(1)
            self.look()

    def look(self) -> None:
        """Log what is new, what still holds after a day, and what is over."""
        problems = {f"listener {each.listener}: {each.problem.value}": each.text for each in self.problems()}
        floods = {
            f"flood from {flood.network}": (
                f"{flood.network} is over the limit of new records: {counted(flood.attempts, 'attempt')} in "
                "the last hour; its new attempts are remembered by a mark only, their retries still pass"
            )
            for flood in self.floods()
        }
        holding = {**problems, **floods}
        for what, text in islice(holding.items(), len(problems) + _MOST_LOGGED):
            if self._seldom.due(what, self._clock.monotonic()):
                logger.warning("%s", text)
        for what in self._holding.keys() - holding.keys():
            logger.info("%s: over", what)
        self._holding = holding
