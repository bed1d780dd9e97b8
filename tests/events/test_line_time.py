"""The time of a line of a log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.events.line_time import line_time

HERE = timezone(timedelta(hours=-3))
WINTER = timezone(timedelta(hours=1))
NOW = datetime(2026, 1, 2, 12, tzinfo=HERE)


@pytest.mark.parametrize(
    ("line", "time"),
    [
        ("Jan  2 11:59:58 mx postfix/smtpd[1]: x", datetime(2026, 1, 2, 11, 59, 58, tzinfo=HERE)),
        ("Dec 31 23:59:59 mx postfix/smtpd[1]: x", datetime(2025, 12, 31, 23, 59, 59, tzinfo=HERE)),
        ("2026-01-02T10:00:00.123456+01:00 mx x", datetime(2026, 1, 2, 10, tzinfo=WINTER)),
        ("time=2026-01-02T10:00:00Z action=pass", datetime(2026, 1, 2, 10, tzinfo=UTC)),
        ("2026-01-02 10:00:00.123 1abc <= a@b.example", datetime(2026, 1, 2, 10, tzinfo=HERE)),
        ("2026-01-02 10:00:00 +0100 [12] H=x", datetime(2026, 1, 2, 10, tzinfo=WINTER)),
        (
            "X-Greylist: delayed 183 seconds by multigrey-1 at mx; Fri, 02 Jan 2026 10:00:00 +0100",
            datetime(2026, 1, 2, 10, tzinfo=WINTER),
        ),
        ("Jan 02 03:00:00 a 2025-01-01 00:00:00", datetime(2026, 1, 2, 3, tzinfo=HERE)),
        ("Feb 29 10:00:00 not in these years", None),
        ("2026-13-02 10:00:00", None),
        ("1 Foo 2026 99:00:00 +0100", None),
        ("nothing", None),
    ],
)
def test_the_time_of_a_line(line, time):
    assert line_time(line, NOW) == time


@given(st.text())
def test_any_text_is_survived(text):
    line_time(text, NOW)
