"""What can be said of an attempt before anybody looks at what is known of it.

`Setup` is everything a decision depends on besides the store: immutable, made from the configuration,
swapped as a whole by a reload.  `without_store` is the way of an attempt up to its keys, in this order:

    mode, authenticated, blocks, whitelists, rules, own clients, providers, null sender and probe, no identity
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

from multigrey.greylist.policy import Policy
from multigrey.identity.addresses import network_of
from multigrey.identity.components import Recipient
from multigrey.identity.keys import KeyScheme
from multigrey.identity.origin import Origins, origin_of
from multigrey.identity.redaction import Redactor
from multigrey.identity.sender import is_probe
from multigrey.model import Action, Address, Attempt, Findings, Match, Origin, Reason, Stage, Verdict
from multigrey.rules.rules import Classes, Outcome, Rules

__all__ = [
    "BLOCKED",
    "ENFORCE",
    "LOOPBACK",
    "MODES",
    "OBSERVE",
    "OFF",
    "Setup",
    "SourceInfo",
    "blocked_as",
    "is_judged_at_data",
    "is_remembered",
    "listed",
    "not_greylisted",
    "trouble",
    "without_store",
    "words",
]

ENFORCE, OBSERVE, OFF = "enforce", "observe", "off"
MODES = (ENFORCE, OBSERVE, OFF)
"""Defer as configured; let everybody pass and only say what would have been; do nothing at all."""

BLOCKED = "blocked"
"""Name of the rule that stands for blocks an administrator has made by hand."""

Networks = Mapping[int, Sequence[tuple[int, int]]]
"""By IP version: how many bits of an address are not in the network, and the other bits."""

LOOPBACK: Networks = MappingProxyType({4: ((24, 127),), 6: ((0, 1),)})
"""127.0.0.0/8 and ::1 (RFC 6890 sections 2.2.2 and 2.2.3)."""

_LONGEST_NAME = 253
"""Characters of a host name without the trailing dot (RFC 1035 section 2.3.4)."""
_TROUBLE_CODE = "4.3.0"
_TROUBLE_TEXT = "Temporary problem, please try again later"
_REJECT_TEXT = "Rejected by local policy"


def _no_provider(attempt: Attempt) -> str:
    del attempt
    return ""


def _never(attempt: Attempt) -> bool:
    del attempt
    return False


def _no_domain(name: str) -> str | None:
    del name
    return None


def _no_provider_there(domain: str) -> str:
    del domain
    return ""


class SourceInfo(NamedTuple):
    """What explanations say of a whitelist source."""

    name: str
    path: str = ""
    owner: str = ""
    entries: int = 0
    """How many are in use."""
    every: Callable[[Attempt], Sequence[Match]] | None = None
    """All entries that match, the one that counts first; None: the source only tells that one."""
    why: Callable[[Match], str] | None = None
    """What its list says of an entry that matches: reason, ticket, dates; "" if nothing."""


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything a decision depends on besides the store; made from the configuration."""

    scheme: KeyScheme
    policy: Policy
    """For named origins."""
    unnamed_policy: Policy
    """For clients that are known by nothing but their network."""
    text: str
    rules: Rules
    sources: tuple[Callable[[Attempt], Match | None], ...] = ()
    about_sources: tuple[SourceInfo, ...] = ()
    """One for each of `sources`, for explanations only."""
    ask: Callable[[Attempt], Awaitable[Findings]] | None = None
    """Asks every slow source within the budget; None when there is none."""
    recipient: Recipient = field(default_factory=Recipient)
    classes: Classes = field(default_factory=Classes)
    schemes: Mapping[tuple[str, ...], KeyScheme] = field(default_factory=lambda: MappingProxyType({}))
    """For rules that want a key of their own, by its components."""
    origin_of: Callable[[Attempt, str], Origin] = origin_of
    provider_of: Callable[[Attempt], str] = _no_provider
    origins: Origins | None = None
    """Tells why an origin is this one, for explanations only."""
    registered_domain: Callable[[str], str | None] = _no_domain
    """Of a name in the form `identity.addresses.host_name` gives; None if it has none."""
    retrying: frozenset[str] = frozenset()
    """Origins of the providers of whom some servers are known to retry."""
    provider_by_spf: Callable[[str], str] = _no_provider_there
    """The word of the provider whose own addresses the SPF record of a domain lists; "" if it does not."""
    retries: Callable[[Attempt], bool] = _never
    """Whether the client is, by its verified name, one of those servers."""
    providers_pass: bool = True
    """Whether such clients are not delayed."""
    own_networks: Networks = field(default_factory=lambda: LOOPBACK)
    """Clients that are not greylisted because they are the administrator's own."""
    mode: str = ENFORCE
    """One of `MODES`."""
    ipv4_prefix: int = 24
    ipv6_prefix: int = 64
    null_sender_at_data: bool = True
    message_pass: bool = True
    header: bool = True
    redactor: Redactor | None = None
    """Makes tokens of what records show of senders, recipients and clients; None: they show it in clear."""

    def network(self, attempt: Attempt) -> str:
        """The text of the client network; "" when the client's address is not known."""
        address = attempt.client_address
        return "" if address is None else network_of(address, self.ipv4_prefix, self.ipv6_prefix)

    def is_own(self, address: Address) -> bool:
        """Whether a client is this host or in `own_networks`."""
        number = int(address)
        for spare, bits in self.own_networks[address.version]:  # noqa: SIM110  (twice as fast as any)
            if number >> spare == bits:
                return True
        return False

    def mark_of_domain(self, domain: str) -> bytes:
        """What stands for the registered domain of a sender's domain among those that came back."""
        return self.scheme.domain_mark(self.registered_domain(domain) or domain)

    def announced_domain(self, helo: str, sender_domain: str) -> str:
        """The registered domain of the sender, if HELO lies in it; "" if it does not."""
        helo = helo.rstrip(".").lower()
        # Most do not even share the last letters.
        if helo[-4:] != sender_domain[-4:] or "." not in helo or len(helo) > _LONGEST_NAME:
            return ""
        domain = self.registered_domain(sender_domain) or ""
        return domain if domain and (helo == domain or helo.endswith(f".{domain}")) else ""

    def scheme_for(self, rule: Outcome | None) -> KeyScheme:
        """What makes the keys, if this rule set how to greylist."""
        return self.scheme if rule is None or rule.key is None else self.schemes[rule.key]

    def policy_for(self, origin: Origin, rule: Outcome | None) -> Policy:
        """The numbers for an attempt of this origin under this rule."""
        policy = self.policy if origin.named else self.unnamed_policy
        if rule is None:
            return policy
        delay = rule.delay if origin.named or rule.unnamed_delay is None else rule.unnamed_delay
        return replace(
            policy,
            delay=policy.delay if delay is None else delay,
            retry_window=policy.retry_window if rule.retry_window is None else rule.retry_window,
            observe=policy.observe or rule.observe,
        )


