"""Sentences of advice, and the figures from which they come."""

from __future__ import annotations

import pytest

from multigrey.analysis import advice
from multigrey.analysis.figures import Due, Outlook
from multigrey.analysis.report import make_report
from multigrey.model import Action, Reason
from tests.support.clocks import START
from tests.support.decisions import decision

WINDOW = 2 * 86_400
HOUR, DAY = 3600, 86_400
LATE = HOUR - START % HOUR
"""Seconds after START at which its hour is over."""
EARLY = "it is too early to judge whether greylisting is worth it"
FEW = "too few mails were deferred more than 2d ago (1)"
N, E, R = Reason.NEW, Reason.EARLY, Reason.RETRY


def event(at, reason, who="a", **changes):
    return decision(reason, START + at, recipient=f"{who}@example.net", **changes)


def pool(clients, ending=R, origins=2):
    """A sender who retries from everywhere."""
    found = []
    for index in range(clients):
        reason = N if index < clients - 1 else ending
        origin = f"192.0.2.{index % origins}/32"
        found.append(event(index * 600, reason, client=f"192.0.2.{index + 1}", origin=origin))
    return found


@pytest.mark.parametrize(
    ("events", "at", "expected"),
    [
        ([], 1, []),
        ([event(0, N)], 1, [EARLY]),
        ([event(0, N)], WINDOW + HOUR, [FEW]),
        ([event(0, Reason.KNOWN), event(0, Reason.OWN_NETWORK, "b")], 1, []),
        (
            pool(15),
            9000,
            [EARLY, "sender a@example.org retried from 15 addresses of 2 origins and got in after 2h 20m"],
        ),
        (
            pool(5, E),
            9000,
            [EARLY, "sender a@example.org retried from 5 addresses of 2 origins and is not in yet"],
        ),
        (
            pool(5, E),
            WINDOW * 2,
            [FEW, "sender a@example.org retried from 5 addresses of 2 origins and never got in"],
        ),
        (pool(4), 9000, [EARLY]),
        (pool(15, origins=1), 9000, [EARLY]),
        (
            [event(0, R, str(i), verdict={"age": 2 * 3600 + i}) for i in range(3)],
            9000,
            [EARLY, "mail from example.org came back late (3 times, half of it after 2h or more)"],
        ),
        ([event(0, R, str(i), verdict={"age": 3600}) for i in range(3)], 9000, [EARLY]),
        ([event(0, R, str(i), verdict={"age": 7200}) for i in range(2)], 9000, [EARLY]),
        (
            [event(0, N, verdict={"action": Action.PASS, "observed": True})],
            1,
            ["greylisting was only observed for 1 attempt that"],
        ),
        ([event(0, Reason.ERROR)], 1, ["1 attempt was answered without the store"]),
    ],
)
def test_advice(events, at, expected):
    found = make_report(events, Outlook(now=START + at, since=START, retry_window=WINDOW)).advice
    assert [text[: len(begin)] for text, begin in zip(found, expected, strict=True)] == expected


def mails(back, never, at=0, reason=N):
    """Mails deferred at a time, of which so many came back after five minutes."""
    deferred = [event(at, reason, f"{at}-{i}") for i in range(back + never)]
    return deferred + [event(at + 300, R, f"{at}-{i}", verdict={"age": 300}) for i in range(back)]


PRICE = "wanted mail waited p50 5m, p95 5m"
SOON = f"{EARLY}: what never comes back is known after 2d; first figures on 11 Sep"
KEPT_OUT = "greylisting keeps these out"


