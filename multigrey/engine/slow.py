"""What becomes of an attempt when slow sources (DNS, directories) have been asked about it.

They are asked if the sender would have to wait.  They are asked again when it comes back, if they found a
name for it then: a host that is known by nothing but its address would earn trust for itself only, and
none for the organisation it belongs to.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from multigrey.engine.round import Pending, record_keys
from multigrey.engine.setup import Setup, without_store
from multigrey.greylist.stored_decision import StoredDecision
from multigrey.model import Attempt, Findings, Origin, Reason, Verdict

__all__ = ["asked", "organisation", "under_name"]

Ask = Callable[[Attempt], Awaitable[Findings]]


async def asked(pending: Pending, ask: Ask, *, first: bool) -> Verdict | Pending:
    """What slow sources make of it: a verdict, or the same attempt with what they found.

    `first`: it is the first recipient of its message.
    """
    setup, attempt = pending.setup, pending.attempt
    findings = await ask(attempt)
    provider = _provider(setup, findings)
    origin = _origin(pending, provider, findings.origin)
    found = without_store(setup, attempt, origin, pending.now, findings, first=first)
    if isinstance(found, Verdict):
        return found
    scheme = setup.scheme_for(found)
    keys = list(record_keys(setup, attempt, origin, pending.network, found, pending.doubted))
    # What waits under another of its names was deferred while somebody could not be asked.
    names = [name for name in (provider, findings.origin, pending.origin) if name is not None and name.named]
    keys += [scheme.named_key(attempt, name, pending.network) for name in names]
    return replace(
        pending,
        keys=tuple(dict.fromkeys(keys)),
        origin=origin,
        rule=found,
        looked_up=origin is not pending.origin,
        own_hosts=_is_own(setup, attempt, findings),
    )


async def organisation(
    pending: Pending, ask: Ask, question: StoredDecision, values: Sequence[bytes | None], verdict: Verdict
) -> str:
    """The name of the organisation whose own host came back with what was deferred; "" if there is none.

    `verdict` is what its `question` says of the stored `values`.  Raises CodecError for bytes that cannot
    be read.
    """
    if pending.origin.named or verdict.reason is not Reason.RETRY:
        return ""
    record = question.speaking(values)
    if record is None or not record.origin or record.origin == question.case.origin.text:
        return ""
    findings = await ask(pending.attempt)
    told = findings.origin
    if told is None or told.text != record.origin or not _is_own(pending.setup, pending.attempt, findings):
        return ""
    return told.text


def under_name(pending: Pending, question: StoredDecision, name: str) -> StoredDecision:
    """The question of an attempt that passes by its record, for the organisation of this name.

    It earns trust for all hosts of that name, and all of them are known by it.
    """
    if not name or question.origin_key is None:
        return question
    attempt, origin = pending.attempt, Origin(name, named=True)
    scheme = pending.setup.scheme
    keys = pending.setup.scheme_for(pending.rule).record_keys(attempt, origin, pending.network)
    return replace(
        question,
        # As if it had to wait, so that one triplet never counts for two.
        case=replace(question.case, key=keys[0][1]),
        record_keys=tuple(dict.fromkeys((*keys, *question.record_keys))),
        origin_key=scheme.origin_key(name, scheme.envelope(attempt).domain),
    )


def _provider(setup: Setup, findings: Findings) -> Origin | None:
    """The provider whose addresses list the client; None if there is none."""
    words = filter(None, map(setup.provider_by_spf, findings.listed_by))
    return next((Origin(word, named=True) for word in words), None)


def _origin(pending: Pending, provider: Origin | None, told: Origin | None) -> Origin:
    """Who it is: a verified name stays, one that is only claimed does not."""
    if pending.origin.named and not pending.origin.claimed:
        return pending.origin
    return provider or told or pending.origin


def _is_own(setup: Setup, attempt: Attempt, findings: Findings) -> bool:
    """Whether nobody but the sender's organisation sends from there.

    Whoever has an account can send from a provider's hosts, also with the provider's own domain.
    """
    return findings.own and _provider(setup, findings) is None and not setup.provider_of(attempt)
