"""The layout of the LMDB store, and how it is read and changed within one transaction.

One database for each table, named `Table.value`:       digest -> look, keep_until, value
The time index `due`:                                   look, table, digest -> nothing
The database `layout`:                                  "version" -> number of this layout
                                                        "applied" -> last batch from the journal

Layout 3 came with a shorter form of records, which an older multigrey cannot read: it must not serve with it.
Layout 2 added the table of marks.  A multigrey that knows only layout 1 must not open such a file: it
would fail at the first row of the time index that names the new table.

`look` and `keep_until` are seconds since 1970 as 8 bytes, big-endian; all ones means never.  Every entry with
a `look` has exactly one row in the time index, and `look` is never later than `keep_until`.  It may be
earlier: a refreshed entry keeps its row in the time index until that comes due, so that refreshing an entry
takes one write instead of three.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import lmdb

from multigrey.model import Entry, Key, Table

__all__ = ["HEAD", "LAYOUT", "Rows", "upgrade"]

LAYOUT = 3
"""The version of this layout."""
HEAD = 16
"""Bytes of a row before the value."""

_PIECE = 250
_LEAST_ROW = 10
"""Octets of LMDB's own in a leaf for each row."""
_NEVER = b"\xff" * 8
_NO_TIME = (1 << 33).to_bytes(8)
"""In the year 2242: no clock has shown that, so the row is damaged."""
_LAST = (1 << 63) - 1
_DUE = b"due"
_LAYOUT = b"layout"
_VERSION = b"version"
_APPLIED = b"applied"
_ADDED = {Table.MARK: 2}
"""Tables that older layouts lack, and the layout they came with."""

Transaction = Any  # lmdb.Transaction


def upgrade(env: lmdb.Environment) -> None:
    """Give a file of an older layout the tables it lacks, all or nothing.

    Raises lmdb.Error (lmdb.NotFoundError when the file is not a store of multigrey).
    """
    layout = env.open_db(_LAYOUT, create=False)
    with env.begin() as txn:
        found = _version(txn, layout)
    if found >= LAYOUT:
        return
    with env.begin(write=True) as txn:
        for table, since in _ADDED.items():
            if found < since:
                env.open_db(table.value, txn=txn)
        txn.put(_VERSION, b"%d" % LAYOUT, db=layout)


