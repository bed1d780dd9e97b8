"""What can be said of an attempt before anybody looks at what is known of it.

`Setup` is everything a decision depends on besides the store: immutable, made from the configuration,
swapped as a whole by a reload.  `without_store` is the first three steps of the way of an attempt.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

from multigrey.addresses import network_of
from multigrey.decision import Policy
from multigrey.keys import KeyScheme, Recipient
from multigrey.model import Action, Attempt, Findings, Match, Origin, Reason, Stage, Verdict
from multigrey.origin import Origins, origin_of
from multigrey.redaction import Redactor
from multigrey.rules import Classes, Outcome, Rules

__all__ = ["ENFORCE", "MODES", "OBSERVE", "OFF", "Setup", "SourceInfo", "trouble", "without_store", "words"]

ENFORCE, OBSERVE, OFF = "enforce", "observe", "off"
MODES = (ENFORCE, OBSERVE, OFF)
"""Defer as configured; let everybody pass and only say what would have been; do nothing at all."""

_TROUBLE_CODE = "4.3.0"
_TROUBLE_TEXT = "Temporary problem, please try again later"
_REJECT_TEXT = "Rejected by local policy"


def _no_provider(attempt: Attempt) -> str:
    del attempt
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
    setup: Setup, attempt: Attempt, origin: Origin, now: int, findings: Findings | None
) -> Verdict | Outcome | None:
    """Steps 1 to 3: a verdict; a rule that only changes how to greylist; or None.

    `findings` None: slow sources have not been asked yet.
    """
    if setup.mode == OFF:
        return Verdict(Action.PASS, Reason.MODE_OFF)
    if attempt.authenticated:
        return Verdict(Action.PASS, Reason.AUTHENTICATED)
    for match in setup.sources:
        entry = match(attempt)
        if entry is not None:
            return Verdict(Action.PASS, Reason.WHITELISTED, match=entry)
    if findings is not None and findings.match is not None:
        return Verdict(Action.PASS, Reason.WHITELISTED, match=findings.match)
    rule = None
    if setup.rules:
        told = (None, frozenset[str]()) if findings is None else (findings.traits, findings.unanswered)
        rule = setup.rules.evaluate(attempt, origin, setup.provider_of(attempt), now, *told)
        if rule is not None and rule.action is not None:
            return _ruled(setup, rule, rule.action)
    return _not_greylisted(setup, attempt) or rule


def _not_greylisted(setup: Setup, attempt: Attempt) -> Verdict | None:
    if attempt.raw:
        return None
    if not attempt.sender and attempt.stage is Stage.RCPT and setup.null_sender_at_data:
        return Verdict(Action.PASS, Reason.NULL_SENDER)
    if attempt.client_address is None:
        return Verdict(Action.PASS, Reason.NO_IDENTITY)
    return None


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
