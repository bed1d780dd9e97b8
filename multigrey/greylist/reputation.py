"""Decides whether an origin is proven: whether its deferred mail reliably comes back.

Greylisting tests whether a client comes back.  After enough tests, with mail from several sender domains,
another test would show nothing new, and the origin is not delayed any more.

There are two proofs.  A *named* origin is proven when enough of its deferrals are resolved and nearly all of
them came back, for several sender domains.  With many sender domains a smaller share is enough, because a
forwarder or a host of mailing lists passes on spam too.  An *unnamed* origin, which is a single address here,
is proven when mail of many sender domains came back through it.

A deferral is resolved when it is so old that nearly all mail that ever comes back would have come back by
then.  Younger deferrals do not count yet.  That age depends on the origin's own returns (`resolved_after`).
It is the time within which 99 of a hundred came back, but at least 4 h 30 min, because some mail servers make
their first retry after four hours; until twenty have come back it is six hours.  So the retries of one origin
have no influence on the mail of another.

Deferrals are counted by the hour in which they were made, and by the day when they are older than two days.
A proven origin is still tested, with one new key in 64, so that it loses the proof when its mail stops coming
back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from multigrey.model import DAY, HOUR, Reputation, value

__all__ = [
    "FORWARDED_DOMAINS",
    "RESOLVED_AFTER",
    "Proof",
    "ReputationFigures",
    "deferred",
    "figures",
    "is_spot_check",
    "proven",
    "resolved_after",
    "returned",
]

RESOLVED_AFTER = 6 * HOUR
"""Seconds after which a deferral is resolved, while an origin has too few returns of its own."""
_STEPS = (16_200, 21_600, 32_400, 48_600, 72_900, 109_350)
"""Upper bounds in seconds by which the ages of returns are counted; a last count is for older ones."""
_LONGEST_STEP = 2 * DAY
_ENOUGH_RETURNS = 20
_MANY_RETURNS = 1_000
"""Above this number of returns all counts are halved, so that old returns count less."""
FORWARDED_DOMAINS = 10
"""Number of sender domains whose mail came back from which on an origin counts as a forwarder for many."""
_FORWARDED_PERCENT = 80
"""Least percentage of a forwarder's resolved deferrals that came back; low, because it forwards spam too."""
_SPAN_DAYS = 30
"""Days for which resolved deferrals count."""
_MOST_DAYS = 45
_MOST_HOURS = 48
_MOST_DOMAINS = 64
_MARK = 4
"""Bytes of a sender domain's mark that are kept: enough to distinguish a few dozen."""
_SPOT_CHECKS = 4
"""Of 256 values of a digest's first byte: 1.6 per cent."""

Row = tuple[int, int, int]
"""An hour or day since 1970, how many were deferred in it, how many of these returned."""


@value
class Proof:
    """The least figures with which an origin is proven."""

    resolved: int
    """Resolved deferrals within 30 days."""
    domains: int
    """Different sender domains whose mail came back."""
    percent: int
    """Percentage of the resolved deferrals that came back."""


@value
class ReputationFigures:
    """The sums over the hours and days that count."""

    resolved: int
    returned: int
    domains: int


def deferred(standing: Reputation | None, now: int) -> Reputation:
    """The standing after one more new record of this origin was deferred."""
    return _counted(standing or Reputation(), now, now, deferred=1, returned=0)


