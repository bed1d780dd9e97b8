"""The steps of an explanation that describe what is known: origin, keys, records, trust, standing, limits.

Also the advice: what would let the attempt pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multigrey.codec import decode_origin, decode_record, decode_reputation
from multigrey.engine.progress import Progress
from multigrey.engine.setup import Setup
from multigrey.engine.stages import BLOCKED
from multigrey.errors import CodecError
from multigrey.evidence.name_ledger import Judged
from multigrey.greylist.decision import trust_needed
from multigrey.greylist.policy import Policy
from multigrey.greylist.quota import NewRecordQuota
from multigrey.greylist.record_choice import keep_until, speaking_record
from multigrey.greylist.reputation import (
    FORWARDED_DOMAINS,
    Proof,
    figures,
    is_spot_check,
    proven,
    resolved_after,
)
from multigrey.greylist.stored_decision import StoredDecision
from multigrey.identity.envelope import sender_key_domain, sender_key_text
from multigrey.model import Action, Attempt, Key, Origin, OriginRecord, Reason, Record, Reputation, Verdict
from multigrey.text import counted

__all__ = [
    "Advice",
    "Step",
    "StoredView",
    "advice",
    "decided_by",
    "limit_step",
    "memory_steps",
    "name_row",
    "name_text",
    "origin_step",
    "stored_view",
]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an explanation."""

    name: str
    outcome: str
    """The result, in one line; may hold text that strangers typed."""
    details: tuple[Mapping[str, Any], ...] = ()
    """Rows of JSON values; times are seconds since 1970."""

    def as_json(self) -> dict[str, Any]:
        """The step as JSON values."""
        return {"step": self.name, "outcome": self.outcome, "details": [dict(row) for row in self.details]}


