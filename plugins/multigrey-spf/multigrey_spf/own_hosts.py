"""How many hosts a domain says are its own, and whether a client is one of them.

Own are the addresses of `ip4` and `ip6`, and of `a` and `mx` whose hosts lie in the domain's registered
domain, in the domain's record and in those it includes or redirects to below its registered domain.  What
it includes of anybody else is a service that sends for others, too.  `ptr`, `exists` and names with macros
tell no addresses.

A domain may list any number of hosts one by one.  So what counts is how many networks they touch,
in all of its records, also behind the term that matched: 16 networks of /24 (as many as a /20 has), or
of /48 (a /44).  One that lists single hosts in more networks than that is no sender at all: so somebody
would list machines that are not his, for each of them to pass as the others' retry.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import NamedTuple

import spf  # type: ignore[import-untyped]  # (pyspf has no types)

from multigrey.api import host_name
from multigrey_spf.evaluation import LOCAL, Check, IsOwn, Question, Session

__all__ = ["Hosts", "own_hosts"]

_NETWORK = {4: 24, 6: 48}
"""Prefix length of the networks that are counted."""
_MOST_NETWORKS = 16
_LOOKS_UP = frozenset({"a", "exists", "include", "mx", "ptr"})
"""Terms of which a record has ten at most, with redirect (RFC 7208 section 4.6.4)."""
_AUTHORISES_NOBODY = ("-", "?", "~")


class Hosts(NamedTuple):
    """What a domain's own hosts come to."""

    own: bool
    """Whether the client is one of them, and they are few."""
    scattered: bool
    """Whether single hosts in too many networks are among them."""


def own_hosts(question: Question, session: Session, is_own: IsOwn) -> Hosts:
    """What is to be said of the domain's own hosts, after a check by them that passed.

    The client is none of few if something that would have to be known cannot be looked up.  Waits for the
    DNS, so it belongs into a thread.
    """
    hosts = _OwnHosts(question, session, is_own)
    try:
        hosts.take(question.domain)
    except (_EverybodyError, spf.PermError, spf.TempError):
        return Hosts(own=False, scattered=hosts.scattered)
    return Hosts(hosts.have_client and not hosts.too_many, hosts.scattered)


class _EverybodyError(Exception):
    """The domain authorises everybody."""


class _OwnHosts(Check):
    """A walk through all records below a registered domain."""

    def __init__(self, question: Question, session: Session, is_own: IsOwn) -> None:
        super().__init__(question, session, is_own)
        self._client = question.client
        self._networks: set[int] = set()
        self._of_single_hosts: set[int] = set()
        self.have_client = False
        self.too_many = False

    @property
    def scattered(self) -> bool:
        """Whether single hosts lie in too many networks."""
        return len(self._of_single_hosts) > _MOST_NETWORKS

    def take(self, domain: str) -> None:
        """The hosts of the record of a domain.  Raises PermError, TempError and _EverybodyError."""
        record = self.dns_spf(domain)
        if not record:
            raise spf.PermError("no SPF record", domain)
        around, self.d = self.d, domain
        try:
            self._take_terms(record.split(" ")[1:])
        finally:
            self.d = around

    def _take_terms(self, terms: list[str]) -> None:
        redirect = ""
        for term in filter(None, terms):
            modifier = spf.RE_MODIFIER.split(term)[1:]
            if len(modifier) != 2:
                if self._take_mechanism(term):
                    return
            elif modifier[0].lower() == "redirect":
                redirect = modifier[1]
        if redirect:
            self.check_lookups()
            self._follow(redirect)

    def _take_mechanism(self, term: str) -> bool:
        """Whether no term behind this one counts."""
        if "%" in term:
            self.check_lookups()
            return False
        _, mechanism, name, prefix, _ = self.validate_mechanism(term)
        if mechanism in _LOOKS_UP:
            self.check_lookups()
        if not term.startswith(_AUTHORISES_NOBODY):
            self._take_hosts(mechanism, name, prefix)
        return bool(mechanism == "all")

    def _take_hosts(self, mechanism: str, name: str, prefix: int) -> None:
        """The hosts that a term authorises."""
        if mechanism == "all":
            raise _EverybodyError
        if mechanism == "include":
            self._follow(name)
        elif mechanism == ("ip4" if self._client.version == 4 else "ip6"):
            self._add(name, prefix)
        elif mechanism in {"a", "mx"} and self._is_own(host_name(name)):
            for host in [name] if mechanism == "a" else self._mail_servers(name):
                for address in self.dns(host, self.A, ignore_void=True):
                    self._add(str(address), prefix)

    def _follow(self, name: str) -> None:
        """What is said below the registered domain is said by the same owner."""
        if "%" not in name and self._is_own(host_name(name)):
            self.take(name)

    def _mail_servers(self, name: str) -> list[str]:
        """Those of the domain's own; others are a service's."""
        servers = self.dns(name, "MX", ignore_void=True)
        if len(servers) > spf.MAX_MX:
            raise spf.PermError("too many mail servers", name)
        hosts = [str(server[1]) for server in servers]
        return [host for host in hosts if self._is_own(host_name(host))]

    def _add(self, address: str, prefix: int) -> None:
        network = ip_network(f"{address}/{prefix}", strict=False)
        if any(network.subnet_of(local) for local in LOCAL if local.version == network.version):  # type: ignore[arg-type]  # (the same version)
            return
        wanted = _NETWORK[network.version]
        count = 1 << max(wanted - network.prefixlen, 0)
        first = int(network.network_address) >> (network.max_prefixlen - wanted)
        if network.prefixlen > wanted:
            self._of_single_hosts.add(first)
        if count <= _MOST_NETWORKS:
            self._networks.update(range(first, first + count))
        self.too_many = self.too_many or count > _MOST_NETWORKS or len(self._networks) > _MOST_NETWORKS
        self.have_client = self.have_client or self._client in network
