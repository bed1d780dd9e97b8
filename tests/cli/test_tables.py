"""Tables on terminals of every width: nothing is lost without being named, and no word is broken."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from multigrey.cli.tables import table

HEADS = ("STATE", "SEEN", "SENDER", "LEFT")
ROWS = [
    ("waiting", "2026-11-29 20:00:08", "somebody.with.a.long.name@mail.example.org", "1m39s"),
    ("known", "2026-11-29 20:00:08", "a@example.org", ""),
]
SHAPE = {"texts": {"SENDER"}, "spare": ("ORIGIN", "SEEN", "STATE")}


def drawn(width, rows=ROWS, **changes):
    out = io.StringIO()
    console = Console(file=out, width=width, markup=False, highlight=False, no_color=True)
    console.print(table(HEADS, rows, width, **{**SHAPE, **changes}))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_with_room_each_row_is_one_line():
    lines = drawn(100)
    assert lines == [
        "STATE    SEEN                 SENDER                                      LEFT",
        "waiting  2026-11-29 20:00:08  somebody.with.a.long.name@mail.example.org  1m39s",
        "known    2026-11-29 20:00:08  a@example.org",
    ]


@pytest.mark.parametrize(
    ("width", "heads", "caption"),
    [
        (57, "STATE SEEN SENDER LEFT", ""),
        (56, "STATE SENDER LEFT", "columns left out for lack of room: SEEN"),
        (36, "STATE SENDER LEFT", "columns left out for lack of room: SEEN"),
        (35, "SENDER LEFT", "columns left out for lack of room: SEEN, STATE"),
    ],
)
def test_without_room_texts_are_folded_and_columns_left_out(width, heads, caption):
    lines = drawn(width)
    assert lines[0].split() == heads.split()
    text = " ".join(lines)
    assert text.partition("left out")[1:] == caption.partition("left out")[1:]
    assert "1m39s" in text
    assert all(len(line) <= width for line in lines)


@given(st.integers(30, 200))
def test_what_is_shown_is_shown_whole(width):
    """However little room there is; the characters of a row are on its lines in another order."""
    shown = "".join(drawn(width, spare=()))
    assert sorted(shown.replace(" ", "")) == sorted("".join(HEADS + ROWS[0] + ROWS[1]).replace(" ", ""))


def test_a_title_and_no_heads():
    assert table(("", ""), [("a", 1)], 80).show_header is False
    assert table(HEADS, [], 80).row_count == 0
    assert drawn(100, title="All of them")[0] == "All of them"


def test_what_strangers_wrote_is_made_harmless():
    assert "a\\x1b[31m" in drawn(100, [("known", "", "a\x1b[31m[bold]", "")])[1]
    assert "[bold]" in drawn(100, [("known", "", "a\x1b[31m[bold]", "")])[1]
