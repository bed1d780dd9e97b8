"""What the engine knows of the marks in its store: whether there are any, and who made how many.

Marks are only looked for while there may be some, which in quiet times nobody has made for days.
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
"""Seconds between two looks."""


class MarkLedger:
    """One per engine."""

    def __init__(self, key: bytes = b"") -> None:
        """`key`: secret bytes, under which those who make marks are hashed."""
        self.exist = True
        """Whether the store may hold any."""
        self._key = key
        self._made = 0
        self._weights: Weights | None = None
        """None: nobody has made any since the start (it takes 1.5 MiB)."""

    def place_of(self, origin: Origin, client: Address | None) -> bytes:
        """Who makes a mark (see `marks.place_of`)."""
        return place_of(origin, client, self._key)

    def weigh(self, place: bytes) -> tuple[int, int, int]:
        """How many marks the three networks of a place made (see `marks.Weigh`)."""
        return (0, 0, 0) if self._weights is None else self._weights.of(place)

    def note(self, place: bytes, now: int, window: int) -> None:
        """Somebody made a mark, whether there was room for it or not; `window`: the retry window (s)."""
        self.exist = True
        self._made += 1
        if self._weights is None:
            self._weights = Weights()
        self._weights.note(place, now, window)

    async def run(self, store: Store) -> None:
        """Look at the start and then once an hour, until cancelled.  Raises StoreError."""
        while True:
            await self.look(store)
            await trio.sleep(_EVERY)

    async def look(self, store: Store) -> None:
        """See what a store holds.  Raises StoreError."""
        made, first, cursor, found = self._made, self._weights is None, b"", False
        weights = self._weights = Weights() if self._weights is None else self._weights
        while True:
            rows, cursor = await store.scan(Table.MARK, cursor, _SLICE)
            found = found or bool(rows)
            for _, bucket in rows if first else ():
                with suppress(CodecError):  # `verify` tells of such rows
                    weights.add(bucket)
            if not cursor:
                break
        if not found and made == self._made:
            self.exist = False
            self._weights = None
