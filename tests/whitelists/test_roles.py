"""postmaster and abuse are always let in."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from multigrey.model import Attempt, Match
from multigrey.whitelists import role_addresses


@pytest.mark.parametrize(
    ("recipient", "entry"),
    [
        ("postmaster@example.org", "postmaster@"),
        ("Postmaster@EXAMPLE.org", "postmaster@"),
        ('"postmaster"@example.org', "postmaster@"),
        ("postmaster+queue@example.org", "postmaster@"),
        ("postmaster", "postmaster@"),
        ("POSTMASTER", "postmaster@"),
        ("abuse@example.org", "abuse@"),
        ("Abuse+ticket@example.org", "abuse@"),
        ("abuse@bücher.example", "abuse@"),
        ("abuse", None),
        ("postmasters@example.org", None),
        ("postmaster.example.org", None),
        ("postmaster@x@example.org", None),
        ("not-postmaster@example.org", None),
        ("abuser@example.org", None),
        ("user@postmaster.example", None),
        ("user@abuse", None),
        ("", None),
        ("@", None),
    ],
)
def test_role_addresses(recipient, entry):
    attempt = Attempt("test", IPv4Address("192.0.2.1"), None, "", "a@example.com", recipient)
    source = role_addresses()
    assert source.match(attempt) == (entry and Match("role-addresses", entry))
    assert (source.count, source.warnings) == (2, ())
