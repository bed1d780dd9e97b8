"""The engine's knowledge about the marks in its store: whether there are any, and who made how many.

Attempts look for marks only while the store may hold some.  Without floods it holds none for days.
"""

from __future__ import annotations

from contextlib import suppress

import trio

from multigrey.contracts import Store
from multigrey.errors import CodecError
from multigrey.greylist.marks import place_of
from multigrey.greylist.weights import Weights
from multigrey.model import Address, Origin, Table

__all__ = ["MarkLedger"]

_SLICE = 500
_EVERY = 3600.0
"""Seconds between two scans of the store."""


class MarkLedger:
    """Whether marks exist, and how many each place made; one object per engine."""

    def __init__(self, key: bytes = b"") -> None:
        """`key`: secret bytes with which places are hashed."""
        self.exist = True
        """Whether the store may hold marks."""
        self._key = key
        self._made = 0
        self._weights: Weights | None = None
        """None while no mark is known, because it takes 1.5 MiB."""

    def place_of(self, origin: Origin, client: Address | None) -> bytes:
        """The place of an attempt (see `marks.place_of`)."""
        return place_of(origin, client, self._key)

    def weigh(self, place: bytes) -> tuple[int, int, int]:
        """How many marks each of the three networks of a place made (see `marks.Weigh`)."""
        return (0, 0, 0) if self._weights is None else self._weights.of(place)

    def note(self, place: bytes, now: int, window: int) -> None:
        """Count a mark, whether there was room for it or not; `window`: the retry window in seconds."""
        self.exist = True
        self._made += 1
        if self._weights is None:
            self._weights = Weights()
        self._weights.note(place, now, window)

    async def run(self, store: Store) -> None:
        """Scan the store at the start and then once an hour, until cancelled.  Raises StoreError."""
        while True:
            await self.look(store)
            await trio.sleep(_EVERY)

    async def look(self, store: Store) -> None:
        """Scan the store for marks; the first scan also counts who made them.  Raises StoreError."""
        made, first, cursor, found = self._made, self._weights is None, b"", False
        weights = self._weights = Weights() if self._weights is None else self._weights
        while True:
            rows, cursor = await store.scan(Table.MARK, cursor, _SLICE)
            found = found or bool(rows)
            for _, bucket in rows if first else ():
                with suppress(CodecError):  # `verify` reports such rows
                    weights.add(bucket)
            if not cursor:
                break
        # `note` may have been called during the scan: then marks exist although the scan found none.
        if not found and made == self._made:
            self.exist = False
            self._weights = None
