"""SPF for multigrey: mail is recognised from every host that its sender's domain authorises.

Registers the slow source `spf`, which is asked only about attempts that would be deferred.  It finds
    origin   `spf:DOMAIN` if the domain authorises this client, but not every client
    traits   `spf:RESULT`, RESULT as in RFC 7208 section 2.6; with `temperror` the others are unknown
    own      whether the client is one of the domain's own hosts, if these are few (see `own_hosts`)
    listed_by  the domains whose records list the client, from the innermost `include` to the domain itself
The domain is that of the envelope sender; for the null sender it is that of the HELO.
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
    # The result without the error is unknown, so all other traits stay unanswered.
    "temperror": Findings(traits=frozenset({"spf:temperror"}), unanswered=_TRAITS - {"spf:temperror"}),
}
_LONGEST_LOCAL = 64
"""Octets of a local part (RFC 5321 section 4.5.3.1.1)."""
_LONGEST_DOMAIN = 253
_NOT_IN_THE_DNS = frozenset({"internal", "invalid", "local", "localhost", "onion"})
"""Top-level labels that do not exist in the public DNS (RFC 6761, 6762, 7686)."""
_WARN_EVERY = 600.0

RegisteredDomain = Callable[[str], str | None]
"""Returns the registered domain of a name; None if it has none."""


def _unknown(name: str) -> str | None:
    del name
    return None


_Asked = tuple[object, str, bool]
"""The key of a cached result: client, domain, and whether own hosts were looked for."""
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
        default=50, ge=1, le=400, strict=True, description="Most checks at a time; others are not made."
    )
    min_ttl: int = Field(
        default=10,
        ge=1,
        strict=True,
        description="The shortest time in seconds for which an answer is cached; also the time for a "
        "failure.",
    )
    max_ttl: int = Field(
        default=3600,
        le=86400,
        strict=True,
        description="The longest time in seconds for which an answer is cached.",
    )
    cache: int = Field(
        default=10_000,
        ge=100,
        le=1_000_000,
        strict=True,
        description="Most cached answers, and most cached results.",
    )
    failures: int = Field(
        default=5, ge=1, strict=True, description="Time-outs in a row after which questions pause."
    )
    pause: float = Field(
        default=10, ge=1, le=300, description="Seconds of the first pause; doubled each time, up to 300."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_ttl < self.min_ttl:
            raise ValueError("max_ttl must not be less than min_ttl")
        if len(set(self.nameservers)) < len(self.nameservers):
            raise ValueError("an address is listed twice in nameservers")
        return self


class SpfSource:
    """The slow source `spf`."""

    traits = _TRAITS

    def __init__(
        self,
        settings: SpfSettings,
        resolver: Resolver,
        monotonic: Callable[[], float] = trio.current_time,
        registered_domain: RegisteredDomain = _unknown,
    ) -> None:
        """`monotonic` returns the time in seconds, for the cache and the pauses.

        Without `registered_domain` no domain has own hosts.
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
        """Check whether the sender's domain authorises the client.  Never raises; waits at most `budget`."""
        if attempt.raw or attempt.client_address is None or is_local(attempt.client_address):
            return _NOT_FOR_SPF
        question = question_of(attempt)
        if question is None:
            self.counts["none"] += 1
            return _FINDINGS["none"]
        if attempt.sender:  # bounces never earn trust, so own hosts are not looked for
            question = replace(question, home=self._registered_domain(question.domain) or "")
        outcome = self._results.get(_key(question))
        if outcome is not None:
            self.counts["remembered"] += 1
        elif self._running >= self._checks:
            self._note("busy", "more checks at a time than allowed (checks in [plugins.spf])")
            return _NOT_ASKED
        elif self.lookups.paused:
            self._note("paused", "the name servers do not answer, so questions pause for a while")
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
        """The outcome when the time is over.

        A client that has passed is still authorised, even if it is unknown whether it is an own host.
        """
        if outcome is not None:
            return replace(outcome, own=False, until=min(outcome.until, until))
        self._note("late", f"a check took longer than {self._budget:g} s (budget in [plugins.spf])")
        return Outcome("temperror", authorised=False, until=until, reusable=True)

    async def _evaluate(self, question: Question, session: Session) -> Outcome:
        try:
            return await self._in_thread(evaluate, question, session)
        except Exception:  # noqa: BLE001  (pyspf can fail in any way on a foreign record; it is logged)
            self._note("broken", f"the check of {question.domain} failed", trace=True)
            return Outcome("temperror", authorised=False, until=0, reusable=False)

    async def _measure(self, question: Question, session: Session, outcome: Outcome) -> Outcome:
        """Complete the outcome after counting the domain's own hosts."""
        try:
            own, scattered = await self._in_thread(own_hosts, question, session)
        except Exception:  # noqa: BLE001  (likewise)
            self._note("broken", f"the hosts of {question.domain} could not be counted", trace=True)
            own = scattered = False
        return replace(outcome, own=own, authorised=not scattered, until=session.until)

    async def _in_thread(
        self, work: Callable[[Question, Session, IsOwn], _T], question: Question, session: Session
    ) -> _T:
        # Do not abandon the thread on cancellation: the question it waits for is cancelled, which ends the
        # thread at once, so there are never more threads than checks.
        is_own = self._is_own(question.home)
        return await trio.to_thread.run_sync(work, question, session, is_own, limiter=self._limiter)

    def _is_own(self, home: str) -> IsOwn:
        """The test whether names are in this registered domain."""
        return (lambda name: self._registered_domain(name) == home) if home else nobodys

    def _ask_from_thread(self, name: str, kind: str) -> Known:
        return trio.from_thread.run(self.lookups.ask, name, kind)

    def _note(self, what: str, why: str, *, trace: bool = False) -> None:
        """Count a problem, and log it at most once in `_WARN_EVERY` seconds for each kind."""
        self.counts[what] += 1
        now = self._monotonic()
        if now < self._silent_until.get(what, now):
            return
        self._silent_until[what] = now + _WARN_EVERY
        count = self.counts[what]
        _log.warning("spf: %s; such mail is decided without SPF (%d so far)", why, count, exc_info=trace)


def _key(question: Question) -> _Asked:
    return question.client, question.domain, bool(question.home)


def question_of(attempt: Attempt) -> Question | None:
    """Return what to check about an attempt; None if it has no domain that could have a record.

    RFC 7208 section 4.3: the domain must have several labels, each of 1 to 63 octets; address
    literals have no domain.
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
    """The plugin's table is `[plugins.spf]`."""
    return "spf", SpfSettings


@hookimpl
def multigrey_register(
    registry: Registry, settings: Mapping[str, BaseModel], registered_domain: RegisteredDomain
) -> None:
    """Register the source.  Raises ResolverError if no name server is configured."""
    wanted = settings.get("spf")
    if isinstance(wanted, SpfSettings):
        resolver = StubResolver(wanted.budget, wanted.nameservers, wanted.port)
        source = SpfSource(wanted, resolver, registered_domain=registered_domain)
        registry.slow_source("spf", source)
