"""What a report on greylisting is made with, and what is in it.  Times in seconds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

from multigrey.model import DAY, HOUR, DecisionEvent, Reason

__all__ = [
    "DELAY_BOUNDS",
    "ORIGIN_CLASSES",
    "ClassRow",
    "Delays",
    "Due",
    "FloodRow",
    "Hit",
    "Lost",
    "Outlook",
    "Report",
    "SenderFigures",
    "Slot",
    "Target",
    "Traffic",
    "percentile",
    "resolved_at",
    "slot_length",
    "would_have_waited",
]


ORIGIN_CLASSES = ("named", "unnamed", "provider")
"""Origins with a name of their own, known by their network only, of a large provider."""
DELAY_BOUNDS = (300, 600, 900, 1800, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, DAY)
"""Upper ends, in seconds, of the delays that are counted together; a last group has what took longer."""

_SLOTS = (HOUR, 3 * HOUR, 6 * HOUR, DAY, 7 * DAY)
_MOST_SLOTS = 60


@dataclass(frozen=True, slots=True)
class Target:
    """What the configuration says of a class."""

    seconds: int | None = None
    """The longest delay its mail may have; None: not said."""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Due:
    """An entry of a whitelist that somebody has to look at."""

    owner: str
    kind: str
    """A word of `whitelists.lint.KINDS`."""
    place: str
    entry: str
    message: str


def _by_name(event: DecisionEvent) -> str:
    return "unnamed" if not event.origin or "/" in event.origin or ":" in event.origin else "named"


@dataclass(frozen=True)
class Outlook:
    """What a report is made with."""

    now: int
    since: int
    """Decisions before this are not looked at."""
    retry_window: int
    """Seconds after which what was deferred never comes back."""
    targets: Mapping[str, Target] = field(default_factory=lambda: MappingProxyType({}))
    """By name of a class; all that are configured."""
    due: Sequence[Due] = ()
    owner: str = ""
    """Only classes, entries and hits of this owner are told; "" is everybody's."""
    most: int = 20
    """Rows of each table, at most."""
    more: bool = False
    """Whether there were more decisions than were looked at."""
    recorded_since: int = 0
    """When the oldest decision that is remembered was made; 0: not said."""
    utc_offset: int = 0
    """Seconds by which local time is ahead of UTC: slots begin with local hours and days."""
    origin_class: Callable[[DecisionEvent], str] = _by_name
    """One of `ORIGIN_CLASSES`."""
    untold: frozenset[str] = frozenset()
    """Listeners whose protocol tells neither names nor HELOs of clients."""


@dataclass(frozen=True, slots=True)
class Delays:
    """What came of mails that were deferred, and how long those that came back had waited, in seconds."""

    deferred: int
    returned: int
    waiting: int
    """Not come back yet; a retry still counts."""
    never: int
    """Not come back, and too late now."""
    p50: int | None
    """None: nothing came back."""
    p95: int | None
    longest: int | None


@dataclass(frozen=True, slots=True)
class ClassRow:
    """The same for a class of origins, or a class of the configuration against its target."""

    name: str
    owner: str
    target: int | None
    over_target: int
    """Mail that took longer than the target, what still waits included."""
    delays: Delays


@dataclass(frozen=True, slots=True)
class SenderFigures:
    """A domain of senders, or an origin."""

    name: str
    kind: str
    """The class of its origins, by most of its mail."""
    attempts: int
    waited: int
    """Seconds its mail that came back had waited, in all."""
    delays: Delays


@dataclass(frozen=True, slots=True)
class Hit:
    """How often an entry of a whitelist let mail pass."""

    source: str
    entry: str
    owner: str
    number: int


@dataclass(frozen=True, slots=True)
class Lost:
    """Mail that was deferred and never came back."""

    sender: str
    recipient: str
    origin: str
    first: int
    last: int
    attempts: int
    id: str
    """Of the last decision, for `multigrey explain`."""


@dataclass(frozen=True, slots=True)
class FloodRow:
    """A network, or named origin, that was over the limit of new records."""

    network: str
    first: int
    last: int
    attempts: int
    """Over the limit, as far as they are remembered."""
    most: int
    """Of these, in one hour of the clock."""


@dataclass(frozen=True, slots=True)
class LetIn:
    """A provider that is known to retry, and what it was spared: attempts that would have had to wait."""

    provider: str
    number: int
    domains: int
    """Different domains of their senders."""
    last: int


@dataclass(frozen=True, slots=True)
class Slot:
    """A stretch of time: mails that were deferred at first in it, that were let in, that passed at once.

    The last one is not over yet.
    """

    begin: int
    deferred: int
    returned: int
    passed: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """All decisions of the time."""

    decisions: int
    first: int | None
    """When the first of them was made."""
    passed_at_once: int
    """Attempts that passed without having been deferred."""
    refused: int
    """Mails that a rule refused."""
    observed: int
    """Attempts that would have been deferred, had greylisting not only been observed."""
    by_reason: Mapping[str, int]
    over_limit: int
    """Attempts deferred over the limit of new records."""


@dataclass(frozen=True, slots=True)
class Report:
    """The whole of it."""

    time: int
    since: int
    more: bool
    owner: str
    traffic: Traffic
    delays: Delays
    origins: Sequence[ClassRow]
    classes: Sequence[ClassRow]
    slot: int
    """Length of a slot in seconds."""
    slots: Sequence[Slot]
    histogram: Sequence[int]
    """Mails by delay: one number for each of `DELAY_BOUNDS`, and one for what took longer."""
    domains: Sequence[SenderFigures]
    """Senders' domains whose mail came back, those that waited longest in all first."""
    top_origins: Sequence[SenderFigures]
    lost: Sequence[Lost]
    """Those that were deferred last first."""
    floods: Sequence[FloodRow]
    """Those with most attempts first."""
    let_in: Sequence[LetIn]
    """Those with most attempts first."""
    first_figures: int | None
    """When it can first be told what never came back; None: it can, or nothing was deferred."""
    hits: Sequence[Hit]
    due: Sequence[Due]
    advice: Sequence[str]

    def as_mapping(self) -> dict[str, Any]:
        """As JSON can hold it; what is due for review by owner."""
        found = asdict(self)
        by_owner: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in found["due"]:
            by_owner[row["owner"]].append(row)
        owners = sorted(by_owner, key=lambda owner: (not owner, owner))
        return {
            **found,
            "due": [{"owner": owner, "entries": by_owner[owner]} for owner in owners],
            "delay_bounds": list(DELAY_BOUNDS),
        }


def percentile(values: Sequence[int], percent: int) -> int | None:
    """The smallest of these that so many percent of them do not exceed (nearest rank); None of none."""
    if not values:
        return None
    return sorted(values)[max(-(-len(values) * percent // 100), 1) - 1]


def slot_length(seconds: int) -> int:
    """How long the slots of a time of this length are."""
    return next(
        (each for each in _SLOTS if seconds <= each * _MOST_SLOTS), max(seconds // _MOST_SLOTS + 1, 1)
    )


def resolved_at(first: int, retry_window: int) -> int:
    """When it is certain what became of all mail first deferred in the same hour as this one.

    Told hour by hour: what comes back quickly is known at once, what never does only after the window, so
    mail of the last window says nothing about how much comes back.
    """
    return (first // HOUR + 1) * HOUR + retry_window


def would_have_waited(event: DecisionEvent) -> bool:
    """Whether an attempt passed only because greylisting is observed."""
    waiting = (Reason.NEW, Reason.EARLY, Reason.EXPIRED, Reason.OVER_LIMIT)
    return event.verdict.observed and event.verdict.reason in waiting
