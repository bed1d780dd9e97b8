"""Under which names a service may be reached."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from multigrey.config.values.hosts import HostName, host_of, is_address


@pytest.mark.parametrize(
    ("fields", "host"),
    [
        (["localhost:10030"], "localhost"),
        (["LOCALHOST"], "localhost"),
        (["[::1]:10030"], "[::1]"),
        (["[::1]"], "[::1]"),
        (["mx.example.org."], "mx.example.org"),
        ([""], None),
        ([], None),
        (["localhost", "evil.example"], None),
    ],
)
def test_the_host_of_a_request(fields, host):
    assert host_of(fields) == host


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        ("192.0.2.1", True),
        ("[2001:db8::1]", True),
        ("2001:db8::1", False),
        ("[192.0.2.1]", False),
        ("[]", False),
        ("", False),
        ("192.0.2.1.evil.example", False),
        ("2130706433", False),
        ("127.1", False),
        ("localhost", False),
    ],
)
def test_addresses(host, is_one):
    assert is_address(host) is is_one


def test_configured_names():
    names = TypeAdapter(HostName)
    assert [names.validate_python(name) for name in ("MX.example.org", "[::1]")] == [
        "mx.example.org",
        "[::1]",
    ]
    for wrong in ("mx.example.org:80", "a b", "", 3):
        with pytest.raises(ValidationError, match="is not a host name; expected one without a port"):
            names.validate_python(wrong)
