"""Blocks made by administrators (greylistd's list `black`), kept in the META table.

A block is the digest of a key, and the text that it stands for.  The engine and explanations both use
`Setup.blocked`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from types import MappingProxyType

from multigrey.contracts import Store
from multigrey.engine.setup import Setup
from multigrey.model import Change, Entry, Key
from multigrey.stores.meta import BLOCKS

__all__ = ["Blocks"]


class Blocks:
    """The blocks of one engine."""

    def __init__(self, store: Store, changed: Callable[[], None] = lambda: None) -> None:
        """`changed` is called after each change of the blocks; it makes the engine's Setup again."""
        self._store = store
        self._changed = changed
        self.texts: Mapping[bytes, str] = MappingProxyType({})
        """Digests of keys, and the text that each stands for."""

    def joined(self, setup: Setup) -> Setup:
        """The same setup with these blocks."""
        return replace(setup, blocked=self.texts)

    async def load(self) -> None:
        """Read the blocks of earlier runs; call once, when the store runs.  Raises StoreError, CodecError."""
        found: dict[bytes, str] = {}
        async with aclosing(BLOCKS.walk(self._store)) as slices:
            async for rows in slices:
                found |= {digest: BLOCKS.coder.decode(value) for digest, value in rows}
        self._take(found)

    async def add(self, digest: bytes, text: str, also: Mapping[Key, Entry | None]) -> None:
        """Block attempts with this key; `also` is written in the same change.  Raises StoreError."""
        # The store first: when it fails, memory still shows what the store holds.
        await self._write({BLOCKS.key(digest): Entry(BLOCKS.coder.encode(text), None), **also})
        self._take({**self.texts, digest: text})

    async def remove(self, digest: bytes) -> bool:
        """Remove the block of a key; returns whether there was one.  Raises StoreError."""
        if digest not in self.texts:
            return False
        await self._write({BLOCKS.key(digest): None})
        self._take({other: text for other, text in self.texts.items() if other != digest})
        return True

    async def clear(self) -> None:
        """Remove every block.  Raises StoreError."""
        await self._write({BLOCKS.key(digest): None for digest in self.texts})
        self._take({})

    def _take(self, texts: dict[bytes, str]) -> None:
        self.texts = MappingProxyType(texts)
        self._changed()

    async def _write(self, puts: Mapping[Key, Entry | None]) -> None:
        await self._store.apply(tuple(puts), lambda _: Change(None, puts, durable=True))
