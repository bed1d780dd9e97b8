"""The parameters and the content of a report on greylisting.  Times are in seconds."""

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
    "Once",
    "Outlook",
    "Report",
    "SenderFigures",
    "Slot",
    "Target",
    "Traffic",
    "Worth",
    "percentile",
    "resolved_at",
    "slot_length",
    "would_have_waited",
]


ORIGIN_CLASSES = ("named", "unnamed", "provider")
"""Origins with a name of their own, origins known only by their network, origins of a large provider."""
DELAY_BOUNDS = (300, 600, 900, 1800, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, DAY)
"""Upper bounds, in seconds, of the groups in which delays are counted; a last group has longer delays."""

_SLOTS = (HOUR, 3 * HOUR, 6 * HOUR, DAY, 7 * DAY)
_MOST_SLOTS = 60


@dataclass(frozen=True, slots=True)
class Target:
    """The configured target of a class."""

    seconds: int | None = None
    """The longest delay that its mail should have; None: not configured."""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Due:
    """An entry of a whitelist that an administrator has to review."""

    owner: str
    kind: str
    """A word of `whitelists.checks.lint.KINDS`."""
    place: str
    entry: str
    message: str


def _by_name(event: DecisionEvent) -> str:
    return "unnamed" if not event.origin or "/" in event.origin or ":" in event.origin else "named"


@dataclass(frozen=True)
class Outlook:
    """The parameters of a report."""

    now: int
    since: int
    """Earlier decisions are left out."""
    retry_window: int
    """Seconds after which deferred mail counts as never come back."""
    targets: Mapping[str, Target] = field(default_factory=lambda: MappingProxyType({}))
    """All configured targets, by name of the class."""
    due: Sequence[Due] = ()
    owner: str = ""
    """Only classes, entries and hits of this owner are reported; "": those of all owners."""
    most: int = 20
    """Largest number of rows of each table."""
    more: bool = False
    """Whether there are more decisions than those given."""
    recorded_since: int = 0
    """Time of the oldest decision in the history; 0: unknown."""
    utc_offset: int = 0
    """Seconds by which local time is ahead of UTC; slots begin with local hours and days."""
    origin_class: Callable[[DecisionEvent], str] = _by_name
    """Returns one of `ORIGIN_CLASSES`."""
    untold: frozenset[str] = frozenset()
    """Listeners whose protocol carries neither names nor HELOs of clients."""


@dataclass(frozen=True, slots=True)
class Delays:
    """The outcome of deferred mails, and the delays in seconds of those that came back."""

    deferred: int
    returned: int
    waiting: int
    """Mails that have not come back yet and may still pass."""
    never: int
    """Mails that have not come back within the retry window."""
    p50: int | None
    """Median delay; None: nothing came back."""
    p95: int | None
    longest: int | None


@dataclass(frozen=True, slots=True)
class ClassRow:
    """The delays of a class of origins, or of a configured class, with its target."""

    name: str
    owner: str
    target: int | None
    over_target: int
    """Number of mails that took longer than the target, or that already wait longer."""
    delays: Delays


@dataclass(frozen=True, slots=True)
class SenderFigures:
    """The figures of a sender domain or an origin."""

    name: str
    kind: str
    """The class of the origins of most of its mail."""
    attempts: int
    waited: int
    """Sum of the delays of its mail that came back, in seconds."""
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
    """The id of the last decision, for `multigrey explain`."""


@dataclass(frozen=True, slots=True)
class Once:
    """Mail of an origin that was a first contact, came once, and never came back."""

    origin: str
    kind: str
    """The class of the origin."""
    mails: int
    last: int
    sender: str
    """Of the latest of these mails, as the recipient and the id."""
    recipient: str
    id: str
    command: str
    """Adds the origin to a whitelist; "": nothing is known to add."""


@dataclass(frozen=True, slots=True)
class FloodRow:
    """A network or named origin that was over the limit of new records."""

    network: str
    first: int
    last: int
    attempts: int
    """Number of attempts over the limit, as far as the history has them."""
    most: int
    """Largest number of these in one hour of the clock."""


