"""SPF for multigrey: mail is recognised from every host its sender's domain authorises.

Registers the slow source `spf`, asked only for attempts that would be deferred:
    origin   `spf:DOMAIN` if the domain authorises the client, and not just anybody
    traits   `spf:RESULT`, RESULT as in RFC 7208 section 2.6; with `temperror` nobody can tell the others
    own      if the client is one of the domain's own hosts, of which there are few (see `own_hosts`)
    listed_by  the domains whose records list the client, from the innermost `include` to the domain itself
The domain is that of the envelope sender, of the HELO for the null sender.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Annotated, Self, TypeVar

import trio
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from multigrey.api import (
    Attempt,
    Breaker,
    Findings,
    Origin,
    Registry,
    TtlCache,
    hookimpl,
    host_name,
    split_address,
)
from multigrey_spf.dnslookup import Known, Lookups, Resolver, StubResolver
from multigrey_spf.evaluation import (
    RESULTS,
    IsOwn,
    Outcome,
    Question,
    Session,
    evaluate,
    is_local,
    nobodys,
)
from multigrey_spf.own_hosts import own_hosts

__all__ = ["SpfSettings", "SpfSource", "multigrey_register", "multigrey_settings", "question_of"]

_TRAITS = frozenset(f"spf:{result}" for result in RESULTS)
_NOT_FOR_SPF = Findings()
_NOT_ASKED = Findings(unanswered=_TRAITS)
_FINDINGS = {
    **{result: Findings(traits=frozenset({f"spf:{result}"})) for result in RESULTS},
    # What the result would have been without the trouble, nobody can tell.
    "temperror": Findings(traits=frozenset({"spf:temperror"}), unanswered=_TRAITS - {"spf:temperror"}),
}
_LONGEST_LOCAL = 64
"""Octets of a local part (RFC 5321 section 4.5.3.1.1)."""
_LONGEST_DOMAIN = 253
_NOT_IN_THE_DNS = frozenset({"internal", "invalid", "local", "localhost", "onion"})
"""Top labels that public name servers have nothing to say about (RFC 6761, 6762, 7686)."""
_WARN_EVERY = 600.0

RegisteredDomain = Callable[[str], str | None]
"""The registered domain of a name, None if it has none."""


def _unknown(name: str) -> str | None:
    del name
    return None


_Asked = tuple[object, str, bool]
"""Client, domain, and whether it was asked if the client is one of the domain's own hosts."""
_T = TypeVar("_T")

_log = logging.getLogger(__name__)


def _plain_address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError(f"{text!a} is not an IP address") from None


