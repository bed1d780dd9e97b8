"""DNS look-ups for SPF: a resolver, a cache of answers, and a circuit breaker.

A resolver is any object with `resolve` (tests use a zone); `StubResolver`, on dnspython, is the real
one.  `Lookups` puts the cache and the circuit breaker before it.
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
"""Seconds for which a negative answer without an SOA is cached (RFC 2308 section 5)."""
_MOST_VALUES = 20
"""Most values kept of one answer.  RFC 7208 section 4.6.4 allows 10 names, and an excess must still show."""
_MOST_OCTETS = 4096
"""Most octets kept of all texts of a name together; above it only SPF records are kept."""
_MOST_STRINGS = 128
"""Most strings kept of all texts of a name together: an empty string has no octets, but takes memory."""
_SILENT_FOR = 30.0
"""Seconds without any answer after which a time-out may be a failure of our own name servers."""
_MOST_WITNESSES = 8
"""Most names kept for testing whether our name servers answer again."""

Value = str | tuple[int, str] | tuple[bytes, ...]
"""A and AAAA: the address; PTR: a name; MX: preference and name; TXT: its strings."""
Asked = tuple[str, str]
"""A name (lower case, no trailing dot) and a record type."""


class ResolverError(Exception):
    """No name server is configured; the text says what to set."""


class Unanswered(Exception):  # noqa: N818  (an outcome, not a fault)
    """A question without an answer, from which nothing can be concluded about the name."""

    def __init__(self, message: str, *, silent: bool) -> None:
        """`silent`: no server answered in time.  Else a server answered with an error (SERVFAIL …)."""
        super().__init__(message)
        self.silent = silent


@dataclass(frozen=True, slots=True)
class Answer:
    """The records of a name; `values` is empty if the name does not exist or has none of this type."""

    values: tuple[Value, ...]
    ttl: float
    """Seconds for which it is valid: the least TTL of all records that it was made from."""


@dataclass(frozen=True, slots=True)
class Known:
    """A cached answer."""

    values: tuple[Value, ...] | None
    """None: there was no answer."""
    until: float
    """Monotonic time until which it is valid."""


class Resolver(Protocol):
    """Answers DNS questions."""

    async def resolve(self, name: str, kind: str) -> Answer:
        """Return the records of type `kind` (A AAAA MX PTR TXT); aliases are followed.

        Raises only Unanswered.
        """


class StubResolver:
    """Asks name servers over UDP, and over TCP when an answer was truncated."""

    def __init__(self, patience: float, nameservers: Sequence[str] = (), port: int = 53) -> None:
        """A question takes at most `patience` seconds; without `nameservers`, resolv.conf's are used.

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
        self._resolver.timeout = patience / 2  # so that a lost packet or a dead server leaves time to retry
        self._backend = dns.asyncbackend.get_backend("trio")
        # Load these modules now: after root is given up, their files may be unreadable at the first use.
        dns.rdata.load_all_types(disable_dynamic_load=False)  # type: ignore[no-untyped-call]  # (it has none)

    async def resolve(self, name: str, kind: str) -> Answer:
        """See `Resolver.resolve`.  A name that is not valid in the DNS does not exist."""
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
    """The least TTL of the chain of answers; of a negative answer, the SOA's (RFC 2308 section 5)."""
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
    """A resolver with a cache and a circuit breaker: it is not asked while it does not answer."""

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
        """Answers are cached for `min_ttl` to `max_ttl` seconds, failures for `min_ttl`; at most `size`."""
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
        """The question that tests after a pause whether the name servers answer again."""
        self._witnesses: dict[str, Asked] = {}
        """Questions that were answered, by domain.  The first stay: a stranger cannot replace them."""
        self.questions = 0
        """The number of questions to the resolver."""

    @property
    def paused(self) -> bool:
        """Whether questions pause at the moment."""
        return self._breaker.open

    async def ask(self, name: str, kind: str) -> Known:
        """Return the cached answer for a name; without one, ask the resolver.  Never raises Unanswered."""
        known = self._known.get((name, kind))
        if known is not None:
            return known
        if not self._breaker.allows():
            return Known(None, self._monotonic())
        if self._tripped and not await self._are_back((name, kind)):
            return Known(None, self._monotonic())
        return await self._fetch((name, kind), (name, kind))

    async def _are_back(self, asked: Asked) -> bool:
        """Whether to ask `asked`, now that the pause is over.

        The first question after a pause may be for any stranger's domain, whose servers may be silent on
        purpose.  So a name that was answered before is asked first, if there is one.
        """
        self._probe = asked
        witness = next(iter(self._witnesses.values()), None)
        if witness is None or witness == asked:
            return True
        await self._fetch(witness, asked)
        return not self._tripped

    async def _fetch(self, asked: Asked, wanted: Asked) -> Known:
        """Ask the resolver for `asked`, as a step towards the answer to `wanted`."""
        name, kind = asked
        self.questions += 1
        try:
            answer = await self._resolver.resolve(name, kind)
        except Unanswered as trouble:
            # A server that answers one name with an error is alive.  This must not count as a failure: the
            # owner of that name could otherwise stop the questions for all other names.
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
        """Record that the time for a check was over while `pending` was being asked."""
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
        """Record that no server answered in time: those of this domain failed, or our own.

        It counts as a failure of our own only if several domains in a row are silent, and no other
        question is answered meanwhile.
        """
        if self._tripped:
            if asked == self._probe:  # only the probe counts: other questions began before the pause
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
        """Use another name for the next test, because this one may not exist any more."""
        if self._witnesses:
            domain = next(iter(self._witnesses))
            self._witnesses[domain] = self._witnesses.pop(domain)

    def _remember(self, asked: Asked, values: tuple[Value, ...] | None, ttl: float) -> Known:
        known = Known(values, self._monotonic() + ttl)
        self._known.put(asked, known, ttl)
        return known


def _domain_of(name: str) -> str:
    """The last two labels: roughly the domain of one owner.

    Too short a name (co.uk) only means that fewer domains are counted as different.
    """
    return ".".join(name.split(".")[-2:])


def _bounded(kind: str, values: tuple[Value, ...]) -> tuple[Value, ...]:
    """Drop values beyond the limits, so that a stranger cannot fill the memory; SPF records stay whole."""
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
