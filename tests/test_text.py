"""Text that is safe to show, numbers with their nouns, and the nearest known word."""

from __future__ import annotations

import pytest

from multigrey.text import counted, did_you_mean, escaped, printable


def test_printable_leaves_no_line_end():
    assert printable('a "b"\n\x1b\u202e') == 'a "b"\\x0a\\x1b\\u202e'


def test_escaped_hides_what_is_special():
    assert escaped("a,b", ",") == "a\\x2cb"
    assert escaped("a,b", "") == "a,b"
    assert escaped("\udcff\U0001f600\U000e0001", "") == "\\xff\U0001f600\\U000e0001"


@pytest.mark.parametrize(
    ("number", "nouns", "said"),
    [
        (0, ("attempt",), "0 attempts"),
        (1, ("attempt",), "1 attempt"),
        (12345, ("entry", "entries"), "12,345 entries"),
        (1, ("mail was", "mails were"), "1 mail was"),
    ],
)
def test_numbers_have_their_nouns(number, nouns, said):
    assert counted(number, *nouns) == said


@pytest.mark.parametrize(
    ("word", "known", "said"),
    [
        ("dealy", ["delay"], '; did you mean "delay"?'),
        ("DELAY", ["delay"], '; did you mean "delay"?'),
        ("map-size", ["map_size"], '; did you mean "map_size"?'),
        ("client_network", ["client-network"], '; did you mean "client-network"?'),
        ("xyz", ["delay"], ""),
        ("europe/viena", ["Europe/Vienna", "UTC"], '; did you mean "Europe/Vienna"?'),
        ("UTD", ["UTC"], '; did you mean "UTC"?'),
        (5, ["delay"], ""),
        ("delay", [], ""),
    ],
)
def test_suggestions(word, known, said):
    assert did_you_mean(word, known) == said
