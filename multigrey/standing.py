"""Whether an origin has proved that what it is asked to send again does come back.

Greylisting tests whether a client comes back.  For a named origin that was tested often enough, with
mail from several of its customers, the test has nothing left to find, and it is no longer delayed.

Deferrals are counted by the day on which they were made.  A deferral is resolved when its retry window
is over: only then is it known whether it came back, so younger days have no say yet.  A proven origin
is still tested, by one new key in 64, so that it falls out again when it stops coming back.
"""

from __future__ import annotations

from dataclasses import replace

from multigrey.model import Standing, value

__all__ = ["DAY", "Figures", "Proof", "deferred", "figures", "is_spot_check", "proven", "returned"]

DAY = 86_400
_SPAN_DAYS = 30
"""Resolved deferrals count for this long."""
_MOST_DAYS = 45
_MOST_DOMAINS = 64
_MARK = 4
"""Bytes of a sender domain's digest that are kept: enough to tell a few dozen apart."""
_SPOT_CHECKS = 4
"""Of 256 values of a digest's first byte: 1.6 per cent."""


@value
class Proof:
    """What has to be shown before an origin is believed."""

    resolved: int
    """Deferrals whose outcome is known, within 30 days."""
    domains: int
    """Different sender domains that came back."""
    percent: int
    """How many of the resolved deferrals came back, at least."""
    retry_window: int
    """Seconds after which a deferral that has not come back never will."""


@value
class Figures:
    """What the days that have a say add up to."""

    resolved: int
    returned: int
    domains: int


def deferred(standing: Standing | None, now: int) -> Standing:
    """One more new record of this origin was deferred."""
    return _counted(standing or Standing(), now, now // DAY, deferred=1, returned=0)


def returned(standing: Standing | None, now: int, first_seen: int, domain: bytes) -> Standing:
    """A record that was deferred at `first_seen` came back; `domain` is the sender domain's digest."""
    counted = _counted(standing or Standing(), now, first_seen // DAY, deferred=0, returned=1)
    mark = domain[:_MARK]
    today = now // DAY
    domains = [(known, day) for known, day in counted.domains if known != mark]
    return replace(counted, domains=(*domains[-(_MOST_DOMAINS - 1) :], (mark, today)))


def figures(standing: Standing, proof: Proof, now: int) -> Figures:
    """What counts at the moment: the days whose retry window is over, and the 30 before."""
    newest = (now - proof.retry_window) // DAY
    oldest = newest - _SPAN_DAYS
    resolved = back = 0
    for day, sent, came in standing.days:
        if oldest <= day < newest:
            resolved += sent
            back += min(came, sent)
    since = oldest
    return Figures(resolved, back, sum(day >= since for _, day in standing.domains))


def proven(standing: Standing, proof: Proof, now: int) -> bool:
    """Whether the origin is believed.

    Once believed it stays so with fewer figures, because it is hardly tested any more; it falls out as
    soon as more than the tolerated share, and more than one, did not come back.
    """
    found = figures(standing, proof, now)
    if standing.proven_at:
        lost = found.resolved - found.returned
        return lost <= 1 or lost * 100 <= (100 - proof.percent) * found.resolved
    return (
        found.resolved >= proof.resolved
        and found.domains >= proof.domains
        and found.returned * 100 >= proof.percent * found.resolved
    )


def is_spot_check(key: bytes) -> bool:
    """Whether this key is one of those by which a proven origin goes on being tested."""
    return bool(key) and key[0] < _SPOT_CHECKS


def _counted(standing: Standing, now: int, day: int, *, deferred: int, returned: int) -> Standing:
    latest = now // DAY + _MOST_DAYS  # a clock set back for a while loses nothing
    days = {known: (sent, came) for known, sent, came in standing.days if known <= latest}
    sent, came = days.get(day, (0, 0))
    days[day] = (sent + deferred, came + returned)
    newest = sorted(days)[-_MOST_DAYS:]
    return replace(standing, days=tuple((known, *days[known]) for known in newest), last_seen=now)