class SpfSettings(BaseModel):
    """`[plugins.spf]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    budget: float = Field(
        default=0.4,
        ge=0.05,
        le=10,
        strict=True,
        description="Seconds for one check with all its questions; less than slow in [limits].",
    )
    nameservers: tuple[Annotated[str, AfterValidator(_plain_address)], ...] = Field(
        default=(), max_length=8, description="Addresses of name servers; those of resolv.conf if empty."
    )
    port: int = Field(default=53, ge=1, le=65535, strict=True, description="Port of the name servers.")
    checks: int = Field(
        default=50, ge=1, le=400, strict=True, description="Checks at once; what exceeds it is not made."
    )
    min_ttl: int = Field(
        default=10, ge=1, strict=True, description="Seconds an answer is believed at least, and a failure."
    )
    max_ttl: int = Field(default=3600, le=86400, strict=True, description="Seconds it is believed at most.")
    cache: int = Field(
        default=10_000, ge=100, le=1_000_000, strict=True, description="Answers, and results, remembered."
    )
    failures: int = Field(
        default=5, ge=1, strict=True, description="Time-outs in a row after which nobody is asked."
    )
    pause: float = Field(
        default=10, ge=1, le=300, description="Seconds until somebody is asked again, doubled up to 300."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_ttl < self.min_ttl:
            raise ValueError("max_ttl must not be less than min_ttl")
        if len(set(self.nameservers)) < len(self.nameservers):
            raise ValueError("something is listed twice among nameservers")
        return self


class SpfSource:
    """Slow source `spf`."""

    traits = _TRAITS

    def __init__(
        self,
        settings: SpfSettings,
        resolver: Resolver,
        monotonic: Callable[[], float] = trio.current_time,
        registered_domain: RegisteredDomain = _unknown,
    ) -> None:
        """`monotonic` is the time, in seconds, the memory and the pauses go by.

        Without `registered_domain` no domain has hosts of its own.
        """
        self._registered_domain = registered_domain
        self._budget = settings.budget
        self._checks = settings.checks
        self._failure_ttl = settings.min_ttl
        self._monotonic = monotonic
        self._limiter = trio.CapacityLimiter(settings.checks)
        self._running = 0
        self._results: TtlCache[_Asked, Outcome] = TtlCache(monotonic, settings.cache)
        self._silent_until: dict[str, float] = {}
        self.lookups = Lookups(
            resolver,
            monotonic,
            Breaker(monotonic, failures=settings.failures, pause=settings.pause),
            min_ttl=settings.min_ttl,
            max_ttl=settings.max_ttl,
            size=settings.cache,
        )
        self.counts: Counter[str] = Counter()
        """Checks by result, and `authorised`, `own`, `remembered`, `busy`, `paused`, `late`, `broken`."""

    async def ask(self, attempt: Attempt) -> Findings:
        """What the sender's domain says of the client; raises nothing, waits no longer than the budget."""
        if attempt.raw or attempt.client_address is None or is_local(attempt.client_address):
            return _NOT_FOR_SPF
        question = question_of(attempt)
        if question is None:
            self.counts["none"] += 1
            return _FINDINGS["none"]
        if attempt.sender:  # bounces earn nothing, whoever sends them
            question = replace(question, home=self._registered_domain(question.domain) or "")
        outcome = self._results.get(_key(question))
        if outcome is not None:
            self.counts["remembered"] += 1
        elif self._running >= self._checks:
            self._note("busy", "more checks at once than allowed (checks in [plugins.spf])")
            return _NOT_ASKED
        elif self.lookups.paused:
            self._note("paused", "the name servers do not answer, nobody is asked for a while")
            return _FINDINGS["temperror"]
        else:
            outcome = await self._check(question)
        self.counts[outcome.result] += 1
        if not outcome.authorised:
            return _FINDINGS[outcome.result]
        self.counts["authorised"] += 1
        self.counts["own"] += outcome.own
        return Findings(
            origin=Origin(f"spf:{question.domain}", named=True),
            traits=_FINDINGS[outcome.result].traits,
            own=outcome.own,
            listed_by=outcome.listed_by,
        )

    async def _check(self, question: Question) -> Outcome:
        session = Session(self._ask_from_thread)
        outcome: Outcome | None = None
        self._running += 1
        try:
            with trio.move_on_after(self._budget) as scope:
                outcome = await self._evaluate(question, session)
                if outcome.own:
                    outcome = await self._measure(question, session, outcome)
        finally:
            self._running -= 1
        now = self._monotonic()
        if scope.cancelled_caught:
            self.lookups.timed_out(session.pending)
            outcome = self._late(outcome, now + self._failure_ttl)
        assert outcome is not None
        if outcome.reusable:
            self._results.put(_key(question), outcome, outcome.until - now)
        return outcome

    def _late(self, outcome: Outcome | None, until: float) -> Outcome:
        """What is known when the time is over: who passed has passed, even if it is not known as what."""
        if outcome is not None:
            return replace(outcome, own=False, until=min(outcome.until, until))
        self._note("late", f"a check took longer than {self._budget:g} s (budget in [plugins.spf])")
        return Outcome("temperror", authorised=False, until=until, reusable=True)

    async def _evaluate(self, question: Question, session: Session) -> Outcome:
        try:
            return await self._in_thread(evaluate, question, session)
        except Exception:  # noqa: BLE001  (pyspf met what it was not made for; it is in the log)
            self._note("broken", f"the check of {question.domain} failed", trace=True)
            return Outcome("temperror", authorised=False, until=0, reusable=False)

    async def _measure(self, question: Question, session: Session, outcome: Outcome) -> Outcome:
        """The same outcome, with what is known now of the domain's own hosts."""
        try:
            own, scattered = await self._in_thread(own_hosts, question, session)
        except Exception:  # noqa: BLE001  (likewise)
            self._note("broken", f"the hosts of {question.domain} could not be counted", trace=True)
            own = scattered = False
        return replace(outcome, own=own, authorised=not scattered, until=session.until)

    async def _in_thread(
        self, work: Callable[[Question, Session, IsOwn], _T], question: Question, session: Session
    ) -> _T:
        # Not abandoned when the time is over: the question it waits for is cancelled, which ends the
        # thread at once, so there are never more threads than checks.
        is_own = self._is_own(question.home)
        return await trio.to_thread.run_sync(work, question, session, is_own, limiter=self._limiter)

    def _is_own(self, home: str) -> IsOwn:
        """Whether names lie in this registered domain."""
        return (lambda name: self._registered_domain(name) == home) if home else nobodys

    def _ask_from_thread(self, name: str, kind: str) -> Known:
        return trio.from_thread.run(self.lookups.ask, name, kind)

    def _note(self, what: str, why: str, *, trace: bool = False) -> None:
        """Count trouble, and say it seldom."""
        self.counts[what] += 1
        now = self._monotonic()
        if now < self._silent_until.get(what, now):
            return
        self._silent_until[what] = now + _WARN_EVERY
        count = self.counts[what]
        _log.warning("spf: %s; such mail is judged without SPF (%d so far)", why, count, exc_info=trace)


