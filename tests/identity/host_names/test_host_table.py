"""Host names looked up by suffix and by pattern."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multigrey.identity.host_names.host_table import HostTable, is_pattern, tail_of

TABLE = HostTable(
    {
        "isp.example": "everything",
        "mailout#.isp.example": "pattern",
        "smtp*-g#.isp.example": "two wildcards",
        "*.mail.*.isp.example": "two labels",
        "out.isp.example": "longer",
        "one.out.isp.example": "longest",
        "mx#.other.example": "alone",
        "*smtp*.prod.big.example": "in the middle",
    }
)


@pytest.mark.parametrize(
    ("name", "entry", "key"),
    [
        ("isp.example", "everything", "isp.example"),
        ("a.b.isp.example", "everything", "isp.example"),
        ("mailout08.isp.example", "pattern", "mailout#.isp.example"),
        ("mailout.isp.example", "everything", "isp.example"),
        ("mailout08x.isp.example", "everything", "isp.example"),
        ("xmailout08.isp.example", "everything", "isp.example"),
        ("a.mailout08.isp.example", "everything", "isp.example"),
        ("smtp4-g21.isp.example", "two wildcards", "smtp*-g#.isp.example"),
        ("smtpfb1-g21.isp.example", "two wildcards", "smtp*-g#.isp.example"),
        ("smtp-g1-g2.isp.example", "two wildcards", "smtp*-g#.isp.example"),
        ("smtp4-g.isp.example", "everything", "isp.example"),
        ("sonic1.mail.ne1.isp.example", "two labels", "*.mail.*.isp.example"),
        ("a.b.mail.ne1.isp.example", "everything", "isp.example"),
        ("out.isp.example", "longer", "out.isp.example"),
        ("a.out.isp.example", "longer", "out.isp.example"),
        ("a.one.out.isp.example", "longest", "one.out.isp.example"),
        ("mx7.other.example", "alone", "mx#.other.example"),
        ("mxa.other.example", None, ""),
        ("other.example", None, ""),
        ("smtp.prod.big.example", "in the middle", "*smtp*.prod.big.example"),
        ("p3plsmtpa12-05.prod.big.example", "in the middle", "*smtp*.prod.big.example"),
        ("p3nlhg7.shr.prod.big.example", None, ""),
        ("example", None, ""),
        ("", None, ""),
        ("nisp.example", None, ""),
    ],
)
def test_what_counts(name, entry, key):
    assert TABLE.find(name) == (entry, key)


def test_a_pattern_counts_more_than_the_suffix_it_ends_in_and_less_than_a_longer_one():
    table = HostTable({"a#.b.example": 1, "b.example": 2, "a7.b.example": 3})
    assert [table.find(name)[0] for name in ("a1.b.example", "a7.b.example", "c.b.example")] == [1, 3, 2]


@pytest.mark.parametrize(
    ("key", "pattern", "tail"),
    [
        ("a.example", False, None),
        ("mx#.a.example", True, "a.example"),
        ("*.mail.*.a.example", True, "a.example"),
        ("*", True, ""),
    ],
)
def test_tails(key, pattern, tail):
    assert is_pattern(key) is pattern
    if pattern:
        assert tail_of(key) == tail


PIECES = st.lists(st.sampled_from(["*", "#", "a", "b-", "1", "."]), max_size=6).map("".join)
NAMES = st.text("ab-1.", max_size=10)


def is_allowed(text):
    return is_pattern(text) and not re.search("#[#0-9]", text)


@settings(max_examples=1000)
@given(PIECES.filter(is_allowed), NAMES)
def test_patterns_match_as_their_plain_translation_does(pattern, name):
    plain = re.escape(pattern).replace(r"\*", "[a-z0-9_-]*").replace(r"\#", "[0-9]+")
    found = HostTable({f"{pattern}.x.y": True}).find(f"{name}.x.y")[0]
    assert bool(found) == (re.fullmatch(plain, name) is not None)


def test_a_name_made_to_be_slow_is_not():
    table = HostTable({f"{'*-' * 12}x.isp.example": True})
    begin = time.perf_counter()
    assert table.find(f"{'-' * 63}.isp.example") == (None, "")
    assert time.perf_counter() - begin < 0.1
