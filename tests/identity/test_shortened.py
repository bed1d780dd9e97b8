"""What is shown of long addresses: never more than its size, still told apart, and found again."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from multigrey.identity.shortened import LONGEST_SHOWN, is_in_domain, shortened

TEXTS = st.text(max_size=200) | st.binary(max_size=200).map(
    lambda octets: octets.decode("utf-8", "surrogateescape")
)
LONG_DOMAIN = "a" * 50 + ".example.org"


@given(TEXTS, TEXTS)
@example("é" * 100, "\U0001f4e7" * 100)
@example("\udcff" * 100, "\ud800" * 100)
def test_it_is_short_and_shortening_twice_changes_nothing(local, domain):
    for text in (local, f"{local}@{domain}"):
        short = shortened(text)
        assert len(short.encode("utf-8", "surrogatepass")) <= LONGEST_SHOWN
        assert shortened(short) == short
        if len(text.encode("utf-8", "surrogatepass")) <= LONGEST_SHOWN:
            assert short == text


def test_long_addresses_are_still_told_apart():
    assert len({shortened(f"{'a' * 100}{number}@example.org") for number in range(1_000)}) == 1_000
    assert len({shortened(f"a@{number}{'a' * 100}.example.org") for number in range(1_000)}) == 1_000


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("joe@example.org", "joe@example.org"),
        ("a" * 90 + "@example.org", "aaaaaaaaaaaaaaaaaaaaaaa~57c838a3@example.org"),
        ("joe@" + "b" * 90 + ".example.org", "joe@~d5133044bbbbbbbbbbbbbbbbbbbbbbbbbb.example.org"),
        ("c" * 90, "~ebfa7fdecccccccccccccccccccccccccccccccccccccc"),
    ],
)
def test_what_is_shown(text, shown):
    assert shortened(text) == shown


@pytest.mark.parametrize(
    ("wanted", "domain", "is_in"),
    [
        ("example.org", "example.org", True),
        ("example.org", "mail.example.org", True),
        ("example.org", "badexample.org", False),
        ("example.org", "", False),
        ("example.org", shortened("x" * 40 + "@" + LONG_DOMAIN).partition("@")[2], True),
        (LONG_DOMAIN, shortened("x" * 40 + "@" + LONG_DOMAIN).partition("@")[2], True),
        (LONG_DOMAIN, shortened("x" * 40 + "@b" + LONG_DOMAIN).partition("@")[2], False),
    ],
)
def test_a_shortened_domain_is_found_by_what_is_left_of_it(wanted, domain, is_in):
    assert is_in_domain(wanted, domain) is is_in
