"""What speaks against a name: whether the hosts of a pattern of names are one sender.

A pattern loses its name when

    - five clients that announced five foreign domains are at least half of its clients, or
    - of ten resolved deferrals fewer than a fifth came back;

and gets it back when more than half of its resolved deferrals (five or more) came back, or when all that
is known is older than 30 days.  It is never taken, whatever else is known, from a pattern of which mail of
two sender domains came back within 30 days that was sent under the name; what came back once and is sent on
counts as long as it is sent, for mail that is known is deferred no more and cannot come back.  A pattern of
which too little is known to be judged by itself, and of which nothing came back, is judged with all others of
that kind below the domain.

Pure; times are wall-clock seconds.  Nothing here raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from multigrey.identity.host_names.name_evidence import (
    RESOLVED_AFTER,
    REST,
    SPAN,
    Client,
    Evidence,
    State,
    aged,
    join,
    merged,
)
from multigrey.model import value

__all__ = ["Doubt", "NameFigures", "demoted", "figures", "in_doubt", "patterns", "settled"]

_FOREIGN = 5
_RESOLVED = 10
_ENOUGH = 5
_PROTECTING = 2


@value
class NameFigures:
    """What is known at the moment of a pattern, or of those judged together."""

    pattern: str
    """`REST`: the pattern was judged together with others."""
    clients: int = 0
    foreign: int = 0
    """Clients that announced a name outside the domain."""
    foreign_domains: int = 0
    resolved: int = 0
    returned: int = 0
    """Of the resolved deferrals."""
    domains: int = 0
    """Sender domains of which mail under the name came back, up to four."""

    @property
    def announces_others(self) -> bool:
        """Whether its clients mostly announce foreign domains, each another one."""
        return self.foreign_domains >= _FOREIGN and self.foreign * 2 >= self.clients

    @property
    def stays_away(self) -> bool:
        """Whether what is deferred mostly does not come back."""
        return self.resolved >= _RESOLVED and self.returned * 5 < self.resolved

    @property
    def comes_back(self) -> bool:
        """Whether what is deferred mostly does come back."""
        return self.resolved >= _ENOUGH and self.returned * 2 > self.resolved


@value
class Doubt:
    """Why a pattern has no name at the moment, and since when."""

    since: int
    figures: NameFigures


def settled(evidence: Evidence, pattern: str, now: int, resolved_after: int = RESOLVED_AFTER) -> Evidence:
    """The same without what is too old, and with what the figures say about a pattern's name written down."""
    evidence = aged(evidence, now)
    scope, found = _judged(evidence, pattern, now, resolved_after)
    changes = [] if found == evidence.was_demoted(scope) else [State(scope, now, found)]
    if scope != pattern and evidence.was_demoted(pattern):  # nothing is known of it any more
        changes.append(State(pattern, now, demoted=False))
    return join(evidence, Evidence(states=(*changes,))) if changes else evidence


# --- what follows -----------------------------------------------------------------------------------


def in_doubt(
    evidence: Evidence, pattern: str, now: int, resolved_after: int = RESOLVED_AFTER
) -> Doubt | None:
    """Why the hosts of a pattern are no single sender; None: nothing speaks against their name."""
    scope, found = _judged(evidence, pattern, now, resolved_after)
    if not found:
        return None
    state = evidence.state_of(scope)
    since = min(state.since, now) if state is not None and state.demoted else now
    return Doubt(since, figures(evidence, pattern, now, resolved_after))


def figures(evidence: Evidence, pattern: str, now: int, resolved_after: int = RESOLVED_AFTER) -> NameFigures:
    """What a pattern is judged by: its own figures, or those of all that are judged together."""
    own = _own(evidence, pattern, now, resolved_after)
    if _is_judged_alone(evidence, own):
        return own
    return _together(evidence, now, resolved_after)


def patterns(evidence: Evidence) -> Iterator[str]:
    """Every pattern with evidence of its own, and `REST`."""
    yield from (name for name, _ in evidence.clients if name != REST)
    yield REST


def demoted(evidence: Evidence) -> bool:
    """Whether any pattern is written down as having lost its name."""
    return any(state.demoted for state in evidence.states)


def _judged(evidence: Evidence, pattern: str, now: int, resolved_after: int) -> tuple[str, bool]:
    """What decides about the pattern (itself or `REST`), and whether it has lost its name."""
    found = figures(evidence, pattern, now, resolved_after)
    scope = found.pattern
    if found.comes_back:
        return scope, False
    if evidence.was_demoted(scope):
        return scope, found.clients > 0
    return scope, found.domains < _PROTECTING and (found.announces_others or found.stays_away)


def _is_judged_alone(evidence: Evidence, own: NameFigures) -> bool:
    if own.pattern == REST:
        return False
    if own.domains or own.returned:
        return True
    return _says_enough(evidence, own)


def _says_enough(evidence: Evidence, own: NameFigures) -> bool:
    if own.resolved >= _RESOLVED or own.announces_others:
        return True
    return own.clients > 0 and evidence.was_demoted(own.pattern)


def _own(evidence: Evidence, pattern: str, now: int, resolved_after: int) -> NameFigures:
    oldest = now - SPAN
    domains = sum(pattern == row.pattern and row.time > oldest for row in evidence.returns)
    return _added(pattern, evidence.clients_of(pattern), domains, now, resolved_after)


def _together(evidence: Evidence, now: int, resolved_after: int) -> NameFigures:
    """All patterns of which too little is known, as if they were one."""
    found: list[Client] = []
    for name, clients in evidence.clients:
        if name == REST or not _says_enough(evidence, _own(evidence, name, now, resolved_after)):
            found += clients
    return _added(REST, found, 0, now, resolved_after)


def _added(pattern: str, rows: Iterable[Client], domains: int, now: int, resolved_after: int) -> NameFigures:
    clients: dict[bytes, Client] = {}
    oldest, newest = now - SPAN, now - resolved_after
    for row in rows:
        if row[1] > oldest:
            known = clients.get(row[0])
            clients[row[0]] = row if known is None else merged(known, row)
    foreign = resolved = back = 0
    helos = set()
    for _, first, came, foreign_at, helo in clients.values():
        if foreign_at:
            foreign += 1
            helos.add(helo)
        if first <= newest:
            resolved += 1
            back += came > 0
    helos.discard(b"")
    return NameFigures(pattern, len(clients), foreign, len(helos), resolved, back, domains)