def without_store(
    setup: Setup,
    attempt: Attempt,
    origin: Origin,
    now: int,
    findings: Findings | None,
    *,
    blocked: bool = False,
    first: bool = True,
) -> Verdict | Outcome | None:
    """A verdict that needs no look at what is known; a rule that only changes how to greylist; or None.

    `findings` None: slow sources have not been asked yet.  `blocked`: an administrator has blocked it.
    `first`: it is the first recipient of its message, which matters for `is_judged_at_data`.
    """
    found = listed(setup, attempt, origin, now, findings, blocked=blocked)
    if isinstance(found, Verdict):
        return found
    return not_greylisted(setup, attempt, origin, findings, first=first) or found


def listed(
    setup: Setup,
    attempt: Attempt,
    origin: Origin,
    now: int,
    findings: Findings | None,
    *,
    blocked: bool = False,
) -> Verdict | Outcome | None:
    """The first half of `without_store`: what the administrator says of it, up to the rules."""
    if setup.mode == OFF:
        return Verdict(Action.PASS, Reason.MODE_OFF)
    if attempt.authenticated:
        return Verdict(Action.PASS, Reason.AUTHENTICATED)
    if blocked:
        return Verdict(Action.REJECT, Reason.RULE, rule=BLOCKED)
    for match in setup.sources:
        entry = match(attempt)
        if entry is not None:
            return Verdict(Action.PASS, Reason.WHITELISTED, match=entry)
    if findings is not None and findings.match is not None:
        return Verdict(Action.PASS, Reason.WHITELISTED, match=findings.match)
    if not setup.rules:
        return None
    told = (None, frozenset[str]()) if findings is None else (findings.traits, findings.unanswered)
    rule = setup.rules.evaluate(attempt, origin, setup.provider_of(attempt), now, *told)
    if rule is not None and rule.action is not None:
        return _ruled(setup, rule, rule.action)
    return rule