def returned(standing: Reputation | None, now: int, first_seen: int, domain: bytes) -> Reputation:
    """The standing after a record that was deferred at `first_seen` came back.

    `domain` is the mark of the sender domain.
    """
    counted = _counted(standing or Reputation(), now, first_seen, deferred=0, returned=1)
    mark = domain[:_MARK]
    domains = [(known, day) for known, day in counted.domains if known != mark]
    return replace(
        counted,
        domains=(*domains[-(_MOST_DOMAINS - 1) :], (mark, now // DAY)),
        ages=_aged(counted.ages, now - first_seen),
    )


def resolved_after(standing: Reputation) -> int:
    """Seconds after which nearly every deferral of this origin that is ever retried has been retried."""
    total, seen = sum(standing.ages), 0
    if total < _ENOUGH_RETURNS:
        return RESOLVED_AFTER
    for count, step in zip(standing.ages, _STEPS, strict=False):
        seen += count
        if seen * 100 >= 99 * total:
            return step
    return _LONGEST_STEP


def figures(standing: Reputation, now: int) -> ReputationFigures:
    """The figures that count now: the resolved deferrals of the last 30 days."""
    newest = now - resolved_after(standing)
    oldest = now // DAY - _SPAN_DAYS
    resolved = back = 0
    for rows, span in ((standing.hours, HOUR), (standing.days, DAY)):
        for number, sent, came in rows:
            if oldest * DAY <= number * span and (number + 1) * span <= newest:
                resolved += sent
                back += min(came, sent)
    return ReputationFigures(resolved, back, sum(day >= oldest for _, day in standing.domains))


def proven(standing: Reputation, proof: Proof, now: int, *, named: bool = True) -> bool:
    """Whether the origin is proven.

    A proven origin stays proven with smaller figures, because it is hardly tested any more.  It loses the
    proof as soon as more than the tolerated share, and more than one deferral, did not come back.
    """
    found = figures(standing, now)
    forwards = found.domains >= FORWARDED_DOMAINS and _came(found, _FORWARDED_PERCENT)
    if not named:
        return forwards
    if standing.proven_at:
        return found.resolved - found.returned <= 1 or _came(found, proof.percent) or forwards
    kept = found.domains >= proof.domains and _came(found, proof.percent)
    return found.resolved >= proof.resolved and (kept or forwards)


def is_spot_check(key: bytes) -> bool:
    """Whether this key is one of those with which a proven origin is still tested."""
    return bool(key) and key[0] < _SPOT_CHECKS


def _came(found: ReputationFigures, percent: int) -> bool:
    return found.returned * 100 >= percent * found.resolved


def _counted(standing: Reputation, now: int, when: int, *, deferred: int, returned: int) -> Reputation:
    hour, oldest = when // HOUR, now // HOUR - _MOST_HOURS + 1
    hours, days = standing.hours, standing.days
    if hours and hours[-1][0] == hour and hours[0][0] >= oldest:
        # The usual case: the latest hour.
        _, sent, came = hours[-1]
        hours = (*hours[:-1], (hour, sent + deferred, came + returned))
    else:
        hours, days = _moved(standing, now, oldest, when, (deferred, returned))
    return Reputation(days, standing.domains, standing.proven_at, now, hours, standing.ages)


def _aged(ages: tuple[int, ...], age: int) -> tuple[int, ...]:
    """The counts with one more return that took `age` seconds."""
    counts = list(ages) if len(ages) == len(_STEPS) + 1 else [0] * (len(_STEPS) + 1)
    counts[sum(age > step for step in _STEPS)] += 1
    return tuple([count // 2 for count in counts] if sum(counts) > _MANY_RETURNS else counts)


def _moved(
    standing: Reputation, now: int, oldest: int, when: int, more: tuple[int, int]
) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Hours and days with `more` added at `when`, and the hours before `oldest` moved to their days."""
    hours = {number: (sent, came) for number, sent, came in standing.hours}
    days = {number: (sent, came) for number, sent, came in standing.days}
    if when // HOUR >= oldest:
        _add(hours, when // HOUR, *more)
    else:
        _add(days, when // DAY, *more)
    for number in [number for number in hours if number < oldest]:
        _add(days, number * HOUR // DAY, *hours.pop(number))
    # Some future is allowed, so that nothing is lost while the clock is set back.  Hours and days far ahead
    # come from a wrong clock and are dropped.
    latest = oldest + 2 * _MOST_HOURS
    return (
        _rows(hours, (number for number in hours if number <= latest)),
        _rows(days, (number for number in days if number <= now // DAY + _MOST_DAYS))[-_MOST_DAYS:],
    )


def _add(rows: dict[int, tuple[int, int]], number: int, deferred: int, returned: int) -> None:
    sent, came = rows.get(number, (0, 0))
    rows[number] = (sent + deferred, came + returned)


def _rows(rows: dict[int, tuple[int, int]], numbers: Iterable[int]) -> tuple[Row, ...]:
    return tuple([(number, *rows[number]) for number in sorted(numbers)])
