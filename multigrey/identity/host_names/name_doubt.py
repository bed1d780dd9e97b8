"""Decides whether the hosts of a pattern of names are one sender, and so may share a named origin.

A pattern loses its name when

    - at least five clients announced five foreign domains, and they are at least half of its clients, or
    - of at least ten resolved deferrals fewer than a fifth came back.

It gets the name back when more than half of its resolved deferrals (five or more) came back, or when all
evidence is older than 30 days.  A pattern never loses its name if mail of two sender domains, sent under the
name, came back within 30 days.  Mail that came back once and is still sent continues to count, because known
mail is not deferred any more and so cannot come back again.  A pattern with too little evidence of its own,
and without any returned mail, is judged together with all others of that kind below the domain.

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
    """The present figures of a pattern, or of the patterns that are judged together."""

    pattern: str
    """`REST`: the patterns that are judged together."""
    clients: int = 0
    foreign: int = 0
    """Clients that announced a name outside the domain."""
    foreign_domains: int = 0
    resolved: int = 0
    returned: int = 0
    """How many of the resolved deferrals came back."""
    domains: int = 0
    """Number of sender domains whose mail under the name came back, up to four."""

    @property
    def announces_others(self) -> bool:
        """Whether at least half of its clients announce foreign domains, at least five different ones."""
        return self.foreign_domains >= _FOREIGN and self.foreign * 2 >= self.clients

    @property
    def stays_away(self) -> bool:
        """Whether fewer than a fifth of at least ten resolved deferrals came back."""
        return self.resolved >= _RESOLVED and self.returned * 5 < self.resolved

    @property
    def comes_back(self) -> bool:
        """Whether more than half of at least five resolved deferrals came back."""
        return self.resolved >= _ENOUGH and self.returned * 2 > self.resolved


@value
class Doubt:
    """Why a pattern has no name now, and since when."""

    since: int
    figures: NameFigures


def settled(evidence: Evidence, pattern: str, now: int, resolved_after: int = RESOLVED_AFTER) -> Evidence:
    """The evidence without outdated parts, and with the present decision about a pattern in its states."""
    evidence = aged(evidence, now)
    scope, found = _judged(evidence, pattern, now, resolved_after)
    changes = [] if found == evidence.was_demoted(scope) else [State(scope, now, found)]
    if scope != pattern and evidence.was_demoted(pattern):  # it has no evidence of its own any more
        changes.append(State(pattern, now, demoted=False))
    return join(evidence, Evidence(states=(*changes,))) if changes else evidence


# --- conclusions ------------------------------------------------------------------------------------


def in_doubt(
    evidence: Evidence, pattern: str, now: int, resolved_after: int = RESOLVED_AFTER
) -> Doubt | None:
    """Why the hosts of a pattern are not a single sender; None: the pattern keeps its name."""
    scope, found = _judged(evidence, pattern, now, resolved_after)
    if not found:
        return None
    state = evidence.state_of(scope)
    since = min(state.since, now) if state is not None and state.demoted else now
    return Doubt(since, figures(evidence, pattern, now, resolved_after))


def figures(evidence: Evidence, pattern: str, now: int, resolved_after: int = RESOLVED_AFTER) -> NameFigures:
    """The figures by which a pattern is judged: its own, or those of all patterns judged together."""
    own = _own(evidence, pattern, now, resolved_after)
    if _is_judged_alone(evidence, own):
        return own
    return _together(evidence, now, resolved_after)


def patterns(evidence: Evidence) -> Iterator[str]:
    """Every pattern with evidence of its own, and `REST`."""
    yield from (name for name, _ in evidence.clients if name != REST)
    yield REST


def demoted(evidence: Evidence) -> bool:
    """Whether the states contain a pattern that has lost its name."""
    return any(state.demoted for state in evidence.states)


def _judged(evidence: Evidence, pattern: str, now: int, resolved_after: int) -> tuple[str, bool]:
    """The pattern whose figures decide (itself or `REST`), and whether the name is lost."""
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
    """The figures of all patterns with too little evidence, as if they were one."""
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