@dataclass(frozen=True, slots=True)
class LetIn:
    """A provider that is known to retry, and its attempts that would otherwise have been deferred."""

    provider: str
    number: int
    domains: int
    """Number of different sender domains."""
    last: int


@dataclass(frozen=True, slots=True)
class Slot:
    """A span of time: mails that were first deferred in it, that returned in it, that passed at once.

    The last slot is not over yet.
    """

    begin: int
    deferred: int
    returned: int
    passed: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """The numbers of all decisions."""

    decisions: int
    first: int | None
    """Time of the first decision."""
    passed_at_once: int
    """Attempts that passed without having been deferred."""
    refused: int
    """Mails that a rule rejected."""
    observed: int
    """Attempts that passed only because greylisting was in observe mode."""
    by_reason: Mapping[str, int]
    over_limit: int
    """Attempts that were deferred over the limit of new records."""


@dataclass(frozen=True, slots=True)
class Worth:
    """What shows whether greylisting is worth it: mail that was deferred, and what became of it."""

    deferred: int
    settled: int
    """Mails of hours whose retry window is over."""
    back: int
    """Of these, mails that came back."""
    p50: int | None
    p95: int | None
    first_figures: int | None
    """See `Report.first_figures`."""


@dataclass(frozen=True, slots=True)
class Report:
    """The whole report."""

    time: int
    since: int
    more: bool
    owner: str
    counted_since: int | None
    """The beginning of the first hour whose counts make the figures of `traffic`, `delays`, `origins`,
    `classes`, `slots`, `histogram` and `top_origins`; None: these are of the decisions that were read."""
    listed: int
    """Number of decisions that were read."""
    listed_since: int | None
    """Time of the first of them."""
    traffic: Traffic
    delays: Delays
    origins: Sequence[ClassRow]
    classes: Sequence[ClassRow]
    slot: int
    """Length of a slot in seconds."""
    slots: Sequence[Slot]
    histogram: Sequence[int]
    """Number of mails by delay: one for each of `DELAY_BOUNDS`, and one for longer delays."""
    domains: Sequence[SenderFigures]
    """Sender domains whose mail came back, those with the longest delays in all first."""
    top_origins: Sequence[SenderFigures]
    lost: Sequence[Lost]
    """The latest deferrals first."""
    once: Sequence[Once]
    """First contacts that never came back; named origins first, of which other mail came back."""
    floods: Sequence[FloodRow]
    """Those with most attempts first."""
    let_in: Sequence[LetIn]
    """Those with most attempts first."""
    first_figures: int | None
    """Time from which on it is known what never came back; None: it is known, or nothing was deferred."""
    hits: Sequence[Hit]
    due: Sequence[Due]
    advice: Sequence[str]

    def as_mapping(self) -> dict[str, Any]:
        """The report as JSON values; entries that are due for review are grouped by owner."""
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
    """The smallest value that `percent` percent of the values do not exceed (nearest rank).

    None if `values` is empty.
    """
    if not values:
        return None
    return sorted(values)[max(-(-len(values) * percent // 100), 1) - 1]


def slot_length(seconds: int) -> int:
    """Length of a slot in a report over this many seconds."""
    return next(
        (each for each in _SLOTS if seconds <= each * _MOST_SLOTS), max(seconds // _MOST_SLOTS + 1, 1)
    )


def resolved_at(first: int, retry_window: int) -> int:
    """The time at which the outcome is known of all mail that was first deferred in the same hour.

    Mail that comes back is known at once, mail that never does only after the retry window.  So only whole
    hours whose window is over show which share comes back.
    """
    return (first // HOUR + 1) * HOUR + retry_window


def would_have_waited(event: DecisionEvent) -> bool:
    """Whether an attempt passed only because greylisting was in observe mode."""
    waiting = (Reason.NEW, Reason.EARLY, Reason.EXPIRED, Reason.OVER_LIMIT)
    return event.verdict.observed and event.verdict.reason in waiting
