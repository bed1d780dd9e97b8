"""What explanations say of memory: origin, keys, records, trust, standing, limits; and what would help."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multigrey.codec import decode_origin, decode_record, decode_standing
from multigrey.decision import Policy, keep_until, speaking_record
from multigrey.engine import Pending
from multigrey.errors import CodecError
from multigrey.fairness import NewRecords
from multigrey.judging import Setup
from multigrey.keys import sender_key_domain, sender_key_text
from multigrey.model import Action, Attempt, Key, Origin, OriginRecord, Reason, Record, Standing, Verdict
from multigrey.origin import trust_text
from multigrey.question import Question
from multigrey.standing import Proof, figures, is_spot_check, proven

__all__ = [
    "Advice",
    "Seen",
    "Step",
    "advice",
    "decided_by",
    "limit_step",
    "memory_steps",
    "origin_step",
    "plural",
    "seen",
]


@dataclass(frozen=True, slots=True)
class Step:
    """One step on the way of an attempt."""

    name: str
    outcome: str
    """What came of it, in one line; may hold what strangers typed."""
    details: tuple[Mapping[str, Any], ...] = ()
    """Rows of what JSON can hold; times are seconds since 1970."""

    def as_json(self) -> dict[str, Any]:
        """The step as JSON can hold it."""
        return {"step": self.name, "outcome": self.outcome, "details": [dict(row) for row in self.details]}


@dataclass(frozen=True, slots=True)
class Advice:
    """What would let it pass, or for how long it will."""

    text: str
    since: int | None = None
    """From this second on."""
    until: int | None = None

    def as_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"text": self.text, "from": self.since, "until": self.until}


@dataclass(frozen=True, slots=True)
class Seen:
    """What the store holds for one question; what cannot be read counts as nothing."""

    question: Question
    records: tuple[Record | None, ...]
    """One for each of `question.record_keys`."""
    coarse: Record | None
    origin_record: OriginRecord | None
    standing: Standing | None
    unreadable: tuple[str, ...]

    @property
    def speaking(self) -> Record | None:
        """The record that decides, if one does."""
        question = self.question
        found = speaking_record(question.policy, question.now, self.records)
        if found is None and question.coarse_key is not None:
            return self.coarse
        return found


def seen(question: Question, values: Sequence[bytes | None]) -> Seen:
    """What stored values say; `values` for each of `question.keys`."""
    unreadable: list[str] = []

    def read(decode: Any, value: bytes | None) -> Any:
        try:
            return None if value is None else decode(value)
        except CodecError as error:
            unreadable.append(str(error))
            return None

    number = len(question.record_keys)
    rest = iter(values[number:])
    records = tuple(read(decode_record, value) for value in values[:number])
    coarse = None if question.coarse_key is None else read(decode_record, next(rest))
    origin_record = None if question.origin_key is None else read(decode_origin, next(rest))
    standing = None if question.standing_key is None else read(decode_standing, next(rest))
    return Seen(question, records, coarse, origin_record, standing, tuple(unreadable))


def plural(number: int, noun: str) -> str:
    """`1 source`, `2 sources`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# --- steps -----------------------------------------------------------------------------------------


def origin_step(setup: Setup, attempt: Attempt, network: str, origin: Origin) -> Step:
    """Who is sending, and why it is this one."""
    kind = "named" if origin.named else "not named: the client network"
    outcome = f"{origin.text or 'not known'} ({kind})"
    if setup.origins is None:
        return Step("origin", outcome)
    told = setup.origins.explained(attempt, network)
    why = told.naming.meaning + (f" [{told.detail}]" if told.detail else "")
    row = {
        "why": told.naming.value,
        "meaning": told.naming.meaning,
        "detail": told.detail or None,
        "client_name": attempt.client_name,
        "helo": attempt.helo,
        "provider": setup.provider_of(attempt) or None,
    }
    return Step("origin", f"{outcome}. {why}", (row,))


def memory_steps(pending: Pending, looked: Seen) -> Iterator[Step]:
    """Keys with records, and what is known of the origin."""
    yield _records(pending, looked)
    if looked.question.case.same_message:
        yield Step("message", "another recipient of this message has passed as a retry")
    yield _trust(pending, looked)
    yield _standing(looked)