class Rows:
    """The open databases of an environment.  Every method raises lmdb.Error."""

    def __init__(self, env: lmdb.Environment, *, create: bool = False) -> None:
        """Raises lmdb.NotFoundError when the file is not a store of multigrey.

        A file of an older layout that is only read lacks tables in `databases` (see `upgrade`).
        """
        self._layout = env.open_db(_LAYOUT, create=create)
        if create:
            with env.begin(write=True) as txn:
                txn.put(_VERSION, b"%d" % LAYOUT, db=self._layout)
        with env.begin() as txn:
            self.layout = _version(txn, self._layout)
        if self.layout > LAYOUT:
            return
        tables = [table for table in Table if self.layout >= _ADDED.get(table, 0)]
        self.databases = {table: env.open_db(table.value, create=create) for table in tables}
        """Handles for `txn.get(digest, None, handle)`."""
        self._due = env.open_db(_DUE, create=create)
        self._codes = {table: table.value for table in Table}
        self._tables = {table.value: table for table in self.databases}

    def write(
        self, txn: Transaction, puts: Mapping[Key, Entry | None], breathe: Callable[[], None] = lambda: None
    ) -> None:
        """Put or delete entries: for each table, read what is there, then write what is new.

        Every call into LMDB releases the interpreter's lock, and getting it back from a busy event loop takes
        longer than the call: so each call writes many entries.  They are sorted, so that neighbours find
        their pages in the processor's cache, and come in pieces, so that the lock is not held for long
        either.  `breathe` is called after each piece.
        """
        digests: dict[Table, list[bytes]] = {}
        for table, digest in puts:
            digests.setdefault(table, []).append(digest)
        planned: list[tuple[bytes, bytes]] = []
        for table, wanted in digests.items():
            wanted.sort()
            for begin in range(0, len(wanted), _PIECE):
                planned += self._write(txn, table, wanted[begin : begin + _PIECE], puts)
                breathe()
        planned.sort()
        for begin in range(0, len(planned), _PIECE):
            txn.cursor(self._due).putmulti(planned[begin : begin + _PIECE])
            breathe()

    def _write(
        self, txn: Transaction, table: Table, wanted: list[bytes], puts: Mapping[Key, Entry | None]
    ) -> list[tuple[bytes, bytes]]:
        """Write one piece; returns the rows of the time index that are still to be put."""
        cursor = txn.cursor(self.databases[table])
        looks = {digest: stored[:8] for digest, stored in cursor.getmulti(wanted)}
        planned = []
        rows = []
        for digest in wanted:
            entry = puts[table, digest]
            if entry is None:
                self._delete(txn, (table, digest))
                continue
            look = looks.get(digest, _NEVER)
            keep_until = _NEVER if entry.keep_until is None else _stamp(entry.keep_until)
            # A later one leaves the row in the time index as it is.
            if keep_until < look:
                self._cancel(txn, look, (table, digest))
                planned.append((keep_until + self._codes[table] + digest, b""))
                look = keep_until
            rows.append((digest, look + keep_until + entry.value))
        cursor.putmulti(rows)
        return planned

    def applied(self, txn: Transaction) -> int:
        """Number of the last batch of the journal that LMDB has."""
        return int(txn.get(_APPLIED, db=self._layout) or 0)

    def note_applied(self, txn: Transaction, number: int) -> None:
        """Set that number."""
        txn.put(_APPLIED, b"%d" % number, db=self._layout)

    def entry(self, row: bytes) -> Entry:
        """What a stored row means."""
        keep_until = row[8:HEAD]
        return Entry(row[HEAD:], None if keep_until == _NEVER else int.from_bytes(keep_until))

    def forget(self, txn: Transaction, before: int, limit: int) -> tuple[int, int]:
        """Look at up to `limit` entries that are due; returns how many were due, and how many are gone."""
        bound = _stamp(before)
        due = self._due_before(txn, bound, limit)
        gone = 0
        for row in due:
            table, digest = self._tables.get(row[8:9]), row[9:]
            if table is None or not txn.delete(row, db=self._due):  # it would stay due for ever
                raise lmdb.CorruptedError("a row of the time index is not where it belongs")
            stored = txn.get(digest, None, self.databases[table])
            if stored is None or stored[:8] != row[:8]:
                continue
            keep_until = stored[8:HEAD]
            if keep_until < bound:
                txn.delete(digest, db=self.databases[table])
                gone += 1
            else:  # it was refreshed: plan the next look
                txn.put(digest, keep_until + stored[8:], db=self.databases[table])
                self._plan(txn, keep_until, (table, digest))
        return len(due), gone

    def scan(
        self, txn: Transaction, table: Table, cursor: bytes, limit: int
    ) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """See `Store.scan`."""
        rows: list[tuple[bytes, bytes]] = []
        for digest, stored in self._after(txn, table, cursor):
            if len(rows) >= limit:
                return rows, rows[-1][0]
            _check_order(cursor if not rows else rows[-1][0], digest)
            rows.append((digest, stored[HEAD:]))
        return rows, b""

    def newest(self, txn: Transaction, table: Table, cursor: bytes, limit: int) -> tuple[int, bytes]:
        """The latest keep_until among the next `limit` entries, and the next cursor as in `scan`."""
        newest = _stamp(0)
        digest = cursor
        for count, (following, stored) in enumerate(self._after(txn, table, cursor)):
            if count == limit:
                return int.from_bytes(newest), digest
            _check_order(digest, following)
            digest = following
            keep_until = stored[8:HEAD]
            if newest < keep_until < _NO_TIME:
                newest = keep_until
        return int.from_bytes(newest), b""

    def counts(self, txn: Transaction) -> dict[Table, int]:
        """How many entries each table has."""
        return {table: txn.stat(handle)["entries"] for table, handle in self.databases.items()}

    def pages(self, txn: Transaction) -> int:
        """How many pages hold entries; the rest of the file is free."""
        stats = [txn.stat(handle) for handle in (self._due, self._layout, *self.databases.values())]
        return sum(stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"] for stat in stats)

    def check_counts(self, txn: Transaction, pages: int) -> None:
        """Refuse (lmdb.CorruptedError) counts that a file of this many pages cannot have.

        Nothing else notices that they are damaged, and by them the store is full, and records are evicted.
        """
        stats = [txn.stat(handle) for handle in self.databases.values()]
        crowded = any(stat["entries"] * _LEAST_ROW > stat["leaf_pages"] * stat["psize"] for stat in stats)
        if crowded or self.pages(txn) > pages:
            raise lmdb.CorruptedError("tables claim more than the file holds")

    def _delete(self, txn: Transaction, key: Key) -> None:
        table, digest = key
        stored = txn.get(digest, None, self.databases[table])
        if stored is not None:
            self._cancel(txn, stored[:8], key)
            txn.delete(digest, db=self.databases[table])

    def _plan(self, txn: Transaction, look: bytes, key: Key) -> None:
        if look != _NEVER:
            txn.put(look + self._codes[key[0]] + key[1], b"", db=self._due)

    def _cancel(self, txn: Transaction, look: bytes, key: Key) -> None:
        if look != _NEVER:
            txn.delete(look + self._codes[key[0]] + key[1], db=self._due)

    def _due_before(self, txn: Transaction, bound: bytes, limit: int) -> list[bytes]:
        rows: list[bytes] = []
        for row in txn.cursor(self._due).iternext(values=False):
            if row[:8] >= bound or len(rows) >= limit:
                break
            rows.append(row)
        return rows

    def _after(self, txn: Transaction, table: Table, cursor: bytes) -> Iterator[tuple[bytes, bytes]]:
        position = txn.cursor(self.databases[table])
        if not cursor:
            return position.iternext()  # type: ignore[no-any-return]  # (lmdb has no types)
        if not position.set_range(cursor):
            return iter(())
        if position.key() == cursor and not position.next():
            return iter(())
        return position.iternext()  # type: ignore[no-any-return]  # (lmdb has no types)


def _check_order(digest: bytes, following: bytes) -> None:
    """Refuse rows that are out of order: a walk over damaged pages would never end."""
    if following <= digest:
        raise lmdb.CorruptedError("rows are out of order")


def _version(txn: Transaction, layout: Any) -> int:
    return int(txn.get(_VERSION, db=layout) or 0)


def _stamp(seconds: int) -> bytes:
    """Seconds as rows hold them; a number out of range becomes the nearest possible."""
    return min(max(seconds, 0), _LAST).to_bytes(8)
