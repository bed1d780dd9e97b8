"""Explains why an attempt is judged as it is: takes the engine's steps again, read-only, and describes each.

It uses the engine's own stages, sources and decision.  It only reads the store, and counts and remembers
nothing.  So the verdict is the one that an attempt gets at the same second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from multigrey.engine.engine import Engine
from multigrey.engine.explain_memory import (
    Advice,
    Step,
    StoredView,
    advice,
    decided_by,
    limit_step,
    memory_steps,
    origin_step,
    stored_view,
)
from multigrey.engine.progress import Progress, record_keys
from multigrey.engine.setup import Setup
from multigrey.engine.shared import under_rule
from multigrey.engine.slow import ask_sources, would_wait
from multigrey.engine.stages import STAGES, blocked_as, is_judged_at_data
from multigrey.errors import CodecError, StoreError
from multigrey.matching.facts import forwarded_note
from multigrey.matching.near_misses import near_attempts
from multigrey.model import Action, Attempt, Findings, Origin, Reason, Verdict
from multigrey.rules.rules import Outcome
from multigrey.text import counted

__all__ = ["TELLERS", "Explanation", "explain", "whitelist_step"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict, and the steps that led to it."""

    now: int
    attempt: Attempt
    origin: Origin
    verdict: Verdict
    steps: tuple[Step, ...]
    advice: tuple[Advice, ...]
    decided: str
    """The name of the step that decided."""
    certain: bool = True
    """False: the engine would ask slow sources first, which was not done.  It holds if they find nothing."""
    class_: str = ""

    def as_json(self) -> dict[str, Any]:
        """The explanation as JSON values; times are seconds since 1970."""
        verdict = self.verdict
        match = verdict.match
        return {
            "time": self.now,
            "origin": {"text": self.origin.text, "named": self.origin.named},
            "class": self.class_ or None,
            "verdict": {
                "action": verdict.action.value,
                "reason": verdict.reason.value,
                "meaning": verdict.reason.meaning,
                "retry_after": verdict.retry_after,
                "delay": verdict.delay,
                "age": verdict.age,
                "attempts": verdict.attempts,
                "source": None if match is None else match.source,
                "entry": None if match is None else match.entry,
                "owner": None if match is None else match.owner or None,
                "rule": verdict.rule or None,
                "detail": verdict.detail or None,
                "observed": verdict.observed,
            },
            "certain": self.certain,
            "decided_by": self.decided,
            "steps": [step.as_json() for step in self.steps],
            "advice": [each.as_json() for each in self.advice],
        }


async def explain(
    engine: Engine, attempt: Attempt, *, ask: bool = False, on_error: str = "pass"
) -> Explanation:
    """How `attempt` would be judged now, and why.

    `ask`: whether to ask slow sources where the engine would ask them.  `on_error`: the listener's, for a
    store that cannot be read.
    """
    setup = engine.setup
    progress = Progress(setup, attempt, engine.clock.now(), on_error)
    engine.knowledge.place(progress)
    if is_judged_at_data(setup, attempt):
        progress.first = engine.shared.is_first(attempt)
    steps, decided = _stages(engine, progress)
    looked: StoredView | None = None
    certain = True
    try:
        if attempt.raw or attempt.client_address is not None:
            progress.keys = record_keys(progress)
            certain = await _slow_sources(engine, progress, steps, ask=ask)
            looked = await _look(engine, progress, steps)
    except (StoreError, CodecError) as error:
        steps.append(Step("records", f"the store cannot be read: {error}"))
        if progress.verdict is None:
            progress.fail(str(error))
    verdict = progress.verdict or Verdict(Action.PASS, Reason.NO_IDENTITY)
    class_ = ""
    if setup.classes:
        class_ = setup.classes.of(attempt, progress.origin, setup.provider_of(attempt), progress.now)
    return Explanation(
        progress.now,
        attempt,
        progress.origin,
        verdict,
        tuple(steps),
        tuple(advice(progress, verdict, looked)),
        decided or decided_by(verdict, steps),
        certain,
        class_,
    )


# --- before the store is read ----------------------------------------------------------------------


def _stages(engine: Engine, progress: Progress) -> tuple[list[Step], str]:
    """One step for each stage, and the name of the stage that decided; "" if none did."""
    setup, attempt = progress.setup, progress.attempt
    steps, decided = list[Step](), ""
    for stage in STAGES:
        if stage.name == _ORIGIN_BEFORE:
            judged = engine.knowledge.judged(setup, attempt, progress.now)
            steps.append(origin_step(setup, attempt, progress.network, progress.origin, judged))
        if progress.verdict is None:
            progress.verdict = stage.decide(setup, progress)
            decided = "" if progress.verdict is None else stage.name
        steps.append(TELLERS[stage.name](setup, progress))
    return steps, decided


