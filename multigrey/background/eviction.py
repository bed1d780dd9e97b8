"""Eviction: keeps the store within its limits by forgetting records that have never passed.

There are two limits: `[limits] max_records`, and the size of the store.  When nine tenths of its capacity are
in use, no more records may exist than fit in there at the size that they have.  (Pages that records leave are
used again for others, but seldom given back.  So records are counted, and the number that fits is worked out
again only when the file grows.)

It forgets records of the network that holds most.  So a client that fills the store loses what it filled the
store with, and the retries of all others still match.  Networks are levelled, widest first (/16 or /32), then
the ones within: a /16 that spreads over its /24s counts as a whole, and a small neighbour in it keeps its
records.

Within one network, records go in this order:
  1. one attempt, longer ago than nearly every mail server waits with its retry;
  2. one attempt, the newest first: a flood is what came last, and earlier senders go on waiting;
  3. several attempts: the sender did retry, though too early.
Time only chooses among the records of one network, so a wrong clock does not harm other networks.

A store may hold millions of records, and has no index by network.  But its keys are keyed digests, so a
stretch of it is a fair sample.  The sample shows which networks hold too much and which of their records go
(`Plan`).  Then one walk around the store forgets those.  Both work in small slices and in bounded memory,
and begin where the last walk ended.

If the records that have passed leave no room (`full`), the only remedy is to make fewer new ones.  The same
holds while the store has no room at all (`Store.has_room`), or its disk does not keep up (`Store.lags`).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import trio

from multigrey.clock import Clock
from multigrey.codec import decode_record
from multigrey.contracts import Store
from multigrey.errors import AddressError, CodecError, StoreError
from multigrey.greylist.quota import networks_of
from multigrey.identity.addresses import parse_client_address
from multigrey.model import Change, Key, Record, Table
from multigrey.text import counted
from multigrey.threads import in_thread

__all__ = ["Candidate", "Eviction", "Plan", "make_plan", "pending_of"]

logger = logging.getLogger(__name__)

PATIENCE = 6 * 3600
"""Seconds after which hardly any mail server makes its first retry (the slowest known: 4 hours)."""
_MARGIN = 20
"""1/20 of max_records: how much is freed at a time, and how much pending records always keep."""
_FULL = 0.9
"""Share of max_records above which records that have passed are too many."""
_CROWDED, _RELAXED = 0.9, 0.85
"""Shares of the capacity: above the first, the size limits the records; below the second, it does no more."""
_SAMPLE = 10_000
"""Pending records a plan is made from; some 5 MB while it is made."""
_LOOK = 500_000
"""Records looked at for a sample, however few of them are pending."""
_RESOLVED = 8
"""With fewer records of a network in a sample, the sample does not show how many it holds."""
_NO_LIMIT = 1 << 62
_SLICE = 200
"""Records looked at, or forgotten, in one go: a millisecond of the event loop."""
_BATCH = 2_000
"""Records chosen before they are forgotten."""

Rank = tuple[int, int, int]
"""Smaller goes first."""


class Candidate(NamedTuple):
    """A record that has never passed, as eviction weighs it."""

    path: tuple[Hashable, ...]
    """The networks it counts for, widest first."""
    rank: Rank


def pending_of(digest: bytes, value: bytes, now: int) -> Candidate | None:
    """The candidate of a stored record; None: it has passed, or cannot be read, and stays."""
    record = _never_passed(value)
    return None if record is None else Candidate(_path(record), _rank(record, record.home or digest, now))


def _never_passed(value: bytes) -> Record | None:
    try:
        record = decode_record(value)
    except CodecError:
        return None
    return None if record.passed_at or record.passes else record


def _path(record: Record) -> tuple[Hashable, ...]:
    try:
        address = parse_client_address(record.client)
    except AddressError:
        address = None  # the record is redacted
    if address is None:
        return (record.origin or record.client,)
    return networks_of(address)


def _rank(record: Record, home: bytes, now: int) -> Rank:
    # The same record under several keys has one rank, so that all of it goes or stays.
    same = int.from_bytes(home[:4])
    if record.attempts > 1:
        return (2, -record.first_seen, same)
    return (0 if now - record.first_seen > PATIENCE else 1, -record.first_seen, same)


@dataclass(frozen=True, slots=True)
class Plan:
    """Which pending records are to go."""

    last: Mapping[Hashable, Rank | None]
    """By network, the last rank that goes (None: none goes); `()` stands for all that are not listed."""

    def takes(self, pending: Candidate) -> bool:
        """Whether this record is to go, by the narrowest of its networks that is listed."""
        for network in reversed(pending.path):
            if network in self.last:
                last = self.last[network]
                return last is not None and pending.rank <= last
        last = self.last[()]
        return last is not None and pending.rank <= last


def make_plan(sample: Sequence[Candidate], remove: int, *, resolved: int = 1) -> Plan:
    """The plan under which `remove` records of the sample go.

    `resolved`: networks with fewer records than this in the sample are judged together, because the store
    holds others like them that are not in the sample.  1: the sample holds everything.
    """
    last: dict[Hashable, Rank | None] = {}
    _divide(sample, remove, 0, (), last, resolved)
    return Plan(last)


def _divide(
    rows: Sequence[Candidate],
    remove: int,
    depth: int,
    node: Hashable,
    last: dict[Hashable, Rank | None],
    resolved: int,
) -> None:
    """Note in `last` what goes of `rows`, all within `node`; `depth`: which network of a path is next."""
    if remove <= 0 or len(rows[0].path) == depth:
        last[node] = _last(rows, remove)
        return
    groups: dict[Hashable, list[Candidate]] = {}
    for row in rows:
        groups.setdefault(row.path[depth], []).append(row)
    shares = _level([len(group) for group in groups.values()], len(rows) - remove)
    together: list[Candidate] = []
    remove_together = 0
    for (network, group), kept in zip(groups.items(), shares, strict=True):
        if len(group) < resolved:
            together += group
            remove_together += len(group) - kept
        else:
            _divide(group, len(group) - kept, depth + 1, network, last, resolved)
    last[node] = _last(together, remove_together)


def _last(rows: Sequence[Candidate], remove: int) -> Rank | None:
    if remove <= 0:
        return None
    return sorted(row.rank for row in rows)[min(remove, len(rows)) - 1]


def _level(sizes: Sequence[int], keep: int) -> list[int]:
    """How many each may keep, when all together may keep `keep` and the largest give up first."""
    kept = [0] * len(sizes)
    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    for done, index in enumerate(order):
        kept[index] = min(sizes[index], keep // (len(order) - done))
        keep -= kept[index]
    return kept


class Eviction:
    """The background worker.  `max_records` may be changed at any time."""

    def __init__(
        self, clock: Clock, store: Store, max_records: int, *, interval: float = 10.0, breath: float = 0.002
    ) -> None:
        """`max_records` 0: no limit.  Seconds between two checks (`interval`), and two slices (`breath`)."""
        self.max_records = max_records
        self.fits: int | None = None
        """How many records of their present size fit in the store; None: more than there are."""
        self.forgotten = 0
        """Records forgotten since the start."""
        self._crowded = False
        """Whether the records that have passed leave no room."""
        self._used = 0
        """Octets in use when `fits` was worked out."""
        self._clock = clock
        self._store = store
        self._interval = interval
        self._breath = breath
        self._cursor = b""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Check again and again, until cancelled.  An error of the store is logged, and tried again."""
        task_status.started()
        while True:
            try:
                await self.bound()
            except StoreError as error:
                logger.warning("cannot keep the store within its limits: %s", error)
            await trio.sleep(self._interval)

    @property
    def full(self) -> bool:
        """Whether new records have no room: then every origin is treated as over the limit."""
        if self._crowded or self._store.lags:
            return True
        if self._store.has_room():
            return False
        # Records that were evicted have left room within pages, which no figure of the store shows.
        left = (self.fits or 0) - self._store.records
        return left <= 0 or not self._store.has_room(for_marks=True)

    async def bound(self) -> int:
        """Check once; returns how many records were forgotten.  Raises StoreError."""
        records, most = await self._limit()
        if records <= most:
            if records <= most * _FULL:
                self._set_full(0)
            return 0
        now = self._clock.now()
        sample, looked, complete = await self._sample(now)
        pending = len(sample) * records // max(looked, 1)
        self._set_full(most if records - pending >= most * _FULL else 0)
        spare = most // _MARGIN
        goal = min(records - most + spare, pending - spare)
        remove = min(-(-goal * looked // records), len(sample))
        if remove <= 0:
            return 0
        # In a thread: for a whole sample it takes three times as long as one turn of the loop may.
        plan = await in_thread(partial(make_plan, sample, remove, resolved=1 if complete else _RESOLVED))
        gone = await self._forget(plan, goal, now)
        logger.warning(
            "%s: more than %s: forgot %d that had never passed, most from %s",
            *(counted(records, "record"), self._told(most), gone, _heaviest(sample, plan)),
        )
        return gone

    async def _limit(self) -> tuple[int, int]:
        """How many records there are, and how many there may be."""
        health = await self._store.health()
        records = int(health["records"])
        self._measure(records, int(health.get("used", 0)), int(health.get("capacity", 0)))
        limits = [most for most in (self.max_records, self.fits) if most]
        return records, min(limits, default=_NO_LIMIT)

    def _measure(self, records: int, used: int, capacity: int) -> None:
        """Work out how many records fit, from what those that exist take."""
        if used <= capacity * _RELAXED:
            self.fits = None
        elif used > capacity * _CROWDED:
            if self.fits is None:
                self.fits, self._used = int(records * capacity * _CROWDED / used), used
            elif used > self._used:
                self.fits, self._used = self.fits * self._used // used, used

    def _told(self, most: int) -> str:
        if most == self.max_records:
            return f"max_records ({most})"
        return f"fit in [store] map_size (about {most})"

    def _set_full(self, most: int) -> None:
        """Note that the records that have passed leave no room under this limit; 0: they do."""
        if most and not self._crowded:
            key = "[limits] max_records" if most == self.max_records else "[store] map_size"
            logger.warning(
                "%s: the records that have passed leave no room for new ones (%d fit): choose a larger "
                "number; until then new senders are remembered by a mark only, and their retries still pass",
                *(key, most),
            )
        elif self._crowded and not most:
            logger.info("there is room for new records again")
        self._crowded = bool(most)

    async def _sample(self, now: int) -> tuple[list[Candidate], int, bool]:
        """Pending records, how many records were looked at for them, and whether those were all."""
        sample: list[Candidate] = []
        looked = 0
        walk = _Walk(self._store, self._cursor)
        while not walk.done and len(sample) < _SAMPLE and looked < _LOOK:
            rows = await walk.rows()
            looked += len(rows)
            sample += [found for row in rows if (found := pending_of(*row, now)) is not None]
            await trio.sleep(self._breath)
        return sample, looked, walk.done

    async def _forget(self, plan: Plan, goal: int, now: int) -> int:
        """Walk once around the store, or until `goal` records are gone; returns how many are."""
        walk = _Walk(self._store, self._cursor)
        chosen: list[Key] = []
        gone = 0
        while gone < goal and (chosen or not walk.done):
            if not walk.done and len(chosen) < min(_BATCH, goal - gone):
                for digest, value in await walk.rows():
                    found = pending_of(digest, value, now)
                    if found is not None and plan.takes(found):
                        chosen.append((Table.RECORD, digest))
            else:
                size = min(_SLICE, goal - gone)
                piece, chosen = chosen[:size], chosen[size:]
                gone += await self._delete(piece)
            await trio.sleep(self._breath)
        self._cursor = walk.cursor
        return gone

    async def _delete(self, keys: Sequence[Key]) -> int:
        """Forget those that still have not passed; waits for the disk, so as not to outrun it."""

        def decide(values: Sequence[bytes | None]) -> Change[int]:
            gone = [
                key
                for key, value in zip(keys, values, strict=True)
                if value is not None and _never_passed(value) is not None
            ]
            return Change(len(gone), dict.fromkeys(gone), durable=True)

        gone = await self._store.apply(keys, decide)
        self.forgotten += gone
        return gone


class _Walk:
    """Once around the records, from `begin` to the end and from the start to `begin`."""

    def __init__(self, store: Store, begin: bytes) -> None:
        self.cursor = begin
        """Where the walk stands."""
        self.done = False
        self._store = store
        self._begin = begin
        self._second = not begin
        """Whether the walk has gone on from the start."""

    async def rows(self) -> Sequence[tuple[bytes, bytes]]:
        """The next digests and values; may be empty."""
        rows, self.cursor = await self._store.scan(Table.RECORD, self.cursor, _SLICE)
        if self._second:
            if self._begin:
                self.done = self.cursor >= self._begin
                rows = [row for row in rows if row[0] <= self._begin]
            self.done = self.done or not self.cursor
        else:
            self._second = not self.cursor
        return rows


def _heaviest(sample: Sequence[Candidate], plan: Plan) -> str:
    """The network that loses most, for the log."""
    counts = Counter(row.path[0] for row in sample if plan.takes(row))
    network = counts.most_common(1)[0][0]
    match network:
        case (4, int(prefix), int(bits)):
            number = bits << 32 - prefix
            return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0)) + f"/{prefix}"
        case (6, int(prefix), int(bits)):
            return f"{bits >> 16:x}:{bits & 0xFFFF:x}::/{prefix}"
    return f"{network!a}"
