"""When senders come back, and when their mail is too late.

A schedule gives the seconds from one round to the next; a round is all the mail servers of ours that
a sender tries one after the other.  Fixed before the mechanisms they measure, from documented defaults
(Postfix: minimal_backoff_time, maximal_backoff_time, queue_run_delay in postconf(5); Exim: the retry
rule `F,2h,15m; G,16h,1h,1.5` of its default configuration; Sendmail: a queue run each half hour or hour)
and from what administrators of greylisting have reported of big providers (a first retry after 200 to
285 seconds, then three hours) and of eager spam programs (20 to 60 seconds, a few times).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

MINUTE, HOUR, DAY = 60, 3600, 86_400

LOGIN = 5 * MINUTE
"""A login code: whoever waits for it asks for another one after that."""
MACHINE = 15 * MINUTE
"""Monitoring and tickets: somebody is on duty."""
PERSON = HOUR
"""Somebody writes to somebody."""
BULK = DAY
"""Newsletters, notices, non-delivery reports."""

GIVE_UP = 5 * DAY
"""Postfix's maximal_queue_lifetime: nobody tries for longer."""

_YOUNGEST = 5 * MINUTE
"""Queue runs pass over younger messages (Sendmail: MinQueueAge).  Without it one run in thirty would come
before any delay is over, and the next one after the deadline, whatever greylisting does."""

Schedule = Callable[[Random], Iterator[int]]


def big_provider(random: Random) -> Iterator[int]:
    """A first retry after 200 to 285 seconds, then only hours later."""
    yield random.randint(200, 285)
    while True:
        yield 3 * HOUR + random.randint(-600, 600)


def postfix(random: Random) -> Iterator[int]:
    """Postfix: minimal_backoff_time 300 s, doubled up to 4000 s, at queue runs every 300 s."""
    wait = 300
    while True:
        yield wait + random.randint(0, 300)
        wait = min(2 * wait, 4000)


def exim(random: Random) -> Iterator[int]:
    """Exim: every 15 minutes for two hours, then geometrically; queue runs every half hour."""
    for _ in range(8):
        yield 15 * MINUTE + random.randint(0, 900)
    wait = float(HOUR)
    while True:
        yield int(wait)
        wait = min(wait * 1.5, 8 * HOUR)


def sendmail(random: Random) -> Iterator[int]:
    """Sendmail: a queue run each half hour or hour."""
    every = random.choice([30 * MINUTE, HOUR])
    yield random.randint(_YOUNGEST, every)
    while True:
        yield every


def hourly(random: Random) -> Iterator[int]:
    """A queue that runs once an hour."""
    yield random.randint(_YOUNGEST, HOUR)
    while True:
        yield HOUR


def four_hourly(random: Random) -> Iterator[int]:
    """A queue that runs every four hours."""
    yield random.randint(_YOUNGEST, 4 * HOUR)
    while True:
        yield 4 * HOUR


def mixed(random: Random) -> Iterator[int]:
    """One of the usual mail servers."""
    yield from random.choice([postfix, postfix, exim, sendmail])(random)


def impatient(random: Random) -> Iterator[int]:
    """An application that tries for ten minutes only: after one, two, three and four more."""
    del random
    yield from (60, 120, 180, 240)


def after(first: int) -> Schedule:
    """The first retry after so many seconds, then as Postfix."""

    def schedule(random: Random) -> Iterator[int]:
        yield first + random.randint(0, 20)
        yield from postfix(random)

    return schedule


def probing(random: Random) -> Iterator[int]:
    """Postfix verifies an address again after address_verify_negative_refresh_time, three hours."""
    del random
    while True:
        yield 3 * HOUR


def never(random: Random) -> Iterator[int]:
    """Fire and forget."""
    del random
    yield from ()


def eager(random: Random) -> Iterator[int]:
    """Retries every 20 to 60 seconds for four minutes."""
    age = 0
    while True:
        wait = random.randint(20, 60)
        age += wait
        if age > 4 * MINUTE:
            return
        yield wait
