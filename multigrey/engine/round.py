"""An attempt on its way through the engine: what is known of it so far, and what may become of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from multigrey.contracts import Durability
from multigrey.engine.known import KnownSender
from multigrey.engine.setup import Setup, trouble
from multigrey.errors import CodecError, StoreError
from multigrey.evidence.mark_ledger import MarkLedger
from multigrey.greylist.policy import Case, hidden
from multigrey.greylist.stored_decision import OtherKey, StoredDecision
from multigrey.identity.addresses import LONGEST_ADDRESS
from multigrey.identity.origin import trust_text
from multigrey.model import Action, Attempt, Key, Origin, Reason, Reply, Verdict, value
from multigrey.rules.rules import Outcome

__all__ = [
    "Begun",
    "Doubted",
    "OnError",
    "Pending",
    "Waiting",
    "Way",
    "each",
    "failure_of",
    "question_of",
    "record_keys",
    "under_rule",
]


OnError = str
"""`pass`, `defer` or `silent`."""


@value
class Doubted:
    """A name that the evidence speaks against, so that the client network stands for its hosts."""

    name: Origin
    since: int
    pattern: Origin | None
    """Stands for hosts whose names are made alike, where the evidence is not about these."""


@value
class Pending:
    """An attempt on its way to the store, with what it began with."""

    setup: Setup
    attempt: Attempt
    now: int
    network: str
    """Text of the client network; "" when the client is not known."""
    keys: tuple[Key, ...]
    origin: Origin
    rule: Outcome | None
    """A rule that only says how to greylist."""
    looked_up: bool = False
    """Whether the origin was found by a slow source: whoever owns a domain can have any number of those."""
    provider: bool = False
    """Whether the client is a server of a provider that is known to retry."""
    own_hosts: bool = False
    """Whether a slow source found that the sender's domain authorises the client as a host of its own."""
    doubted: Doubted | None = None
    """The name it would have if the evidence did not speak against it."""

    @property
    def counted(self) -> Origin:
        """The origin whose new records are limited."""
        if self.looked_up or self.origin.claimed:
            return Origin(self.network, named=False)
        return self.origin

    @property
    def trusted(self) -> str:
        """The text trust is counted under."""
        origin = Origin(self.network, named=False) if self.origin.claimed else self.origin
        return trust_text(origin, self.attempt.client_address)


@value
class Waiting:
    """An attempt that is decided, and may be answered once the decision is on disk."""

    pending: Pending
    verdict: Verdict
    durability: Durability


Begun = Reply | Waiting | Pending | None
"""What becomes of an attempt at once (see `Engine.begin`)."""


class Way:
    """One attempt, and how far `Engine.begin_all` is with it."""

    __slots__ = (
        "attempt",
        "begun",
        "doubted",
        "keys",
        "network",
        "now",
        "on_error",
        "origin",
        "pending",
        "provider",
        "question",
        "rule",
        "seen",
        "setup",
        "values",
        "verdict",
    )

    def __init__(self, setup: Setup, now: int, attempt: Attempt, on_error: OnError) -> None:
        self.setup = setup
        self.now = now
        self.attempt = attempt
        self.on_error = on_error
        self.begun: Begun | Exception = None
        self.verdict: Verdict | None = None
        """To be answered at once."""
        self.network: str
        self.origin: Origin
        self.doubted: Doubted | None = None
        self.provider = False
        """Whether it passes as mail of a provider, and is only remembered."""
        self.rule: Outcome | None
        """A rule that only says how to greylist."""
        self.seen: KnownSender | None = None
        """What was worked out when it was known a moment ago."""
        self.keys: tuple[Key, ...]
        """To be looked at next."""
        self.values: Sequence[bytes | None] | None
        """What the store has under them; None: nothing that could be seen at once."""
        self.pending: Pending
        self.question: StoredDecision

    def fail(self, error: str) -> None:
        """The store cannot be asked: what passes without it passes, for all else there is `on_error`."""
        self.verdict = (
            Verdict(Action.PASS, Reason.PROVIDER) if self.provider else trouble(self.on_error, error)
        )


