"""Decides attempts that a round could not decide: asks slow sources, and waits for the store.

Slow sources (DNS, directories) are asked if the sender would have to wait.  They are asked again when it
retries, if they found a name for it the first time: a host that is known only by its address would earn trust
for itself only, and none for the organisation it belongs to.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from multigrey.contracts import Store
from multigrey.engine.progress import Progress, record_keys
from multigrey.engine.setup import Setup
from multigrey.engine.shared import Shared
from multigrey.engine.stages import precheck
from multigrey.greylist.stored_decision import StoredDecision
from multigrey.identity.shortened import shortened
from multigrey.model import Action, Attempt, Findings, Origin, Reason, Verdict

__all__ = ["ask_sources", "decide", "organisation", "under_name", "would_wait"]

Ask = Callable[[Attempt], Awaitable[Findings]]


async def decide(progress: Progress, store: Store, shared: Shared) -> None:
    """Ask slow sources if necessary, then the store; sets `progress.verdict`.

    Raises StoreError and CodecError.
    """
    ask, name = progress.setup.ask, ""
    if ask is not None:
        expected = shared.decision(progress)
        values = await store.read(expected.keys)
        verdict = expected(values).value
        if would_wait(verdict):
            progress.first = shared.is_first(progress.attempt)
            await ask_sources(progress, ask)
            if progress.verdict is not None:
                return
        else:
            name = await organisation(progress, ask, expected, values, verdict)
    decision = progress.decision = under_name(progress, shared.limited(progress), name)
    verdict = await store.apply(decision.keys, decision)
    progress.verdict = shared.note(progress, verdict)


def would_wait(verdict: Verdict) -> bool:
    """Whether slow sources are asked before this verdict is given."""
    return verdict.action is Action.DEFER or verdict.observed


async def ask_sources(progress: Progress, ask: Ask) -> None:
    """Ask slow sources.  They give a verdict, or further keys and possibly another origin."""
    setup, attempt, known_as = progress.setup, progress.attempt, progress.origin
    findings = progress.findings = await ask(attempt)
    provider = _provider(setup, findings)
    progress.origin = _origin(known_as, provider, findings.origin)
    precheck(progress)
    if progress.verdict is not None:
        return
    progress.looked_up = progress.origin is not known_as
    progress.own_hosts = _is_own(setup, attempt, findings)
    scheme = setup.scheme_for(progress.rule)
    # A record under another of its names was made while one of the sources could not answer.
    names = [name for name in (provider, findings.origin, known_as) if name is not None and name.named]
    further = [scheme.named_key(attempt, name, progress.network) for name in names]
    progress.keys = tuple(dict.fromkeys([*record_keys(progress), *further]))


async def organisation(
    progress: Progress, ask: Ask, decision: StoredDecision, values: Sequence[bytes | None], verdict: Verdict
) -> str:
    """The name of the organisation whose own host retried what was deferred; "" if there is none.

    `verdict` is what `decision` says of the stored `values`.  Raises CodecError for bytes that cannot be
    read.
    """
    if progress.origin.named or verdict.reason is not Reason.RETRY:
        return ""
    record = decision.speaking(values)
    if record is None or not record.origin or record.origin == shortened(decision.case.origin.text):
        return ""
    findings = await ask(progress.attempt)
    told = findings.origin
    if told is None or shortened(told.text) != record.origin:
        return ""
    if not _is_own(progress.setup, progress.attempt, findings):
        return ""
    return told.text


def under_name(progress: Progress, decision: StoredDecision, name: str) -> StoredDecision:
    """The decision about an attempt that passes by its record, made for the organisation of this name.

    The attempt earns trust for all hosts of that name, and all of them are known by its record.
    """
    if not name or decision.origin_key is None:
        return decision
    attempt, origin = progress.attempt, Origin(name, named=True)
    scheme = progress.setup.scheme
    keys = progress.setup.scheme_for(progress.rule).record_keys(attempt, origin, progress.network)
    return replace(
        decision,
        # The key it has when it has to wait, so that one triplet never counts as two.
        case=replace(decision.case, key=keys[0][1]),
        record_keys=tuple(dict.fromkeys((*keys, *decision.record_keys))),
        origin_key=scheme.origin_key(name, scheme.envelope(attempt).domain),
    )


def _provider(setup: Setup, findings: Findings) -> Origin | None:
    """The provider among whose own addresses the client is; None if there is none."""
    words = filter(None, map(setup.provider_by_spf, findings.listed_by))
    return next((Origin(word, named=True) for word in words), None)


def _origin(known_as: Origin, provider: Origin | None, told: Origin | None) -> Origin:
    """Who is sending: a verified name stays, one that is only claimed does not."""
    if known_as.named and not known_as.claimed:
        return known_as
    return provider or told or known_as


def _is_own(setup: Setup, attempt: Attempt, findings: Findings) -> bool:
    """Whether only the sender's organisation sends from this client.

    A provider's hosts do not count: every account can send from them, also with the provider's own domain.
    """
    return findings.own and _provider(setup, findings) is None and not setup.provider_of(attempt)
