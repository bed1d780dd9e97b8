"""The stages: what can be decided about an attempt before the store is read.

A stage is a function of a Setup and a Progress.  It returns the verdict, or None: then the next one is asked.
A round, the steps after slow sources, and the explanation all go through `STAGES` in this order.  The
explanation describes every one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from multigrey.identity.sender import is_probe
from multigrey.model import Action, Attempt, Reason, Stage, Verdict

if TYPE_CHECKING:
    from multigrey.engine.progress import Progress
    from multigrey.engine.setup import Setup

__all__ = [
    "BLOCKED",
    "ENFORCE",
    "MODES",
    "OBSERVE",
    "OFF",
    "STAGES",
    "Decide",
    "DecisionStage",
    "blocked_as",
    "is_judged_at_data",
    "on_error_verdict",
    "precheck",
    "reply_words",
]

ENFORCE, OBSERVE, OFF = "enforce", "observe", "off"
MODES = (ENFORCE, OBSERVE, OFF)
"""Defer as configured; let every attempt pass and only report its verdict; check nothing at all."""

BLOCKED = "blocked"
"""Name of the rule that stands for blocks made by an administrator."""

_TROUBLE_CODE = "4.3.0"
_TROUBLE_TEXT = "Temporary problem, please try again later"
_REJECT_TEXT = "Rejected by local policy"
_NOBODY_SAID: tuple[None, frozenset[str]] = (None, frozenset())

Decide = Callable[["Setup", "Progress"], Verdict | None]


class DecisionStage(NamedTuple):
    """One of `STAGES`."""

    name: str
    """The name of its step in an explanation."""
    decide: Decide
    matters: Callable[[Setup], bool]
    """Whether it can decide anything under this setup.  If not, attempts skip it."""
    again: bool
    """Whether it is asked again about a sender known a moment ago, as what it looks at may change."""


def precheck(progress: Progress) -> None:
    """Go through all stages.  `progress.verdict` is None afterwards if the store has to decide."""
    setup = progress.setup
    for decide in setup.stages:
        progress.verdict = decide(setup, progress)
        if progress.verdict is not None:
            return


def _mode(setup: Setup, progress: Progress) -> Verdict | None:
    del progress
    return Verdict(Action.PASS, Reason.MODE_OFF) if setup.mode == OFF else None


def _authenticated(setup: Setup, progress: Progress) -> Verdict | None:
    del setup
    return Verdict(Action.PASS, Reason.AUTHENTICATED) if progress.attempt.authenticated else None


def _blocked(setup: Setup, progress: Progress) -> Verdict | None:
    return Verdict(Action.REJECT, Reason.RULE, rule=BLOCKED) if blocked_as(setup, progress) else None


def blocked_as(setup: Setup, progress: Progress) -> str:
    """The text of the block on one of the attempt's keys; "" if it is not blocked.

    Every key counts: the block may have been made without the client's name, or without the rule that makes
    another key.
    """
    if not setup.blocked:
        return ""
    keys = setup.scheme.record_keys(progress.attempt, progress.origin, progress.network)
    return next((text for _, digest in keys if (text := setup.blocked.get(digest)) is not None), "")


def _whitelists(setup: Setup, progress: Progress) -> Verdict | None:
    attempt = progress.attempt
    for match in setup.sources:
        entry = match(attempt)
        if entry is not None:
            return Verdict(Action.PASS, Reason.WHITELISTED, match=entry)
    findings = progress.findings
    if findings is not None and findings.match is not None:
        return Verdict(Action.PASS, Reason.WHITELISTED, match=findings.match)
    return None


def _rules(setup: Setup, progress: Progress) -> Verdict | None:
    """Sets `progress.rule`, as the only one: a rule that only says how to greylist."""
    attempt, findings = progress.attempt, progress.findings
    told = _NOBODY_SAID if findings is None else (findings.traits, findings.unanswered)
    provider = setup.provider_of(attempt)
    rule = setup.rules.evaluate(attempt, progress.origin, provider, progress.now, *told)
    if rule is None or rule.action is None:
        progress.rule = rule
        return None
    action = rule.action
    observed = action is not Action.PASS and (rule.observe or setup.mode == OBSERVE)
    done = Action.PASS if observed else action
    return Verdict(done, Reason.RULE, rule=rule.rule, text=rule.text, code=rule.code, observed=observed)


def _own_client(setup: Setup, progress: Progress) -> Verdict | None:
    address = progress.attempt.client_address
    if address is None or progress.attempt.raw or not setup.is_own(address):
        return None
    return Verdict(Action.PASS, Reason.OWN_NETWORK)


def _provider(setup: Setup, progress: Progress) -> Verdict | None:
    """Sets `progress.provider`, as the only one: it passes, but is remembered in case its name is missing."""
    attempt, origin = progress.attempt, progress.origin
    if not (origin.named and origin.text in setup.retrying) or attempt.raw:
        return None
    # A rule may refuse by what slow sources find: not before they were asked, which repeats the stages.
    told = progress.findings is not None or setup.ask is None or not setup.rules.slow_traits
    if not told or not setup.retries(attempt):
        return None
    progress.provider = bool(attempt.sender)
    return None if progress.provider else Verdict(Action.PASS, Reason.PROVIDER)


def _identity(setup: Setup, progress: Progress) -> Verdict | None:
    attempt = progress.attempt
    if attempt.raw or progress.provider:
        return None
    if progress.first and is_judged_at_data(setup, attempt):
        return Verdict(Action.PASS, Reason.PROBE if attempt.sender else Reason.NULL_SENDER)
    return Verdict(Action.PASS, Reason.NO_IDENTITY) if attempt.client_address is None else None


def is_judged_at_data(setup: Setup, attempt: Attempt) -> bool:
    """Whether the first recipient of such a message passes at RCPT, because it may only be a probe.

    Callouts and probes end at RCPT, and a deferral would make the callers doubt the address.  A probe without
    a message id cannot be distinguished from a message with many recipients.
    """
    sender = attempt.sender
    if sender and (sender[0] not in "dD" or not attempt.message or not is_probe(sender)):
        return False
    return attempt.stage is Stage.RCPT and setup.null_sender_at_data


def _always(setup: Setup) -> bool:
    del setup
    return True


STAGES = (
    DecisionStage("mode", _mode, lambda setup: setup.mode == OFF, again=True),
    DecisionStage("authenticated", _authenticated, _always, again=True),
    DecisionStage("blocked", _blocked, lambda setup: bool(setup.blocked), again=False),
    DecisionStage("whitelists", _whitelists, _always, again=True),
    DecisionStage("rules", _rules, lambda setup: bool(setup.rules), again=True),
    DecisionStage("own-client", _own_client, _always, again=False),
    DecisionStage(
        "provider", _provider, lambda setup: setup.providers_pass and bool(setup.retrying), again=False
    ),
    DecisionStage("identity", _identity, _always, again=False),
)


def on_error_verdict(on_error: str, detail: str) -> Verdict:
    """The verdict when none can be made, by the listener's `on_error`.  `detail` is for the log."""
    action = Action.PASS if on_error == "pass" else Action.DEFER
    return Verdict(action, Reason.ERROR, detail=detail)


def reply_words(setup: Setup, verdict: Verdict) -> tuple[str, str, str]:
    """Reply text, enhanced status code (RFC 3463) and a plain text for a verdict that does not pass.

    The plain text replaces a template that cannot be filled; "": the default text.
    """
    if verdict.reason is Reason.ERROR:
        return _TROUBLE_TEXT, _TROUBLE_CODE, _TROUBLE_TEXT
    if verdict.action is Action.REJECT:
        return verdict.text or _REJECT_TEXT, verdict.code or "5.7.1", _REJECT_TEXT
    if verdict.reason is Reason.RULE:
        return verdict.text or _TROUBLE_TEXT, verdict.code or _TROUBLE_CODE, _TROUBLE_TEXT
    return verdict.text or setup.text, verdict.code or "4.7.1", ""
