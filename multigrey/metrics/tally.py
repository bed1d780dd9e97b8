"""Counts decisions for metrics: numbers by verdict, real delays, and deferrals that never came back.

`Tally` is called for every decision, so it only adds to plain dictionaries; `collector` makes samples
from them at each scrape.  Labels come from enums and the configuration, never from senders or
recipients, so an attacker cannot make the dictionaries grow.

Deferrals that never came back are counted without reading the store.  The first deferral of a mail is
counted under its hour.  A retry has the age of its record, and so the hour of its first deferral.
When the retry window of an hour's last deferral is over, all that have not returned are counted as
never returned.  The open hours are kept in the store (`open_hours`, `restore`), so that a restart does
not lose the counts of two days.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from multigrey.engine.setup import Setup
from multigrey.errors import CodecError
from multigrey.histogram import Histogram
from multigrey.model import Action, DecisionEvent, Reason, Verdict

__all__ = ["DELAY_BOUNDS", "ORIGINS", "Tally"]

HOUR: Final = 3600

NAMED, UNNAMED, PROVIDER = "named", "unnamed", "provider"
ORIGINS = (NAMED, UNNAMED, PROVIDER)
"""Classes of origins: with a name of their own, known by their network only, of a large provider."""

DELAY_BOUNDS = (60, 120, 180, 300, 450, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400, 172_800)

_ACCEPTED = frozenset({Reason.RETRY, Reason.SAME_MESSAGE, Reason.AUTO_WHITELISTED})
"""Reasons with which mail passes that may have been deferred before."""
_DEFERRED = frozenset({Reason.NEW, Reason.EXPIRED, Reason.OVER_LIMIT})
"""Reasons with which mail is deferred for the first time, and a record or mark begins."""
_LOOKED_AT = _ACCEPTED | _DEFERRED

Kind = tuple[Action, Reason, str, bool]
"""The key of the decision counts: action, reason, listener, observed."""


class Tally:
    """A subscriber of the engine that counts decisions."""

    def __init__(self, setup: Callable[[], Setup], target_of: Callable[[str], int | None]) -> None:
        """`setup` returns the current setup; `target_of` returns the target of a class in seconds."""
        self.decisions: dict[Kind, int] = {}
        self.delays: dict[tuple[str, str], Histogram] = {}
        """Seconds from the first attempt to acceptance, by origin class and class."""
        self.over_target: dict[str, int] = {}
        """By class: the number of mails accepted later than its target allows."""
        self.deferred = dict.fromkeys(ORIGINS, 0)
        self.returned = dict.fromkeys(ORIGINS, 0)
        self.never_returned = dict.fromkeys(ORIGINS, 0)
        self._hours: dict[tuple[int, str], list[int]] = {}
        """By hour since 1970 and origin class: the deferrals in that hour, and how many came back."""
        self._setup = setup
        self._target_of = target_of

    def __call__(self, event: DecisionEvent) -> None:
        """Count one decision.  This is on the hot path."""
        verdict = event.verdict
        reason = verdict.reason
        kind = (verdict.action, reason, event.attempt.listener, verdict.observed)
        decisions = self.decisions
        decisions[kind] = decisions.get(kind, 0) + 1
        if reason in _LOOKED_AT and not verdict.observed:
            self._follow(event, verdict)

    def _follow(self, event: DecisionEvent, verdict: Verdict) -> None:
        """Count a first deferral, or the acceptance of mail that was deferred."""
        if verdict.action is Action.DEFER:
            if verdict.attempts > 1:
                return  # a mark that was found again: its first deferral is already counted
            origin = self._origin_class(event)
            self.deferred[origin] += 1
            self._hours.setdefault((event.time // HOUR, origin), [0, 0])[0] += 1
        elif verdict.attempts > 1 and verdict.reason in _ACCEPTED:
            origin = self._origin_class(event)
            self.returned[origin] += 1
            self._note_return((event.time - verdict.age) // HOUR, origin)
            self._accepted(origin, event.class_, verdict.age)

    def _note_return(self, hour: int, origin: str) -> None:
        """Count that a deferral of this hour came back.

        The origin class may have changed since, when a name was found; then another class is used.
        """
        for other in (origin, *ORIGINS):
            counts = self._hours.get((hour, other))
            if counts is not None and counts[1] < counts[0]:
                counts[1] += 1
                return

    def _accepted(self, origin: str, class_: str, age: int) -> None:
        histogram = self.delays.get((origin, class_))
        if histogram is None:
            histogram = self.delays[origin, class_] = Histogram(DELAY_BOUNDS)
        histogram.observe(age)
        target = self._target_of(class_) if class_ else None
        if target is not None and age > target:
            self.over_target[class_] = self.over_target.get(class_, 0) + 1

    def _origin_class(self, event: DecisionEvent) -> str:
        attempt, origin = event.attempt, event.origin
        if attempt.raw or not origin or "/" in origin:  # only a network contains a slash
            return UNNAMED
        return PROVIDER if self._setup().provider_of(attempt) else NAMED

    def settle(self, now: int) -> None:
        """Close the hours whose retry window is over: what has not returned counts as never returned.

        The window is the longer of the two policies' retry windows.  A longer window of a rule is cut
        short here.
        """
        setup = self._setup()
        window = max(setup.policy.retry_window, setup.unnamed_policy.retry_window)
        for hour, origin in [key for key in self._hours if (key[0] + 1) * HOUR + window <= now]:
            begun, back = self._hours.pop((hour, origin))
            self.never_returned[origin] += begun - back
        for key in [key for key in self._hours if key[0] * HOUR > now + HOUR]:
            del self._hours[key]  # the clock was wrong at that time, so the real hour is unknown

    def waiting(self) -> dict[str, int]:
        """Return the number of deferrals that have not returned and still may, by origin class."""
        found = dict.fromkeys(ORIGINS, 0)
        for (_, origin), (begun, back) in self._hours.items():
            found[origin] += begun - back
        return found

    def open_hours(self) -> list[tuple[int, str, int, int]]:
        """Return the open hours: hour since 1970, origin class, deferrals, how many came back."""
        return [(hour, origin, begun, back) for (hour, origin), (begun, back) in self._hours.items()]

    def restore(self, rows: Iterable[Sequence[Any]]) -> None:
        """Add the hours that were open when the daemon ended.  Raises CodecError."""
        for row in rows:
            hour, origin, begun, back = row
            if origin not in ORIGINS:
                raise CodecError(f"not a row of open deferrals: {row!r}")
            counts = self._hours.setdefault((hour, origin), [0, 0])
            counts[0] += begun
            counts[1] += back
