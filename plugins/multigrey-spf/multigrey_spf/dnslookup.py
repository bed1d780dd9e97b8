"""DNS for SPF: one question at a time, what is remembered of the answers, and when not to ask.

A resolver is anything with `resolve` (tests bring a zone); `StubResolver` is the one in use, on
dnspython.  `Lookups` puts a memory and a circuit breaker before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import dns.asyncbackend
import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdata
import dns.rdatatype
import dns.resolver

from multigrey.api import Breaker, TtlCache

__all__ = [
    "NEGATIVE_TTL",
    "Answer",
    "Known",
    "Lookups",
    "Resolver",
    "ResolverError",
    "StubResolver",
    "Unanswered",
]

NEGATIVE_TTL = 60.0
"""Seconds "there is no such thing" is believed when the answer has no SOA (RFC 2308 section 5)."""
_MOST_VALUES = 20
"""Of one answer.  RFC 7208 section 4.6.4 allows 10 names; more than that must still be seen to be more."""
_MOST_OCTETS = 4096
"""Of all texts of a name together; beyond it only SPF records are kept."""
_MOST_STRINGS = 128
"""Of all texts of a name together, likewise: an empty string has no octets, but takes room."""
_SILENT_FOR = 30.0
"""Seconds without any answer before a time-out may be the fault of our own name servers."""
_MOST_WITNESSES = 8
"""Names kept to be asked for when it must be found out whether our name servers are back."""

Value = str | tuple[int, str] | tuple[bytes, ...]
"""A and AAAA: the address; PTR: a name; MX: preference and name; TXT: its strings."""
Asked = tuple[str, str]
"""A name (lower case, no trailing dot) and a record type."""


class ResolverError(Exception):
    """There is no name server to ask; the text says what to configure."""


class Unanswered(Exception):  # noqa: N818  (an outcome, not a fault)
    """A question without an answer, from which nothing about the name can be concluded."""

    def __init__(self, message: str, *, silent: bool) -> None:
        """`silent`: nobody said anything in time.  Else a server said it cannot tell (SERVFAIL …)."""
        super().__init__(message)
        self.silent = silent


@dataclass(frozen=True, slots=True)
class Answer:
    """What a name has; `values` is empty when there is no such name, or nothing of this type."""

    values: tuple[Value, ...]
    ttl: float
    """Seconds it may be believed: the least of all records it was made from."""


@dataclass(frozen=True, slots=True)
class Known:
    """A remembered answer."""

    values: tuple[Value, ...] | None
    """None: there was none."""
    until: float
    """Monotonic time up to which it may be believed."""


class Resolver(Protocol):
    """Somebody who knows the DNS."""

    async def resolve(self, name: str, kind: str) -> Answer:
        """The records of type `kind` (A AAAA MX PTR TXT), aliases followed.  Raises Unanswered only."""


class StubResolver:
    """Asks name servers over UDP, and over TCP when an answer was truncated."""

    def __init__(self, patience: float, nameservers: Sequence[str] = (), port: int = 53) -> None:
        """Gives up a question after `patience` seconds; without `nameservers` takes resolv.conf's.

        Raises ResolverError.
        """
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=not nameservers)
        except dns.resolver.NoResolverConfiguration as error:
            raise ResolverError(
                "resolv.conf names no name server: set nameservers in [plugins.spf]"
            ) from error
        if nameservers:
            self._resolver.nameservers = list(nameservers)
        self._resolver.port = port
        self._resolver.lifetime = patience
        self._resolver.timeout = patience / 2  # so that a lost packet, or a dead first server, is no end
        self._backend = dns.asyncbackend.get_backend("trio")
        # Now, because root may have been given up by the first use.
        dns.rdata.load_all_types(disable_dynamic_load=False)  # type: ignore[no-untyped-call]  # (it has none)

    async def resolve(self, name: str, kind: str) -> Answer:
        """See `Resolver.resolve`.  A name that cannot be asked for does not exist."""
        try:
            question = dns.name.Name([*(label.encode("ascii") for label in name.split(".")), b""])
        except (dns.exception.DNSException, UnicodeError):
            return Answer((), NEGATIVE_TTL)
        try:
            found = await self._resolver.resolve(
                question, kind, raise_on_no_answer=False, search=False, backend=self._backend
            )
        except dns.resolver.NXDOMAIN as error:
            said = error.responses()  # type: ignore[no-untyped-call]  # (it has none)
            return Answer((), min(map(_ttl_of, said.values()), default=NEGATIVE_TTL))
        except dns.resolver.NoNameservers as error:
            answered = any(entry[4] is not None for entry in error.kwargs["errors"])
            raise Unanswered(f"no usable answer for {name} {kind}", silent=not answered) from error
        except (dns.exception.DNSException, OSError) as error:
            raise Unanswered(f"no answer for {name} {kind}", silent=True) from error
        return Answer(tuple(_value_of(kind, record) for record in found.rrset or ()), _ttl_of(found.response))


def _ttl_of(response: Any) -> float:
    """The least of the chain of answers; for none, the SOA's (RFC 2308 section 5)."""
    try:
        chain = response.resolve_chaining()
    except dns.exception.DNSException:
        return NEGATIVE_TTL
    has_soa = any(records.rdtype == dns.rdatatype.SOA for records in response.authority)
    ttl = float(chain.minimum_ttl)
    return ttl if has_soa or chain.answer is not None else min(ttl, NEGATIVE_TTL)


def _value_of(kind: str, record: Any) -> Value:
    if kind == "MX":
        return record.preference, record.exchange.to_text(omit_final_dot=True)
    if kind == "TXT":
        return tuple(record.strings)
    if kind == "PTR":
        return str(record.target.to_text(omit_final_dot=True))
    return str(record.address)


