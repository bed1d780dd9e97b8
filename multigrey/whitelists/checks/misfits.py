"""Entries that can never match or that match every client, and what to write instead.

Lists are often copied from other programs, whose forms look alike: address ranges, wildcards, netmasks, lines
of lookup tables, the word `unknown`.  Taken as a name, such a text matches nothing for years.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError, summarize_address_range

from multigrey.errors import AddressError
from multigrey.matching.matchers import RegexSet, parse_network

__all__ = ["clients_instead", "ends_in_number", "every_one", "why_never"]

_MOST = 8
"""Networks that are shown; a range that needs more is reported as a wrong name."""
_OCTET = r"[0-9]{1,3}"
_ADDRESS = rf"{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}"
_RANGE = re.compile(rf"({_ADDRESS}) ?- ?({_ADDRESS}|{_OCTET})")
_WILDCARD = re.compile(rf"({_OCTET}(?:\.{_OCTET}){{0,2}})\.(?:\*(?:\.\*){{0,2}})?")
_NETMASK = re.compile(rf"({_ADDRESS})[/ ]({_ADDRESS})")
_BRACKETS = re.compile(r"\[([0-9A-Fa-f:.]+)\](/[0-9]{1,3})?")
_NAME = re.compile(r"(?:\*?\.)?((?:[a-z0-9_-]+\.)+[a-z0-9-]*[a-z][a-z0-9-]*)", re.IGNORECASE)
_BEFORE = frozenset(["acl", "racl", "whitelist", "allow", "accept", "permit", "addr", "domain", "client"])
_BEHIND = frozenset(["ok", "permit", "relay", "dunno", "accept", "allow", "whitelist", "white"])
"""Words around the client in lines of Postfix's tables, milter-greylist and others, in lower case."""
_NUMERIC = re.compile(r"[0-9./]+")
_LONGEST = 300

_NAMES = ("mail.example.org", "x-1.7q.de", "b2.xn--p1ai")
_ADDRESSES = ("a@mail.example.org", "zq.v@7q.de", "9+x@b-2.xn--p1ai")
"""Texts with nothing in common: what is found in all of them is found in every one."""


def every_one(pattern: str, subject: str) -> bool:
    """Whether a regular expression is found in every client name, or every address, there may be."""
    found = RegexSet([(pattern, True)])
    return all(found.get(text) for text in (_NAMES if subject == "client" else _ADDRESSES))


def ends_in_number(name: str) -> bool:
    """Whether the last label of a name has no letter, which the end of a host's name always has."""
    last = name.rpartition(".")[2]
    return bool(last) and last.isascii() and not any(map(str.isalpha, last))


def why_never(client: str) -> str:
    """Why no client can match this text; "" if one can."""
    bare = client.strip("/^$").lower() if client.startswith("/^") else client.lower()
    if bare == "unknown":
        return (
            "stands for clients without a verified name, which match by their address only: write the "
            "address or network of those that you mean"
        )
    if client.startswith("!"):
        return "would be an exception, which lists do not have: write a rule"
    is_name = not (client.startswith("/") or ":" in client or _NUMERIC.fullmatch(client))
    return "ends in a number, which no name does" if is_name and ends_in_number(client) else ""


def clients_instead(text: str) -> list[str]:
    """The clients that a text in the form of another program means, as they are written here.

    Empty if it means none, or is written right already.
    """
    if len(text) > _LONGEST:
        return []
    words = text.split()
    while len(words) > 1 and words[0].lower() in _BEFORE:
        words = words[1:]
    while len(words) > 1 and words[-1].lower() in _BEHIND:
        words = words[:-1]
    bare = " ".join(words).strip("\"'")
    found = list(_networks(bare))
    if found and len(found) <= _MOST:
        return [] if found == [text] else found
    if bare == text and not bare.startswith("*."):
        return []
    try:
        return [str(parse_network(bare)).removesuffix("/32").removesuffix("/128")]
    except AddressError:
        pass
    name = _NAME.fullmatch(bare)
    return [f".{name[1].lower()}"] if name else []


def _networks(text: str) -> Iterator[str]:
    """The networks that a range, a wildcard, a netmask or an address in brackets stands for."""
    try:
        if found := _RANGE.fullmatch(text):
            first, last = found.groups()
            end = last if "." in last else f"{first.rpartition('.')[0]}.{last}"
            yield from _shown(summarize_address_range(IPv4Address(first), IPv4Address(end)))
        elif found := _WILDCARD.fullmatch(text):
            yield from _shown([IPv4Network(str(parse_network(found[1])))])
        elif found := _NETMASK.fullmatch(text):
            yield from _shown([IPv4Network(f"{found[1]}/{found[2]}", strict=False)])
        elif found := _BRACKETS.fullmatch(text):
            yield f"{found[1]}{found[2] or ''}"
    except (AddressValueError, NetmaskValueError, AddressError, ValueError):
        return


def _shown(networks: Iterable[IPv4Network]) -> Iterator[str]:
    for network in networks:
        yield str(network.network_address if network.prefixlen == 32 else network)
