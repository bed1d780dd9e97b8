"""One attempt on its way through the engine: what is known of it so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from multigrey.contracts import Durability
from multigrey.engine.known import KnownSender
from multigrey.engine.setup import Setup
from multigrey.engine.stages import on_error_verdict
from multigrey.evidence.mark_ledger import MarkLedger
from multigrey.greylist.policy import Case, hidden
from multigrey.greylist.stored_decision import OtherKey, StoredDecision
from multigrey.identity.addresses import LONGEST_ADDRESS
from multigrey.identity.origin import trust_text
from multigrey.model import Action, Attempt, Findings, Key, Origin, Reason, Verdict, value
from multigrey.rules.rules import Outcome

__all__ = ["Doubted", "OnError", "Progress", "over_limit", "record_keys", "stored_decision"]

OnError = str
"""`pass`, `defer` or `silent`."""

_NOBODY = Origin("", named=False)


@value
class Doubted:
    """A name that the evidence puts in doubt, so that the client network is used for its hosts."""

    name: Origin
    since: int
    pattern: Origin | None
    """Used for hosts whose names follow one pattern, where the evidence is not about these hosts."""


class Progress:
    """One attempt.  Each part is set at the beginning, or by the one stage that owns it."""

    __slots__ = (
        *("attempt", "decision", "doubted", "durability", "failure", "findings", "first", "keys", "known"),
        *(
            "looked_up",
            "network",
            "now",
            "on_error",
            "origin",
            "own_hosts",
            "provider",
            "rule",
            "setup",
            "values",
        ),
        *("verdict", "wanted"),
    )

    def __init__(self, setup: Setup, attempt: Attempt, now: int, on_error: OnError = "pass") -> None:
        self.setup = setup
        """The setup it began with, and ends with."""
        self.attempt = attempt
        self.now = now
        """Wall-clock second."""
        self.on_error = on_error
        """What the listener answers when the attempt cannot be decided."""

        # Who is sending (`Knowledge.place`).
        self.network = ""
        """Text of the client network; "" when the client is not known."""
        self.origin = _NOBODY
        self.doubted: Doubted | None = None
        """The name it would have if that were not in doubt."""
        self.first = True
        """Whether it is the first recipient of its message."""

        # `engine.stages`.
        self.rule: Outcome | None = None
        """A rule that only says how to greylist."""
        self.provider = False
        """Whether it passes as mail of a provider, and is only remembered."""

        # Slow sources (`engine.slow`).
        self.findings: Findings | None = None
        """None: they have not been asked."""
        self.looked_up = False
        """Whether one found the origin.  The owner of a domain can make any number of such origins."""
        self.own_hosts = False
        """Whether one found that the sender's domain authorises the client as a host of its own."""

        # What the store holds (`engine.round`).
        self.known: KnownSender | None = None
        """What was worked out when the sender was known a moment ago."""
        self.keys: tuple[Key, ...] = ()
        """The keys it is remembered under."""
        self.wanted: tuple[Key, ...] = ()
        """The keys to look at next."""
        self.values: Sequence[bytes | None] | None = None
        """What the store holds under `wanted`; None: the store cannot be read without waiting."""
        self.decision: StoredDecision
        """What the store is asked to decide."""

        self.verdict: Verdict | None = None
        """None: not decided yet."""
        self.durability: Durability | None = None
        """What has to be waited for before the verdict may be answered; None: nothing."""
        self.failure: Exception | None = None
        """A bug in multigrey that it met; then it has no verdict."""

    @property
    def counted(self) -> Origin:
        """The origin whose new records are limited."""
        if self.looked_up or self.origin.claimed:
            return Origin(self.network, named=False)
        return self.origin

    @property
    def trusted(self) -> str:
        """The text under which trust is counted."""
        origin = Origin(self.network, named=False) if self.origin.claimed else self.origin
        return trust_text(origin, self.attempt.client_address)

    def fail(self, error: str) -> None:
        """Give a verdict without the store: mail of a provider passes, the rest gets `on_error`."""
        passes = Verdict(Action.PASS, Reason.PROVIDER)
        self.verdict = passes if self.provider else on_error_verdict(self.on_error, error)


