"""SPF without a network: what the domains of the simulation publish, as a table.

Stands in for a slow source.  What it finds (`Findings`) is made by `wiring`, as the shipped plugin does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from multigrey.model import Address

__all__ = ["Authorised", "Spf", "authorised", "hosts_of", "networks_of"]

Network = IPv4Network | IPv6Network

_MOST_AREAS = 16
"""As the plugin counts: one that lists hosts in more places does not only list hosts of its own."""


@dataclass(frozen=True)
class Spf:
    """A domain's record."""

    own: frozenset[Address] = frozenset()
    """Hosts by its own a, mx, ip4 and ip6."""
    include: str = ""
    """Whose record it includes."""
    networks: tuple[Network, ...] = ()
    """What that record lists."""

    @property
    def areas(self) -> frozenset[tuple[int, int]]:
        """The /24 and /48 its own hosts lie in."""
        return frozenset((host.version, int(host) >> (8 if host.version == 4 else 80)) for host in self.own)


@dataclass(frozen=True)
class Authorised:
    """How a domain authorises a client."""

    domain: str
    own: bool
    include: str = ""


def hosts_of(addresses: Iterable[Address]) -> Spf:
    return Spf(frozenset(addresses))


def networks_of(base: str, number: int) -> tuple[IPv4Network, ...]:
    """So many /24 from this one on."""
    first = int(IPv4Address(base))
    return tuple(IPv4Network((first + 256 * index, 24)) for index in range(number))


def authorised(table: Mapping[str, Spf], domain: str, client: Address) -> Authorised | None:
    """How, or None: not at all; the record of the nearest parent stands for a subdomain."""
    while domain:
        spf = table.get(domain)
        if spf is not None:
            if client in spf.own:
                # Single hosts in so many places are no sender.
                return Authorised(domain, own=True) if len(spf.areas) <= _MOST_AREAS else None
            if any(client in network for network in spf.networks):
                return Authorised(domain, own=False, include=spf.include)
            return None
        domain = domain.partition(".")[2]
    return None