def _mode(setup: Setup, progress: Progress) -> Step:
    del progress
    return Step("mode", _MODES.get(setup.mode, setup.mode))


def _authenticated(setup: Setup, progress: Progress) -> Step:
    del setup
    login = progress.attempt.authenticated
    return Step("authenticated", f"as {login}" if login else "no")


def _blocked(setup: Setup, progress: Progress) -> Step:
    text = blocked_as(setup, progress)
    return Step("blocked", f"by an administrator: {text}" if text else "no")


def _own_client(setup: Setup, progress: Progress) -> Step:
    address = progress.attempt.client_address
    if address is not None and setup.is_own(address):
        return Step("own-client", f"{address} is this host or in own_networks: it is not greylisted")
    return Step("own-client", "no")


def _provider(setup: Setup, progress: Progress) -> Step:
    provider = setup.provider_of(progress.attempt)
    if not provider:
        return Step("provider", "no")
    if not (progress.origin.named and setup.retries(progress.attempt)):
        return Step("provider", f"{provider}: one sender, greylisted like others")
    if not setup.providers_pass:
        return Step("provider", f"{provider} is known to retry, but the present settings delay it")
    return Step("provider", f"{provider} is known to retry: it is not delayed")


_MOST_NEAR = 5
"""Entries of a list that are shown as near misses."""

_ORIGIN_BEFORE = "blocked"
"""The first stage that uses the origin."""

_MODES = {
    "enforce": "enforce: verdicts are carried out",
    "observe": "observe: every attempt passes, and the verdict it would have had is only reported",
    "off": "off: every attempt passes, and nothing is checked",
}


def whitelist_step(setup: Setup, attempt: Attempt) -> Step:
    """Every source in order.  The first that matches decides; `hidden`: its source's other matches."""
    details: list[dict[str, Any]] = []
    first = ""
    for index, match in enumerate(setup.sources):
        told = setup.about_sources[index] if index < len(setup.about_sources) else None
        found = match(attempt)
        row: dict[str, Any] = {
            "source": told.name if told else f"source {index + 1}",
            "path": (told.path or None) if told else None,
            "matches": found is not None,
        }
        if found is not None:
            others = told.every(attempt)[1:] if told and told.every is not None else ()
            row |= {
                "entry": found.entry,
                "owner": found.owner or None,
                "why": told.why(found) if told and told.why is not None else "",
                "decides": not first,
                "hidden": [each.entry for each in others],
            }
            first = first or f"{found.entry} of {found.source}{_whose(found.owner)}"
        details.append(row)
    if first:
        return Step("whitelists", first, tuple(details))
    near = _near_misses(setup, attempt)
    for index, row in enumerate(details):
        row["near"] = [{"entry": entry, "why": why} for entry, why in near.get(index, ())]
    outcome = f"no entry of {counted(len(details), 'source')} matches"
    notes = [f"{entry}: {why}" for found in near.values() for entry, why in found][:1]
    text = "; ".join(filter(None, (outcome, *notes, forwarded_note(attempt))))
    return Step("whitelists", text, tuple(details))


def _near_misses(setup: Setup, attempt: Attempt) -> Mapping[int, Sequence[tuple[str, str]]]:
    """The entries that nearly match an attempt, each with the reason, by the position of their source."""
    found: dict[int, dict[str, str]] = {}
    lists = [place for place, about in enumerate(setup.about_sources) if about.path]
    for place in lists:
        almost = setup.about_sources[place].almost
        found[place] = {} if almost is None else dict(almost(attempt))
        for other, why in near_attempts(attempt):
            match = setup.sources[place](other)
            if match is not None:
                found[place].setdefault(match.entry, why)
    return {place: list(each.items())[:_MOST_NEAR] for place, each in found.items()}


def _whose(owner: str) -> str:
    return f", owner {owner}" if owner else ""


def _rules(setup: Setup, progress: Progress) -> Step:
    """Every rule with its truth value.  The first true rule decides."""
    attempt, origin, now, findings = progress.attempt, progress.origin, progress.now, progress.findings
    told = (None, frozenset[str]()) if findings is None else (findings.traits, findings.unanswered)
    rows = setup.rules.explained(attempt, origin, setup.provider_of(attempt), now, *told)
    outcome = setup.rules.evaluate(attempt, origin, setup.provider_of(attempt), now, *told)
    name = "rules" if findings is None else "rules-again"
    first = next((row.rule for row in rows if row.truth), "")
    details = [
        {
            "rule": row.rule,
            "truth": row.truth,
            "because": list(row.because),
            "decides": bool(row.truth) and row.rule == first,
        }
        for row in rows
    ]
    if outcome is None:
        return Step(name, "no rule matches" if rows else "no rules are configured", tuple(details))
    return Step(name, f"{outcome.rule!r}: {_wanted(outcome)}", tuple(details))


