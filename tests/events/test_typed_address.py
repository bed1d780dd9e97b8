"""Addresses as people type and paste them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.errors import AddressError
from multigrey.events.line import format_fields, format_json_fields
from multigrey.events.typed_address import read_address, read_address_or_domain, read_addresses
from multigrey.text import printable

BOB, ANN = "bob@example.net", "ann+x@sub.example.org"

ONE = [
    "bob@example.net",
    "  bob@example.net\n",
    "<bob@example.net>",
    "< bob@example.net >,",
    "Bob Builder <bob@example.net>",
    '"Builder, Bob" <bob@example.net>',
    "Bob (away) <bob@example.net>",
    "to=<bob@example.net>,",
    "to=<bob@example.net>: ",
    "orig_to=<bob@example.net>",
    "recipient=bob@example.net",
    'recipient="bob@example.net"',
    "F=<bob@example.net>",
    "RCPT TO:<bob@example.net>",
    "mail from:bob@example.net",
    "To: Bob <bob@example.net>",
    "Envelope-to: bob@example.net",
    "mailto:bob@example.net",
    "'bob@example.net'",
    "(bob@example.net).",
    "bob@example.net, <bob@example.net>",
]


@pytest.mark.parametrize("text", ONE)
def test_one_address_in_any_spelling(text):
    assert read_address(text) == BOB


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("bob@example.net, ann+x@sub.example.org", [BOB, ANN]),
        ("bob@example.net ann+x@sub.example.org", [BOB, ANN]),
        ("bob@example.net;\nann+x@sub.example.org;", [BOB, ANN]),
        ("Bob <bob@example.net>, Ann <ann+x@sub.example.org>", [BOB, ANN]),
        ("from=<ann+x@sub.example.org> to=<bob@example.net>", [ANN, BOB]),
        ("from=<>, to=<bob@example.net>", ["<>", BOB]),
        ("<> -> bob@example.net", ["<>", BOB]),
        ("<>", ["<>"]),
        ("<postmaster>", ["postmaster"]),
        ('"a b"@example.org', ['"a b"@example.org']),
        ('<"a> b"@example.org>', ['"a> b"@example.org']),
        ("bob@[192.0.2.1]", ["bob@[192.0.2.1]"]),
        ("bob@[IPv6:2001:db8::1]", ["bob@[IPv6:2001:db8::1]"]),
        ("j\\xf6rg@example.net", ["j\udcf6rg@example.net"]),
        ("jörg@bücher.example", ["jörg@bücher.example"]),
        ("prvs=1234abcdef=bob@example.net", ["prvs=1234abcdef=bob@example.net"]),
        ("bob@example.net.", [BOB]),
        ("root@localhost", ["root@localhost"]),
    ],
)
def test_which_addresses(text, addresses):
    assert read_addresses(text) == addresses


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ",", "bob", "bob@", "@example.net", "bob example.net", "bob@exa mple", "bob@ex..ample"),
        *(
            "<bob@example.net",
            "bob, <ann@example.org>",
            "mail bob@example.net",
            "<a b>",
            "7f3k2q",
            "a" * 5_000,
        ),
        *("bob@example.net and others", "bob@-exam/ple.net", "to=", '"bob"', "-"),
    ],
)
def test_what_is_no_address_is_an_error(text):
    with pytest.raises(AddressError):
        read_addresses(text)


def test_one_is_asked_for():
    with pytest.raises(AddressError, match="2 addresses"):
        read_address("a@x.example, b@x.example")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("example.org", "example.org"),
        (".Example.org", "example.org"),
        ("@example.org.", "example.org"),
        ("@localhost", "localhost"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("h:abcdefghij234567", "h:abcdefghij234567"),
        ("from=<bob@example.net>", BOB),
        ("<>", "<>"),
    ],
)
def test_an_address_or_a_domain(text, found):
    assert read_address_or_domain(text) == found


@pytest.mark.parametrize(
    "text", ["", "bob", "a b", "192.0.2.0/24", "exa..mple", ".", "a@b.example, c@d.example"]
)
def test_neither_an_address_nor_a_domain(text):
    with pytest.raises(AddressError):
        read_address_or_domain(text)


@given(st.text(min_size=1, max_size=20))
def test_an_address_is_read_back_from_all_that_shows_it(local):
    address = f"{local}@example.org"
    try:
        plain = read_addresses(f"<{address}>")
    except AddressError:
        return
    if plain != [address] or "\\" in local or '"' in local:
        return
    assert read_addresses(printable(f"<{address}>")) == [address]
    if not set(local) & set("<>,; =") and local.isprintable():
        assert read_addresses(format_fields({"recipient": address})) == [address]
        assert address.encode() in format_json_fields({"recipient": address}).encode()


@given(st.text())
def test_any_text_gives_addresses_or_an_error(text):
    for read in (read_addresses, read_address_or_domain):
        with suppress(AddressError):
            assert read(text)
