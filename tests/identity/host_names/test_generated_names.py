"""Generated names: what shows it.  Rows by the hundred are in tests/support/origin_table.py."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from multigrey.identity.host_names.generated_names import POOL_WORDS, evidence, holds_address

SHOWN = [
    # name, registered domain, address, what shows it
    ("192-0-2-77.example.org", "example.org", "192.0.2.77", "octets of the address"),
    ("pc000024d.example.org", "example.org", "192.0.2.77", "octets of the address"),
    ("198-51-100-7.example.org", "example.org", "192.0.2.77", ""),
    ("db8-1-2.example.org", "example.org", "2001:db8:1:2::3", "groups of the address"),
    ("192-0-2-77.dyn9.example.org", "example.org", "192.0.2.77", "the word dyn"),
    ("mail.dsl.net", "dsl.net", "192.0.2.77", ""),
    ("dsl.net", None, "192.0.2.77", "the word dsl"),
    ("mail.example.org", "example.org", None, ""),
    ("a.dsl.example.org", "example.org", None, "the word dsl"),
    ("xn--pool-cua.example.org", "example.org", "192.0.2.77", ""),
]


@pytest.mark.parametrize(("name", "domain", "address", "shown"), SHOWN)
def test_what_shows_that_a_name_is_generated(name, domain, address, shown):
    told = None if address is None else ip_address(address)
    assert evidence(name, domain, told) == shown
    if told is not None:
        assert holds_address(name, told) == (shown.endswith("address") or name.startswith("192-0-2-77"))


def test_words_are_words():
    assert all(word.isascii() and word.islower() and word.isalpha() for word in POOL_WORDS)
