"""Input that cannot be true: what is said of which traffic, and of which nothing is."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from timeit import timeit

import pytest

from multigrey.analysis.plausibility import ENOUGH, Implausibility, Plausibility, _is_public
from multigrey.control.operations.export import CHECK_ADDRESS
from multigrey.identity.redaction import HIDDEN_CLIENT
from multigrey.model import HOUR, Action, Reason, Verdict
from tests.support.decisions import attempt, decision

OWN, ADDRESS, NAMES, HELO = (each.value for each in Implausibility)


def world(index, **changes):
    """One of the many clients that send mail here: with its own address, name, HELO and sender."""
    domain = f"d{index % 97}.example"
    values = {
        "client": f"198.51.{index % 211}.{index % 250 + 1}",
        "client_name": f"mx.{domain}",
        "helo": f"mx{index}.{domain}",
        "sender": f"s{index}@{domain}",
        "recipient": f"r{index % 40}@example.net",
    }
    reason = changes.pop("reason", Reason.NEW)
    return decision(reason, **{**values, **changes})


def natted(index, **changes):
    return world(index, **{"client": "172.18.0.1", "client_name": None, **changes})


def nameless(index, **changes):
    return world(index, client_name=None, **changes)


def same_helo(index, **changes):
    return world(index, helo="proxy.example.net", **changes)


def newsletter(index, **changes):
    """An application of our own that writes to all users here."""
    return world(index, client="10.0.0.5", client_name=None, helo="app", sender="news@example.net",
                 recipient=f"r{index}@example.net", **changes)  # fmt: skip


def monitor(index, **changes):
    del index
    changes = {
        "client": "10.0.0.9",
        "client_name": None,
        "helo": "monitor",
        "sender": "m@example.net",
        **changes,
    }
    return world(0, recipient="m@example.net", **changes)


def flood(index, **changes):
    """From a network over its limit, without names."""
    return nameless(index, reason=Reason.OVER_LIMIT, helo="bot", client=f"203.0.113.{index % 250}", **changes)


def own(index, **changes):
    return natted(index, reason=Reason.OWN_NETWORK, **changes)


def mixed(*kinds):
    """One of the kinds after the other."""
    return lambda index: kinds[index % len(kinds)](index)


def problems(make, number, *, seconds=2 * HOUR, plausibility=None, begin=0):
    """What is said after `number` attempts within `seconds`."""
    seen = Plausibility() if plausibility is None else plausibility
    for index in range(number):
        seen.note(make(begin + index), begin + index * seconds / number)
    return [each.problem.value for each in seen.problems()]


@pytest.mark.parametrize(("make", "number", "seconds", "expected"), [
    (world, 1500, 2 * HOUR, []),
    (natted, 1500, 2 * HOUR, [ADDRESS]),
    (natted, 200, 60, [ADDRESS]),                               # said at once
    (natted, 199, 60, []),                                      # a quiet site
    (lambda i: natted(i, client="127.0.0.1"), 300, 60, [ADDRESS]),
    (lambda i: natted(i, client="::1"), 300, 60, [ADDRESS]),
    (lambda i: natted(i, client="fd00::1"), 300, 60, [ADDRESS]),
    (lambda i: natted(i, client="100.64.0.1"), 300, 60, [ADDRESS]),
    (lambda i: natted(i, helo="gateway"), 300, 60, [ADDRESS]),   # a gateway in front
    (lambda i: natted(i, helo="gateway"), 300, 2 * HOUR, [ADDRESS, HELO]),
    (lambda i: natted(i, client="198.51.100.1"), 300, 60, []),   # one bot is not a proxy
    (lambda i: natted(i, client=f"10.0.0.{i % 9}"), 300, 60, []),   # several
    (newsletter, 1500, 2 * HOUR, []),
    (monitor, 5000, 9 * HOUR, []),
    (mixed(monitor, monitor, monitor, world), 2000, 9 * HOUR, []),
    (mixed(monitor, monitor, monitor, nameless), 600, 9 * HOUR, []),
    (mixed(monitor, monitor, monitor, natted), 2000, 9 * HOUR, [ADDRESS]),
    (nameless, 1500, 2 * HOUR, [NAMES]),
    (nameless, 1500, HOUR - 1, []),                             # not within the first hour
    (lambda i: nameless(i, client=f"198.51.{i % 9}.1"), 1500, 2 * HOUR, []),   # some networks of bots
    (mixed(*[nameless] * 50, world), 1500, 2 * HOUR, []),
    (mixed(*[flood] * 50, world), 20_000, 2 * HOUR, []),
    (flood, 20_000, 2 * HOUR, []),
    (lambda i: natted(i, reason=Reason.OVER_LIMIT), 1500, 60, [ADDRESS]),   # all together are
    (same_helo, 1500, 2 * HOUR, [HELO]),
    (lambda i: world(i, helo=""), 1500, 2 * HOUR, [HELO]),
    (same_helo, 1500, HOUR - 1, []),
    (mixed(*[same_helo] * 50, world), 1500, 2 * HOUR, []),
    (mixed(*[same_helo] * 50, monitor), 1500, 2 * HOUR, [HELO]),   # a monitor does not count
    (lambda i: same_helo(i, sender="x@example.org"), 1500, 2 * HOUR, []),
    (lambda i: same_helo(i, client_name=None), 1500, 2 * HOUR, [NAMES, HELO]),
    (lambda i: (world if i < 1490 else same_helo)(i), 1500, 1500 * HOUR, []),   # a bot, on a quiet night
    (lambda i: (world if i < 1490 else nameless)(i), 1500, 1500 * HOUR, []),
    (own, 300, 60, [OWN, ADDRESS]),
    (mixed(own, own, own, own, own, world), 600, 60, [OWN]),
    (mixed(own, own, own, own, world), 600, 60, []),            # 80 % is not more than 80 %
    (lambda i: newsletter(i, reason=Reason.OWN_NETWORK), 600, 60, []),
    (lambda i: monitor(i, reason=Reason.OWN_NETWORK), 6000, 60, []),
    (lambda i: world(i, raw="key"), 600, 2 * HOUR, []),
    (lambda i: natted(i, client_address=None, client=None), 600, 2 * HOUR, []),
])  # fmt: skip
def test_what_is_said_of_which_traffic(make, number, seconds, expected):
    assert problems(make, number, seconds=seconds) == expected


@pytest.mark.parametrize(("make", "needed"), [(natted, 60), (own, 250), (nameless, 1), (same_helo, 1)])
def test_what_is_over_is_said_no_more(make, needed):
    seen = Plausibility()
    assert problems(make, 1500, plausibility=seen)
    assert problems(world, needed, plausibility=seen, begin=3 * HOUR, seconds=60) == []


def test_listeners_are_looked_at_one_by_one():
    seen = Plausibility()
    for index in range(300):
        seen.note(natted(index, listener="public"), 0)
        seen.note(world(index, listener="other"), 0)
    (found,) = seen.problems()
    assert (found.listener, found.problem) == ("public", Implausibility.ONE_ADDRESS)
    assert found.what == (
        "listener public: the last 300 attempts come from one address that is not public, 172.18.0.1"
    )
    assert "PROXY protocol" in found.text
    assert set(found.as_mapping()) == {"listener", "problem", "what", "cause", "remedy"}


def test_a_protocol_that_tells_neither_names_nor_helos_is_not_blamed_for_it():
    seen = Plausibility(untold=frozenset({"smtp"}))
    assert problems(lambda index: nameless(index, helo=""), 1500, plausibility=seen) == []
    assert problems(natted, 1500, plausibility=Plausibility(frozenset({"smtp"}))) == [ADDRESS]


def test_the_attempts_of_our_own_check_are_no_evidence():
    check = lambda index: world(index, sender=CHECK_ADDRESS, helo="check")  # noqa: E731
    assert problems(mixed(same_helo, check), 1500) == [HELO]
    assert problems(check, 5000) == []


def test_redacted_decisions_tell_of_names_and_helos():
    def hidden(index):
        event = nameless(index)
        address = event.attempt.client_address
        kept = replace(event.attempt, client_address=None, attributes={HIDDEN_CLIENT: f"h:{address}"})
        return replace(event, attempt=kept)

    assert problems(hidden, 1500) == [NAMES]


def test_the_share_of_own_clients():
    seen = Plausibility()
    assert seen.own_share() == {}
    for index in range(8):
        seen.note(own(index) if index < 6 else world(index), 0)
    assert seen.own_share() == {"smtp": 0.75}


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("10.255.0.1", False), ("172.15.0.1", True), ("172.16.0.1", False), ("172.31.9.9", False),
        ("172.32.0.1", True), ("192.168.1.1", False), ("192.169.1.1", True), ("100.63.0.1", True),
        ("100.64.0.1", False), ("100.127.9.9", False), ("100.128.0.1", True), ("169.254.3.3", False),
        ("127.1.2.3", False), ("128.0.0.1", True), ("192.0.2.1", True), ("::1", False), ("::2", True),
        ("fc00::1", False), ("fdff::1", False), ("fe00::1", True), ("fe80::1", False), ("febf::1", False),
        ("fec0::1", True), ("2001:db8::1", True),
    ],
)  # fmt: skip
def test_public_addresses(address, public):
    assert _is_public(ip_address(address)) is public


def test_memory_is_bounded():
    seen = Plausibility()
    long = "x" * 100_000
    for index in range(3000):
        seen.note(world(index, helo=long, sender=f"{index}{long}"), index)
    (listener,) = seen._listeners.values()
    assert len(listener._seen) == 1_000
    assert max(len(text) for kind in listener._seen for text in kind[1:]) <= 100
    assert ENOUGH <= 1_000


def test_seeing_an_attempt_is_quick():
    """Some 2 us here."""
    seen = Plausibility()
    events = [replace(world(0), attempt=attempt(sender=f"{i}@example.org")) for i in range(100)]
    events = [replace(each, verdict=Verdict(Action.PASS, Reason.KNOWN)) for each in events]

    def see():
        for event in events:
            seen.note(event, 0)

    assert min(timeit(see, number=10) for _ in range(5)) / 1000 < 100e-6
    assert min(timeit(seen.problems, number=10) for _ in range(5)) / 10 < 0.1
