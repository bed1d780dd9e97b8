"""What an origin shows by coming back: counted by day, judged when the outcome is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.model import Standing
from multigrey.standing import DAY, Figures, Proof, deferred, figures, is_spot_check, proven, returned

PROOF = Proof(resolved=20, domains=10, percent=95, retry_window=2 * DAY)
FIRST = 12_000
T = FIRST * DAY


def domain(number):
    return number.to_bytes(4) + b"the rest of a digest"


def played(sent, came, *, domains=10, day=FIRST):
    """A standing after `sent` deferrals on a day, of which `came` returned."""
    standing = Standing()
    for _ in range(sent):
        standing = deferred(standing, day * DAY)
    for number in range(came):
        standing = returned(standing, day * DAY + 200, day * DAY, domain(number % domains))
    return standing


def test_counts_by_the_day_of_the_deferral():
    standing = deferred(deferred(deferred(None, T + 5), T + DAY - 1), T + DAY)
    standing = returned(standing, T + DAY + 60, T + DAY - 1, domain(1))
    assert standing == Standing(
        days=((FIRST, 2, 1), (FIRST + 1, 1, 0)),
        domains=((domain(1)[:4], FIRST + 1),),
        last_seen=T + DAY + 60,
    )


@pytest.mark.parametrize(
    ("after_days", "resolved"),
    [(0, 0), (1, 0), (2, 0), (3, 20), (32, 20), (33, 0)],
)
def test_a_day_counts_when_its_retry_window_is_over_and_for_thirty_days(after_days, resolved):
    found = figures(played(20, 20), PROOF, T + after_days * DAY)
    assert found.resolved == found.returned == resolved


@pytest.mark.parametrize(
    ("sent", "came", "domains", "believed"),
    [
        (20, 20, 10, True),
        (20, 19, 10, True),
        (20, 18, 10, False),
        (19, 19, 10, False),
        (20, 20, 9, False),
        (100, 95, 10, True),
        (100, 94, 10, False),
        (1000, 300, 60, False),
        (0, 0, 1, False),
    ],
)
def test_proven(sent, came, domains, believed):
    assert proven(played(sent, came, domains=domains), PROOF, T + 3 * DAY) is believed


def test_not_before_anybody_can_know():
    assert not proven(played(20, 20), PROOF, T + 3 * DAY - 1)


@pytest.mark.parametrize(
    ("sent", "came", "believed"),
    [(0, 0, True), (1, 0, True), (5, 4, True), (5, 3, False), (40, 38, True), (40, 37, False)],
)
def test_once_believed_it_falls_out_when_more_than_the_tolerated_share_is_lost(sent, came, believed):
    standing = played(sent, came)
    standing = Standing(standing.days, standing.domains, T, standing.last_seen)
    assert proven(standing, PROOF, T + 3 * DAY) is believed


def test_more_returns_than_deferrals_make_up_for_nothing():
    standing = Standing(days=((FIRST, 5, 50), (FIRST + 1, 45, 0)))
    assert figures(standing, PROOF, T + 9 * DAY) == Figures(50, 5, 0)


def test_bounded_however_long_it_goes_on():
    standing = Standing()
    for day in range(400):
        standing = deferred(standing, T + day * DAY)
        standing = returned(standing, T + day * DAY + 300, T + day * DAY, domain(day))
    assert len(standing.days) == 45
    assert standing.days[-1] == (FIRST + 399, 1, 1)
    assert len(standing.domains) == 64
    assert standing.domains[-1] == (domain(399)[:4], FIRST + 399)


def test_a_clock_set_back_for_a_while_loses_no_days():
    standing = deferred(played(3, 2, day=FIRST + 9), T)
    assert standing.days == ((FIRST, 1, 0), (FIRST + 9, 3, 2))
    assert standing.last_seen == T


def test_days_no_clock_will_come_to_soon_are_dropped():
    assert deferred(played(3, 3, day=FIRST + 46), T).days == ((FIRST, 1, 0),)


def test_one_key_in_sixty_four_is_a_spot_check():
    assert sum(is_spot_check(bytes([first, 0])) for first in range(256)) == 4
    assert not is_spot_check(b"")


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.booleans(), st.integers(0, 100), st.integers(0, 50)), max_size=60
    )
)
def test_figures_never_show_more_returned_than_resolved(steps):
    standing = Standing()
    for at, came, mark, first in steps:
        now = T + at * DAY
        standing = (
            returned(standing, now, T + min(first, at) * DAY, domain(mark))
            if came
            else deferred(standing, now)
        )
        found = figures(standing, PROOF, now)
        assert 0 <= found.returned <= found.resolved
        assert list(standing.days) == sorted(standing.days)
        assert len(standing.days) <= 45
