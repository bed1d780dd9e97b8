"""Walks through the records of a store without delaying other tasks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import suppress

import trio

from multigrey.codec import decode_record
from multigrey.contracts import Store
from multigrey.errors import CodecError
from multigrey.model import Record, Table

__all__ = ["SLICE", "Row", "rows_of"]

SLICE = 200

Row = tuple[bytes, Record]
"""A digest and the record under it."""


async def rows_of(store: Store) -> AsyncGenerator[list[Row], None]:
    """All records, in slices, giving way to other tasks in between; unreadable ones are left out."""
    cursor = b""
    while True:
        stored, cursor = await store.scan(Table.RECORD, cursor, SLICE)
        rows = []
        for digest, value in stored:
            with suppress(CodecError):
                rows.append((digest, decode_record(value)))
        yield rows
        if not cursor:
            return
        await trio.lowlevel.checkpoint()