@pytest.mark.parametrize(
    ("events", "at", "expected"),
    [
        # the first two days: what came back is not a share of anything
        (mails(101, 1798), DAY, SOON),
        (mails(101, 1798), WINDOW + LATE - 1, SOON),
        (
            mails(101, 1798),
            WINDOW + LATE,
            f"of 1,899 mails that were deferred, 1,798 never came back (94 %): {KEPT_OUT}; {PRICE}",
        ),
        # mail of the last two days does not count, however much of it came back
        (
            [*mails(4, 36), *mails(500, 0, at=DAY)],
            WINDOW + HOUR,
            f"of 40 mails that were deferred, 36 never came back (90 %): {KEPT_OUT}; {PRICE}",
        ),
        (
            [*mails(0, 19), *mails(500, 0, at=DAY)],
            WINDOW + HOUR,
            "too few mails were deferred more than 2d ago (19)",
        ),
        (
            mails(0, 20),
            WINDOW + HOUR,
            "of 20 mails that were deferred, 20 never came back (100 %): greylisting",
        ),
        # between, too
        (
            mails(11, 89),
            WINDOW + HOUR,
            f"of 100 mails that were deferred, 89 never came back (89 %); {PRICE}: check the domains",
        ),
        (mails(50, 50), WINDOW + HOUR, "of 100 mails that were deferred, 50 never came back (50 %); wanted"),
        (mails(51, 49), WINDOW + HOUR, f"51 of 100 mails that were deferred came back (51 %), {PRICE}: much"),
        (mails(20, 0), WINDOW + HOUR, "20 of 20 mails that were deferred came back (100 %)"),
        # over-limit deferrals are among them
        (
            mails(10, 90, reason=Reason.OVER_LIMIT)[:100],
            WINDOW + HOUR,
            f"of 100 mails that were deferred, 100 never came back (100 %): {KEPT_OUT}; nothing",
        ),
        # of what was deferred before the time that is looked at only what came back is seen
        ([event(0, R, str(i), verdict={"age": 900}) for i in range(50)], 10, EARLY),
        (
            [*[event(0, R, str(i), verdict={"age": 900}) for i in range(50)], *mails(1, 24)],
            WINDOW + HOUR,
            "of 25 mails that were deferred, 24 never came back",
        ),
    ],
)  # fmt: skip
def test_whether_it_is_worth_it(events, at, expected):
    outlook = Outlook(now=START + at, since=START, retry_window=WINDOW)
    found = make_report(sorted(events, key=lambda event: event.time), outlook)
    (told,) = [text for text in found.advice if "over the limit" not in text]
    assert told[: len(expected)] == expected
    assert (found.first_figures is not None) is expected.startswith(EARLY)


def test_the_day_of_the_first_figures_is_one_of_local_time():
    for offset, day in ((0, "11 Sep"), (-6 * HOUR, "10 Sep")):
        outlook = Outlook(now=START, since=START, retry_window=WINDOW, utc_offset=offset)
        (told,) = make_report([event(0, N)], outlook).advice
        assert told.endswith(f"first figures on {day}")


def test_a_short_report_of_an_old_history_names_no_day():
    outlook = Outlook(START + HOUR, START, WINDOW, recorded_since=START - 40 * DAY)
    (told,) = make_report([event(0, N)], outlook).advice
    assert told == (
        "all mail of this time is younger than 2d, so what never comes back is not known yet: give a --since "
        "that is longer than 2d"
    )


def flood(number, network="94.102.49", every=1):
    return [
        event(
            i * every,
            Reason.OVER_LIMIT,
            f"f{network}{i}",
            client=f"{network}.{i % 250}",
            origin=f"{network}.0/24",
        )
        for i in range(number)
    ]


def test_floods():
    events = sorted([*flood(5000), *flood(20, "10.1.1", 100)], key=lambda event: event.time)
    found = make_report(events, Outlook(now=START + 5000, since=START, retry_window=WINDOW))
    assert [(row.network, row.first, row.last, row.attempts, row.most) for row in found.floods] == [
        ("94.102.49.0/24", START, START + 4999, 5000, 3600),
        ("10.1.1.0/24", START, START + 1900, 20, 12),
    ]
    assert (found.traffic.over_limit, found.delays.deferred) == (5020, 5020)
    assert found.advice[0].startswith(
        "94.102.49.0/24 was over the limit of new records from 9 Sep 01:46 to 9 Sep 03:09: "
        "5,000 attempts, up to 3,600 in an hour; only their own retries pass"
    )
    many = [each for third in range(5) for each in flood(10, f"10.2.{third}")]
    found = make_report(many, Outlook(now=START + 5000, since=START, retry_window=WINDOW))
    assert [(row.network, row.attempts) for row in found.floods] == [("10.2.0.0/16", 50)]


