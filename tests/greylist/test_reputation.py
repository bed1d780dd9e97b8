"""What an origin shows by coming back: counted by hour and day, judged when the outcome is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.greylist.reputation import (
    RESOLVED_AFTER,
    Proof,
    ReputationFigures,
    deferred,
    figures,
    is_spot_check,
    proven,
    resolved_after,
    returned,
)
from multigrey.model import DAY, Reputation

PROOF = Proof(resolved=10, domains=4, percent=95)
HOUR = 3600
FIRST = 12_000
T = FIRST * DAY


def domain(number):
    return number.to_bytes(4) + b"the rest of a mark"


def played(sent, came, *, domains=4, at=T):
    """A standing after `sent` deferrals in one hour, of which `came` returned."""
    standing = Reputation()
    for _ in range(sent):
        standing = deferred(standing, at)
    for number in range(came):
        standing = returned(standing, at + 200, at, domain(number % domains))
    return standing


def test_counts_by_the_hour_of_the_deferral_and_by_the_day_when_that_is_long_ago():
    standing = deferred(deferred(deferred(None, T + 5), T + HOUR - 1), T + HOUR)
    standing = returned(standing, T + HOUR + 60, T + HOUR - 1, domain(1))
    assert standing == Reputation(
        hours=((FIRST * 24, 2, 1), (FIRST * 24 + 1, 1, 0)),
        domains=((domain(1)[:4], FIRST),),
        last_seen=T + HOUR + 60,
        ages=(1, 0, 0, 0, 0, 0, 0),
    )
    later = returned(standing, T + 2 * DAY, T + 1, domain(2))
    assert later.days == ((FIRST, 2, 2),)
    assert later.hours == ((FIRST * 24 + 1, 1, 0),)


@pytest.mark.parametrize(
    ("after", "resolved"),
    [(0, 0), (6 * HOUR, 0), (7 * HOUR - 1, 0), (7 * HOUR, 10), (2 * DAY, 10), (30 * DAY, 10), (31 * DAY, 0)],
)
def test_an_hour_counts_when_nearly_all_that_come_back_have_and_for_thirty_days(after, resolved):
    found = figures(played(10, 10), T + after)
    assert found.resolved == found.returned == resolved


def came_back(*ages):
    standing = Reputation()
    for age in ages:
        standing = returned(standing, T + age, T, domain(1))
    return standing


@pytest.mark.parametrize(
    ("ages", "seconds"),
    [
        ([], RESOLVED_AFTER),
        ([300] * 19, RESOLVED_AFTER),
        ([300] * 20, 16_200),
        ([4 * HOUR] * 20, 16_200),
        ([300] * 19 + [5 * HOUR], 21_600),
        ([300] * 198 + [40 * HOUR] * 2, 16_200),
        ([300] * 197 + [40 * HOUR] * 3, 2 * DAY),
        ([8 * HOUR] * 50, 32_400),
    ],
)
def test_an_origin_shows_itself_how_long_its_returns_take(ages, seconds):
    assert resolved_after(came_back(*ages)) == seconds


def test_what_is_long_ago_weighs_less():
    standing = came_back(*[300] * 1000, *[20 * HOUR] * 900)
    assert sum(standing.ages) <= 1000
    assert resolved_after(standing) == 72_900


def test_returns_within_minutes_resolve_deferrals_sooner():
    standing = played(30, 30)
    assert figures(standing, T + HOUR + 16_199).resolved == 0
    assert figures(standing, T + HOUR + 16_200).resolved == 30


@pytest.mark.parametrize(
    ("sent", "came", "domains", "believed"),
    [
        (10, 10, 4, True),
        (20, 19, 4, True),
        (20, 18, 4, False),
        (10, 9, 4, False),
        (9, 9, 4, False),
        (10, 10, 3, False),
        (100, 95, 4, True),
        (100, 94, 4, False),
        (1000, 300, 9, False),
        (0, 0, 1, False),
        (11, 11, 11, True),
        (13, 11, 10, True),
        (15, 11, 10, False),
    ],
)
def test_proven(sent, came, domains, believed):
    assert proven(played(sent, came, domains=domains), PROOF, T + 7 * HOUR) is believed


def test_not_before_anybody_can_know():
    assert not proven(played(10, 10), PROOF, T + 7 * HOUR - 1)


@pytest.mark.parametrize(
    ("sent", "came", "domains", "believed"),
    [(10, 10, 10, True), (0, 10, 10, True), (9, 9, 9, False), (13, 10, 10, False), (12, 10, 10, True)],
)
def test_an_address_without_a_name_is_proven_by_forwarding_for_ten_domains(sent, came, domains, believed):
    standing = played(sent, came, domains=domains)
    assert proven(standing, PROOF, T + 7 * HOUR, named=False) is believed


@pytest.mark.parametrize(
    ("sent", "came", "believed"),
    [(0, 0, True), (1, 0, True), (5, 4, True), (5, 3, False), (40, 38, True), (40, 37, False)],
)
def test_once_believed_it_falls_out_when_more_than_the_tolerated_share_is_lost(sent, came, believed):
    standing = replace(played(sent, came), proven_at=T)
    assert proven(standing, PROOF, T + 7 * HOUR) is believed


def test_more_returns_than_deferrals_make_up_for_nothing():
    standing = Reputation(days=((FIRST, 5, 50), (FIRST + 1, 45, 0)))
    assert figures(standing, T + 9 * DAY) == ReputationFigures(50, 5, 0)


def test_bounded_however_long_it_goes_on():
    standing = Reputation()
    for day in range(400):
        standing = deferred(standing, T + day * DAY)
        standing = returned(standing, T + day * DAY + 300, T + day * DAY, domain(day))
    assert len(standing.days) == 45
    assert standing.days[-1] == (FIRST + 397, 1, 1)
    assert len(standing.hours) == 2
    assert len(standing.domains) == 64
    assert standing.domains[-1] == (domain(399)[:4], FIRST + 399)


def test_a_clock_set_back_for_a_while_loses_nothing():
    standing = deferred(played(3, 2, at=T + DAY), T)
    assert standing.hours == ((FIRST * 24, 1, 0), (FIRST * 24 + 24, 3, 2))
    assert standing.last_seen == T


def test_hours_and_days_no_clock_will_come_to_soon_are_dropped():
    assert deferred(played(3, 3, at=T + 3 * DAY), T).hours == ((FIRST * 24, 1, 0),)
    assert deferred(Reputation(days=((FIRST + 46, 3, 3),)), T).days == ()


def test_one_key_in_sixty_four_is_a_spot_check():
    assert sum(is_spot_check(bytes([first, 0])) for first in range(256)) == 4
    assert not is_spot_check(b"")


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.booleans(), st.integers(0, 100), st.integers(0, 50)), max_size=60
    )
)
def test_figures_never_show_more_returned_than_resolved(steps):
    standing = Reputation()
    for at, came, mark, first in steps:
        now = T + at * DAY
        standing = (
            returned(standing, now, T + min(first, at) * DAY, domain(mark))
            if came
            else deferred(standing, now)
        )
        found = figures(standing, now)
        assert 0 <= found.returned <= found.resolved
        assert list(standing.days) == sorted(standing.days)
        assert list(standing.hours) == sorted(standing.hours)
        assert len(standing.days) <= 45
        assert len(standing.hours) <= 97
