"""Whether an origin has proved that what it is asked to send again does come back.

Greylisting tests whether a client comes back.  Where that was tested often enough, with mail from several
sender domains, the test has nothing left to find, and the origin is no longer delayed.

There are two proofs.  A *named* origin is proven when enough of its deferrals are resolved and nearly all
of them came back, for several sender domains; fewer have to where there were many sender domains, because a
forwarder or a host of mailing lists passes spam on too.  An *unnamed* one, which is a single address here, is
proven when mail of many sender domains came back through it.

A deferral is resolved when it is so old that nearly all that ever come back would have: only then is it
known whether it did, and younger ones have no say yet.  How long that is an origin shows by its own returns
(`resolved_after`): the time within which 99 of a hundred came back, but never less than 4 h 30 min, because
some mail servers make their first retry after four hours; six hours until twenty have come back.  So no
origin's retries say anything about another one's mail.

Deferrals are counted by the hour in which they were made, and by the day when they are older than two days.
A proven origin is still tested, by one new key in 64, so that it falls out again when it stops coming back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from multigrey.model import DAY, HOUR, Standing, value

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
"""Seconds after which a deferral is resolved, until an origin's own returns say better."""
_STEPS = (16_200, 21_600, 32_400, 48_600, 72_900, 109_350)
"""Seconds: by these steps, and one more, it is counted how long returns took."""
_LONGEST_STEP = 2 * DAY
_ENOUGH_RETURNS = 20
_MANY_RETURNS = 1_000
"""When there are more, all are halved, so that what is long ago weighs less."""
FORWARDED_DOMAINS = 10
"""Sender domains whose mail came back through an origin that forwards for many."""
_FORWARDED_PERCENT = 80
"""How many of a forwarder's resolved deferrals came back, at least: it forwards spam too."""
_SPAN_DAYS = 30
"""Resolved deferrals count for this long."""
_MOST_DAYS = 45
_MOST_HOURS = 48
_MOST_DOMAINS = 64
_MARK = 4
"""Bytes of a sender domain's mark that are kept: enough to tell a few dozen apart."""
_SPOT_CHECKS = 4
"""Of 256 values of a digest's first byte: 1.6 per cent."""

Row = tuple[int, int, int]
"""An hour or day since 1970, how many were deferred in it, how many of these returned."""


@value
class Proof:
    """What has to be shown before an origin is believed."""

    resolved: int
    """Deferrals whose outcome is known, within 30 days."""
    domains: int
    """Different sender domains that came back."""
    percent: int
    """How many of the resolved deferrals came back, at least."""


@value
class ReputationFigures:
    """What the hours and days that have a say add up to."""

    resolved: int
    returned: int
    domains: int


def deferred(standing: Standing | None, now: int) -> Standing:
    """One more new record of this origin was deferred."""
    return _counted(standing or Standing(), now, now, deferred=1, returned=0)


def returned(standing: Standing | None, now: int, first_seen: int, domain: bytes) -> Standing:
    """A record that was deferred at `first_seen` came back; `domain` is the sender domain's mark."""
    counted = _counted(standing or Standing(), now, first_seen, deferred=0, returned=1)
    mark = domain[:_MARK]
    domains = [(known, day) for known, day in counted.domains if known != mark]
    return replace(
        counted,
        domains=(*domains[-(_MOST_DOMAINS - 1) :], (mark, now // DAY)),
        ages=_aged(counted.ages, now - first_seen),
    )


def resolved_after(standing: Standing) -> int:
    """Seconds after which nearly every deferral of this origin that is ever retried has been."""
    total, seen = sum(standing.ages), 0
    if total < _ENOUGH_RETURNS:
        return RESOLVED_AFTER
    for count, step in zip(standing.ages, _STEPS, strict=False):
        seen += count
        if seen * 100 >= 99 * total:
            return step
    return _LONGEST_STEP


def figures(standing: Standing, now: int) -> ReputationFigures:
    """What counts at the moment: the resolved deferrals of the last 30 days."""
    newest = now - resolved_after(standing)
    oldest = now // DAY - _SPAN_DAYS
    resolved = back = 0
    for rows, span in ((standing.hours, HOUR), (standing.days, DAY)):
        for number, sent, came in rows:
            if oldest * DAY <= number * span and (number + 1) * span <= newest:
                resolved += sent
                back += min(came, sent)
    return ReputationFigures(resolved, back, sum(day >= oldest for _, day in standing.domains))


def proven(standing: Standing, proof: Proof, now: int, *, named: bool = True) -> bool:
    """Whether the origin is believed.

    Once believed it stays so with fewer figures, because it is hardly tested any more; it falls out as
    soon as more than the tolerated share, and more than one, did not come back.
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
    """Whether this key is one of those by which a proven origin goes on being tested."""
    return bool(key) and key[0] < _SPOT_CHECKS


def _came(found: ReputationFigures, percent: int) -> bool:
    return found.returned * 100 >= percent * found.resolved


def _counted(standing: Standing, now: int, when: int, *, deferred: int, returned: int) -> Standing:
    hour, oldest = when // HOUR, now // HOUR - _MOST_HOURS + 1
    hours, days = standing.hours, standing.days
    if hours and hours[-1][0] == hour and hours[0][0] >= oldest:
        # The usual case: the hour it is.
        _, sent, came = hours[-1]
        hours = (*hours[:-1], (hour, sent + deferred, came + returned))
    else:
        hours, days = _moved(standing, now, oldest, when, (deferred, returned))
    return Standing(days, standing.domains, standing.proven_at, now, hours, standing.ages)


def _aged(ages: tuple[int, ...], age: int) -> tuple[int, ...]:
    """One more return that took `age` seconds."""
    counts = list(ages) if len(ages) == len(_STEPS) + 1 else [0] * (len(_STEPS) + 1)
    counts[sum(age > step for step in _STEPS)] += 1
    return tuple([count // 2 for count in counts] if sum(counts) > _MANY_RETURNS else counts)


def _moved(
    standing: Standing, now: int, oldest: int, when: int, more: tuple[int, int]
) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Hours and days with `more` at `when`, and the hours before `oldest` put into their days."""
    hours = {number: (sent, came) for number, sent, came in standing.hours}
    days = {number: (sent, came) for number, sent, came in standing.days}
    if when // HOUR >= oldest:
        _add(hours, when // HOUR, *more)
    else:
        _add(days, when // DAY, *more)
    for number in [number for number in hours if number < oldest]:
        _add(days, number * HOUR // DAY, *hours.pop(number))
    # A clock set back for a while loses nothing; hours and days far ahead of it were never true.
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
