"""The operations `compact` and `verify`: maintenance of the store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import trio

from multigrey.contracts import LocalStore
from multigrey.control.operations.context import OperationContext
from multigrey.control.operations.operation import (
    Level,
    Operation,
    OperationError,
    Options,
    Result,
)
from multigrey.greylist import marks
from multigrey.model import Table
from multigrey.stores.meta import why_unreadable

__all__ = ["operations"]

_SLICE = 200
_BREATH = 0.001
_MOST_FINDINGS = 100
"""Most findings of `verify` that are reported one by one."""
_TELL_EVERY = 5_000
"""Rows between two items of progress."""
_TABLES = dict(zip(Table, ("records", "origins", "meta", "marks"), strict=True))
"""The names of the tables, here and among the figures of a store."""


def operations(parts: OperationContext) -> Iterable[Operation]:
    """The operations of this module."""
    care = _Care(parts)
    yield Operation("compact", Level.ADMIN, answer=care.compact, offline=True)
    yield Operation("verify", Level.READ, stream=care.verify, offline=True)


class _Care:
    """The operations on these parts."""

    def __init__(self, parts: OperationContext) -> None:
        self._parts = parts

    async def compact(self, options: Options) -> Result:
        """Compact the store's file; returns its octets before and after."""
        del options
        store = self._local()
        before = (await store.health()).get("file", 0)
        await store.compact()
        return {"before": before, "after": (await store.health()).get("file", 0)}

    async def verify(self, options: Options) -> AsyncIterator[Result]:
        """Decode every row: yields items with `progress`, then one with `rows`, `unreadable`, `findings`.

        Raises StoreError when the file of the store is damaged.
        """
        del options
        store = self._parts.engine.store
        if isinstance(store, LocalStore):
            await store.walk()  # what follows reads in this very process
        health = await store.health()
        total = sum(int(health.get(name, 0)) for name in _TABLES.values())
        rows = dict.fromkeys(_TABLES.values(), 0)
        unreadable, findings = 0, list[Mapping[str, Any]]()
        looked = 0
        for table, name in _TABLES.items():
            cursor = b""
            while True:
                found, cursor = await store.scan(table, cursor, _SLICE)
                for digest, value in found:
                    if problem := why_unreadable(table, digest, value, marks.count):
                        unreadable += 1
                        if len(findings) < _MOST_FINDINGS:
                            findings.append({"table": name, "key": _name(table, digest), "problem": problem})
                rows[name] += len(found)
                if (looked + len(found)) // _TELL_EVERY > looked // _TELL_EVERY:
                    yield {"progress": {"rows": looked + len(found), "of": max(total, looked + len(found))}}
                looked += len(found)
                if not cursor:
                    break
                await trio.sleep(_BREATH)
        yield {"rows": rows, "unreadable": unreadable, "findings": findings}

    def _local(self) -> LocalStore:
        store = self._parts.engine.store
        if not isinstance(store, LocalStore):
            raise OperationError("this kind of store has no local file")
        return store


def _name(table: Table, digest: bytes) -> str:
    if _TABLES[table] == "meta":
        name, slash, rest = digest.partition(b"/")
        return name.decode("ascii", "replace") + (f"/{rest.hex()}" if slash else "")
    return digest.hex()
