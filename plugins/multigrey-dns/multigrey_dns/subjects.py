"""The subject of a question to a DNS list: the part of the name before the zone.  Pure.

Some data is never asked about: data for which lists cannot have entries (private addresses, names of
the local network), and text that is not a host name, because a client can send any text as a name.
"""

from __future__ import annotations

import re
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from multigrey.api import Attempt, host_name, split_address

__all__ = [
    "NAME_OCTETS",
    "Of",
    "domain_subject",
    "is_asked_about",
    "is_name",
    "reversed_address",
    "subject_of",
]

NAME_OCTETS = 253
"""The longest name, written with dots and without the last one (RFC 1035 section 2.3.4)."""

_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_LOCAL_NAMES = re.compile(
    r"(?:.*\.)?(?:arpa|example|internal|invalid|lan|local|localdomain|localhost|onion|test)"
)
"""Names that are never used on the Internet (RFC 6761, 6762, 7686, 8375 and custom)."""
_NEVER = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "224.0.0.0/3",
    )
)
"""Networks that no host on the Internet can connect from (RFC 6890).  Networks for documentation are
left out on purpose: no mail comes from them either, and tests need addresses that are not in use."""
_UNICAST = IPv6Network("2000::/3")
"""All IPv6 addresses that are assigned to hosts (RFC 4291 section 2.4, IANA's registry of IPv6 space)."""


class Of(Enum):
    """The part of an attempt that a list has entries about."""

    CLIENT_ADDRESS = "client-address"
    CLIENT_NAME = "client-name"
    HELO = "helo"
    SENDER_DOMAIN = "sender-domain"

    @property
    def is_domain(self) -> bool:
        """Whether it is a name rather than an address."""
        return self is not Of.CLIENT_ADDRESS


def reversed_address(address: IPv4Address | IPv6Address) -> str:
    """The octets or nibbles in reverse order, with dots between them (RFC 5782 section 2.1, 2.4)."""
    if address.version == 4:
        return ".".join(reversed(str(address).split(".")))
    return ".".join(reversed(f"{int(address):032x}"))


def is_asked_about(address: IPv4Address | IPv6Address) -> bool:
    """Whether a list can have an entry for an address."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NEVER)
    return address in _UNICAST


def is_name(text: str) -> bool:
    """Whether a text in lower case is a host or domain name of valid labels."""
    return len(text) <= NAME_OCTETS and _NAME.fullmatch(text) is not None


def domain_subject(text: str) -> str | None:
    """The subject for a domain name; None for text that is not a public domain name."""
    name = host_name(text)
    if "." not in name or not is_name(name) or _LOCAL_NAMES.fullmatch(name) or _is_address(name):
        return None
    return name


def _is_address(name: str) -> bool:
    """Whether it is an address: lists of names answer such questions with an error.

    A top-level domain is never a number.
    """
    if name.rpartition(".")[2].isdigit():
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def subject_of(attempt: Attempt, of: Of) -> str | None:
    """The subject of a question about an attempt; None if there is none."""
    match of:
        case Of.CLIENT_ADDRESS:
            address = attempt.client_address
            return None if address is None or not is_asked_about(address) else reversed_address(address)
        case Of.CLIENT_NAME:
            return domain_subject(attempt.client_name or "")
        case Of.HELO:
            return domain_subject(attempt.helo)
        case Of.SENDER_DOMAIN:
            return domain_subject(split_address(attempt.sender)[1])
