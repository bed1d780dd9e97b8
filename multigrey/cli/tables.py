"""Tables that fit the terminal: a column without room is left out and named, its cells are never cut."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from multigrey.text import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.measure import Measurement
    from rich.table import Table

__all__ = ["folded", "table"]

_GAP = 2
_LEAST_TEXT = 16
"""The width in characters down to which a text is folded before a column is left out."""
_ENDS = ("/ ", "@.,:;=_-")
"""After what a text is folded: the better, the second best."""
_MOMENT = re.compile(r"(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)?")
"""What `cli.common.moment` returns."""


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[object]],
    room: int,
    *,
    texts: Collection[str] = (),
    spare: Sequence[str | Sequence[str]] = (),
    order: str = "",
    optional: Collection[str] = (),
    title: str = "",
) -> Table:
    """A plain table for `room` characters on a line.

    Cells may hold any text from the network; they are made printable.  `texts`: heads of columns that may
    be folded.  `spare`: heads of columns that are left out for lack of room, one by one or several together,
    in this order; a line below the table names them.  Before that, columns without any value go, and times
    lose their year and seconds.  `order`: the head of the column by which the rows are sorted, which is
    never left out.  `optional`: heads of columns that go without any value even where there is room.
    """
    from rich.table import Table
    from rich.text import Text

    cells = [[printable(str(cell)) for cell in row] for row in rows]
    widths = [_least(head, [row[index] for row in cells], texts) for index, head in enumerate(heads)]
    empty = {index for index in range(len(heads)) if not any(row[index] for row in cells)}
    shown = [index for index, head in enumerate(heads) if not (head in optional and index in empty)]
    left_out: list[str] = []
    if not _fits(widths, shown, room):
        shown = [index for index in shown if heads[index] == order or index not in empty]
        if not _fits(widths, shown, room):
            for index in shown:
                _shorten_times(cells, index)
                widths[index] = _least(heads[index], [row[index] for row in cells], texts)
        for each in spare:
            if _fits(widths, shown, room):
                break
            group = {each} if isinstance(each, str) else {*each}
            gone = [index for index in shown if heads[index] in group - {order}]
            shown = [index for index in shown if index not in gone]
            left_out += [heads[index] for index in gone]
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
    fits = _fits(widths, shown, room)
    for index in shown:
        found.add_column(heads[index], overflow="fold", no_wrap=fits and heads[index] not in texts)
    for row in cells:
        found.add_row(*(_Cell(row[index]) if heads[index] in texts else Text(row[index]) for index in shown))
    return found


class _Cell:
    """A cell that is folded where a part of a path, name or address ends, if it does not fit."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        yield Text("\n".join(folded(self._text, options.max_width)))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        from rich.measure import Measurement
        from rich.text import Text

        return Measurement.get(console, options, Text(self._text))


def folded(text: str, width: int) -> Iterator[str]:
    """The lines of a text, each up to `width` (at least 2) characters wide, without a loss.

    A line ends after the last `/` or blank, else after the last sign between words, unless it would be less
    than half full.
    """
    from rich.cells import chop_cells

    while len(lines := chop_cells(text, width)) > 1:
        ends = (max(map(lines[0].rfind, signs)) + 1 for signs in _ENDS)
        end = next((end for end in ends if 2 * end >= len(lines[0])), len(lines[0]))
        yield text[:end]
        text = text[end:]
    yield text


def _least(head: str, cells: Sequence[str], texts: Collection[str]) -> int:
    """The least width in which a column is readable."""
    from rich.cells import cell_len

    longest = max(map(cell_len, cells), default=0)
    return max(cell_len(head), min(longest, _LEAST_TEXT) if head in texts else longest)


def _fits(widths: Sequence[int], shown: Sequence[int], room: int) -> bool:
    return sum(widths[index] for index in shown) + _GAP * (len(shown) - 1) <= room


def _shorten_times(cells: Sequence[list[str]], index: int) -> None:
    """If a column holds times: show month, day, hour and minute; of several years, only days."""
    column = [row[index] for row in cells]
    if any(column) and all(map(_MOMENT.fullmatch, column)):
        same_year = len({cell[:4] for cell in column if cell}) == 1
        for row in cells:
            row[index] = row[index][5:16] if same_year else row[index][:10]
