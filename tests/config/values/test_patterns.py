"""Values of conditions: what they mean, and what is said of those that mean nothing."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.config.values import patterns
from multigrey.config.values.patterns import (
    read_address,
    read_days,
    read_domain,
    read_host,
    read_label,
    read_login,
    read_network,
    read_sizes,
    read_times,
)


@pytest.mark.parametrize(
    ("read", "written", "how", "text"),
    [
        (read_host, "mx.example.org", "exact", "mx.example.org"),
        (read_host, "MX.Example.Org.", "exact", "mx.example.org"),
        (read_host, ".example.org", "below", "example.org"),
        (read_host, "bücher.example", "exact", "xn--bcher-kva.example"),
        (read_host, "/^mx[0-9]+/", "regex", "^mx[0-9]+"),
        (read_host, "/^mx[[:digit:]]/", "regex", "^mx[[:digit:]]"),
        (read_domain, ".Example.org", "below", "example.org"),
        (read_domain, "[192.0.2.1]", "exact", "[192.0.2.1]"),
        (read_domain, "/@/", "regex", "@"),
        (read_label, "192.0.2.0/24", "exact", "192.0.2.0/24"),
        (read_label, "2001:DB8::/64", "exact", "2001:db8::/64"),
        (read_label, "spf:example.org", "exact", "spf:example.org"),
        (read_label, ".example.org", "below", "example.org"),
        (read_login, "Alice", "exact", "Alice"),
        (read_login, "/^a/", "regex", "^a"),
        (read_login, "postfix@unix:/run/s", "exact", "postfix@unix:/run/s"),
        (read_address, "Info@Example.org", "exact", "info@example.org"),
        (read_address, '"odd one"@example.org', "exact", "odd one@example.org"),
        (read_address, "Info@", "user", "info"),
        (read_address, "@Example.org", "domain", "example.org"),
        (read_address, "@.example.org", "domain below", "example.org"),
        (read_address, "info@[192.0.2.1]", "exact", "info@[192.0.2.1]"),
        (read_address, "<>", "exact", ""),
        (read_address, "/^bounce/", "regex", "^bounce"),
    ],
)
def test_texts(read, written, how, text):
    assert read(written) == patterns.Pattern(how, text, written)


@pytest.mark.parametrize(
    ("written", "network"),
    [
        ("192.0.2.1", "192.0.2.1/32"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("64:ff9b::192.0.2.0/120", "192.0.2.0/24"),
        ("2002:c000:200::/40", "192.0.2.0/24"),
    ],
)
def test_networks(written, network):
    assert read_network(written).network == ip_network(network)


@pytest.mark.parametrize(
    ("written", "low", "high"),
    [
        (">=1MiB", 2**20, None),
        ("> 1000", 1001, None),
        ("<=64KiB", 0, 65536),
        ("<64KiB", 0, 65535),
        ("1KB-2KB", 1000, 2000),
        ("10 - 10", 10, 10),
    ],
)
def test_sizes(written, low, high):
    assert read_sizes(written) == patterns.Sizes(low, high, written)


def test_times_and_days():
    assert read_times("22:00-06:00") == patterns.Times(1320, 360, "22:00-06:00")
    assert read_days("sat-sun") == patterns.Days(frozenset({5, 6}), "sat-sun")


@pytest.mark.parametrize(
    ("read", "written", "said"),
    [
        (read_host, 1, 'expected a name such as "mx.example.org" or ".example.org", got 1'),
        (read_host, " mx ", "without blanks around it"),
        (read_host, "", "without blanks around it"),
        (read_host, "mx\norg", "without blanks around it"),
        (read_host, "a" * 1001, "has 1001 characters; expected at most 1000"),
        (read_host, "192.0.2.0/24", "use client_address for addresses and networks"),
        (read_host, "2001:db8::1", "use client_address for addresses and networks"),
        (read_host, "a b", "is not a domain name"),
        (read_host, ".", "is not a domain name"),
        (read_host, "..example.org", "is not a domain name"),
        (read_host, "*", 'wildcards are not supported; write ".example.org" or /regex/'),
        (read_host, "//", "is written /regex/"),
        (read_host, "/a", "is written /regex/"),
        (read_host, "/a/i", "flags are not supported, and case never matters"),
        (read_host, "/(/", "cannot be used: missing )"),
        (read_host, "/(a{1000}){1000}/", "cannot be used"),
        (read_domain, "alice@example.org", "expected its domain alone"),
        (read_address, "alice", 'write "alice@"'),
        (read_address, "a b", 'write "info@"'),
        (read_address, "example.org", 'write "@example.org", with its sub-domains "@.example.org"'),
        (read_address, "*@example.org", "wildcards are not supported"),
        (read_address, "@*.example.org", 'write "info@", "@example.org", "@.example.org" or /regex/'),
        (read_address, "alice@.example.org", "is not a domain name"),
        (read_address, ["a@example.org"], "got a list"),
        (read_network, "192.0.2.1/24", 'did you mean "192.0.2.0/24"?'),
        (read_network, "mx.example.org", "use client_name for names"),
        (read_network, "192.0.2", "is not a network"),
        (read_sizes, "1MiB", 'expected ">=1MiB"'),
        (read_sizes, 1, 'expected ">=1MiB"'),
        (read_sizes, ">=64K", "units of 1024"),
        (read_sizes, "2KB-1KB", "no size is in that span"),
        (read_sizes, "<0", "no size is in that span"),
        (read_times, "morning", "not a span of times"),
        (read_days, "someday", "not a day of the week"),
    ],
)  # fmt: skip
def test_what_is_wrong(read, written, said):
    with pytest.raises(ValueError) as raised:
        read(written)
    assert said in str(raised.value)


READERS = [getattr(patterns, name) for name in patterns.__all__ if name.startswith("read_")]
WRITTEN = st.text(max_size=30) | st.text(alphabet="/()[]*@.-:<>=ab1", max_size=12)


@given(st.sampled_from(READERS), WRITTEN | st.integers() | st.none())
def test_anything_is_read_or_refused_with_words(read, written):
    said = "read"
    try:
        read(written)
    except ValueError as error:
        said = str(error)
    assert said
    assert "\n" not in said
