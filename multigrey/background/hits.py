"""Hits: how often each entry of a whitelist matched, so that unused entries can be found.

Hits are counted in memory from decisions, and added to the store once a minute: a crash loses at most that
minute.  The META table has one row for each entry, under a digest of its source and name (see
`whitelists.list_source.hit_name`).  A row outlives its entry, so that an entry that comes back is known.  No
mail waits for hits: when the store fails, the counts wait for the next minute.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from hashlib import blake2b
from itertools import islice
from pathlib import Path

import lmdb
import trio

from multigrey.clock import Clock
from multigrey.codec import Hits
from multigrey.contracts import Store
from multigrey.errors import CodecError, StoreError
from multigrey.model import Change, DecisionEvent, Entry, Key, Match
from multigrey.stores.lmdb.offline import open_beside
from multigrey.stores.lmdb.rows import HEAD, LAYOUT, Rows
from multigrey.stores.lmdb.state_files import StateFiles
from multigrey.stores.meta import HITS, HITS_SINCE
from multigrey.whitelists.checks.lint import HitRecords
from multigrey.whitelists.list_source import hit_name

__all__ = ["FLUSH_EVERY", "MOST_COUNTED", "HitCounter", "hit_key", "read_hits"]

FLUSH_EVERY = 60
"""Seconds between two writes."""
MOST_COUNTED = 100_000
"""Entries that are counted, in memory and in the store; a source may have more."""

_SLICE = 200

logger = logging.getLogger(__name__)


def hit_key(source: str, name: str) -> Key:
    """The key under which the hits of an entry are kept."""
    text = f"{len(source)} {source}{name}".encode("utf-8", "surrogateescape")
    return HITS.key(blake2b(text, digest_size=16).digest())


class HitCounter:
    """Receives decisions, and counts which entries let them pass."""

    def __init__(self, most: int = MOST_COUNTED) -> None:
        """`most` entries are counted, those in the store included."""
        self._most = most
        self._counts: dict[Match, list[int]] = {}
        """Count, first and last time since the last flush."""
        self._known: set[bytes] = set()
        """Digests in the store."""
        self._is_full = False
        self._waiting: dict[Key, Hits] = {}
        """What is to be added to the store."""
        self._writing = trio.Lock()

    def __call__(self, event: DecisionEvent) -> None:
        """Count the entry that matched, if one did; a subscriber of the engine."""
        match = event.verdict.match
        if match is None:
            return
        seen = self._counts.get(match)
        if seen is not None:
            seen[0] += 1
            seen[2] = event.time
        elif len(self._counts) < self._most:
            self._counts[match] = [1, event.time, event.time]

    async def run(self, store: Store, clock: Clock) -> None:
        """Write what was counted once a minute, for ever."""
        await self.begin(store, clock.now())
        while True:
            await trio.sleep(FLUSH_EVERY)
            await self.flush(store)

    async def begin(self, store: Store, now: int) -> None:
        """Read which entries have rows, and note since when hits are counted.  Failures are only logged."""
        since = HITS_SINCE.key()

        def decide(values: Sequence[bytes | None]) -> Change[None]:
            puts = {} if values[0] is not None else {since: Entry(HITS_SINCE.coder.encode(now), None)}
            return Change(None, puts, durable=True)

        try:
            await store.apply((since,), decide)
            self._known = await _known_digests(store)
        except StoreError as error:
            logger.warning("hits of whitelist entries cannot be read: %s", error)

    async def flush(self, store: Store) -> None:
        """Add what was counted to the store.  What cannot be written waits for the next flush."""
        async with self._writing:  # two flushes at a time would add the same hits twice
            await self._take()
            while self._waiting:
                piece = dict(islice(self._waiting.items(), _SLICE))
                try:
                    await store.apply(tuple(piece), partial(_added, piece))
                except StoreError as error:
                    logger.warning("hits of whitelist entries wait to be written: %s", error)
                    return
                for key in piece:
                    self._known.add(key[1])
                    del self._waiting[key]

    async def _take(self) -> None:
        """Move what was counted to the keys it is written to, in slices: many entries may have matched."""
        for _ in range(0, len(self._counts), _SLICE):
            self._move([*islice(self._counts, _SLICE)])
            await trio.lowlevel.checkpoint()

    def _move(self, matches: Iterable[Match]) -> None:
        for match in matches:
            count, first, last = self._counts.pop(match)
            name = hit_name(match)
            key = hit_key(match.source, name)
            hits = Hits(count, first, last, match.source, name)
            if key in self._waiting:
                self._waiting[key] = _sum(self._waiting[key], hits)
            elif key[1] in self._known or len(self._known) + len(self._waiting) < self._most:
                self._waiting[key] = hits
            elif not self._is_full:
                self._is_full = True
                logger.warning("hits of more than %d whitelist entries are not counted", self._most)


def _sum(old: Hits, new: Hits) -> Hits:
    """Both together.  The last time is the new one, even if earlier: the clock may have been wrong."""
    return new._replace(number=old.number + new.number, first=min(old.first, new.first))


def _added(piece: Mapping[Key, Hits], values: Sequence[bytes | None]) -> Change[None]:
    """The hits of a piece added to those in the store; a row that cannot be read stays as it is."""
    puts: dict[Key, Entry | None] = {}
    for (key, hits), value in zip(piece.items(), values, strict=True):
        with suppress(CodecError):
            total = hits if value is None else _sum(HITS.coder.decode(value), hits)
            puts[key] = Entry(HITS.coder.encode(total), None)
    return Change(None, puts, durable=True)


async def _known_digests(store: Store) -> set[bytes]:
    known: set[bytes] = set()
    async with aclosing(HITS.walk(store)) as slices:
        async for rows in slices:
            known |= {HITS.key(rest)[1] for rest, _ in rows}
    return known


def read_hits(state_dir: Path) -> HitRecords | None:
    """What the LMDB store in a state directory knows of hits; None if they were never counted.

    Only reads, and makes no file.  Works beside a running daemon, whose last minutes may be missing.
    Raises StoreError when the store is missing or cannot be read.
    """
    with open_beside(state_dir) as env:
        return _read_rows(env, StateFiles(state_dir).data)


def _read_rows(env: lmdb.Environment, path: Path) -> HitRecords | None:
    rows = Rows(env)
    if rows.layout > LAYOUT:
        raise StoreError(f"{path}: written by a later multigrey (layout {rows.layout})")
    found: dict[tuple[str, str], Hits] = {}
    with env.begin(db=rows.databases[HITS.key()[0]]) as txn:
        since = txn.get(HITS_SINCE.key()[1])
        if since is None:
            return None
        cursor = txn.cursor()
        cursor.set_range(HITS.prefix)
        for key, row in cursor:
            if not key.startswith(HITS.prefix):
                break
            hits = HITS.coder.decode(row[HEAD:])
            found[hits.source, hits.entry] = hits
        return HitRecords(HITS_SINCE.coder.decode(since[HEAD:]), found)
