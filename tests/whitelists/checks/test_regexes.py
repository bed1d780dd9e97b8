"""Patterns that strangers' names match."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.whitelists.checks.regexes import alternatives, loose_ends


@pytest.mark.parametrize(
    ("pattern", "loose"),
    [
        (r"^mx\.example\.org$", ""),
        (r"\.example\.org$", ""),
        (r"[.]example[.]org$", ""),
        (r"(^|\.)example\.org$", ""),
        (r"(?:^|\.)example\.org$", ""),
        (r"^a$|^b$", ""),
        (r"^(a|b)$", ""),
        (r"\Amx\.example\.org\z", ""),
        (r"^a\\$", ""),
        (r"^mx\.example\.org", "end"),
        (r"^mx\.example\.org\$", "end"),
        (r"example\.org$", "begin"),
        (r"^a|b$", "end"),
        (r"^a$|b$", "begin"),
        (r"^[|]x$", ""),
        (r"^[]|]x$", ""),
        (r"\bexample\.org$", "begin"),
        ("", "end"),
    ],
)
def test_loose_ends(pattern, loose):
    said = loose_ends(pattern)
    assert said.startswith(f"does not {loose}") if loose else said == ""


@given(st.text(alphabet="ab|()[]\\^$.QE", max_size=20))
def test_the_alternatives_are_the_whole_pattern(pattern):
    assert "|".join(alternatives(pattern)) == pattern
    loose_ends(pattern)
