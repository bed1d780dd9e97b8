"""What a DNS list is asked about: the part of the question that stands before the zone.  Pure.

Nothing is asked that no list can know (private addresses, names of the local network), and nothing
that is no host name: what a mail server was told can be any text.
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
"""Names that never belong to anybody on the Internet (RFC 6761, 6762, 7686, 8375 and custom)."""
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
"""Networks nobody on the Internet can connect from (RFC 6890).  Those kept for documentation are not
among them: no mail comes from there either, and tests need addresses that belong to nobody."""
_UNICAST = IPv6Network("2000::/3")
"""All that is given to anybody (RFC 4291 section 2.4, IANA's registry of IPv6 space)."""


class Of(Enum):
    """Which part of an attempt a list knows about."""

    CLIENT_ADDRESS = "client-address"
    CLIENT_NAME = "client-name"
    HELO = "helo"
    SENDER_DOMAIN = "sender-domain"

    @property
    def is_domain(self) -> bool:
        """Whether it is a name rather than an address."""
        return self is not Of.CLIENT_ADDRESS


def reversed_address(address: IPv4Address | IPv6Address) -> str:
    """Octets or nibbles from the last to the first with dots between them (RFC 5782 section 2.1, 2.4)."""
    if address.version == 4:
        return ".".join(reversed(str(address).split(".")))
    return ".".join(reversed(f"{int(address):032x}"))


def is_asked_about(address: IPv4Address | IPv6Address) -> bool:
    """Whether a list can know anything about an address."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NEVER)
    return address in _UNICAST


def is_name(text: str) -> bool:
    """Whether a text in lower case is a host or domain name of valid labels."""
    return len(text) <= NAME_OCTETS and _NAME.fullmatch(text) is not None


def domain_subject(text: str) -> str | None:
    """A domain name as lists are asked about it; None for what is none, or no public one."""
    name = host_name(text)
    if "." not in name or not is_name(name) or _LOCAL_NAMES.fullmatch(name) or _is_address(name):
        return None
    return name


def _is_address(name: str) -> bool:
    """Lists of names answer questions about addresses with an error; no top-level domain is a number."""
    if name.rpartition(".")[2].isdigit():
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def subject_of(attempt: Attempt, of: Of) -> str | None:
    """What to ask a list about an attempt; None: nothing."""
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
