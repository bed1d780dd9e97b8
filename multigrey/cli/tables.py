"""Tables that fit the terminal: a column without room is left out and named, its cells are never cut."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from multigrey.text import printable

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["table"]

_GAP = 2
_LEAST_TEXT = 20
"""The width in characters down to which a text is folded before a column is left out."""


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[object]],
    room: int,
    *,
    texts: Collection[str] = (),
    spare: Sequence[str] = (),
    title: str = "",
) -> Table:
    """A plain table for `room` characters on a line.

    Cells may hold any text from the network; they are made printable.  `texts`: heads of columns that may
    be folded.  `spare`: heads of columns that are left out for lack of room, in this order; a line below the
    table names them.
    """
    from rich.table import Table
    from rich.text import Text

    cells = [[printable(str(cell)) for cell in row] for row in rows]
    widths = [_least(head, [row[index] for row in cells], texts) for index, head in enumerate(heads)]
    left_out = _left_out(heads, widths, room, spare)
    shown = [index for index, head in enumerate(heads) if head not in left_out]
    fits = _sum(widths[index] for index in shown) <= room
    found = Table(
        box=None,
        pad_edge=False,
        header_style="bold",
        show_header=any(heads),
        title=title or None,
        title_justify="left",
        title_style="bold",
        caption=f"columns left out for lack of room: {', '.join(left_out)}" if left_out else None,
        caption_justify="left",
        caption_style="",
    )
    for index in shown:
        found.add_column(heads[index], overflow="fold", no_wrap=fits and heads[index] not in texts)
    for row in cells:
        found.add_row(*(Text(row[index]) for index in shown))
    return found


def _least(head: str, cells: Sequence[str], texts: Collection[str]) -> int:
    """The least width in which a column is readable."""
    from rich.cells import cell_len

    longest = max(map(cell_len, cells), default=0)
    return max(cell_len(head), min(longest, _LEAST_TEXT) if head in texts else longest)


def _left_out(heads: Sequence[str], widths: Sequence[int], room: int, spare: Sequence[str]) -> list[str]:
    gone: list[str] = []
    for head in (head for head in spare if head in heads):
        if _sum(width for each, width in zip(heads, widths, strict=True) if each not in gone) <= room:
            break
        gone.append(head)
    return gone


def _sum(widths: Iterable[int]) -> int:
    each = list(widths)
    return sum(each) + _GAP * (len(each) - 1)