@dataclass(frozen=True, slots=True)
class Advice:
    """What would let the attempt pass, or until when it passes."""

    text: str
    since: int | None = None
    """From this second on."""
    until: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The advice as JSON values."""
        return {"text": self.text, "from": self.since, "until": self.until}


@dataclass(frozen=True, slots=True)
class StoredView:
    """What the store holds for one attempt.  A value that cannot be read counts as missing."""

    question: StoredDecision
    records: tuple[Record | None, ...]
    """One for each of `question.record_keys`."""
    marks: tuple[Record, ...]
    """The records that marks of the attempt stand for."""
    others: tuple[Record | None, ...]
    """One for each of `question.other_keys`; None: no record that counts."""
    origin_record: OriginRecord | None
    standing: Reputation | None
    unreadable: tuple[str, ...]

    @property
    def speaking(self) -> Record | None:
        """The record that decides; None if none does."""
        question = self.question
        found = (*self.records, *self.others, *self.marks)
        return speaking_record(question.policy, question.now, found, question.case.set_back)


def stored_view(question: StoredDecision, values: Sequence[bytes | None]) -> StoredView:
    """Decode what the store holds; `values` has one for each of `question.keys`."""
    unreadable: list[str] = []

    def read(decode: Any, value: bytes | None) -> Any:
        try:
            return None if value is None else decode(value)
        except CodecError as error:
            unreadable.append(str(error))
            return None

    own, origin, whole, buckets, elsewhere = question.split(values)
    records = tuple(read(decode_record, value) for value in own)
    origin_record, standing = read(decode_origin, origin), read(decode_reputation, whole)
    marks = [
        read(lambda bucket, digest=digest: question.mark_in(bucket, digest), bucket)
        for digest, bucket in buckets
    ]
    others = tuple(
        None if record is None or not other.counts(record) else record
        for other, record in [(other, read(decode_record, value)) for other, value in elsewhere]
    )
    found = tuple(question.record_of_mark(mark) for mark in marks if mark is not None)
    return StoredView(question, records, found, others, origin_record, standing, tuple(unreadable))


# --- steps -----------------------------------------------------------------------------------------


def origin_step(
    setup: Setup, attempt: Attempt, network: str, origin: Origin, judged: Judged | None = None
) -> Step:
    """Who is sending, and why; `judged`: the evidence about hosts with such a name."""
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
    if judged is None:
        return Step("origin", f"{outcome}. {why}", (row,))
    row |= name_row(judged)
    evidence = name_text(row)
    return Step("origin", f"{outcome}. {why.rstrip('.')}. {evidence[:1].upper()}{evidence[1:]}", (row,))


def name_row(judged: Judged) -> dict[str, Any]:
    """The evidence about hosts whose names follow a pattern, as JSON values."""
    found, doubt = judged.figures, judged.doubt
    return {
        "pattern": judged.pattern or None,
        "clients": found.clients,
        "foreign": found.foreign,
        "foreign_domains": found.foreign_domains,
        "resolved": found.resolved,
        "returned": found.returned,
        "returned_domains": found.domains,
        "in_doubt_since": None if doubt is None else doubt.since,
    }


def name_text(row: Mapping[str, Any]) -> str:
    """A row of `name_row` as a sentence."""
    told = (
        f"of {counted(row['clients'], 'client')} named {row['pattern'] or 'in other ways'} {row['foreign']} "
        f"announced names in {counted(row['foreign_domains'], 'other domain')}, and {row['returned']} of "
        f"{counted(row['resolved'], 'resolved deferral')} came back"
    )
    if row["in_doubt_since"] is None:
        return told
    return f"the name is in doubt, and the client network is used instead: {told}"


def memory_steps(progress: Progress, looked: StoredView) -> Iterator[Step]:
    """The keys with their records, and what is known of the origin."""
    yield _records(progress, looked)
    if looked.question.case.same_message:
        yield Step("message", "another recipient of this message has passed, so this one passes too")
    yield _trust(progress, looked)
    yield _standing(looked)


def _records(progress: Progress, looked: StoredView) -> Step:
    question = looked.question
    policy, now = question.policy, question.now
    speaking = looked.speaking
    rows = [
        {"key": label, "digest": key[1].hex(), "record": _as_json(policy, record)}
        for key, label, record in zip(question.record_keys, _labels(progress), looked.records, strict=True)
    ]
    rows += [
        {"key": "a mark of this attempt", "digest": None, "record": _as_json(policy, record)}
        for record in looked.marks
    ]
    rows += [
        {"key": _OTHER[other.waiting], "digest": other.key[1].hex(), "record": _as_json(policy, record)}
        for other, record in zip(question.other_keys, looked.others, strict=True)
    ]
    if looked.unreadable:
        outcome = f"stored bytes cannot be read: {looked.unreadable[0]}"
    elif speaking is None:
        outcome = f"nothing is known under {counted(len(rows), 'key')}"
    elif speaking.passed_at:
        idle = now - speaking.last_seen > policy.max_age
        outcome = "has passed, but too long ago" if idle else "has passed before"
    elif now - speaking.first_seen > policy.retry_window:
        outcome = "was deferred, and the retry came too late"
    else:
        outcome = f"was deferred {counted(speaking.attempts, 'time')} in {now - speaking.first_seen} s"
    return Step("records", outcome, tuple(rows))


_OTHER = {
    False: "under the name it had before the name was in doubt",
    True: "by the other IP version, under the name it announces",
}


def _labels(progress: Progress) -> Iterator[str]:
    """What each key is made of."""
    setup, attempt, origin = progress.setup, progress.attempt, progress.origin
    if attempt.raw:
        yield from ["the client's own key"] * len(progress.keys)
        return
    recipient = setup.recipient.text(attempt) or "<>"
    envelope = f"{sender_key_text(attempt) or '<>'}, {recipient}"
    named: Key | None = None
    if origin.named:
        named = setup.scheme_for(progress.rule).named_key(attempt, origin, progress.network)
    number = len(progress.keys)
    for index, key in enumerate(progress.keys):
        if key == named:
            yield f"origin {origin.text}, {envelope}"
        elif index or number == 1 or (number == 2 and origin.named):
            yield f"client network {progress.network}, {envelope}"
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


def _trust(progress: Progress, looked: StoredView) -> Step:
    """Counted passes of origin and sender domain, against auto_whitelist_after."""
    question = looked.question
    needed = trust_needed(question.policy, question.case)
    if not needed:
        return Step("trust", "auto_whitelist_after is 0: no pair of origin and sender domain is trusted")
    if question.origin_key is None:
        return Step("trust", "nothing is counted for the null sender or a client's own key")
    found = looked.origin_record or OriginRecord()
    whose = progress.trusted
    domain = sender_key_domain(progress.attempt)
    stale = bool(found.passes) and question.now - found.last_seen > question.policy.max_age
    trusted = found.passes >= needed and found.several_keys and not stale
    row = {
        "origin": whose,
        "sender_domain": domain,
        "passes": found.passes,
        "needed": needed,
        "several_keys": found.several_keys,
        "own_hosts": question.case.own_hosts,
        "last_counted": found.last_counted or None,
        "last_seen": found.last_seen or None,
        "trusted": trusted,
    }
    outcome = f"{found.passes} of {needed} counted passes of {whose} for {domain or 'no domain'}"
    if found.passes >= needed and not found.several_keys:
        outcome += ", but all under one key: a second key is needed"
    if stale:
        outcome += ", but too long ago"
    return Step("trust", f"trusted: {outcome}" if trusted else outcome, (row,))


def _standing(looked: StoredView) -> Step:
    """The reputation of the origin as a whole, against the proof it needs."""
    question = looked.question
    proof, origin = question.policy.proof, question.case.origin
    if proof is None:
        return Step("standing", "prove_origins is off")
    if question.standing_key is None:
        why = (
            "the name is only claimed" if origin.claimed else "a client's own key, or found by a slow source"
        )
        return Step("standing", f"nothing is counted ({why})")
    standing = looked.standing or Reputation()
    return _proof(question, proof, standing)


def _proof(question: StoredDecision, proof: Proof, standing: Reputation) -> Step:
    now, origin = question.now, question.case.origin
    found = figures(standing, now)
    believed = proven(standing, proof, now, named=origin.named)
    spot = is_spot_check(question.case.key)
    percent = found.returned * 100 // found.resolved if found.resolved else 0
    row = {
        "origin": origin.text,
        "proven": believed,
        "proven_at": standing.proven_at or None,
        "resolved": found.resolved,
        "resolved_needed": proof.resolved,
        "resolved_after": resolved_after(standing),
        "domains": found.domains,
        "domains_needed": proof.domains,
        "domains_forwarded": FORWARDED_DOMAINS,
        "returned": found.returned,
        "percent": percent,
        "percent_needed": proof.percent,
        "spot_check": spot,
    }
    if origin.named:
        numbers = (
            f"{found.resolved} of {counted(proof.resolved, 'deferral')} resolved, "
            f"{percent} % of {proof.percent} % returned, {found.domains} of "
            f"{counted(proof.domains, 'sender domain')}"
        )
    else:
        numbers = f"mail of {found.domains} of {FORWARDED_DOMAINS} sender domains came back from this address"
    outcome = f"{origin.text} is {'proven' if believed else 'not proven'}: {numbers}"
    if believed and spot:
        outcome += "; but this key is in the sample by which proven origins are still tested"
    return Step("standing", outcome, (row,))


def limit_step(new_records: NewRecordQuota, progress: Progress, *, over: bool, full: bool) -> Step:
    """New records of the last hour against the limit; `full`: the store has no room for any."""
    origin, address = progress.counted, progress.attempt.client_address
    limits = new_records.limits
    limit = limits.named if origin.named else limits.unnamed
    count = new_records.count(origin, address, progress.now)
    row = {"origin": origin.text, "new_records": count, "limit": limit or None, "over": over, "full": full}
    outcome = f"{counted(count, 'new record')} in the last hour" + (
        f" of {limit}" if limit else ", without limit"
    )
    if over:
        why = "the store has no room for new records" if full else "over the limit"
        outcome += f"; {why}: a new attempt is remembered by a mark, and only its own retry passes"
    return Step("limit", outcome, (row,))


# --- the verdict -----------------------------------------------------------------------------------

_DECIDED_BY = {Reason.SAME_MESSAGE: "message", Reason.OVER_LIMIT: "limit", Reason.PROVIDER: "provider"}


def decided_by(verdict: Verdict, steps: Sequence[Step]) -> str:
    """The name of the step that decided, if no stage did."""
    names = {step.name for step in steps}
    if verdict.reason is Reason.RULE:
        return "rules-again" if "rules-again" in names else "rules"
    if verdict.reason is Reason.AUTO_WHITELISTED:
        return "standing" if verdict.detail else "trust"
    if verdict.reason is Reason.WHITELISTED:
        return "slow-sources"
    return _DECIDED_BY.get(verdict.reason, "records")


def advice(progress: Progress, verdict: Verdict, looked: StoredView | None) -> Iterator[Advice]:
    """What would let the attempt pass, or until when it passes."""
    if verdict.reason is Reason.RULE:
        yield from _beside_rule(verdict)
    elif looked is None:
        return
    elif verdict.action is Action.DEFER or verdict.observed:
        yield from _waiting(progress, verdict, looked)
    elif verdict.reason is Reason.AUTO_WHITELISTED and looked.origin_record and not verdict.detail:
        yield Advice("trusted", until=looked.origin_record.last_seen + looked.question.policy.max_age)
    elif verdict.reason in {Reason.KNOWN, Reason.RETRY, Reason.SAME_MESSAGE} and looked.question.now:
        until = looked.question.now + looked.question.policy.max_age
        yield Advice("known after this attempt, and longer with every further message", until=until)


def _beside_rule(verdict: Verdict) -> Iterator[Advice]:
    if verdict.rule == BLOCKED:
        yield Advice("an administrator blocked it: remove the block (greylistd's command delete)")
    elif verdict.action is not Action.PASS or verdict.observed:
        yield Advice(f"a rule before {verdict.rule!r} that passes it")
        yield Advice("an entry of a whitelist, because whitelists are asked before rules")


def _waiting(progress: Progress, verdict: Verdict, looked: StoredView) -> Iterator[Advice]:
    """Advice for an attempt that is deferred, or would be."""
    policy, now = looked.question.policy, looked.question.now
    record = looked.speaking
    if verdict.reason is Reason.OVER_LIMIT and verdict.detail:
        yield Advice("it cannot be remembered: too many attempts of this client are waiting already")
        return
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
    if not progress.attempt.raw:
        yield Advice(f"for a while: multigrey expect {progress.attempt.recipient} --for 15m")
    found = looked.origin_record
    needed = trust_needed(policy, looked.question.case)
    if looked.question.origin_key is not None and needed:
        missing = max(needed - (found.passes if found else 0), 0)
        if missing:
            yield Advice(f"{counted(missing, 'more message')} deferred and returned, for this sender domain")
