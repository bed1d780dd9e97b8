"""Keeps the evidence about host names, for each registered domain whose hosts were deferred.

The engine reports which new attempts of named hosts were deferred and which came back.  A report is only
noted, which takes almost no time.  Once a minute the notes become evidence (see `name_evidence` and
`name_doubt` in `identity.host_names`), and changed evidence is written to the store: one row of the META
table for each domain, under a digest of it.  A crash loses the last minute.  Mail never waits for this: when
the store fails, rows wait for the next minute.

In a flood only a sample is noted, the first attempts of each domain and minute.  Only a noted deferral is
checked for its return, so the sample gives the same shares as all attempts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from hashlib import blake2b
from heapq import nsmallest
from itertools import islice
from operator import itemgetter
from typing import NamedTuple

import trio

from multigrey.clock import Clock
from multigrey.codec import decode_names, encode_names
from multigrey.contracts import Store
from multigrey.errors import CodecError, StoreError
from multigrey.identity.addresses import host_name
from multigrey.identity.host_names.host_pattern import pattern_of
from multigrey.identity.host_names.name_doubt import (
    Doubt,
    NameFigures,
    demoted,
    figures,
    in_doubt,
    patterns,
    settled,
)
from multigrey.identity.host_names.name_evidence import (
    NOTHING,
    RESOLVED_AFTER,
    REST,
    Evidence,
    deferred,
    join,
    known,
    returned,
)
from multigrey.identity.origin import Origins
from multigrey.model import DAY, Address, Attempt, Change, Entry, Key
from multigrey.stores.meta import NAMES
from multigrey.text import counted

__all__ = ["FLUSH_EVERY", "KEPT", "MOST_DOMAINS", "Judged", "NameLedger", "names_key"]

FLUSH_EVERY = 60
"""Seconds between two writes."""
MOST_DOMAINS = 4096
KEPT = 30 * DAY
"""How long the evidence about a registered domain is kept after its last use, in seconds."""

_DEFERRED_NOTED = 1024
_RETURNED_NOTED = 4096
"""How many of these are noted within a minute."""
_NOTED_OF_A_DOMAIN = 32
_SLICE = 50
_AT_HAND = 256
"""Number of domains whose decoded evidence is cached."""
_MEMO = 256
_STOOD = 4096
_ROOM = 16
"""With too many domains, one in this many is dropped at once."""
_MARK = 4

logger = logging.getLogger(__name__)


def names_key(domain: str) -> Key:
    """The key under which the evidence for a registered domain is stored."""
    text = domain.encode("utf-8", "surrogateescape")
    return NAMES.key(blake2b(text, digest_size=16).digest())


class Judged(NamedTuple):
    """The figures of a pattern of host names below a domain, and whether it has lost the name."""

    pattern: str
    figures: NameFigures
    doubt: Doubt | None


class _Note(NamedTuple):
    """A noted attempt: deferred for the first time (`first_seen` is None), returned, or known."""

    origins: Origins
    attempt: Attempt
    now: int
    first_seen: int | None = None
    own: bool = False
    known: bool = False


class _Row(NamedTuple):
    """The stored evidence for a domain, and the values that decide whether it may be dropped."""

    value: bytes
    demoted: bool
    returns: int
    clients: int
    last: int


class NameLedger:
    """The evidence for all domains.  The engine reports attempts to it and queries it."""

    def __init__(
        self,
        site_key: bytes,
        most: int = MOST_DOMAINS,
        believed: Callable[[], bool] = lambda: True,
    ) -> None:
        """`site_key`: the key for marks.  `most`: largest number of domains that are kept.

        `believed` returns whether the clock is believed; while it is not, notes are dropped.
        """
        self.resolved_after = RESOLVED_AFTER
        """Seconds after which a deferral that has not come back most likely never will."""
        self.doubted: dict[str, dict[str, int]] = {}
        """Domains with a pattern that has lost its name, and results already computed by pattern.  For all
        other domains one lookup here is enough."""
        self._stood: dict[tuple[str, str], int] = {}
        """When patterns of those domains were last found to have kept the name."""
        self._key = site_key[:64]
        self._most = most
        self._believed = believed
        self._rows: dict[str, _Row] = {}
        self._at_hand: dict[str, Evidence] = {}
        self._waiting: dict[str, list[_Note]] = {}
        self._noted = [0, 0]
        self._unwritten: set[str] = set()
        self._writing = trio.Lock()

    # --- reports of the engine ---

    def note_deferred(self, origins: Origins, attempt: Attempt, now: int) -> None:
        """Note that an attempt without any record was deferred at `now`."""
        if self._noted[0] >= _DEFERRED_NOTED:
            return
        domain = origins.judged_domain(attempt)[0]
        if not domain:
            return
        notes = self._waiting.setdefault(domain, [])
        if len(notes) < _NOTED_OF_A_DOMAIN:
            self._noted[0] += 1
            notes.append(_Note(origins, attempt, now))

    def note_returned(
        self, origins: Origins, attempt: Attempt, now: int, first_seen: int, *, own: bool
    ) -> None:
        """Note that an attempt passed at `now` that was deferred at `first_seen`.

        `own`: the deferred client was in the same network.  Mail that comes back through another network may
        come from a pool, but also from many hosts that try the same addresses, so it does not protect a name.
        """
        if self._noted[1] >= _RETURNED_NOTED:
            return
        domain = origins.judged_domain(attempt)[0]
        if domain:
            self._noted[1] += 1
            self._waiting.setdefault(domain, []).append(_Note(origins, attempt, now, first_seen, own))

    def note_known(self, origins: Origins, attempt: Attempt, now: int) -> None:
        """Note that an attempt passed at `now` because its own retry had passed before."""
        if self._noted[1] >= _RETURNED_NOTED:
            return
        domain = origins.judged_domain(attempt)[0]
        if domain and domain in self._rows:
            self._noted[1] += 1
            self._waiting.setdefault(domain, []).append(_Note(origins, attempt, now, known=True))

    def settle(self) -> None:
        """Turn all notes into evidence."""
        self._noted = [0, 0]
        for domain in list(self._waiting):
            self._take_in(domain)
        self._judge_again()

    async def _settle_slowly(self) -> None:
        self._noted = [0, 0]  # before the loop, because more is noted while it waits
        for domain in list(self._waiting):
            self._take_in(domain)
            await trio.lowlevel.checkpoint()
        self._judge_again()

    def _judge_again(self) -> None:
        """Discard the computed results, because they depend on the time."""
        self.doubted = {domain: {} for domain in self.doubted}

    # --- queries of the engine ---

    def demoted(self, domain: str, pattern: str, now: int) -> int:
        """Since when the hosts of a pattern below this domain are not a single sender; 0: they are one."""
        memo = self.doubted.get(domain)
        if memo is None:
            return 0
        since = memo.get(pattern)
        if since is None:
            evidence = self._evidence(domain)
            self._keep(domain, settled(evidence, pattern, now, self.resolved_after))
            doubt = in_doubt(self._evidence(domain), pattern, now, self.resolved_after)
            since = self._since(domain, pattern, now, doubt)
            memo = self.doubted.get(domain, {})
            if len(memo) >= _MEMO:
                memo.clear()
            memo[pattern] = since
        return since

    def _since(self, domain: str, pattern: str, now: int, doubt: Doubt | None) -> int:
        place = domain, pattern
        if doubt is not None:
            # It may be judged with others that lost the name long ago.  Records made under the name while
            # this pattern still had it must count, so its own loss begins only after that.
            stood = self._stood.get(place)
            return doubt.since if stood is None else max(doubt.since, stood + FLUSH_EVERY)
        self._stood.pop(place, None)
        self._stood[place] = now  # removed and added again: now the last one in order of use
        if len(self._stood) > _STOOD:
            del self._stood[next(iter(self._stood))]
        return 0

    def demoted_for(self, origins: Origins, attempt: Attempt, now: int) -> int:
        """Since when the name of this attempt's client does not stand for a single sender.

        0: it does, or the client has no name.
        """
        domain = origins.judged_domain(attempt)[0]
        return self.demoted(domain, _pattern(attempt, domain), now) if domain in self.doubted else 0

    def told_apart(self, origins: Origins, attempt: Attempt, now: int) -> str:
        """The text that groups the hosts of a pattern whose name is in doubt; "" if they must not be grouped.

        A pattern with too little evidence is judged together with others of its domain.  Its own hosts may
        still be one sender, as `mta-1` and `mta-2` are, so the text is the pattern and the domain.  It is ""
        if the evidence is about the pattern itself, or if the pattern contains `*`.
        """
        domain = origins.judged_domain(attempt)[0]
        pattern = _pattern(attempt, domain)
        if "*" in pattern:
            return ""
        doubt = self._judged(self._evidence(domain), pattern, now).doubt
        return "" if doubt is None or doubt.figures.pattern != REST else f"{pattern}.{domain}"

    def judged(self, origins: Origins, attempt: Attempt, now: int) -> Judged | None:
        """The figures by which an attempt's client is judged; None if evidence does not apply to its name.

        Changes nothing.
        """
        domain = origins.judged_domain(attempt)[0]
        if not domain or origins.generated(attempt):
            return None
        return self._judged(self._evidence(domain), _pattern(attempt, domain), now)

    def figures(self, domain: str, now: int) -> list[Judged]:
        """Every pattern below a domain with evidence; `REST` last, for all others."""
        evidence = self._evidence(domain)
        if evidence == NOTHING:
            return []
        return [self._judged(evidence, pattern, now) for pattern in patterns(evidence)]

    def domains(self) -> list[str]:
        """The domains with evidence, in alphabetical order."""
        return sorted(self._rows)

    def _judged(self, evidence: Evidence, pattern: str, now: int) -> Judged:
        doubt = in_doubt(evidence, pattern, now, self.resolved_after)
        return Judged(pattern, figures(evidence, pattern, now, self.resolved_after), doubt)

    # --- the store ---

    async def run(self, store: Store, clock: Clock) -> None:
        """Turn notes into evidence and write it, once a minute, until cancelled.  `begin` must come first."""
        while True:
            await trio.sleep(FLUSH_EVERY)
            await self._settle_slowly()
            self._forget(clock.now())
            await self.flush(store)

    async def begin(self, store: Store, now: int) -> None:
        """Load the stored evidence.  Failures are only logged."""
        unreadable = 0
        try:
            async with aclosing(NAMES.walk(store)) as slices:
                async for rows in slices:
                    unreadable += len(rows) - self._load(value for _, value in rows)
        except StoreError as error:
            logger.warning("evidence about host names: cannot be read: %s", error)
        if unreadable:
            logger.warning("evidence about host names: %s cannot be read", counted(unreadable, "row"))
        self._forget(now)

    async def flush(self, store: Store) -> None:
        """Turn notes into evidence and write what changed.

        If the store fails, that is logged, and the rest waits for the next call.
        """
        self.settle()
        async with self._writing:
            while self._unwritten:
                piece = {domain: self._rows.get(domain) for domain in islice(self._unwritten, _SLICE)}
                puts = {
                    names_key(domain): None if row is None else Entry(row.value, None)
                    for domain, row in piece.items()
                }
                try:
                    await store.apply(tuple(puts), partial(_written, puts))
                except StoreError as error:
                    logger.warning("evidence about host names: cannot be written, will be retried: %s", error)
                    return
                # `is row`: a row that changed during the write is still unwritten.
                self._unwritten -= {domain for domain, row in piece.items() if self._rows.get(domain) is row}

    def _load(self, values: Iterable[bytes]) -> int:
        """Join stored rows with the present evidence; return how many could be read."""
        read = 0
        for value in values:
            try:
                domain, evidence = decode_names(value)
            except CodecError:
                continue
            read += 1
            known = self._rows.get(domain)
            if known is None:
                self._rows[domain] = _row(value, evidence)
                if demoted(evidence):
                    self.doubted[domain] = {}
            else:
                self._keep(domain, join(evidence, self._evidence(domain)))
        return read

    # --- evidence ---

    def _take_in(self, domain: str) -> None:
        notes = self._waiting.pop(domain, [])
        if self._believed():
            self._keep(domain, self._after(domain, self._evidence(domain), notes))

    def _after(self, domain: str, evidence: Evidence, notes: Iterable[_Note]) -> Evidence:
        touched: dict[str, int] = {}
        for note in notes:
            origins, attempt, now, first_seen, own, is_known = note
            _, foreign, helo = origins.judged_domain(attempt)
            address = attempt.client_address
            if address is None or (foreign and origins.generated(attempt)):
                continue
            pattern = _pattern(attempt, domain)
            touched[pattern] = now
            block = self._mark(_block(address))
            if is_known:
                home = "" if foreign else origins.home_of(attempt.sender)
                evidence = known(evidence, pattern, self._mark(home), now) if home else evidence
            elif first_seen is None:
                announced = (self._mark(helo) if helo else b"") if foreign else None
                evidence = deferred(evidence, pattern, block, announced, now)
            else:
                home = origins.home_of(attempt.sender) if own and not foreign else ""
                mark = self._mark(home) if home else b""
                evidence = returned(evidence, pattern, block, mark, now, first_seen, self.resolved_after)
        for pattern, now in touched.items():
            evidence = settled(evidence, pattern, now, self.resolved_after)
        return evidence

    def _evidence(self, domain: str) -> Evidence:
        evidence = self._at_hand.pop(domain, None)
        if evidence is None:
            row = self._rows.get(domain)
            if row is None:
                return NOTHING
            evidence = decode_names(row.value)[1]
        self._at_hand[domain] = evidence  # removed and added again: now the last one in order of use
        if len(self._at_hand) > _AT_HAND:
            del self._at_hand[next(iter(self._at_hand))]
        return evidence

    def _keep(self, domain: str, evidence: Evidence) -> None:
        """Set the evidence for a domain."""
        if evidence == self._evidence(domain):
            return
        self._rows[domain] = _row(encode_names(domain, evidence), evidence)
        self._at_hand[domain] = evidence
        self._unwritten.add(domain)
        if demoted(evidence):
            self.doubted[domain] = {}
        else:
            self.doubted.pop(domain, None)
        if len(self._rows) > self._most:
            rows = [
                (row.demoted, row.returns > 1, min(row.clients, 10), row.last, domain)
                for domain, row in self._rows.items()
            ]
            self._drop(map(itemgetter(4), nsmallest(1 + self._most // _ROOM, rows)))

    def _forget(self, now: int) -> None:
        """Drop domains whose evidence is older than 30 days."""
        if self._believed():
            self._drop([domain for domain, row in self._rows.items() if row.last <= now - KEPT])

    def _drop(self, domains: Iterable[str]) -> None:
        for domain in domains:
            del self._rows[domain]
            self._at_hand.pop(domain, None)
            self.doubted.pop(domain, None)
            self._unwritten.add(domain)

    def _mark(self, text: str) -> bytes:
        raw = text.encode("utf-8", "surrogateescape")
        return blake2b(raw, digest_size=_MARK, key=self._key, person=b"names").digest()


def _block(address: Address) -> str:
    """The text of the IPv4 /28 or IPv6 /64 of a client."""
    return f"4 {int(address) >> 4}" if address.version == 4 else f"6 {int(address) >> 64}"


def _pattern(attempt: Attempt, domain: str) -> str:
    return pattern_of(host_name(attempt.client_name or ""), domain)


def _row(value: bytes, evidence: Evidence) -> _Row:
    times = [client.first for _, clients in evidence.clients for client in clients]
    times += [row.time for row in evidence.returns]
    return _Row(value, demoted(evidence), len(evidence.returns), len(times), max(times, default=0))


def _written(puts: Mapping[Key, Entry | None], values: Sequence[bytes | None]) -> Change[None]:
    del values
    return Change(None, puts, durable=True)