def test_input_that_cannot_be_true_comes_first():
    events = [
        event(
            i,
            N,
            str(i),
            client="172.18.0.1",
            helo=f"h{i}.example",
            sender=f"a@d{i % 50}.example",
            origin="172.18.0.0/24",
        )
        for i in range(300)
    ]
    found = make_report(events, Outlook(now=START + 400, since=START, retry_window=WINDOW)).advice
    begin = "listener smtp: the last 300 attempts come from one address that is not public, 172.18.0.1"
    assert found[0].startswith(f"{begin}; usually a NAT")
    assert found[1].startswith(EARLY)
    events = [event(0, N, str(i), client="172.18.0.1", helo=f"h{i}.example") for i in range(5000)]
    assert len(make_report(events, Outlook(now=START, since=START, retry_window=WINDOW)).advice) == 1


ADD = "multigrey whitelist add --"


def advice_of(events, at=9000):
    return make_report(events, Outlook(now=START + at, since=START, retry_window=WINDOW)).advice


def test_what_is_observed_names_the_rule():
    seen = {"action": Action.PASS, "observed": True}
    events = [event(i, N, str(i), verdict={**seen, "rule": "sales"}) for i in range(3)]
    (told,) = advice_of(events)
    assert told.startswith(
        "the rule sales only observed 3 attempts that would have been deferred: to defer such"
    )
    assert "mode enforce" not in told
    both = advice_of([*events, event(4, N, "x", verdict=seen)])
    assert both[0].startswith("greylisting was only observed for 1 attempt that")
    assert both[1] == told


def test_a_pool_gets_the_commands_that_help():
    (_, told) = advice_of(pool(15))
    network = f"{ADD}client=192.0.2.0/24 --sender-domain=example.org --reason=..."
    assert told.endswith(f"its servers have no names, so add its networks: {network}")
    wide = [
        event(i * 600, N, client=f"45.1.{i}.9", origin=f"45.1.{i}.0/24", sender="a@shop.example")
        for i in range(6)
    ]
    (_, told) = advice_of(wide)
    assert f": {ADD}client=45.1.0.0/16 --sender-domain=shop.example --reason=..." in told
    named = [event(i * 600, N, client=f"192.0.2.{i}", origin=f"pool{i % 2}.example") for i in range(1, 6)]
    (_, told) = advice_of(named)
    assert f": {ADD}origin=pool0.example --sender-domain=example.org --reason=...; {ADD}origin=pool1" in told
    hostile = [
        event(i * 600, N, client=f"45.1.{i}.9", origin=f"45.1.{i}.0/24", sender="a@x\x1b[31m;rm.example")
        for i in range(6)
    ]
    (_, told) = advice_of(hostile)
    assert told.endswith("or its networks to a whitelist")


def test_slow_senders_get_their_command():
    (_, told) = advice_of([event(0, R, str(i), verdict={"age": 2 * 3600 + i}) for i in range(3)])
    assert told.endswith(f"to avoid the delay: {ADD}origin=example.org --reason=...")


def test_entries_that_are_due():
    due = [Due("me", "stale", "/l:1", "x", "y"), Due("", "no-owner", "/l:2", "x", "y")]
    due.append(Due("me", "expired", "/l:3", "x", "y"))
    mine, nobodys = make_report([], Outlook(now=START, since=0, retry_window=WINDOW, due=due)).advice
    assert mine == '2 findings about whitelist entries of me: multigrey whitelist lint --owner "me"'
    assert nobodys.startswith("1 finding about whitelist entries without an owner")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (45, "45s"),
        (60, "1m"),
        (61, "1m 1s"),
        (3600, "1h"),
        (5400, "1h 30m"),
        (90_000, "1d 1h"),
        (86_400, "1d"),
    ],
)
def test_durations(seconds, text):
    assert advice._lasting(seconds) == text
