"""Sorting by links."""

from __future__ import annotations

import pytest
from multigrey_web.tables import Column, sorted_table

COLUMNS = (
    Column("name", "Name", lambda row: row["name"]),
    Column("size", "Size", lambda row: row["size"], is_number=True),
)
ROWS = [{"name": "b", "size": 1}, {"name": "c", "size": 3}, {"name": "a", "size": 2}]


def table(**query):
    return sorted_table(COLUMNS, ROWS, "/x", query)


@pytest.mark.parametrize(
    ("query", "names", "sorts"),
    [
        ({}, "bca", ["none", "none"]),
        ({"sort": "name"}, "abc", ["ascending", "none"]),
        ({"sort": "name", "dir": "desc"}, "cba", ["descending", "none"]),
        ({"sort": "size", "dir": "desc"}, "cab", ["none", "descending"]),
        ({"sort": "<script>", "dir": "desc"}, "bca", ["none", "none"]),
        ({"sort": "size", "dir": "sideways"}, "bac", ["none", "ascending"]),
    ],
)
def test_rows_in_their_order(query, names, sorts):
    found = table(**query)
    assert "".join(row["name"] for row in found.rows) == names
    assert [heading.sort for heading in found.headings] == sorts


def test_a_link_turns_the_order_and_keeps_the_rest():
    name, size = table(sort="size", dir="desc", days="7").headings
    assert size.link == "/x?days=7&sort=size&dir=asc"
    assert name.link == "/x?days=7&sort=name&dir=asc"
    assert table().headings[1].link == "/x?sort=size&dir=desc"


def test_links_are_made_of_words_and_not_of_markup():
    (heading, _) = table(days='"><b>').headings
    assert heading.link == "/x?days=%22%3E%3Cb%3E&sort=name&dir=asc"