def _records(pending: Pending, looked: Seen) -> Step:
    question = looked.question
    policy, now = question.policy, question.now
    speaking = looked.speaking
    rows = [
        {"key": label, "digest": key[1].hex(), "record": _as_json(policy, record)}
        for key, label, record in zip(question.record_keys, _labels(pending), looked.records, strict=True)
    ]
    if question.coarse_key is not None:
        label = "shared by all new attempts of this origin at the recipient's domain"
        row = {
            "key": label,
            "digest": question.coarse_key[1].hex(),
            "record": _as_json(policy, looked.coarse),
        }
        rows.append(row)
    if looked.unreadable:
        outcome = f"stored bytes cannot be read: {looked.unreadable[0]}"
    elif speaking is None:
        outcome = f"nothing is known under {plural(len(rows), 'key')}"
    elif speaking.passed_at:
        idle = now - speaking.last_seen > policy.max_age
        outcome = "has passed, but too long ago" if idle else "has passed before"
    elif now - speaking.first_seen > policy.retry_window:
        outcome = "was deferred, and the retry came too late"
    else:
        outcome = f"was deferred {plural(speaking.attempts, 'time')} in {now - speaking.first_seen} s"
    return Step("records", outcome, tuple(rows))


def _labels(pending: Pending) -> Iterator[str]:
    """What each key is made of."""
    setup, attempt, origin = pending.setup, pending.attempt, pending.origin
    if attempt.raw:
        yield from ["the asker's own key"] * len(pending.keys)
        return
    recipient = setup.recipient.text(attempt) or "<>"
    envelope = f"{sender_key_text(attempt) or '<>'}, {recipient}"
    named: Key | None = None
    if origin.named:
        named = setup.scheme_for(pending.rule).named_key(attempt, origin, pending.network)
    number = len(pending.keys)
    for index, key in enumerate(pending.keys):
        if key == named:
            yield f"origin {origin.text}, {envelope}"
        elif index or number == 1 or (number == 2 and origin.named):
            yield f"client network {pending.network}, {envelope}"
        else:
            yield "as configured"


def _as_json(policy: Policy, record: Record | None) -> dict[str, Any] | None:
    if record is None:
        return None
    return {
        "first_seen": record.first_seen,
        "last_seen": record.last_seen,
        "attempts": record.attempts,
        "early": record.early,
        "delay": record.delay,
        "passed_at": record.passed_at or None,
        "passes": record.passes,
        "observed": record.observed,
        "client": record.client,
        "origin": record.origin,
        "kept_until": keep_until(policy, record),
    }


def _trust(pending: Pending, looked: Seen) -> Step:
    """(origin, sender domain) against auto_whitelist_after."""
    question = looked.question
    needed = question.policy.auto_whitelist_after
    if not needed:
        return Step("trust", "auto_whitelist_after is 0: no pair of origin and sender domain is trusted")
    if question.origin_key is None:
        return Step("trust", "nothing is counted for the null sender or a key of its own")
    found = looked.origin_record or OriginRecord()
    whose = trust_text(pending.origin, pending.attempt.client_address)
    domain = sender_key_domain(pending.attempt)
    stale = bool(found.passes) and question.now - found.last_seen > question.policy.max_age
    trusted = found.passes >= needed and found.several_keys and not stale
    row = {
        "origin": whose,
        "sender_domain": domain,
        "passes": found.passes,
        "needed": needed,
        "several_keys": found.several_keys,
        "last_counted": found.last_counted or None,
        "last_seen": found.last_seen or None,
        "trusted": trusted,
    }
    outcome = f"{found.passes} of {needed} counted passes of {whose} for {domain or 'no domain'}"
    if found.passes >= needed and not found.several_keys:
        outcome += ", but all of one key: a second is needed"
    if stale:
        outcome += ", but too long ago"
    return Step("trust", f"trusted: {outcome}" if trusted else outcome, (row,))


def _standing(looked: Seen) -> Step:
    """The origin as a whole against what it has to prove."""
    question = looked.question
    proof, origin = question.policy.proof, question.case.origin
    if proof is None or not origin.named:
        why = "only origins with a name can be proven" if not origin.named else "prove_origins is off"
        return Step("standing", why)
    if question.standing_key is None:
        return Step("standing", "a key of its own has no origin")
    standing = looked.standing or Standing()
    return _proof(question, proof, standing)


def _proof(question: Question, proof: Proof, standing: Standing) -> Step:
    now, origin = question.now, question.case.origin
    found = figures(standing, proof, now)
    believed = proven(standing, proof, now)
    spot = is_spot_check(question.case.key)
    percent = found.returned * 100 // found.resolved if found.resolved else 0
    row = {
        "origin": origin.text,
        "proven": believed,
        "proven_at": standing.proven_at or None,
        "resolved": found.resolved,
        "resolved_needed": proof.resolved,
        "domains": found.domains,
        "domains_needed": proof.domains,
        "returned": found.returned,
        "percent": percent,
        "percent_needed": proof.percent,
        "spot_check": spot,
    }
    numbers = (
        f"{found.resolved} of {proof.resolved} deferrals resolved, "
        f"{percent} % of {proof.percent} % returned, {found.domains} of {proof.domains} sender domains"
    )
    outcome = f"{origin.text} is {'proven' if believed else 'not proven'}: {numbers}"
    if believed and spot:
        outcome += "; but this key is one of those by which proven origins are still tested"
    return Step("standing", outcome, (row,))


