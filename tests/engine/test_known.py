"""What is remembered of senders who are known: only what follows from what is looked at."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from multigrey.engine.known import KnownSender, KnownSenders
from multigrey.engine.setup import Setup
from multigrey.identity.components import ClientNetwork, Recipient
from multigrey.identity.keys import KeyScheme
from multigrey.model import Attempt, Origin, Table
from tests.support.engines import SITE_KEY, setup

KEYS = ((Table.RECORD, b"a" * 16), (Table.RECORD, b"b" * 16))
ORIGIN = Origin("example.org", named=True)


def attempt(**fields: object) -> Attempt:
    values: dict[str, object] = {
        "listener": "unix:/run/postfix.sock",
        "client_address": ip_address("192.0.2.10"),
        "client_name": None,
        "helo": "mail.example.org",
        "sender": "alice@example.org",
        "recipient": "bob@example.net",
    }
    return Attempt(**{**values, **fields})  # type: ignore[arg-type]


def seen(made: Setup) -> KnownSender:
    return KnownSender(made, "192.0.2.0/24", ORIGIN, KEYS)


@pytest.fixture
def made() -> Setup:
    return setup()


@pytest.mark.parametrize(
    "other",
    [
        {"client_address": ip_address("192.0.2.11")},
        {"client_address": None},
        {"client_name": "other.example.org"},
        {"client_name": None},
        {"helo": "other.example.org"},
        {"sender": "bob@example.org"},
        {"sender": ""},
        {"recipient": "carol@example.net"},
        {"raw": "some key"},
    ],
)
def test_only_the_same_attempt_is_found(made, other):
    recent = KnownSenders()
    one = attempt(client_name="mail.example.org")
    recent.note(one, seen(made))
    assert recent.find(attempt(client_name="mail.example.org", message="another"), made) is not None
    assert recent.find(replace(one, **other), made) is None


def test_an_ipv6_address_of_the_same_number_is_another_client(made):
    recent = KnownSenders()
    recent.note(attempt(client_address=ip_address("192.0.2.10")), seen(made))
    assert recent.find(attempt(client_address=ip_address("::c000:20a")), made) is None


def test_a_reload_makes_everything_anew(made):
    recent = KnownSenders()
    recent.note(attempt(), seen(made))
    assert recent.find(attempt(), replace(made)) is None


def test_nothing_keeps_the_lists_of_an_old_setup_in_memory(made):
    recent = KnownSenders()
    recent.note(attempt(), seen(made))
    recent.note(attempt(sender="bob@example.org"), seen(made))
    recent.find(attempt(sender="carol@example.org"), replace(made))
    assert len(recent) == 0


@pytest.mark.parametrize(
    "one",
    [
        attempt(client_address=None),
        attempt(raw="some key"),
        attempt(sender="a" * 400 + "@example.org"),
        attempt(helo="h" * 400),
    ],
    ids=["nobody", "raw", "long sender", "long helo"],
)
def test_what_is_odd_is_not_remembered(made, one):
    recent = KnownSenders()
    recent.note(one, seen(made))
    assert len(recent) == 0


def test_keys_of_a_plugin_are_not_remembered():
    class Fancy:
        def text(self, one):
            return one.attributes.get("size")

    network = ClientNetwork(24, 64)
    scheme = KeyScheme(SITE_KEY, ("client-network", "fancy"), (network, Fancy()), network, Recipient("+"))
    recent = KnownSenders()
    recent.note(attempt(), seen(setup(scheme=scheme)))
    assert len(recent) == 0


def test_memory_is_bounded_and_the_oldest_goes(made):
    recent = KnownSenders(3)
    for number in range(5):
        recent.note(attempt(sender=f"s{number}@example.org"), seen(made))
    found = [recent.find(attempt(sender=f"s{number}@example.org"), made) is not None for number in range(5)]
    assert found == [False, False, True, True, True]


def test_all_keys_are_looked_at_once_a_day(made):
    one = seen(made)
    assert one.keys_for(1_000_000_000) is KEYS
    one.together = 1_000_000_000
    assert one.keys_for(1_000_000_000) == KEYS[:1]
    assert one.keys_for(1_000_086_399) == KEYS[:1]
    assert one.keys_for(1_000_086_400) is KEYS
    assert one.keys_for(999_999_999) is KEYS  # the clock was set back