def _key(question: Question) -> _Asked:
    return question.client, question.domain, bool(question.home)


def question_of(attempt: Attempt) -> Question | None:
    """What to ask about an attempt; None: there is no domain that could have a record.

    RFC 7208 section 4.3: the domain must have several labels, each of 1 to 63 octets; address
    literals have none.
    """
    if attempt.client_address is None:
        return None
    helo = host_name(attempt.helo)
    local, domain = split_address(attempt.sender) if attempt.sender else ("postmaster", helo)
    domain = host_name(domain)
    if not _is_domain(domain):
        return None
    local = (local or "postmaster").encode("ascii", "replace").decode("ascii")[:_LONGEST_LOCAL]
    helo = helo if helo.isascii() and len(helo) <= _LONGEST_DOMAIN else "unknown"
    return Question(attempt.client_address, domain, local, helo)


def _is_domain(text: str) -> bool:
    if not text.isascii() or len(text) > _LONGEST_DOMAIN:
        return False
    labels = text.split(".")
    if len(labels) < 2 or labels[-1].isdigit() or labels[-1] in _NOT_IN_THE_DNS:
        return False
    return all(0 < len(label) < 64 and label.replace("-", "").replace("_", "").isalnum() for label in labels)


@hookimpl
def multigrey_settings() -> tuple[str, type[BaseModel]]:
    """Ours is the table `[plugins.spf]`."""
    return "spf", SpfSettings


@hookimpl
def multigrey_register(
    registry: Registry, settings: Mapping[str, BaseModel], registered_domain: RegisteredDomain
) -> None:
    """Register the source; ResolverError when there is nobody to ask."""
    wanted = settings.get("spf")
    if isinstance(wanted, SpfSettings):
        resolver = StubResolver(wanted.budget, wanted.nameservers, wanted.port)
        source = SpfSource(wanted, resolver, registered_domain=registered_domain)
        registry.slow_source("spf", source)
