"""What a decision is made from."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from multigrey.greylist.policy import Case
from multigrey.model import Origin

ORIGIN = Origin("example.org", named=True)


@pytest.mark.parametrize(
    ("client", "shown"),
    [
        ("", ""),
        ("h:abcdefghijklmnop", "h:abcdefghijklmnop"),
        (ip_address("192.0.2.1"), "192.0.2.1"),
        (ip_address("2001:DB8::1"), "2001:db8::1"),
    ],
)
def test_the_client_as_a_record_shows_it(client, shown):
    assert Case(ORIGIN, b"key", client=client).client_shown == shown


def test_without_a_scheme_domains_have_no_mark():
    case = Case(ORIGIN, b"key", domain="example.com")
    assert case.mark_of(case.domain) == b""
