"""Registered domains: the quick way says what the library says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from publicsuffixlist import PublicSuffixList

from multigrey.config.suffixes import RegisteredDomains, read_list

SMALL = """
// ===BEGIN ICANN DOMAINS===
com
uk
co.uk
*.ck
!www.ck
// a note
jp
*.kobe.jp
!city.kobe.jp
香港 and more
公司.香港
// ===END ICANN DOMAINS===
// ===BEGIN PRIVATE DOMAINS===
blogspot.com
*.compute.amazonaws.com
only.below
// ===END PRIVATE DOMAINS===
""".splitlines()

DOMAINS = RegisteredDomains(read_list())
LIBRARY = PublicSuffixList(accept_unknown=True)


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("mail.example.com", "example.com"),
        ("example.com", "example.com"),
        ("com", None),
        ("a.b.example.co.uk", "example.co.uk"),
        ("co.uk", None),
        ("example.uk", "example.uk"),
        ("me.blogspot.com", "me.blogspot.com"),
        ("blogspot.com", None),
        ("a.b.amazonaws.com", "amazonaws.com"),
        ("a.b.compute.amazonaws.com", "a.b.compute.amazonaws.com"),
        ("b.compute.amazonaws.com", None),
        ("a.b.ck", "a.b.ck"),
        ("b.ck", None),
        ("www.ck", "www.ck"),
        ("a.www.ck", "www.ck"),
        ("a.kobe.jp", None),
        ("city.kobe.jp", "city.kobe.jp"),
        ("x.xn--j6w193g", "x.xn--j6w193g"),
        ("x.xn--55qx5d.xn--j6w193g", "x.xn--55qx5d.xn--j6w193g"),
        ("xn--55qx5d.xn--j6w193g", None),
        ("x.香港", "x.香港"),
        ("a.only.below", "a.only.below"),
        ("a.b.other.below", "other.below"),
        ("below", None),
        ("mail.example", "mail.example"),
        ("a.mail.example", "mail.example"),
        ("mail.corp.local", "corp.local"),
        ("local", None),
        ("a.公司", "a.公司"),
        (".mail.example", None),
        ("a..example", None),
        ("", None),
        (".", None),
        (".com", None),
        ("a..com", None),
    ],
)
def test_a_small_list(name, domain):
    assert RegisteredDomains(SMALL)(name) == domain
    assert PublicSuffixList(SMALL, accept_unknown=True).privatesuffix(name) == domain


SUFFIXES = sorted(
    {line.split()[0].lstrip("!*.") for line in read_list() if line.strip() and not line.startswith("//")}
)
LABELS = st.text("abcxyz019-_", min_size=1, max_size=3)


@given(st.lists(LABELS, max_size=4), st.sampled_from(SUFFIXES), st.sampled_from(["", ".", ".."]))
def test_the_whole_list(labels, suffix, mark):
    name = ".".join([*labels, suffix])
    for asked in (
        name,
        name.encode("idna").decode("ascii"),
        f"{mark}{name}",
        f"{labels[0] if labels else ''}.{name}",
    ):
        assert DOMAINS(asked) == LIBRARY.privatesuffix(asked)


@given(st.lists(LABELS | st.just(""), max_size=4).map(".".join))
def test_any_name(name):
    assert DOMAINS(name) == (None if ends_in_number(name) else LIBRARY.privatesuffix(name))


@given(st.lists(LABELS, min_size=2, max_size=5), st.sampled_from(["local", "lan", "newtld", "xn--abc"]))
def test_below_no_suffix_the_last_two_labels_are_the_registered_domain(labels, top):
    name = ".".join([*labels, top])
    assert DOMAINS(name) == f"{labels[-1]}.{top}" == LIBRARY.privatesuffix(name)


@pytest.mark.parametrize("name", ["192.0.2.77", "a.7", "mail.example.007"])
def test_what_ends_in_a_number_is_an_address(name):
    assert DOMAINS(name) is None


def ends_in_number(name):
    return name.rpartition(".")[2].isdecimal()
