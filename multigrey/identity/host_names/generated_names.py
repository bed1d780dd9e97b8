"""Recognises generated host names: made from the client's address, or from words for address pools.

A name is generated if it contains three adjacent octets of the client's own address, in order or reversed.
They may be decimal numbers (zero-padded or not, or run together with three digits each), or hex digits run
together (six with a letter among them, or the whole address).  Of an IPv6 address it must contain three
groups.  A name is also generated if one of its words outside the registered domain, without digits at its
ends, is in `POOL_WORDS`.  One or two octets, digits alone, `static` and `host` do not make a name generated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address

from multigrey.model import Address

__all__ = ["POOL_WORDS", "evidence", "holds_address"]

POOL_WORDS = frozenset(
    [
        *[
            "adsl",
            "dsl",
            "sdsl",
            "vdsl",
            "xdsl",
            "isdn",
            "catv",
            "cable",
            "cablemodem",
            "docsis",
            "modem",
            "broadband",
            "hsd",
        ],
        *["fttb", "fttc", "ftth", "fttp", "fttx", "gpon", "gprs", "lte", "umts", "wimax", "hotspot"],
        *["dial", "dialin", "dialip", "dialup", "dialups", "dyn", "dynamic", "dynamicip", "dynip", "dhcp"],
        *["ppp", "pppoa", "pppoe", "ipoe", "cgn", "cgnat", "pool", "pools"],
        *["abo", "cpe", "cust", "customer", "customers", "subscriber", "subscribers", "residential"],
    ]
)
"""Words that access providers use for the addresses of homes and mobile users."""

_NUMBER = re.compile(r"[0-9]+")
_TOKEN = re.compile(r"[a-z0-9]+")
_HEX_LETTER = re.compile(r"[a-f]")
_HEX_RUN = re.compile(r"[0-9a-f]{6}")
_LONG_HEX_RUN = re.compile(r"[0-9a-f]{12}")
_SEPARATORS = str.maketrans("", "", ".-_")
_BYTE = 256
_DIGITS = "0123456789"


def evidence(name: str, domain: str | None, address: Address | None) -> str:
    """Why a name counts as generated, in a few words; "" if it is not generated.

    `name` is in the form that `identity.addresses.host_name` returns; `domain` is its registered domain,
    None if it has none.
    """
    own = name.removesuffix(domain).rstrip(".") if domain else name
    for label in own.split("."):
        if label.startswith("xn--"):
            continue  # the letters of an A-label are an encoding, not words
        for token in _TOKEN.findall(label):
            word = token.strip(_DIGITS)
            if word in POOL_WORDS:
                return f"the word {word}"
    if address is None or not holds_address(name, address):
        return ""
    return "octets of the address" if isinstance(address, IPv4Address) else "groups of the address"


def holds_address(name: str, address: Address) -> bool:
    """Whether a name contains three octets, or three groups, of the address."""
    if isinstance(address, IPv4Address):
        return _holds_octets(name, int(address))
    return _holds_groups(name, int(address))


def _holds_octets(name: str, number: int) -> bool:
    """Whether a name contains three octets of an IPv4 address."""
    runs = _NUMBER.findall(name)
    long_run = _HEX_RUN.search(name) is not None
    if len(runs) < 3 and not long_run:
        return False
    triples = {*_triples(tuple(number.to_bytes(4, "big")))}
    numbers = [int(run) if len(run) <= 3 else _BYTE for run in runs]
    if any(triple in triples for triple in zip(numbers, numbers[1:], numbers[2:], strict=False)):
        return True
    if not long_run:
        return False
    padded = [f"{first:03}{second:03}{third:03}" for first, second, third in triples]
    return any(text in name for text in (*padded, *_hex_texts(number, triples)))


def _triples(parts: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """Every three adjacent parts, in order and reversed."""
    for first, second, third in zip(parts, parts[1:], parts[2:], strict=False):
        yield first, second, third
        yield third, second, first


def _hex_texts(number: int, triples: set[tuple[int, int, int]]) -> Iterator[str]:
    """An IPv4 address and its parts in hex; not the parts without a letter, which may be any number."""
    for whole in (number, int.from_bytes(number.to_bytes(4, "little"), "big")):
        yield f"{whole:08x}"
        if 0 < whole >> 24 < 16:
            yield f"{whole:x}"  # seven digits
    for first, second, third in triples:
        text = f"{first:02x}{second:02x}{third:02x}"
        if _HEX_LETTER.search(text):
            yield text


def _holds_groups(name: str, number: int) -> bool:
    """Whether a name contains three groups of an IPv6 address, at least two of which are not zero.

    The groups may have separators between them (with or without leading zeros, with the zero groups left
    out), be run together, or be written digit by digit, as in ip6.arpa.
    """
    tokens = [_group(token) for token in _TOKEN.findall(name)]
    found = [triple for triple in zip(tokens, tokens[1:], tokens[2:], strict=False) if min(triple) >= 0]
    squeezed = name.translate(_SEPARATORS)
    long_run = _LONG_HEX_RUN.search(squeezed) is not None
    if not found and not long_run:
        return False
    groups = tuple(number >> shift & 0xFFFF for shift in range(112, -1, -16))
    triples = {triple for triple in _triples(groups) if triple.count(0) < 2}
    written = triples | {*_triples(tuple(filter(None, groups)))}
    if not written.isdisjoint(found):
        return True
    if not long_run:
        return False
    texts = [f"{first:04x}{second:04x}{third:04x}" for first, second, third in triples]
    return any(text in squeezed or text[::-1] in squeezed for text in texts)


def _group(token: str) -> int:
    """The number of a group of an IPv6 address; -1 if the token is not one."""
    try:
        return int(token, 16) if len(token) <= 4 else -1
    except ValueError:
        return -1
