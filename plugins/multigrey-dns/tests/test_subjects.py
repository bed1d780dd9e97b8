"""The subjects of questions about an attempt, and what is never asked about."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from multigrey_dns.subjects import Of, domain_subject, is_name, reversed_address, subject_of


@pytest.mark.parametrize(
    ("address", "subject"),
    [
        ("192.0.2.5", "5.2.0.192"),
        ("203.0.113.254", "254.113.0.203"),
        (
            "2001:db8:1:2:3:4:567:89ab",
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2",
        ),
    ],
)
def test_addresses_are_reversed(address, subject, attempt):
    assert reversed_address(ip_address(address)) == subject
    assert subject_of(attempt(address), Of.CLIENT_ADDRESS) == subject


@pytest.mark.parametrize(
    "address",
    [
        None,
        "0.1.2.3",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "127.0.0.2",
        "169.254.1.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "fd12::1",
        "ff02::1",
        "4000::1",
    ],
)
def test_nobody_is_asked_about_addresses_that_are_not_public(address, attempt):
    assert subject_of(attempt(address), Of.CLIENT_ADDRESS) is None


@pytest.mark.parametrize("address", ["9.255.255.255", "100.128.0.1", "172.32.0.1", "198.20.0.1", "223.0.0.1"])
def test_what_lies_beside_them_is_asked_about(address, attempt):
    assert subject_of(attempt(address), Of.CLIENT_ADDRESS) is not None


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("example.com", "example.com"),
        ("MX.Example.COM.", "mx.example.com"),
        ("a_b.example.com", "a_b.example.com"),
        ("bücher.example.com", "xn--bcher-kva.example.com"),
        (f"{'a' * 63}.example.com", f"{'a' * 63}.example.com"),
        (f"{'a' * 64}.example.com", None),
        (".".join(["a" * 49] * 5) + ".com", ".".join(["a" * 49] * 5) + ".com"),
        (".".join(["a" * 49] * 5) + ".comm", None),
        ("", None),
        (".", None),
        ("com", None),
        ("example..com", None),
        (".example.com", None),
        ("-a.example.com", None),
        ("a-.example.com", None),
        ("a b.example.com", None),
        ("*.example.com", None),
        ("a\x00.example.com", None),
        ("a.example.com\n", None),
        ("\udcff.example.com", None),
        ("x" * 100_000 + ".com", None),
        ("[192.0.2.5]", None),
        ("192.0.2.5", None),
        ("5.2", None),
        ("2001:db8::1", None),
        ("localhost", None),
        ("mail.localhost", None),
        ("mail.local", None),
        ("host.localdomain", None),
        ("5.2.0.192.in-addr.arpa", None),
        ("something.test", None),
        ("latest.com", "latest.com"),
    ],
)
def test_domains(text, subject):
    assert domain_subject(text) == subject


@pytest.mark.parametrize(
    ("of", "subject"),
    [
        (Of.CLIENT_NAME, "out.example.org"),
        (Of.HELO, "helo.example.com"),
        (Of.SENDER_DOMAIN, "news.example.net"),
    ],
)
def test_each_part_of_an_attempt(of, subject, attempt):
    made = attempt(name="Out.Example.ORG", helo="helo.example.com", sender="a@b@News.Example.net")
    assert subject_of(made, of) == subject


@pytest.mark.parametrize("of", list(Of))
def test_what_was_not_told_is_not_asked_about(of, attempt):
    assert subject_of(attempt(None, None, "", ""), of) is None


def test_names():
    assert is_name("list.example.org")
    assert not is_name("List.example.org"), "in lower case"
    assert not is_name("")