def not_greylisted(
    setup: Setup, attempt: Attempt, origin: Origin, findings: Findings | None, *, first: bool
) -> Verdict | None:
    """The second half: who is not greylisted because of what it is."""
    if attempt.raw:
        return None
    address = attempt.client_address
    if address is not None and setup.is_own(address):
        return Verdict(Action.PASS, Reason.OWN_NETWORK)
    if origin.text in setup.retrying and origin.named and setup.providers_pass:
        # A rule may want to refuse what slow sources find; it is looked at once more when they were asked.
        told = findings is not None or setup.ask is None or not setup.rules.slow_traits
        if told and setup.retries(attempt):
            return Verdict(Action.PASS, Reason.PROVIDER)
    if first and is_judged_at_data(setup, attempt):
        return Verdict(Action.PASS, Reason.PROBE if attempt.sender else Reason.NULL_SENDER)
    if address is None:
        return Verdict(Action.PASS, Reason.NO_IDENTITY)
    return None


def is_remembered(attempt: Attempt, passed: Verdict | None) -> bool:
    """Whether what `not_greylisted` lets pass is remembered all the same, so that the pair is known.

    For the day on which the client's name is missing, or providers are delayed after all.
    """
    return passed is not None and passed.reason is Reason.PROVIDER and bool(attempt.sender)


def is_judged_at_data(setup: Setup, attempt: Attempt) -> bool:
    """Whether the first recipient of such a message passes at RCPT, because it may only be a probe.

    Callouts and probes end there, and whoever makes them would be told that the address is in doubt.  A
    probe without a message id cannot be told from a message with many recipients.
    """
    sender = attempt.sender
    if sender and (sender[0] not in "dD" or not attempt.message or not is_probe(sender)):
        return False
    return attempt.stage is Stage.RCPT and setup.null_sender_at_data


def blocked_as(
    blocked: Mapping[bytes, str], setup: Setup, attempt: Attempt, origin: Origin, network: str
) -> str:
    """What an administrator blocked it as, whichever of its keys that was; "" if nobody did.

    `blocked`: by digest.  Whoever blocked it may have known no name of the client, or not how a rule makes
    the key.
    """
    if not blocked:
        return ""
    keys = setup.scheme.record_keys(attempt, origin, network)
    return next((text for _, digest in keys if (text := blocked.get(digest)) is not None), "")


def _ruled(setup: Setup, rule: Outcome, action: Action) -> Verdict:
    observed = action is not Action.PASS and (rule.observe or setup.mode == OBSERVE)
    done = Action.PASS if observed else action
    return Verdict(done, Reason.RULE, rule=rule.rule, text=rule.text, code=rule.code, observed=observed)


def trouble(on_error: str, detail: str) -> Verdict:
    """The verdict when there is none: the listener's `on_error`; `detail` is for the log."""
    action = Action.PASS if on_error == "pass" else Action.DEFER
    return Verdict(action, Reason.ERROR, detail=detail)


def words(setup: Setup, verdict: Verdict) -> tuple[str, str, str]:
    """Reply text, enhanced status code (RFC 3463) and a plain text for a verdict that does not pass.

    The plain text stands in for a template that cannot be filled; "": the usual one.
    """
    if verdict.reason is Reason.ERROR:
        return _TROUBLE_TEXT, _TROUBLE_CODE, _TROUBLE_TEXT
    if verdict.action is Action.REJECT:
        return verdict.text or _REJECT_TEXT, verdict.code or "5.7.1", _REJECT_TEXT
    if verdict.reason is Reason.RULE:
        return verdict.text or _TROUBLE_TEXT, verdict.code or _TROUBLE_CODE, _TROUBLE_TEXT
    return verdict.text or setup.text, verdict.code or "4.7.1", ""
