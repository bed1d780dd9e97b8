"""Why an attempt is judged as it is: the way of an attempt once more, read-only, with everything told.

What is told comes from the functions the engine itself decides with (`listed`, `not_greylisted`, `Rules`,
`StoredDecision`, `Engine.limited`, `engine.slow.asked`); the store is only read, and nothing is counted or
remembered.  So the verdict is the one an attempt gets that is made at the same second: tests hold both
against each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from multigrey.engine.engine import Engine, Pending, under_rule
from multigrey.engine.explain_memory import (
    Advice,
    Step,
    StoredView,
    advice,
    decided_by,
    limit_step,
    memory_steps,
    origin_step,
    plural,
    seen,
)
from multigrey.engine.round import record_keys
from multigrey.engine.setup import (
    Setup,
    blocked_as,
    is_judged_at_data,
    is_remembered,
    listed,
    not_greylisted,
    trouble,
)
from multigrey.engine.slow import asked
from multigrey.errors import CodecError, StoreError
from multigrey.greylist.stored_decision import StoredDecision
from multigrey.matching.facts import forwarded_note
from multigrey.model import Action, Attempt, Findings, Origin, Reason, Verdict
from multigrey.rules.rules import Outcome

__all__ = ["Explanation", "explain", "whitelist_step"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict, and the way to it."""

    now: int
    attempt: Attempt
    origin: Origin
    verdict: Verdict
    steps: tuple[Step, ...]
    advice: tuple[Advice, ...]
    certain: bool = True
    """False: slow sources would be asked first, and were not; the verdict holds if they find nothing."""
    class_: str = ""

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON can hold it: times in seconds since 1970."""
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
            "decided_by": decided_by(verdict, self.steps),
            "steps": [step.as_json() for step in self.steps],
            "advice": [each.as_json() for each in self.advice],
        }


@dataclass(slots=True)
class _Way:
    """What was found on the way so far."""

    engine: Engine
    pending: Pending
    verdict: Verdict | None
    """None: not decided yet."""
    certain: bool = True
    findings: Findings | None = None
    steps: list[Step] = field(default_factory=list)


async def explain(
    engine: Engine, attempt: Attempt, *, ask: bool = False, on_error: str = "pass"
) -> Explanation:
    """How `attempt` would be judged now, and why.

    `ask`: whether slow sources are asked where the engine would ask them.  `on_error`: of the listener,
    for a store that cannot be read.
    """
    way = _begin(engine, attempt)
    looked: StoredView | None = None
    try:
        if attempt.raw or attempt.client_address is not None:
            looked = await _look(way, ask=ask)
    except (StoreError, CodecError) as error:
        way.steps.append(Step("records", f"the store cannot be read: {error}"))
        if way.verdict is None:
            way.verdict = trouble(on_error, str(error))
    setup, origin = engine.setup, way.pending.origin
    verdict = way.verdict or Verdict(Action.PASS, Reason.NO_IDENTITY)
    class_ = ""
    if setup.classes:
        class_ = setup.classes.of(attempt, origin, setup.provider_of(attempt), way.pending.now)
    hints = tuple(advice(way.pending, verdict, looked))
    return Explanation(
        way.pending.now, attempt, origin, verdict, tuple(way.steps), hints, way.certain, class_
    )


# --- before anybody looks at what is known ---------------------------------------------------------


def _begin(engine: Engine, attempt: Attempt) -> _Way:
    setup, now = engine.setup, engine.clock.now()
    network = setup.network(attempt)
    origin, doubted = engine.learned.who(setup, attempt, network, now)
    first = not is_judged_at_data(setup, attempt) or engine.is_first(attempt)
    blocked = blocked_as(engine.blocked, setup, attempt, origin, network)
    found = listed(setup, attempt, origin, now, None, blocked=bool(blocked))
    verdict = found if isinstance(found, Verdict) else None
    rule = None if isinstance(found, Verdict) else found
    passed = None if verdict is not None else not_greylisted(setup, attempt, origin, None, first=first)
    provider = is_remembered(attempt, passed)
    if not provider:
        verdict = verdict or passed
    keys = record_keys(setup, attempt, origin, network, rule, doubted)
    pending = Pending(setup, attempt, now, network, keys, origin, rule, provider=provider, doubted=doubted)
    way = _Way(engine, pending, verdict)
    way.steps += [
        Step("mode", _MODES.get(setup.mode, setup.mode)),
        Step("authenticated", f"as {attempt.authenticated}" if attempt.authenticated else "no"),
        origin_step(setup, attempt, network, origin, engine.learned.judged(setup, attempt, now)),
        Step("blocked", f"by an administrator: {blocked}" if blocked else "no"),
        whitelist_step(setup, attempt),
        _rules(setup, attempt, origin, now, None),
        _own_client(setup, attempt),
        _provider(setup, attempt, origin),
        _identity(setup, attempt, first=first),
    ]
    return way


def _own_client(setup: Setup, attempt: Attempt) -> Step:
    address = attempt.client_address
    if address is not None and setup.is_own(address):
        return Step("own-client", f"{address} is this host or in own_networks: it is not greylisted")
    return Step("own-client", "no")


def _provider(setup: Setup, attempt: Attempt, origin: Origin) -> Step:
    provider = setup.provider_of(attempt)
    if not provider:
        return Step("provider", "no")
    if not (origin.named and setup.retries(attempt)):
        return Step("provider", f"{provider}: one sender, greylisted like others")
    if not setup.providers_pass:
        return Step(
            "provider", f"{provider} is known to retry, but is delayed all the same as things are set"
        )
    return Step("provider", f"{provider} is known to retry: it is not delayed")


_MODES = {
    "enforce": "enforce: what is to be deferred is deferred",
    "observe": "observe: everybody passes, and what would have been is only said",
    "off": "off: everybody passes, and nothing is looked at",
}


def whitelist_step(setup: Setup, attempt: Attempt) -> Step:
    """Every source in order; the first that matches decides, those behind it are hidden."""
    details: list[Mapping[str, Any]] = []
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
    outcome = f"no entry of {plural(len(details), 'source')} matches"
    note = forwarded_note(attempt)
    return Step("whitelists", f"{outcome}; {note}" if note else outcome, tuple(details))


def _whose(owner: str) -> str:
    return f", owner {owner}" if owner else ""


def _rules(setup: Setup, attempt: Attempt, origin: Origin, now: int, findings: Findings | None) -> Step:
    """Every rule with its truth; the first that is true decides."""
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
        return Step(name, "no rule matches" if rows else "there are no rules", tuple(details))
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


def _identity(setup: Setup, attempt: Attempt, *, first: bool) -> Step:
    if attempt.raw:
        return Step("identity", "a key of its own, made by whoever asks")
    if is_judged_at_data(setup, attempt):
        what = "the probe sender" if attempt.sender else "the null sender"
        if first:
            return Step("identity", f"{what} at RCPT: perhaps only a probe, judged at DATA")
        return Step("identity", f"{what} with a second recipient: no probe, judged now")
    if attempt.client_address is None:
        return Step("identity", "the client's address is not known: there is nothing to remember")
    return Step("identity", f"{attempt.client_address}, {attempt.sender or '<>'}, {attempt.recipient}")


# --- what is known ---------------------------------------------------------------------------------


async def _look(way: _Way, *, ask: bool) -> StoredView:
    """Read what the store holds, ask whom the engine would ask, and decide."""
    engine, store = way.engine, way.engine.store
    question = engine.question(way.pending)
    expected = question(await store.read(question.keys)).value
    await _slow_sources(way, expected, ask=ask)
    limited = engine.limited(way.pending)
    values = await store.read(limited.keys)
    looked = seen(limited, values)
    way.steps += [*memory_steps(way.pending, looked), *_limit(way, limited)]
    if way.verdict is None:
        way.verdict = under_rule(way.pending, limited(values).value)
    return looked


def _limit(way: _Way, question: StoredDecision) -> Iterator[Step]:
    if way.engine.new_records is not None and not way.pending.attempt.raw:
        yield limit_step(way.engine.new_records, way.pending, over=bool(question.mark_digest))
    elif question.mark_digest:
        yield Step("limit", "the store is full: a new attempt is remembered by a mark of its own")


async def _slow_sources(way: _Way, expected: Verdict, *, ask: bool) -> None:
    setup = way.pending.setup
    waits = expected.action is Action.DEFER or expected.observed
    if setup.ask is None:
        way.steps.append(Step("slow-sources", "there are none"))
    elif way.verdict is not None or not waits:
        way.steps.append(Step("slow-sources", "not asked: it is decided without them"))
    elif not ask:
        way.certain = False
        way.steps.append(Step("slow-sources", "not asked here; a real attempt would ask them first"))
    else:
        await _ask(way, setup)


async def _ask(way: _Way, setup: Setup) -> None:
    pending = way.pending
    assert setup.ask is not None
    findings = await setup.ask(pending.attempt)

    async def told(attempt: Attempt) -> Findings:
        del attempt
        return findings

    found = await asked(pending, told, first=way.engine.is_first(pending.attempt))
    way.steps.append(Step("slow-sources", _found(findings), (_findings(findings),)))
    if isinstance(found, Verdict):
        way.verdict = found
        origin = pending.origin
    else:
        way.pending = found
        origin = found.origin
    if setup.rules and findings.match is None:
        way.steps.append(_rules(setup, pending.attempt, origin, pending.now, findings))


def _found(findings: Findings) -> str:
    told: list[str] = []
    if findings.match is not None:
        told.append(f"{findings.match.entry} of {findings.match.source}{_whose(findings.match.owner)}")
    if findings.origin is not None:
        told.append(f"origin {findings.origin.text}")
    if findings.traits:
        told.append(f"traits {', '.join(sorted(findings.traits))}")
    if findings.unanswered:
        told.append(f"nobody could tell {', '.join(sorted(findings.unanswered))}")
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