def _wanted(outcome: Outcome) -> str:
    if outcome.action is not None:
        return outcome.action.value
    told = [
        f"{name.replace('_', ' ')} {number} s"
        for name in ("delay", "unnamed_delay", "retry_window")
        if (number := getattr(outcome, name)) is not None
    ]
    if outcome.key is not None:
        told.append(f"key {', '.join(outcome.key)}")
    word = "observe" if outcome.observe else "greylist"
    return f"{word} with {', '.join(told)}" if told else word


def _identity(setup: Setup, progress: Progress) -> Step:
    attempt = progress.attempt
    if attempt.raw:
        return Step("identity", "a key of its own, made by the client")
    if is_judged_at_data(setup, attempt):
        what = "the probe sender" if attempt.sender else "the null sender"
        if progress.first:
            return Step("identity", f"{what} at RCPT: possibly only a probe, judged at DATA")
        return Step("identity", f"{what} with a second recipient: not a probe, judged now")
    if attempt.client_address is None:
        return Step("identity", "the client's address is not known: the attempt is not remembered")
    return Step("identity", f"{attempt.client_address}, {attempt.sender or '<>'}, {attempt.recipient}")


TELLERS: Mapping[str, Callable[[Setup, Progress], Step]] = MappingProxyType(
    {
        "mode": _mode,
        "authenticated": _authenticated,
        "blocked": _blocked,
        "whitelists": lambda setup, progress: whitelist_step(setup, progress.attempt),
        "rules": _rules,
        "own-client": _own_client,
        "provider": _provider,
        "identity": _identity,
    }
)
"""By the name of a stage, what describes it."""


# --- what the store holds --------------------------------------------------------------------------


async def _slow_sources(engine: Engine, progress: Progress, steps: list[Step], *, ask: bool) -> bool:
    """Ask the slow sources that the engine would ask.

    Returns whether the verdict is certain.  It is not if the engine would ask them and `ask` is false.
    """
    setup = progress.setup
    if setup.ask is None:
        steps.append(Step("slow-sources", "there are none"))
        return True
    decision = engine.shared.decision(progress)
    expected = decision(await engine.store.read(decision.keys)).value
    if progress.verdict is not None or not would_wait(expected):
        steps.append(Step("slow-sources", "not asked: it is decided without them"))
        return True
    if not ask:
        steps.append(Step("slow-sources", "not asked here; a real attempt would ask them first"))
        return False
    progress.first = engine.shared.is_first(progress.attempt)
    await ask_sources(progress, setup.ask)
    findings = progress.findings
    assert findings is not None
    steps.append(Step("slow-sources", _found(findings), (_findings(findings),)))
    if setup.rules and findings.match is None:
        steps.append(_rules(setup, progress))
    return True


async def _look(engine: Engine, progress: Progress, steps: list[Step]) -> StoredView:
    """Read what the store holds, and decide."""
    decision = engine.shared.limited(progress)
    values = await engine.store.read(decision.keys)
    looked = stored_view(decision, values)
    steps += memory_steps(progress, looked)
    if engine.shared.quota is not None and not progress.attempt.raw:
        steps.append(
            limit_step(engine.shared.quota, progress, over=bool(decision.mark_digest), full=decision.full)
        )
    elif decision.mark_digest:
        steps.append(Step("limit", "the store is full: a new attempt is remembered by a mark of its own"))
    if progress.verdict is None:
        progress.verdict = under_rule(progress, decision(values).value)
    return looked


def _found(findings: Findings) -> str:
    told: list[str] = []
    if findings.match is not None:
        told.append(f"{findings.match.entry} of {findings.match.source}{_whose(findings.match.owner)}")
    if findings.origin is not None:
        told.append(f"origin {findings.origin.text}")
    if findings.traits:
        told.append(f"traits {', '.join(sorted(findings.traits))}")
    if findings.unanswered:
        told.append(f"no answer about {', '.join(sorted(findings.unanswered))}")
    return "; ".join(told) or "asked, and nothing was found"


def _findings(findings: Findings) -> Mapping[str, Any]:
    match, origin = findings.match, findings.origin
    return {
        "match": None
        if match is None
        else {"source": match.source, "entry": match.entry, "owner": match.owner},
        "origin": None if origin is None else origin.text,
        "traits": sorted(findings.traits),
        "unanswered": sorted(findings.unanswered),
    }
