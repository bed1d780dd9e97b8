"""Walks through the records of a store without delaying other tasks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace

import trio

from multigrey.codec import decode_record
from multigrey.contracts import Store
from multigrey.errors import CodecError
from multigrey.model import Record, Table

__all__ = ["SLICE", "Row", "rows_of", "whole"]

SLICE = 200

Row = tuple[bytes, Record]
"""A digest and the record under it."""


async def rows_of(store: Store) -> AsyncGenerator[list[Row], None]:
    """All records, `whole`, in slices, giving way to other tasks in between; unreadable ones are left out."""
    cursor = b""
    while True:
        stored, cursor = await store.scan(Table.RECORD, cursor, SLICE)
        rows = []
        for digest, value in stored:
            with suppress(CodecError):
                rows.append((digest, decode_record(value)))
        yield await whole(store, rows)
        if not cursor:
            return
        await trio.lowlevel.checkpoint()


async def whole(store: Store, rows: list[Row]) -> list[Row]:
    """These rows, with sender and recipient of those that only name their home, if that is stored.

    Raises StoreError.
    """
    homes = list({record.home for _, record in rows if record.home})
    if not homes:
        return rows
    found = await store.read([(Table.RECORD, home) for home in homes])
    shown: dict[bytes, Record] = {}
    for home, value in zip(homes, found, strict=True):
        if value is not None:
            with suppress(CodecError):
                shown[home] = decode_record(value)
    return [
        (digest, replace(record, sender=at_home.sender, recipient=at_home.recipient))
        if (at_home := shown.get(record.home))
        else (digest, record)
        for digest, record in rows
    ]
