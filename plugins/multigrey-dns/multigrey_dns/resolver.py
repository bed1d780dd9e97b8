"""Resolves names to addresses with dnspython on trio.

The rest of the plugin uses only the protocol `Resolver`, so that tests can supply the answers.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Protocol

import dns.asyncbackend
import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.DNAME
import dns.rdtypes.ANY.NS
import dns.rdtypes.ANY.SOA
import dns.rdtypes.IN.A
import dns.resolver
import trio

# Do not remove the imports of dns.rdtypes: dnspython would import these modules when it first meets such
# a record, and a daemon that has given up root by then may not be able to read the files any more.

__all__ = ["Answer", "Resolver", "ResolverError", "StubResolver"]

_TROUBLE = (dns.exception.DNSException, OSError, EOFError, ValueError, trio.BrokenResourceError)
_PATIENCE = 10.0
"""Seconds a question may take if the caller has set no deadline."""
_LOCAL = "127.0.0.1"
"""The name server to use if resolv.conf names none, as resolv.conf(5) says."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """The addresses of a name; empty if the name does not exist, or has none."""

    addresses: frozenset[IPv4Address]
    ttl: float
    """Seconds for which the answer is valid; also for a negative one (RFC 2308)."""


class ResolverError(Exception):
    """There was no answer: unreachable servers, a server's failure or refusal, or a time-out.

    The text does not contain the question, which may contain a secret.
    """


class Resolver(Protocol):
    """Answers questions for A records."""

    async def addresses(self, name: str) -> Answer:
        """Return the addresses of an absolute name (without its last dot).

        Aliases (CNAME) are followed.  "No such name" is an answer.  Raises ResolverError without an answer.
        The caller's cancel scope limits the time.
        """


class StubResolver:
    """Asks the servers of the configuration, or those of /etc/resolv.conf."""

    def __init__(
        self,
        nameservers: Sequence[tuple[str, int]],
        try_seconds: float,
        resolv_conf: Path = Path("/etc/resolv.conf"),
    ) -> None:
        """`nameservers`: addresses and ports, tried in this order; if empty, those of `resolv_conf`.

        One try takes at most `try_seconds`; then the next server is asked, or the same one again.
        """
        self._try_seconds = try_seconds
        self._path = None if nameservers else resolv_conf
        self._stamp = _stamp(resolv_conf)
        self._backend = dns.asyncbackend.get_backend("trio")
        self._resolver = self._of(nameservers) if nameservers else self._of_file(resolv_conf)

    async def addresses(self, name: str) -> Answer:
        """See `Resolver.addresses`."""
        left = trio.current_effective_deadline() - trio.current_time()
        try:
            question = dns.name.from_text(name)
            return await self._ask(question, min(max(left, 0.001), _PATIENCE))
        except _TROUBLE as error:
            raise ResolverError(_reason(error)) from error

    async def _ask(self, question: dns.name.Name, lifetime: float) -> Answer:
        try:
            answer = await self._resolver.resolve(
                question,
                "A",
                raise_on_no_answer=False,
                lifetime=lifetime,
                search=False,
                backend=self._backend,
            )
        except dns.resolver.NXDOMAIN as error:
            response: dns.message.QueryMessage = error.kwargs["responses"][question]
            return Answer(frozenset(), response.resolve_chaining().minimum_ttl)
        if answer.response.flags & dns.flags.TC:
            raise ResolverError("the answer was truncated, over TCP too")
        addresses = frozenset(IPv4Address(record.address) for record in answer)
        return Answer(addresses, answer.chaining_result.minimum_ttl)

    def refresh(self) -> None:
        """Read /etc/resolv.conf again if it is in use and was replaced."""
        if self._path is None:
            return
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            self._resolver = self._of_file(self._path)

    def _of(self, nameservers: Sequence[tuple[str, int]]) -> dns.asyncresolver.Resolver:
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers = [dns.nameserver.Do53Nameserver(*server) for server in nameservers]
        resolver.timeout = self._try_seconds
        return resolver

    def _of_file(self, path: Path) -> dns.asyncresolver.Resolver:
        try:
            resolver = dns.asyncresolver.Resolver(str(path))
        except (dns.exception.DNSException, ValueError) as error:
            _log.warning("%s names no name server (%s): using %s", path, error, _LOCAL)
            return self._of([(_LOCAL, 53)])
        resolver.timeout = self._try_seconds
        return resolver


def _reason(error: Exception) -> str:
    """What went wrong with each server, without the question, which may contain a secret."""
    trouble = error.kwargs.get("errors") if isinstance(error, dns.exception.DNSException) else None
    if not trouble:
        return type(error).__name__
    said = {
        f"{one[0]}: {one[3] if isinstance(one[3], str) else type(one[3]).__name__}": None for one in trouble
    }
    return "; ".join(said)[:300]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
