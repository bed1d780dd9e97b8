"""Patterns of host names, and generated names without their address."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.identity.host_names.host_pattern import APEX, folded_name, is_made, is_mail_server, pattern_of

DOMAIN = "isp.example"

PATTERNS = [
    # what stands below the domain, its pattern
    ("mta-3", "mta-#"),
    ("mta-17", "mta-#"),
    ("mta3", "mta#"),
    ("mta3a", "mta#"),
    ("cust-12-7.pool", "cust-#.pool"),
    ("cust-4-19-250.pool", "cust-#.pool"),
    ("x7f3k2", "*"),
    ("k9q2zz1", "*"),
    ("mail", "mail"),
    ("mail.customer", "mail.customer"),
    ("mail-ot1-f45", "mail-ot#-f#"),
    ("a9-36.smtp-out", "a#.smtp-out"),
    ("mail-mw2nam12on2071.outbound.protection", "mail-*.outbound.protection"),
    ("77.2.0.192.rev", "#.rev"),
    ("192-0-2-77.static", "#.static"),
    ("ip-192-000-002-077", "ip-#"),
    ("p5ddb3ec9.dip0", "*.dip#"),
    ("c000024d", "*"),
    ("192000002077", "#"),
    ("2001-db8-12-34ab--5-6", "#"),
    ("vps-a2bccee9.vps", "vps-*.vps"),
    ("9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d", "*"),
    ("ns3012345", "ns#"),
    ("3com", "#com"),
    ("4bad", "*"),
    ("xn--bcher-kva", "xn--bcher-kva"),
    ("a.b.c.d.e.f.g", "a.*.f.g"),
    ("averyveryverylonglabel", "*"),
    ("_dmarc", "_dmarc"),
    ("", APEX),
]


@pytest.mark.parametrize(("own", "pattern"), PATTERNS)
def test_the_pattern_of_a_name(own, pattern):
    assert pattern_of(f"{own}.{DOMAIN}" if own else DOMAIN, DOMAIN) == pattern
    assert is_made(pattern) == ("#" in pattern or "*" in pattern)


@pytest.mark.parametrize(
    ("pattern", "mail"),
    [
        ("mail", True),
        ("mta-#", True),
        ("mx#.eu", True),
        ("#smtp", True),
        ("mailout-#", True),
        ("o#.outbound-mail", True),
        ("relay#", True),
        ("sender-#", True),
        ("post", True),
        ("cust-#.pool", False),
        ("vps-#", False),
        ("hotmails#", False),
        ("amx#", False),
        ("route#", False),
        ("*", False),
        (APEX, False),
    ],
)
def test_which_are_named_as_mail_servers(pattern, mail):
    assert is_mail_server(pattern) is mail


labels = st.text(st.sampled_from("abcdefxyz0129-_"), min_size=1, max_size=20)


@given(st.lists(labels, max_size=7))
def test_patterns_are_short_and_without_digits(parts):
    pattern = pattern_of(".".join([*parts, DOMAIN]), DOMAIN)
    assert 0 < len(pattern) <= 48
    assert not any(digit in pattern for digit in "0123456789")
    assert pattern.count(".") < 4


@given(st.text(max_size=600), st.text(max_size=20))
def test_every_text_has_a_pattern(name, domain):
    assert 0 < len(pattern_of(name, domain)) <= 48


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from(["mta-{}", "web{}", "cust-{}-7.pool"]))
def test_hosts_of_one_kind_have_one_pattern(one, other, kind):
    names = [f"{kind.format(number)}.{DOMAIN}" for number in (one, other)]
    assert len({pattern_of(name, DOMAIN) for name in names}) == 1


@given(
    st.ip_addresses(v=4),
    st.ip_addresses(v=4),
    st.sampled_from(["{}-{}-{}-{}", "c-{}-{}-{}-{}.x", "{}.{}.{}.{}"]),
)
def test_octets_fold(one, other, form):
    names = [f"{form.format(*address.packed)}.{DOMAIN}" for address in (one, other)]
    assert len({pattern_of(name, DOMAIN) for name in names}) == 1


FOLDED = [
    # name, address, folded
    ("69-171-232-143.mail-mail.isp.example", "69.171.232.143", "#-#-#-#.mail-mail.isp.example"),
    ("143.232.171.69.out.isp.example", "69.171.232.143", "#.#.#.#.out.isp.example"),
    ("c-73-1-2-3.net1.isp.example", "73.1.2.3", "c-#-#-#-#.net#.isp.example"),
    ("p5ddb3ec9.out.isp.example", "93.219.62.201", "p#.out.isp.example"),
    ("c93edb5d.out.isp.example", "93.219.62.201", "#.out.isp.example"),
    ("069171232143.isp.example", "69.171.232.143", "#.isp.example"),
    ("2001-db8-1-2--3.out.isp.example", "2001:db8:1:2::3", "#.out.isp.example"),
    ("20010db8000100020000000000000003.isp.example", "2001:db8:1:2::3", "#.isp.example"),
    ("mail.isp.example", "69.171.232.143", ""),
    ("isp.example", "69.171.232.143", ""),
]


@pytest.mark.parametrize(("name", "address", "folded"), FOLDED)
def test_a_generated_name_without_its_address(name, address, folded):
    assert folded_name(name, DOMAIN, ip_address(address)) == folded


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_ipv6_groups_fold_whatever_is_left_out(one, other):
    addresses = [IPv6Address(0x20010DB8_00010002 << 64 | low) for low in (one, other)]
    names = [f"{str(address).replace(':', '-')}.out.{DOMAIN}" for address in addresses]
    folded = {folded_name(name, DOMAIN, address) for name, address in zip(names, addresses, strict=True)}
    assert folded == {f"#.out.{DOMAIN}"}
