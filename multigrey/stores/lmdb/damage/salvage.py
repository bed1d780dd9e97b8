"""Saves what can be read of a damaged store into a new one.  Runs in a process of its own (see `child`)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from multigrey.model import Entry, Key, Table
from multigrey.stores.entries import LONGEST_KEY
from multigrey.stores.lmdb.damage.pages import Pages, Row
from multigrey.stores.lmdb.environment import Opened, draft_store
from multigrey.stores.lmdb.rows import HEAD
from multigrey.stores.lmdb.state_files import StateFiles
from multigrey.stores.meta import SITE_KEY, kind_of

__all__ = ["ORDER", "Saved", "save"]

ORDER = tuple(sorted(Table, key=lambda table: table is Table.RECORD))
"""The tables in the order in which they are saved: the large one last, in case the time is over."""
_AT_ONCE = 10_000
_DUE, _LAYOUT = b"due", b"layout"
_LOOK = 8
_META = SITE_KEY.key()[0]
_SAMPLE = 4
"""Rows of a stray leaf by which its table is found."""


@dataclass
class Saved:
    """What was saved."""

    rows: dict[str, int] = field(default_factory=lambda: {table.name: 0 for table in Table})
    """By table."""
    unreadable: int = 0
    """Places of trees that could not be read."""
    strays: int = 0
    """Leaves that were found although no tree leads to them any more."""


def save(files: StateFiles, map_size: int) -> Saved:
    """Write every row that can be read into the draft of a new store.  The lock must be held.

    The journal is not looked at: the new store says that it has nothing of it, so that it is read whole.
    Raises OSError, lmdb.Error.
    """
    saved = Saved()
    descriptor = os.open(files.data, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pages = Pages(descriptor)
        with draft_store(files, map_size) as draft:
            for table in ORDER:
                rows = pages.rows(pages.tables[table.value]) if table.value in pages.tables else ()
                saved.rows[table.name] += _write(draft, table, rows)
            due_is_whole = _pass_over(pages)
            if pages.unreadable or not {table.value for table in Table} <= {*pages.tables}:
                _save_strays(pages, draft, saved, due_is_whole=due_is_whole)
            saved.unreadable = pages.unreadable
    finally:
        os.close(descriptor)
    return saved


def _pass_over(pages: Pages) -> bool:
    """Read the trees that a new store makes itself, so that their leaves do not count as strays.

    Returns whether the time index is whole.
    """
    for _ in pages.rows(pages.tables[_LAYOUT]) if _LAYOUT in pages.tables else ():
        pass
    before = pages.unreadable
    for _ in pages.rows(pages.tables[_DUE]) if _DUE in pages.tables else ():
        pass
    return _DUE in pages.tables and pages.unreadable == before


def _write(draft: Opened, table: Table, rows: Iterable[Row]) -> int:
    """Write rows of a table; returns how many."""
    written = 0
    puts: dict[Key, Entry | None] = {}
    for row in rows:
        if len(row.value) >= HEAD and 0 < len(row.key) <= LONGEST_KEY:
            puts[table, row.key] = draft.rows.entry(row.value)
        if len(puts) >= _AT_ONCE:
            draft.checkpoint(puts, 0)
            written += len(puts)
            puts = {}
    draft.checkpoint(puts, 0)
    return written + len(puts)


def _save_strays(pages: Pages, draft: Opened, saved: Saved, *, due_is_whole: bool) -> None:
    """Save what lies below a damaged branch: its leaves are whole, but nothing says of which table they are.

    The time index does, for all rows that expire; and the names of META's rows are known.  Where it is not
    known which leaves are free, the time index also shows which rows were removed.
    """
    looked_at = _SAMPLE if pages.free_known else None
    wanted = {_due_key(table, row) for leaf in pages.strays() for row in leaf[:looked_at] for table in Table}
    due = {key for keys in pages.leaves(reached=due_is_whole) for key in keys if key in wanted}
    for leaf in pages.strays():
        table = _table_of(leaf[:looked_at], due)
        if table is None or (table is _META and not pages.free_known):
            continue
        there = leaf if pages.free_known else [row for row in leaf if _due_key(table, row) in due]
        saved.strays += 1
        saved.rows[table.name] += _write(draft, table, _newer(draft, table, there))


def _due_key(table: Table, row: Row) -> bytes:
    return row.value[:_LOOK] + table.value + row.key


def _table_of(leaf: list[Row], due: set[bytes]) -> Table | None:
    """The table that a stray leaf belongs to; None: to the time index, or it is not known."""
    for row in leaf:
        for table in Table:
            if _due_key(table, row) in due:
                return table
    known = len(leaf) > 0 and all(kind_of(row.key) is not None and len(row.value) >= HEAD for row in leaf)
    return _META if known else None


def _newer(draft: Opened, table: Table, leaf: list[Row]) -> list[Row]:
    """Those rows that the draft does not have yet, or has with an earlier end."""
    with draft.env.begin() as txn:
        has = [txn.get(row.key, b"", draft.rows.databases[table]) for row in leaf]
    # An empty value is earlier than any: the draft has no such row.
    return [row for row, old in zip(leaf, has, strict=True) if old[_LOOK:HEAD] < row.value[_LOOK:HEAD]]
