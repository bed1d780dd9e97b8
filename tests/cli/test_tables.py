"""Tables on terminals of every width: nothing is lost without being named, and no word is broken."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from multigrey.cli.tables import folded, table

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
        (53, "STATE SEEN SENDER LEFT", ""),
        (52, "STATE SEEN SENDER LEFT", ""),  # without year and seconds
        (45, "STATE SEEN SENDER LEFT", ""),
        (44, "STATE SENDER LEFT", "columns left out for lack of room: SEEN"),
        (32, "STATE SENDER LEFT", "columns left out for lack of room: SEEN"),
        (31, "SENDER LEFT", "columns left out for lack of room: SEEN, STATE"),
    ],
)
def test_without_room_texts_are_folded_and_columns_left_out(width, heads, caption):
    lines = drawn(width)
    assert lines[0].split() == heads.split()
    text = " ".join(lines)
    assert text.partition("left out")[1:] == caption.partition("left out")[1:]
    assert "1m39s" in text
    assert all(len(line) <= width for line in lines)


def test_columns_without_values_go_first_and_unnamed():
    rows = [(state, seen, sender, "") for state, seen, sender, _ in ROWS]
    assert drawn(53, rows)[0].split() == ["STATE", "SEEN", "SENDER", "LEFT"]
    lines = drawn(47, rows, spare=HEADS)
    assert lines[0].split() == ["STATE", "SEEN", "SENDER"]
    assert not any("left out" in line for line in lines)


def test_an_optional_column_without_values_goes_where_there_is_room_too():
    rows = [(state, seen, sender, "") for state, seen, sender, _ in ROWS]
    assert drawn(100, rows)[0].split() == ["STATE", "SEEN", "SENDER", "LEFT"]
    assert drawn(100, rows, optional=("LEFT", "SEEN"))[0].split() == ["STATE", "SEEN", "SENDER"]
    assert drawn(100, optional=("LEFT",))[0].split()[-1] == "LEFT"


def test_times_of_several_years_are_days():
    rows = [*ROWS, ("known", "2025-01-02 03:04:05", "b@example.org", ""), ("known", "", "c@example.org", "")]
    seen = [line.split()[1] for line in drawn(46, rows) if line.startswith(("waiting", "known"))]
    assert seen == ["2026-11-29", "2026-11-29", "2025-01-02", "c@example.org"]
    assert drawn(46)[1].split()[1:3] == ["11-29", "20:00"]


@given(st.integers(5, 200), st.sampled_from(HEADS), st.permutations(HEADS))
def test_the_column_by_which_rows_are_sorted_stays(width, order, spare):
    rows = [(*row[:3], "") for row in ROWS]
    found = table(HEADS, rows, width, texts={"SENDER"}, spare=spare, order=order)
    assert order in [column.header for column in found.columns]


@given(st.integers(53, 200))
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


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        (
            "unix:/var/spool/postfix/multigrey/policy.sock",
            30,
            ["unix:/var/spool/postfix/", "multigrey/policy.sock"],
        ),
        (
            "unix:/var/spool/postfix/multigrey/policy.sock",
            45,
            ["unix:/var/spool/postfix/multigrey/policy.sock"],
        ),
        ("newsletter-6@lists.sender.example.org", 22, ["newsletter-6@lists.", "sender.example.org"]),
        ("a/bcdefghijklm", 6, ["a/bcde", "fghijk", "lm"]),
        ("", 5, [""]),
    ],
)
def test_a_text_is_folded_where_a_word_ends(text, width, lines):
    assert list(folded(text, width)) == lines


@given(st.text(), st.integers(2, 20))
def test_a_text_is_folded_without_a_loss(text, width):
    lines = list(folded(text, width))
    assert "".join(lines) == text
    assert all(cell_len(line) <= width for line in lines)
