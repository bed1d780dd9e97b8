"""Tables with links that sort them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

__all__ = ["Column", "Heading", "Table", "sorted_table"]

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name in links, its heading, and the value that rows are sorted by."""

    name: str
    heading: str
    order: Callable[[Row], Any]
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class Heading:
    """A column as the page shows it."""

    text: str
    link: str
    sort: str
    """The value of aria-sort: ascending, descending or none."""
    is_number: bool


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its rows in order."""

    headings: Sequence[Heading]
    rows: Sequence[Row]
    sort: str
    descending: bool


def sorted_table(
    columns: Sequence[Column], rows: Iterable[Row], path: str, query: Mapping[str, str]
) -> Table:
    """Return the table sorted by `sort` and `dir` of the query; without a known column, unsorted.

    Other words of the query are kept in the links.
    """
    by_name = {column.name: column for column in columns}
    chosen = by_name.get(query.get("sort", ""))
    descending = query.get("dir") == "desc"
    ordered = list(rows) if chosen is None else sorted(rows, key=chosen.order, reverse=descending)
    rest = {name: value for name, value in query.items() if name not in {"sort", "dir"}}
    headings = [_heading(column, column is chosen, descending, path, rest) for column in columns]
    return Table(headings, ordered, "" if chosen is None else chosen.name, descending)


def _heading(
    column: Column, is_chosen: bool, descending: bool, path: str, rest: Mapping[str, str]
) -> Heading:
    turn = "asc" if is_chosen and descending else "desc"
    direction = turn if is_chosen or column.is_number else "asc"
    query = {**rest, "sort": column.name, "dir": direction}
    link = f"{path}?{urlencode(query, errors='surrogatepass')}"
    sort = "none" if not is_chosen else "descending" if descending else "ascending"
    return Heading(column.heading, link, sort, column.is_number)
