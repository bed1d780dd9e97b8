"""Counts the hosts that a domain's SPF records list as its own, and checks whether a client is one.

Own hosts are the addresses of `ip4` and `ip6`, and of `a` and `mx` whose hosts are in the domain's
registered domain.  They count in the domain's record and in records below its registered domain that it
includes or redirects to.  An included record of another owner is that of a service, which also sends for
others.  `ptr`, `exists` and names with macros do not list addresses.

A domain may list any number of hosts one by one.  So the limit is on the networks that contain them, in
all of its records, also in terms after the one that matched: 16 networks of /24 (as many as a /20 has),
or of /48 (a /44).  A domain that lists single hosts in more networks is not treated as a sender: an
attacker could list hosts that are not his, so that each of them passes as the retry of another.
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
"""Terms of which a record may have at most ten, including redirect (RFC 7208 section 4.6.4)."""
_NOT_AUTHORISING = ("-", "?", "~")


class Hosts(NamedTuple):
    """The result of counting a domain's own hosts."""

    own: bool
    """Whether the client is one of them, and they are few."""
    scattered: bool
    """Whether the domain lists single hosts in too many networks."""


def own_hosts(question: Question, session: Session, is_own: IsOwn) -> Hosts:
    """Count the domain's own hosts, after the client has passed as one of them.

    If a needed look-up fails, the hosts do not count as few.  It waits for the DNS, so call it in a thread.
    """
    hosts = _OwnHosts(question, session, is_own)
    try:
        hosts.take(question.domain)
    except (_UnlimitedError, spf.PermError, spf.TempError):
        return Hosts(own=False, scattered=hosts.scattered)
    return Hosts(hosts.have_client and not hosts.too_many, hosts.scattered)


class _UnlimitedError(Exception):
    """The domain authorises every client."""


class _OwnHosts(Check):
    """Walks through all records below a registered domain."""

    def __init__(self, question: Question, session: Session, is_own: IsOwn) -> None:
        super().__init__(question, session, is_own)
        self._client = question.client
        self._networks: set[int] = set()
        self._of_single_hosts: set[int] = set()
        self.have_client = False
        self.too_many = False

    @property
    def scattered(self) -> bool:
        """Whether single hosts are in too many networks."""
        return len(self._of_single_hosts) > _MOST_NETWORKS

    def take(self, domain: str) -> None:
        """Count the hosts in the record of a domain.  Raises PermError, TempError and _UnlimitedError."""
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
        """Count the hosts of one term.  Returns whether it is `all`, after which no term counts."""
        if "%" in term:
            self.check_lookups()
            return False
        _, mechanism, name, prefix, _ = self.validate_mechanism(term)
        if mechanism in _LOOKS_UP:
            self.check_lookups()
        if not term.startswith(_NOT_AUTHORISING):
            self._take_hosts(mechanism, name, prefix)
        return bool(mechanism == "all")

    def _take_hosts(self, mechanism: str, name: str, prefix: int) -> None:
        """Count the hosts that a term authorises."""
        if mechanism == "all":
            raise _UnlimitedError
        if mechanism == "include":
            self._follow(name)
        elif mechanism == ("ip4" if self._client.version == 4 else "ip6"):
            self._add(name, prefix)
        elif mechanism in {"a", "mx"} and self._is_own(host_name(name)):
            for host in [name] if mechanism == "a" else self._mail_servers(name):
                for address in self.dns(host, self.A, ignore_void=True):
                    self._add(str(address), prefix)

    def _follow(self, name: str) -> None:
        """Count the hosts of another record, if its domain has the same owner (registered domain)."""
        if "%" not in name and self._is_own(host_name(name)):
            self.take(name)

    def _mail_servers(self, name: str) -> list[str]:
        """The mail servers with names of the domain's own; others belong to a service."""
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
