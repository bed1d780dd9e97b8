"""What decisions come to: real ones of an engine, and days of them made up."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from multigrey.codec import encode_text
from multigrey.errors import CodecError
from multigrey.metrics.tally import HOUR, NAMED, ORIGINS, PROVIDER, UNNAMED, Tally
from multigrey.model import Action, Attempt, DecisionEvent, Reason, Verdict
from multigrey.stores.meta import OPEN_DEFERRALS
from tests.support.clocks import START
from tests.support.engines import DELAY, WINDOW, harness, setup

ATTEMPT = Attempt("postfix", ip_address("192.0.2.10"), None, "h", "a@example.org", "b@example.net")
NOBODY = dict.fromkeys(ORIGINS, 0)


def make(**changes) -> Tally:
    return Tally(lambda: setup(**changes), {"partners": 300}.get)


def event(action, reason, *, at=START, origin="192.0.2.0/24", class_="", attempt=ATTEMPT, **more):
    return DecisionEvent(at, "id0000", attempt, Verdict(action, reason, **more), origin, class_)


def deferral(at=START, **more):
    return event(Action.DEFER, Reason.NEW, at=at, attempts=1, **more)


def retry(at, age, **more):
    return event(Action.PASS, Reason.RETRY, at=at, age=age, attempts=2, **more)


async def test_an_engine_s_deferral_and_its_return_are_counted():
    async with harness() as h:
        tally = Tally(lambda: h.engine.setup, {}.get)
        h.engine.subscribers = (tally,)
        await h.engine.judge(ATTEMPT, "pass")
        await h.engine.judge(ATTEMPT, "pass")
        assert tally.waiting()[UNNAMED] == 1
        h.clock.advance(DELAY)
        await h.engine.judge(ATTEMPT, "pass")
        await h.engine.judge(ATTEMPT, "pass")
    assert tally.decisions == {
        (Action.DEFER, Reason.NEW, "postfix", False): 1,
        (Action.DEFER, Reason.EARLY, "postfix", False): 1,
        (Action.PASS, Reason.RETRY, "postfix", False): 1,
        (Action.PASS, Reason.KNOWN, "postfix", False): 1,
    }
    assert tally.deferred[UNNAMED] == tally.returned[UNNAMED] == 1
    assert tally.waiting() == NOBODY
    assert {kind: histogram.sum for kind, histogram in tally.delays.items()} == {(UNNAMED, ""): DELAY}


COUNTED = [
    (event(Action.PASS, Reason.RETRY, age=200, attempts=2), True),
    (event(Action.PASS, Reason.SAME_MESSAGE, age=200, attempts=2), True),
    (event(Action.PASS, Reason.SAME_MESSAGE, age=0, attempts=1), False),
    (event(Action.PASS, Reason.AUTO_WHITELISTED), False),
    (event(Action.PASS, Reason.AUTO_WHITELISTED, age=200, attempts=3), True),
    (event(Action.PASS, Reason.KNOWN, age=200, attempts=9), False),
    (event(Action.PASS, Reason.OVER_LIMIT, age=200, attempts=9), False),
    (event(Action.PASS, Reason.NEW, attempts=1, observed=True), False),
    (event(Action.DEFER, Reason.EARLY, age=20, attempts=2), False),
]


@pytest.mark.parametrize(("decided", "accepted"), COUNTED)
def test_only_mail_that_waited_has_a_delay(decided, accepted):
    tally = make()
    tally(decided)
    assert bool(tally.delays) is accepted
    assert tally.returned[UNNAMED] == accepted
    assert tally.deferred == NOBODY


@pytest.mark.parametrize("reason", [Reason.NEW, Reason.EXPIRED, Reason.OVER_LIMIT])
def test_all_mail_that_begins_to_wait_is_counted(reason):
    tally = make()
    tally(event(Action.DEFER, reason, attempts=1))
    assert tally.deferred[UNNAMED] == tally.waiting()[UNNAMED] == 1
    tally(retry(START + 300, 300))
    assert tally.waiting() == NOBODY


@pytest.mark.parametrize("reason", [Reason.PROVIDER, Reason.OWN_NETWORK, Reason.PROBE])
def test_what_is_not_delayed_is_a_decision_and_no_delay(reason):
    tally = make()
    tally(event(Action.PASS, reason))
    assert tally.decisions == {(Action.PASS, reason, "postfix", False): 1}
    assert (tally.deferred, tally.delays) == (NOBODY, {})


def test_deferrals_of_a_time_that_never_comes_are_not_waited_for():
    tally = make()
    tally(deferral(START + 400 * 86_400))
    tally(deferral())
    tally.settle(START)
    assert tally.waiting()[UNNAMED] == 1
    assert tally.never_returned == NOBODY


def test_the_class_of_an_origin():
    tally = make(provider_of=lambda attempt: "big.example" if attempt.client_name else "")
    named = replace(ATTEMPT, client_name="mx.big.example")
    tally(deferral(origin="example.org"))
    tally(deferral(origin="big.example", attempt=named))
    tally(deferral())
    tally(deferral(origin="", attempt=replace(ATTEMPT, raw="x")))
    assert tally.deferred == {NAMED: 1, PROVIDER: 1, UNNAMED: 2}


@pytest.mark.parametrize(
    ("class_", "age", "over"),
    [("partners", 300, {}), ("partners", 301, {"partners": 1}), ("others", 9999, {}), ("", 9999, {})],
)
def test_mail_over_its_target(class_, age, over):
    tally = make()
    tally(retry(START, age, class_=class_))
    assert tally.over_target == over
    assert (UNNAMED, class_) in tally.delays


def test_what_has_not_returned_when_its_window_is_over_never_does():
    tally = make()
    begin = START - START % HOUR
    for _ in range(3):
        tally(deferral(begin + HOUR - 1))
    tally(retry(begin + 2 * HOUR, HOUR + 1))
    tally.settle(begin + HOUR + WINDOW - 1)
    assert tally.never_returned == NOBODY
    assert tally.waiting()[UNNAMED] == 2
    tally.settle(begin + HOUR + WINDOW)
    assert tally.never_returned[UNNAMED] == 2
    assert tally.waiting() == NOBODY
    tally(retry(begin + HOUR + WINDOW, WINDOW))  # a rule with a longer window
    tally.settle(begin + 10 * WINDOW)
    assert tally.never_returned[UNNAMED] == 2


def test_a_name_that_was_found_later_returns_its_deferral():
    tally = make()
    tally(deferral())
    tally(retry(START + 600, 600, origin="example.org"))
    assert tally.waiting() == NOBODY


def test_open_hours_outlive_a_restart():
    first, second = make(), make()
    for _ in range(2):
        first(deferral())
    first(retry(START + 300, 300))
    second.restore(first.open_hours())
    assert second.waiting() == first.waiting()
    second(retry(START + 900, 900))
    second.settle(START + 2 * WINDOW)
    assert second.never_returned == NOBODY


@pytest.mark.parametrize(
    "text", ["", "{}x", "[1]", '[[1, "stranger", 1, 1]]', '[[1, "named", "1", 1]]', '[["a"]]']
)
def test_what_was_not_written_by_us_is_refused(text):
    with pytest.raises(CodecError):
        make().restore(OPEN_DEFERRALS.coder.decode(encode_text(text)))
