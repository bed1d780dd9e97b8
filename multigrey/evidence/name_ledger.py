"""What speaks against names, kept: evidence for each registered domain whose hosts were deferred.

The engine says which new attempts of named hosts were deferred and which came back; that costs next to
nothing, because it is only noted.  Once a minute what was noted becomes evidence (see `name_evidence` and
`name_doubt` in `identity.host_names`), and what changed is written to the store: one row of the META table
for each domain, under a digest of it.  A crash loses the last minute.  Nothing here keeps mail waiting: when
the store fails, rows wait for the next minute.

In a flood only a part is noted, the first of each domain and minute.  Only what was noted as deferred is
ever asked whether it came back, so a part says the same as all.
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

__all__ = ["FLUSH_EVERY", "MOST_DOMAINS", "Judged", "NameLedger", "names_key"]

FLUSH_EVERY = 60
"""Seconds between two writes."""
MOST_DOMAINS = 4096

_SPAN = 30 * DAY
_DEFERRED_NOTED = 1024
_RETURNED_NOTED = 4096
"""How many are noted from one minute to the next."""
_NOTED_OF_A_DOMAIN = 32
_SLICE = 50
_AT_HAND = 256
"""Domains whose evidence is kept ready to be used."""
_MEMO = 256
_STOOD = 4096
_ROOM = 16
"""When there are too many domains, one of so many goes at once."""
_MARK = 4

logger = logging.getLogger(__name__)


def names_key(domain: str) -> Key:
    """Where the evidence for a registered domain is kept."""
    text = domain.encode("utf-8", "surrogateescape")
    return NAMES.key(blake2b(text, digest_size=16).digest())


class Judged(NamedTuple):
    """What is known of a pattern of host names below a domain, and whether they have lost the name."""

    pattern: str
    figures: NameFigures
    doubt: Doubt | None


class _Note(NamedTuple):
    """One attempt that was deferred for the first time (`first_seen` None), came back, or is known."""

    origins: Origins
    attempt: Attempt
    now: int
    first_seen: int | None = None
    own: bool = False
    known: bool = False


class _Row(NamedTuple):
    """The evidence for a domain as it is stored, and what decides whether it may be dropped."""

    value: bytes
    demoted: bool
    returns: int
    clients: int
    last: int


class NameLedger:
    """The evidence for all domains; asked and told by the engine."""

    def __init__(
        self,
        site_key: bytes,
        most: int = MOST_DOMAINS,
        believed: Callable[[], bool] = lambda: True,
    ) -> None:
        """`site_key`: what marks are made with.  `most`: domains that are kept.

        `believed` says whether the clock may be believed: nothing is noted while it may not.
        """
        self.resolved_after = RESOLVED_AFTER
        """Seconds after which a deferral that has not come back most likely never will."""
        self.doubted: dict[str, dict[str, int]] = {}
        """Domains with a pattern that has lost its name: a look here is all that others cost."""
        self._stood: dict[tuple[str, str], int] = {}
        """When patterns of those domains were last seen to have kept the name."""
        self._key = site_key[:64]
        self._most = most
        self._believed = believed
        self._rows: dict[str, _Row] = {}
        self._at_hand: dict[str, Evidence] = {}
        self._waiting: dict[str, list[_Note]] = {}
        self._noted = [0, 0]
        self._unwritten: set[str] = set()
        self._writing = trio.Lock()

    # --- what happened ---

    def note_deferred(self, origins: Origins, attempt: Attempt, now: int) -> None:
        """An attempt of which nothing was known was deferred at `now`."""
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
        """An attempt passed at `now` that was deferred at `first_seen`.

        `own`: that was a client of the same network.  Mail that comes back through another one is a sign of
        a pool, but also of many hosts that try the same addresses: it protects no name.
        """
        if self._noted[1] >= _RETURNED_NOTED:
            return
        domain = origins.judged_domain(attempt)[0]
        if domain:
            self._noted[1] += 1
            self._waiting.setdefault(domain, []).append(_Note(origins, attempt, now, first_seen, own))

    def note_known(self, origins: Origins, attempt: Attempt, now: int) -> None:
        """An attempt passed at `now` because its own retry had passed before."""
        if self._noted[1] >= _RETURNED_NOTED:
            return
        domain = origins.judged_domain(attempt)[0]
        if domain and domain in self._rows:
            self._noted[1] += 1
            self._waiting.setdefault(domain, []).append(_Note(origins, attempt, now, known=True))

    def settle(self) -> None:
        """Make evidence of all that was noted."""
        self._noted = [0, 0]
        for domain in list(self._waiting):
            self._take_in(domain)
        self._judge_again()

    async def _settle_slowly(self) -> None:
        self._noted = [0, 0]  # first, for more is noted meanwhile
        for domain in list(self._waiting):
            self._take_in(domain)
            await trio.lowlevel.checkpoint()
        self._judge_again()

    def _judge_again(self) -> None:
        """Time has gone on: what patterns were found to be holds no longer."""
        self.doubted = {domain: {} for domain in self.doubted}

    # --- what follows ---

    def demoted(self, domain: str, pattern: str, now: int) -> int:
        """Since when the hosts of a pattern below this domain are no single sender; 0: they are one."""
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
            # It may be judged with others that lost the name long ago: what was remembered of it under the
            # name meanwhile counts still.
            stood = self._stood.get(place)
            return doubt.since if stood is None else max(doubt.since, stood + FLUSH_EVERY)
        self._stood.pop(place, None)
        self._stood[place] = now  # the last one
        if len(self._stood) > _STOOD:
            del self._stood[next(iter(self._stood))]
        return 0

    def demoted_for(self, origins: Origins, attempt: Attempt, now: int) -> int:
        """Since when the name of this attempt's client is no single sender's; 0: it is one, or has none."""
        domain = origins.judged_domain(attempt)[0]
        return self.demoted(domain, _pattern(attempt, domain), now) if domain in self.doubted else 0

    def told_apart(self, origins: Origins, attempt: Attempt, now: int) -> str:
        """The pattern of a name in doubt that stands for its hosts; "" if the evidence is about itself.

        Where too little is known of a pattern it is judged with others of its domain.  Its own hosts may
        still be one sender, as `mta-1` and `mta-2` are; words without a meaning are not made alike.
        """
        domain = origins.judged_domain(attempt)[0]
        pattern = _pattern(attempt, domain)
        if "*" in pattern:
            return ""
        doubt = self._judged(self._evidence(domain), pattern, now).doubt
        return "" if doubt is None or doubt.figures.pattern != REST else f"{pattern}.{domain}"

    def judged(self, origins: Origins, attempt: Attempt, now: int) -> Judged | None:
        """What an attempt's client is judged by; None where evidence has no say.  Changes nothing."""
        domain = origins.judged_domain(attempt)[0]
        if not domain or origins.generated(attempt):
            return None
        return self._judged(self._evidence(domain), _pattern(attempt, domain), now)

    def figures(self, domain: str, now: int) -> list[Judged]:
        """Every pattern below a domain of which anything is known; `REST` last, for all the others."""
        evidence = self._evidence(domain)
        if evidence == NOTHING:
            return []
        return [self._judged(evidence, pattern, now) for pattern in patterns(evidence)]

    def domains(self) -> list[str]:
        """The domains of which anything is known, in alphabetical order."""
        return sorted(self._rows)

    def _judged(self, evidence: Evidence, pattern: str, now: int) -> Judged:
        doubt = in_doubt(evidence, pattern, now, self.resolved_after)
        return Judged(pattern, figures(evidence, pattern, now, self.resolved_after), doubt)

    # --- the store ---

    async def run(self, store: Store, clock: Clock) -> None:
        """Take in and write what was noted once a minute, for ever; `begin` comes before."""
        while True:
            await trio.sleep(FLUSH_EVERY)
            await self._settle_slowly()
            self._forget(clock.now())
            await self.flush(store)

    async def begin(self, store: Store, now: int) -> None:
        """Load what is stored.  Failures are only logged."""
        unreadable = 0
        try:
            async with aclosing(NAMES.walk(store)) as slices:
                async for rows in slices:
                    unreadable += len(rows) - self._load(value for _, value in rows)
        except StoreError as error:
            logger.warning("what is known of names cannot be read: %s", error)
        if unreadable:
            logger.warning("what is known of names: %d rows cannot be read", unreadable)
        self._forget(now)

    async def flush(self, store: Store) -> None:
        """Take in what was noted and write what changed.  What cannot be written waits for the next time."""
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
                    logger.warning("what is known of names waits to be written: %s", error)
                    return
                self._unwritten -= {domain for domain, row in piece.items() if self._rows.get(domain) is row}

    def _load(self, values: Iterable[bytes]) -> int:
        """Join stored rows with what is known already; returns how many could be read."""
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
        self._at_hand[domain] = evidence  # the last one used
        if len(self._at_hand) > _AT_HAND:
            del self._at_hand[next(iter(self._at_hand))]
        return evidence

    def _keep(self, domain: str, evidence: Evidence) -> None:
        """The evidence for a domain from now on."""
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
        """Drop what is older than 30 days."""
        if self._believed():
            self._drop([domain for domain, row in self._rows.items() if row.last <= now - _SPAN])

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
    """The IPv4 /28 or IPv6 /64 of a client."""
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