class Lookups:
    """A resolver with a memory, who is not asked while it does not answer."""

    def __init__(
        self,
        resolver: Resolver,
        monotonic: Callable[[], float],
        breaker: Breaker,
        *,
        min_ttl: float = 10,
        max_ttl: float = 3600,
        size: int = 10_000,
    ) -> None:
        """Answers are believed `min_ttl` to `max_ttl` seconds, their lack `min_ttl`; `size` are kept."""
        self._resolver = resolver
        self._monotonic = monotonic
        self._breaker = breaker
        self._min_ttl = min_ttl
        self._max_ttl = max_ttl
        self._known: TtlCache[Asked, Known] = TtlCache(monotonic, size)
        self._answered_at = float("-inf")
        self._silent: set[str] = set()
        """Domains whose time-outs the breaker has counted since the last answer."""
        self._tripped = False
        self._probe: Asked | None = None
        """Whoever asked for this finds out whether the name servers are back."""
        self._witnesses: dict[str, Asked] = {}
        """What was answered, by domain.  The first ones stay, so that no stranger puts his own in."""
        self.questions = 0
        """How many were put to the resolver."""

    @property
    def paused(self) -> bool:
        """Whether nobody is asked at the moment."""
        return self._breaker.open

    async def ask(self, name: str, kind: str) -> Known:
        """What is known of a name; asks if nothing is."""
        known = self._known.get((name, kind))
        if known is not None:
            return known
        if not self._breaker.allows():
            return Known(None, self._monotonic())
        if self._tripped and not await self._are_back((name, kind)):
            return Known(None, self._monotonic())
        return await self._fetch((name, kind), (name, kind))

    async def _are_back(self, asked: Asked) -> bool:
        """Whether to ask, now that the pause is over.

        The first question after a pause may be any stranger's, whose servers may be silent on purpose:
        a name that was answered before is asked for in its place, if there is one.
        """
        self._probe = asked
        witness = next(iter(self._witnesses.values()), None)
        if witness is None or witness == asked:
            return True
        await self._fetch(witness, asked)
        return not self._tripped

    async def _fetch(self, asked: Asked, wanted: Asked) -> Known:
        """The answer to `asked`, on the way to the one to `wanted`."""
        name, kind = asked
        self.questions += 1
        try:
            answer = await self._resolver.resolve(name, kind)
        except Unanswered as trouble:
            # A server that says "cannot tell" of one name is alive: whoever owns that name must not
            # be able to silence us about all others.
            if not trouble.silent:
                self._succeeded()
            else:
                self._failed(wanted)
            return self._remember(asked, None, self._min_ttl)
        self._succeeded()
        if answer.values and len(self._witnesses) < _MOST_WITNESSES:
            self._witnesses.setdefault(_domain_of(name), asked)
        ttl = min(max(answer.ttl, self._min_ttl), self._max_ttl)
        return self._remember(asked, _bounded(kind, answer.values), ttl)

    def timed_out(self, pending: Asked | None) -> None:
        """The time for a check was over while `pending` was asked for."""
        if pending is not None:
            self._failed(pending)
            self._remember(pending, None, self._min_ttl)

    def _succeeded(self) -> None:
        self._breaker.succeeded()
        self._answered_at = self._monotonic()
        self._silent.clear()
        self._tripped = False
        self._probe = None

    def _failed(self, asked: Asked) -> None:
        """Nobody said anything in time: the fault of that domain's servers, or of our own.

        Of our own only if several domains in a row are silent, and nobody else is answered.
        """
        if self._tripped:
            if asked == self._probe:  # others were asked for before the pause
                self._probe = None
                self._breaker.failed()
                self._next_witness()
            return
        domain = _domain_of(asked[0])
        if self._monotonic() - self._answered_at < _SILENT_FOR or domain in self._silent:
            return
        self._silent.add(domain)
        self._breaker.failed()
        self._tripped = self._breaker.open

    def _next_witness(self) -> None:
        """Ask for another name the next time: this one may be gone."""
        if self._witnesses:
            domain = next(iter(self._witnesses))
            self._witnesses[domain] = self._witnesses.pop(domain)

    def _remember(self, asked: Asked, values: tuple[Value, ...] | None, ttl: float) -> Known:
        known = Known(values, self._monotonic() + ttl)
        self._known.put(asked, known, ttl)
        return known


def _domain_of(name: str) -> str:
    """About what one owner has: the last two labels.  Too much (co.uk) only means fewer domains count."""
    return ".".join(name.split(".")[-2:])


def _bounded(kind: str, values: tuple[Value, ...]) -> tuple[Value, ...]:
    """No more than is of use, so that nobody fills the memory; SPF records stay whole for judgement."""
    if kind != "TXT":
        return values[:_MOST_VALUES]
    texts = [value for value in values if value and isinstance(value[0], bytes)]
    sizes = [len(part) for text in texts for part in text if isinstance(part, bytes)]
    if len(sizes) <= _MOST_STRINGS and sum(sizes) <= _MOST_OCTETS:
        return tuple(texts)
    kept: list[Value] = []
    for text in texts:
        joined = b"".join(part for part in text if isinstance(part, bytes))
        # one octet more than allowed is enough to see that it is too long
        kept.append((joined[: _MOST_OCTETS + 1] if joined[:6].lower() == b"v=spf1" else b"",))
    return tuple(sorted(kept, reverse=True)[:3])  # two records are an error already (RFC 7208 section 4.5)
