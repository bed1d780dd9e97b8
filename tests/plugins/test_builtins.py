"""The built-in plugin, under the same contract as every other plugin."""

from __future__ import annotations

from pathlib import Path

import pytest

from multigrey.config.tables.greylist import Greylist
from multigrey.contracts import DialogueOptions, StoreOptions
from multigrey.model import Signal
from multigrey.plugins.loader import load_plugins
from tests.support.plugins import attempt


def built(**greylist):
    return load_plugins(None, entry_points=()).register({"greylist": Greylist(**greylist)})


def test_the_words_of_the_configuration():
    registry = built()
    assert set(registry.key_components) == {
        "client-address",
        "client-network",
        "sender",
        "sender-domain",
        "origin",
        "recipient",
        "recipient-domain",
        "helo",
    }
    assert set(registry.whitelist_sources) == {"postgrey-clients", "postgrey-recipients", "list"}
    assert set(registry.stores) == {"memory", "lmdb"}
    assert set(registry.protocols) == {"postfix", "exim", "greylistd"}
    assert set(registry.traits) == {
        "null-sender",
        "no-client-name",
        "generated-name",
        "helo-mismatch",
        "helo-is-address",
    }
    assert (registry.slow_sources, registry.services) == ({}, {})
    assert registry.warnings == []


def test_every_default_names_something_built_in():
    registry = built()
    assert set(Greylist().key) <= registry.key_components.keys()


@pytest.mark.parametrize(
    ("component", "text"),
    [
        ("client-address", "192.0.2.1"),
        ("client-network", "192.0.0.0/16"),
        ("sender", "sender@example.org"),
        ("sender-domain", "example.org"),
        ("recipient", "user@example.net"),
        ("recipient-domain", "example.net"),
        ("helo", "mx.example.org"),
    ],
)
def test_key_components_follow_the_greylist_table(component, text):
    registry = built(ipv4_prefix=16, recipient_delimiter="-")
    told = attempt(sender="Sender@Example.ORG", recipient="User-list@example.net", helo="MX.example.org")
    assert registry.key_components[component].text(told) == text


def test_the_prefix_of_ipv6():
    from ipaddress import ip_address

    told = attempt(client_address=ip_address("2001:db8:1:2:3::1"))
    assert built(ipv6_prefix=48).key_components["client-network"].text(told) == "2001:db8:1::/48"


@pytest.mark.parametrize(
    ("trait", "changes", "holds"),
    [
        ("null-sender", {"sender": ""}, True),
        ("null-sender", {"sender": "a@example.org"}, False),
        ("null-sender", {"sender": "", "raw": "free text"}, False),
        ("null-sender", {"sender": "", "recipient": ""}, False),  # greylistd: of an address alone
        ("null-sender", {"sender": "", "recipient": "", "message": "m1"}, True),
        ("no-client-name", {"client_name": None}, True),
        ("no-client-name", {"client_name": "mx.example.org"}, False),
    ],
)
def test_traits(trait, changes, holds):
    assert built().traits[trait].holds(attempt(**changes)) is holds


@pytest.mark.parametrize("protocol", ["postfix", "exim", "greylistd"])
def test_protocols_make_dialogues(protocol):
    dialogue = built().protocols[protocol](DialogueOptions("test", 65536))
    assert dialogue.next_request() is Signal.NEED_DATA


@pytest.mark.parametrize("store", ["memory", "lmdb"])
def test_stores_are_made_without_touching_the_disk(store, tmp_path):
    state = Path(tmp_path) / "state"
    made = built().stores[store](StoreOptions(state, 1 << 20))
    assert callable(made.apply)
    assert not state.exists()
