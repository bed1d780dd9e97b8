"""What is meant but not written: attempts that an entry may have been made for."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from multigrey.matching.near_misses import near_attempts
from multigrey.model import Attempt


def attempt(**fields):
    values = {"client_name": None, "helo": "", "sender": "", "recipient": "b@example.net"}
    return Attempt(listener="t", client_address=ip_address("192.0.2.1"), **{**values, **fields})


@pytest.mark.parametrize(
    ("fields", "others"),
    [
        ({}, []),
        (
            {"client_name": "a.b.outlook.com"},
            [("client_name", "b.outlook.com"), ("client_name", "outlook.com")],
        ),
        ({"client_name": "outlook.com"}, []),
        ({"helo": "mx.example.org"}, [("client_name", "mx.example.org")]),
        ({"helo": "[192.0.2.1]"}, []),
        ({"helo": "localhost"}, []),
        ({"client_name": "x.org", "helo": "mx.example.org"}, []),
        ({"sender": "a@m.example.org"}, [("sender", "a@example.org")]),
        ({"recipient": "b@m.example.net"}, [("recipient", "b@example.net")]),
        ({"client_name": "x." * 200 + "org"}, []),
    ],
)
def test_each_differs_in_one_thing(fields, others):
    given = attempt(**fields)
    found = list(near_attempts(given))
    changed = [
        (name, getattr(other, name))
        for other, _ in found
        for name in ("client_name", "sender", "recipient", "helo")
        if getattr(other, name) != getattr(given, name)
    ]
    assert changed == others
    assert all(why for _, why in found)