def limit_step(new_records: NewRecords, pending: Pending, *, over: bool) -> Step:
    """New records of the last hour against the limit."""
    origin, address = pending.counted, pending.attempt.client_address
    limits = new_records.limits
    limit = limits.named if origin.named else limits.unnamed
    count = new_records.count(origin, address, pending.now)
    row = {"origin": origin.text, "new_records": count, "limit": limit or None, "over": over}
    outcome = f"{plural(count, 'new record')} in the last hour" + (
        f" of {limit}" if limit else ", without limit"
    )
    if over:
        outcome += "; over the limit: new attempts share one record"
    return Step("limit", outcome, (row,))


# --- the verdict -----------------------------------------------------------------------------------

_DECIDED_BY = {
    Reason.MODE_OFF: "mode",
    Reason.AUTHENTICATED: "authenticated",
    Reason.WHITELISTED: "whitelists",
    Reason.NULL_SENDER: "identity",
    Reason.NO_IDENTITY: "identity",
    Reason.SAME_MESSAGE: "message",
    Reason.OVER_LIMIT: "limit",
}


def decided_by(verdict: Verdict, steps: Sequence[Step]) -> str:
    """The name of the step that decided."""
    names = {step.name: step for step in steps}
    if verdict.reason is Reason.RULE:
        if verdict.rule == "blocked" and names.get("blocked", Step("", "no")).outcome != "no":
            return "blocked"
        return "rules-again" if "rules-again" in names else "rules"
    if verdict.reason is Reason.AUTO_WHITELISTED:
        return "standing" if verdict.detail else "trust"
    if verdict.reason is Reason.WHITELISTED and verdict.match is not None:
        by_list = any(row.get("entry") == verdict.match.entry for row in names["whitelists"].details)
        return "whitelists" if by_list else "slow-sources"
    return _DECIDED_BY.get(verdict.reason, "records")


def advice(pending: Pending, verdict: Verdict, looked: Seen | None) -> Iterator[Advice]:
    """What would make it pass, or how long it will."""
    if verdict.reason is Reason.RULE:
        yield from _beside_rule(verdict)
    elif looked is None:
        return
    elif verdict.action is Action.DEFER or verdict.observed:
        yield from _waiting(pending, verdict, looked)
    elif verdict.reason is Reason.AUTO_WHITELISTED and looked.origin_record and not verdict.detail:
        yield Advice("trusted", until=looked.origin_record.last_seen + looked.question.policy.max_age)
    elif verdict.reason in {Reason.KNOWN, Reason.RETRY, Reason.SAME_MESSAGE} and looked.question.now:
        until = looked.question.now + looked.question.policy.max_age
        yield Advice("known after this attempt, and longer with every further message", until=until)


def _beside_rule(verdict: Verdict) -> Iterator[Advice]:
    if verdict.rule == "blocked":
        yield Advice("it was blocked by hand: take the block away (greylistd's word delete)")
    elif verdict.action is not Action.PASS or verdict.observed:
        yield Advice(f"a rule before {verdict.rule!r} that passes it")
        yield Advice("an entry of a whitelist, because whitelists are asked before rules")


def _waiting(pending: Pending, verdict: Verdict, looked: Seen) -> Iterator[Advice]:
    """For what is deferred, or would be."""
    policy, now = looked.question.policy, looked.question.now
    record = looked.speaking
    live = record is not None and not record.passed_at and now - record.first_seen <= policy.retry_window
    if verdict.observed:
        yield Advice("it passes anyway: this is only observed")
    if record is not None and live:
        first = record.first_seen
        yield Advice("a retry passes", first + record.delay, first + policy.retry_window)
    else:
        yield Advice(
            "an attempt now is deferred, and a retry of it passes",
            now + policy.delay,
            now + policy.retry_window,
        )
    if policy.patience and live:
        yield Advice("each further early retry makes the sender wait a minute longer")
    yield Advice("an entry of a whitelist for the client, its origin, the sender or the recipient")
    if not pending.attempt.raw:
        yield Advice(f"for a while: multigrey expect {pending.attempt.recipient} --for 15m")
    found = looked.origin_record
    needed = policy.auto_whitelist_after
    if looked.question.origin_key is not None and needed:
        missing = max(needed - (found.passes if found else 0), 0)
        if missing:
            yield Advice(f"{plural(missing, 'more message')} deferred and returned, for this sender domain")