def record_keys(progress: Progress) -> tuple[Key, ...]:
    """The keys under which an attempt is remembered."""
    attempt, origin, network, doubted = progress.attempt, progress.origin, progress.network, progress.doubted
    scheme = progress.setup.scheme_for(progress.rule)
    keys = scheme.record_keys(attempt, origin, network)
    if doubted is None or doubted.pattern is None or attempt.raw:
        return keys
    return (*keys, scheme.named_key(attempt, doubted.pattern, network))


def stored_decision(
    progress: Progress,
    *,
    same_message: bool,
    has_marks: bool,
    clock_believed: bool,
    set_back: int,
) -> StoredDecision:
    """What the store is asked to decide about an attempt whose keys are worked out.

    `same_message`: another recipient of the message has passed, so this one passes too.  `has_marks`: the
    attempt may have a mark.  `clock_believed`, `set_back`: see `Case`.
    """
    setup, attempt, origin = progress.setup, progress.attempt, progress.origin
    scheme = setup.scheme
    policy = setup.policy_for(origin, progress.rule)
    told = scheme.envelope(attempt)
    origin_key = standing_key = None
    own_hosts = progress.own_hosts
    trusted = progress.trusted
    if attempt.sender and not attempt.raw:
        origin_key = scheme.origin_key(trusted, told.domain)
        if origin.named and not own_hosts:
            # The origin is a registered domain if it is above the sender's at all.
            own_hosts = told.domain == origin.text or told.domain.endswith(f".{origin.text}")
    if policy.proof is not None and not progress.looked_up and not origin.claimed and not attempt.raw:
        standing_key = scheme.standing_key(trusted)
    case = Case(
        origin=origin,
        key=progress.keys[0][1],
        null_sender=not attempt.sender,
        same_message=same_message,
        provider=progress.provider,
        own_hosts=own_hosts,
        domain=told.domain,
        mark_of=setup.mark_of_domain,
        client=attempt.client_address or "",
        sender=told.shown[:LONGEST_ADDRESS],
        recipient=(attempt.raw or told.recipient)[:LONGEST_ADDRESS],
        clock_believed=clock_believed,
        set_back=set_back,
    )
    if setup.redactor is not None:
        case = hidden(case, setup.redactor)
    other_keys, copy_keys = _keys_elsewhere(progress, told.domain)
    return StoredDecision(
        policy=policy,
        now=progress.now,
        case=case,
        record_keys=progress.keys,
        origin_key=origin_key if policy.auto_whitelist_after else None,
        standing_key=standing_key,
        other_keys=other_keys,
        copy_keys=copy_keys,
        has_marks=has_marks,
    )


def over_limit(
    progress: Progress, decision: StoredDecision, marks: MarkLedger, *, full: bool, mark_room: bool
) -> StoredDecision:
    """The same decision with a mark instead of a new record.

    `full`: no record is made at all.  `mark_room`: whether the store has room for a new mark.
    """
    attempt = progress.attempt
    return replace(
        decision,
        mark_digest=progress.setup.scheme.mark_digest(attempt, progress.origin, progress.network),
        place=marks.place_of(progress.counted, attempt.client_address),
        weigh=marks.weigh,
        full=full,
        mark_room=mark_room,
    )


def _keys_elsewhere(progress: Progress, sender_domain: str) -> tuple[tuple[OtherKey, ...], tuple[Key, ...]]:
    """Keys that are only read, and keys that are only written, besides the attempt's own."""
    setup, attempt = progress.setup, progress.attempt
    others: list[OtherKey] = []
    copies: tuple[Key, ...] = ()
    if progress.doubted is not None:
        named = setup.scheme.named_key(attempt, progress.doubted.name, progress.network)
        others.append(OtherKey(named, before=progress.doubted.since))
    address = attempt.client_address
    if address is not None and (domain := setup.announced_domain(attempt.helo, sender_domain)):
        # A host with both IPv4 and IPv6 may retry by the other version, where it may have no name.
        version, scheme = address.version, setup.scheme
        others.append(OtherKey(scheme.version_key(attempt, 10 - version)))
        if not progress.origin.named:
            copies = (scheme.version_key(attempt, version),)
            named = scheme.named_key(attempt, Origin(domain, named=True), progress.network)
            others.append(OtherKey(named, waiting=True, besides=version))
    return tuple(others), copies