def question_of(
    pending: Pending,
    *,
    same_message: bool,
    marks: MarkLedger,
    over_limit: bool,
    clock_believed: bool,
) -> StoredDecision:
    """What the store is asked for an attempt.

    `same_message`: another recipient of the message carries this one; `over_limit`: it gets a mark instead
    of a record.
    """
    setup, attempt, origin = pending.setup, pending.attempt, pending.origin
    scheme = setup.scheme
    policy = setup.policy_for(origin, pending.rule)
    told = scheme.envelope(attempt)
    origin_key = standing_key = None
    own_hosts = pending.own_hosts
    trusted = pending.trusted
    if attempt.sender and not attempt.raw:
        origin_key = scheme.origin_key(trusted, told.domain)
        if origin.named and not own_hosts:
            # The origin is a registered domain if it is above the sender's at all.
            own_hosts = told.domain == origin.text or told.domain.endswith(f".{origin.text}")
    if policy.proof is not None and not pending.looked_up and not origin.claimed and not attempt.raw:
        standing_key = scheme.standing_key(trusted)
    case = Case(
        origin=origin,
        key=pending.keys[0][1],
        null_sender=not attempt.sender,
        same_message=same_message,
        provider=pending.provider,
        own_hosts=own_hosts,
        domain=told.domain,
        mark_of=setup.mark_of_domain,
        client=attempt.client_address or "",
        sender=told.shown[:LONGEST_ADDRESS],
        recipient=(attempt.raw or told.recipient)[:LONGEST_ADDRESS],
        clock_believed=clock_believed,
    )
    if setup.redactor is not None:
        case = hidden(case, setup.redactor)
    other_keys, copy_keys = _keys_elsewhere(pending, told.domain)
    marked = over_limit and not attempt.raw
    return StoredDecision(
        policy=policy,
        now=pending.now,
        case=case,
        record_keys=pending.keys,
        origin_key=origin_key if policy.auto_whitelist_after else None,
        standing_key=standing_key,
        other_keys=other_keys,
        copy_keys=copy_keys,
        has_marks=marks.exist,
        mark_digest=scheme.mark_digest(attempt, origin, pending.network) if marked else b"",
        place=marks.place_of(pending.counted, attempt.client_address) if marked else b"",
        weigh=marks.weigh if marked else None,
    )


def record_keys(
    setup: Setup,
    attempt: Attempt,
    origin: Origin,
    network: str,
    rule: Outcome | None,
    doubted: Doubted | None,
) -> tuple[Key, ...]:
    """The keys an attempt is remembered under."""
    scheme = setup.scheme_for(rule)
    keys = scheme.record_keys(attempt, origin, network)
    if doubted is None or doubted.pattern is None or attempt.raw:
        return keys
    return (*keys, scheme.named_key(attempt, doubted.pattern, network))


def _keys_elsewhere(pending: Pending, sender_domain: str) -> tuple[tuple[OtherKey, ...], tuple[Key, ...]]:
    """Keys that are only read, and keys that are only written, besides the attempt's own."""
    setup, attempt = pending.setup, pending.attempt
    others: list[OtherKey] = []
    copies: tuple[Key, ...] = ()
    if pending.doubted is not None:
        named = setup.scheme.named_key(attempt, pending.doubted.name, pending.network)
        others.append(OtherKey(named, before=pending.doubted.since))
    address = attempt.client_address
    if address is not None and (domain := setup.announced_domain(attempt.helo, sender_domain)):
        # A host with addresses of both kinds may come back by the other one, where it may have no name.
        version, scheme = address.version, setup.scheme
        others.append(OtherKey(scheme.version_key(attempt, 10 - version)))
        if not pending.origin.named:
            copies = (scheme.version_key(attempt, version),)
            named = scheme.named_key(attempt, Origin(domain, named=True), pending.network)
            others.append(OtherKey(named, waiting=True, besides=version))
    return tuple(others), copies


def each(ways: Iterable[Way], step: Callable[[Way], bool]) -> list[Way]:
    """Make one step of each way; returns those that want the next one.

    What goes wrong with one has no part in the others.
    """
    more = []
    for way in ways:
        try:
            if step(way):
                more.append(way)
        except (StoreError, CodecError) as error:
            way.fail(str(error))
        except Exception as error:  # noqa: BLE001  (it belongs to the connection that brought the attempt)
            way.begun, way.verdict = error, None
    return more


def under_rule(pending: Pending, verdict: Verdict) -> Verdict:
    """The verdict with the name and words of the rule that said how to greylist, if one did."""
    rule = pending.rule
    if rule is not None and (verdict.action is Action.DEFER or verdict.observed):
        return replace(verdict, rule=rule.rule, text=rule.text, code=rule.code)
    return verdict


async def failure_of(durability: Durability) -> str:
    """What kept a decision from the disk; "" when it is there."""
    try:
        await durability.committed()
    except StoreError as error:
        return str(error)
    return ""
