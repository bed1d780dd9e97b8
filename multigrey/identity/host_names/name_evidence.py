"""Evidence about the hosts below a registered domain: their deferrals, retries and HELO names.

Hosts of an access provider have verified names below its domain, but belong to its customers.  One can see
this: they announce names in many other registered domains, and their deferred mail does not come back.  So
deferrals below a domain are watched, by the pattern of the host's name (`identity.host_names.host_pattern`),
because a provider's own servers have another pattern than its customers' hosts.
`identity.host_names.name_doubt` draws the conclusions.

What counts: clients of one block (IPv4 /28, IPv6 /64) are one client.  Of each block only the first deferral
is watched.  A deferral is resolved when it is older than `resolved_after` seconds.  Mail that comes back
later does not count as returned, because hosts that work through the same list of addresses sometimes
repeat each other's attempts.  Blocks, domains and HELO names are kept as marks (four bytes of a keyed
digest).

Limits: eight patterns (folded ones before plain ones, mail servers before others; the rest together) and 32
blocks of each pattern, 16 of each six hours, chosen by their marks.  So of a flood only a sample is kept: it
cannot evict what is resolved, and a sender cannot choose which blocks are evicted.  Every choice depends only
on values that never change.  So the evidence of several hosts can be joined in any order (`join` is
commutative, associative and idempotent).

Times are wall-clock seconds; a time in the future counts as now.  Nothing here raises.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from itertools import chain, groupby
from typing import NamedTuple

from multigrey.identity.host_names.host_pattern import is_made, is_mail_server
from multigrey.model import DAY, value

__all__ = [
    "NOTHING",
    "RESOLVED_AFTER",
    "REST",
    "SPAN",
    "Client",
    "Evidence",
    "Return",
    "State",
    "aged",
    "deferred",
    "join",
    "known",
    "merged",
    "returned",
]

RESOLVED_AFTER = 6 * 3600
"""Seconds after which nearly all mail that is ever retried has been retried."""
REST = ""
"""Stands for all patterns that have no place of their own, and for those judged together."""

SPAN = 30 * DAY
"""Seconds after which evidence does not count any more."""
_SAID_AGAIN = DAY
"""Seconds after which a known sender is noted again."""
_EPOCH = 6 * 3600
_MOST_PATTERNS = 8
_MOST_CLIENTS = 32
_MOST_IN_EPOCH = 16
_MOST_RETURNS = 64
_MOST_DOMAINS = 4
"""Sender domains that are kept for one pattern, so that one pattern cannot fill the space of the others."""


class Client(NamedTuple):
    """A block of addresses, and the one deferral of it that is watched."""

    block: bytes
    first: int
    """When the mail was deferred."""
    returned: int = 0
    """When that mail came back; 0: never."""
    foreign_at: int = 0
    """When the client announced a name outside the domain; 0: never."""
    helo: bytes = b""
    """Mark of the registered domain that it announced then; b"": the name had none."""


class Return(NamedTuple):
    """The last time when mail of a sender domain, deferred under the name, came back or was known since."""

    pattern: str
    domain: bytes
    time: int


class State(NamedTuple):
    """Whether a pattern has lost its name or has it back, and since when."""

    pattern: str
    since: int
    demoted: bool


@value
class Evidence:
    """The evidence about one registered domain.  Only the functions below make it, in a fixed order."""

    clients: tuple[tuple[str, tuple[Client, ...]], ...] = ()
    """The clients by pattern; `REST` for patterns that have no place of their own."""
    returns: tuple[Return, ...] = ()
    states: tuple[State, ...] = ()

    def clients_of(self, pattern: str) -> tuple[Client, ...]:
        """The clients that are kept under a pattern."""
        return next((clients for name, clients in self.clients if name == pattern), ())

    def state_of(self, pattern: str) -> State | None:
        """The state of a pattern; None if none is kept, which means that it has its name."""
        return next((state for state in self.states if state.pattern == pattern), None)

    def was_demoted(self, pattern: str) -> bool:
        """Whether the state says that the pattern has lost its name."""
        state = self.state_of(pattern)
        return state is not None and state.demoted


NOTHING = Evidence()


# --- events -----------------------------------------------------------------------------------------


def deferred(evidence: Evidence, pattern: str, block: bytes, helo: bytes | None, now: int) -> Evidence:
    """The evidence after a first attempt of a client was deferred.

    `helo`: the mark of the foreign registered domain that it announced; b"" for a name outside the domain
    that has no registered domain; None for a name inside the domain.
    """
    place = _place(evidence, pattern)
    known = next((client for client in evidence.clients_of(place) if client.block == block), None)
    if known is not None and now - known.first < SPAN and known.first <= now:
        if helo is None or known.foreign_at:
            return evidence
        known = known._replace(foreign_at=now, helo=helo)
    elif helo is None:
        known = Client(block, now)
    else:
        known = Client(block, now, 0, now, helo)
    return join(evidence, Evidence(((place, (known,)),)))


def returned(
    evidence: Evidence,
    pattern: str,
    block: bytes,
    domain: bytes,
    now: int,
    first_seen: int,
    resolved_after: int = RESOLVED_AFTER,
) -> Evidence:
    """The evidence after mail that was deferred at `first_seen` came back.

    It may come back from this block or from another one of the same sender.  `domain`: the mark of the
    sender domain; b"" if the return is not evidence for the name, because the client did not send under it
    or is not the one that was deferred.
    """
    if now - first_seen > resolved_after:
        return evidence
    found = _watched(evidence, _place(evidence, pattern), block, first_seen)
    returns = (Return(pattern, domain, now),) if domain else ()
    if found is None:
        return join(evidence, Evidence(returns=returns)) if returns else evidence
    place, client = found
    return join(evidence, Evidence(((place, (client._replace(returned=now),)),), returns))


def known(evidence: Evidence, pattern: str, domain: bytes, now: int) -> Evidence:
    """The evidence after a known sender passed; `domain`: the mark of its sender domain.

    Counts only if `returned` has noted before that mail of this domain came back under the name, from the
    same client.
    """
    for row in evidence.returns:
        if (row.pattern, row.domain) == (pattern, domain) and row.time <= now - _SAID_AGAIN:
            return join(evidence, Evidence(returns=(row._replace(time=now),)))
    return evidence


def _watched(evidence: Evidence, place: str, block: bytes, first_seen: int) -> tuple[str, Client] | None:
    """The watched client that was deferred at `first_seen`: of this block if possible, else of another one.

    None if that deferral is not watched.
    """
    candidates = [
        (name != place, client.block != block, name, client)
        for name, clients in evidence.clients
        for client in clients
        if client.first == first_seen and not client.returned
    ]
    return min(candidates)[2:] if candidates else None


# --- several hosts ----------------------------------------------------------------------------------


def join(one: Evidence, other: Evidence) -> Evidence:
    """Both pieces of evidence together."""
    clients = dict(one.clients)
    fits = not other.states
    for name, rows in other.clients:
        known = clients.get(name)
        fits = fits and known is not None
        clients[name] = _kept(rows if known is None else chain(known, rows))
    returns = _latest_returns(chain(one.returns, other.returns)) if other.returns else one.returns
    if fits:
        return Evidence(tuple(clients.items()), returns, one.states)
    states: dict[str, State] = {}
    for state in chain(one.states, other.states):
        known_state = states.get(state.pattern)
        states[state.pattern] = state if known_state is None else max(known_state, state)
    names = sorted({*clients, *states} - {REST}, key=_rank)
    for name in names[_MOST_PATTERNS:]:
        states.pop(name, None)
        rows = clients.pop(name, ())
        clients[REST] = _kept(chain(clients.get(REST, ()), rows))
    return Evidence(
        tuple((name, clients[name]) for name in (*names[:_MOST_PATTERNS], REST) if clients.get(name)),
        returns,
        tuple(states[name] for name in sorted(states)),
    )


def _kept(rows: Iterable[Client]) -> tuple[Client, ...]:
    """The clients of the newest epochs; of each epoch those with the smallest marks."""
    clients: dict[tuple[int, bytes], Client] = {}
    for row in rows:
        place = (-(row.first // _EPOCH), row.block)
        known = clients.get(place)
        clients[place] = row if known is None else merged(known, row)
    found: list[Client] = []
    for _, group in groupby(sorted(clients), key=lambda place: place[0]):
        found += [clients[place] for place in list(group)[:_MOST_IN_EPOCH]]
    return tuple(found[:_MOST_CLIENTS])


def merged(one: Client, other: Client) -> Client:
    """The earlier deferral of two rows of one block, with the name that the block announced last."""
    earlier = min(one, other, key=lambda client: (client.first, -client.returned))
    announced = max(one, other, key=lambda client: (client.foreign_at, client.helo))
    return earlier._replace(foreign_at=announced.foreign_at, helo=announced.helo)


def _latest_returns(rows: Iterable[Return]) -> tuple[Return, ...]:
    latest: dict[tuple[str, bytes], Return] = {}
    for row in sorted(rows, key=lambda row: (row.time, row.pattern, row.domain)):
        latest[row.pattern, row.domain] = row
    kept: list[Return] = []
    counts: dict[str, int] = {}
    for row in sorted(latest.values(), key=lambda row: (row.time, row.pattern, row.domain), reverse=True):
        counts[row.pattern] = counts.get(row.pattern, 0) + 1
        if counts[row.pattern] <= _MOST_DOMAINS:
            kept.append(row)
    return tuple(kept[:_MOST_RETURNS])


def aged(evidence: Evidence, now: int) -> Evidence:
    """The evidence without what is older than 30 days; times in the future become now."""
    oldest = now - SPAN
    times = chain(
        (client.first for _, clients in evidence.clients for client in clients),
        (row.time for row in evidence.returns),
        (state.since for state in evidence.states if not state.demoted),
    )
    if all(oldest < time <= now for time in times):
        return evidence
    younger = [
        (name, tuple(row._replace(first=min(row.first, now)) for row in rows if row.first > oldest))
        for name, rows in evidence.clients
    ]
    aged = Evidence(
        tuple((name, rows) for name, rows in younger if rows),
        tuple(row._replace(time=min(row.time, now)) for row in evidence.returns if row.time > oldest),
        tuple(
            state._replace(since=min(state.since, now))
            for state in evidence.states
            if state.demoted or state.since > oldest
        ),
    )
    return join(NOTHING, aged)  # restores the fixed order


def _place(evidence: Evidence, pattern: str) -> str:
    """The pattern under which a pattern's clients are kept: itself if it has or gets a place, else `REST`."""
    names = {name for name, _ in evidence.clients} | {state.pattern for state in evidence.states}
    names.discard(REST)
    if pattern in names or len(names) < _MOST_PATTERNS:
        return pattern
    return pattern if _rank(pattern) < max(map(_rank, names)) else REST


@lru_cache(maxsize=512)
def _rank(pattern: str) -> tuple[bool, bool, bytes]:
    """The rank of a pattern: those with the smallest ranks get a place of their own.

    Folded patterns come first, and mail servers and bare tokens before the rest, whose number is unlimited.
    """
    digest = blake2b(pattern.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return not is_made(pattern), not is_mail_server(pattern) and pattern != "*", digest
