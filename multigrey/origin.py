"""Who is sending: the origin of an attempt.

Until names can be trusted (public suffixes, generated names) every origin is unnamed: the client
network.  A forged reverse name or HELO therefore earns nothing.
"""

from __future__ import annotations

from multigrey.addresses import network_of
from multigrey.model import Address, Attempt, Origin

__all__ = ["NOBODY", "origin_of", "trust_text"]

NOBODY = Origin("", named=False)
"""The origin of an attempt without a client address."""

_EXACT_IPV4 = 32
_SITE_IPV6 = 64


def origin_of(attempt: Attempt, ipv4_prefix: int, ipv6_prefix: int) -> Origin:
    """The client network, unnamed; `NOBODY` when the client's address is not known."""
    if attempt.client_address is None:
        return NOBODY
    return Origin(network_of(attempt.client_address, ipv4_prefix, ipv6_prefix), named=False)


def trust_text(origin: Origin, client_address: Address | None) -> str:
    """The text under which trust is counted for this origin.

    A named origin stands for itself; an unnamed client only for its exact IPv4 address or its /64,
    so that nobody earns trust for a neighbour in the same network.
    """
    if origin.named or client_address is None:
        return origin.text
    return network_of(client_address, _EXACT_IPV4, _SITE_IPV6)
