"""Who is sending: the origin of an attempt.

Until names can be trusted (public suffixes, generated names) every origin is unnamed: the client
network.  A forged reverse name or HELO therefore earns nothing.
"""

from __future__ import annotations

from multigrey.addresses import network_of
from multigrey.model import Address, Attempt, Origin

__all__ = ["origin_of", "trust_text"]

_EXACT_IPV4 = 32
_SITE_IPV6 = 64


def origin_of(attempt: Attempt, network: str) -> Origin:
    """Who is sending: for now the client network, unnamed.

    `network` is the text of the client network; "" (nobody) when the client's address is not known.
    """
    del attempt
    return Origin(network, named=False)


def trust_text(origin: Origin, client_address: Address | None) -> str:
    """The text under which trust is counted for this origin.

    A named origin stands for itself; an unnamed client only for its exact IPv4 address or its /64,
    so that nobody earns trust for a neighbour in the same network.
    """
    if origin.named or client_address is None:
        return origin.text
    return network_of(client_address, _EXACT_IPV4, _SITE_IPV6)
