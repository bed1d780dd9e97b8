"""IP addresses, envelope addresses and host names: how they are read, and what keys are made of.

Two kinds of functions.  `parse_client_address` is strict: it says AddressError for what is no IP
address.  The others make key text of whatever a mail server told, so they take every string
(empty, binary noise as surrogate escapes, megabytes) and never raise: a name that cannot be
normalised stays what it is, in lower case.  Normalising twice changes nothing.

The results are stored (as digests) for weeks: changing one of these rules, or a new Unicode table
that changes them, forgets the senders it concerns.  Mail servers differ in what they tell of the
same command (Exim keeps the quotes of a sender's local part, Postfix removes them; both keep
case), hence the lower-casing of the whole address although RFC 5321 section 2.4 leaves the case of
local parts to the receiving host.
"""

from __future__ import annotations

import encodings.punycode  # noqa: F401  (idna's codec, see below)
import re
import unicodedata

# idna loads its tables and its codec when a name first needs them.  Here they are imported at once: a
# daemon that has given up root by then may not be able to read them any more.
from collections import Counter
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import idna
import idna.uts46data

from multigrey.errors import AddressError
from multigrey.model import Address, DecisionEvent

__all__ = [
    "LONGEST_ADDRESS",
    "client_text",
    "host_name",
    "network_and_wider",
    "network_of",
    "normalise_address",
    "parse_client_address",
    "split_address",
    "strip_extension",
    "widened",
]

LONGEST_ADDRESS = 320
"""Characters of an envelope address: 64 + 1 + 255 (RFC 5321 section 4.5.3.1)."""

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
"""A quoted string (RFC 5321 section 4.1.2), generous about what is in it."""
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_OCTETS = {str(octet): octet for octet in range(256)}
"""Reading the plain form by table takes half the time IPv4Address(text) takes."""
_CACHED = 512
_NEVER_SPLIT = frozenset({"postmaster", "mailer-daemon", "double-bounce"})
_NAT64 = 0x64FF9B << 96
"""64:ff9b::/96 (RFC 6052 section 2.1) without its last 32 bits."""
_DOMAIN_OCTETS = 255
"""RFC 1035 section 2.3.4; longer text is no domain and not worth converting."""


def parse_client_address(text: str) -> Address | None:
    """The address a mail server told, None for the empty text and for `unknown`.

    Takes brackets, the `IPv6:` tag of an address literal, any case and a zone id (dropped).  An
    IPv6 address that stands for an IPv4 host is that host: mapped (RFC 4291 section 2.5.5.2),
    NAT64's well-known prefix (RFC 6052) and 6to4 (RFC 3056).  Raises AddressError for anything else.
    """
    try:
        first, second, third, fourth = text.split(".")
        return IPv4Address(
            _OCTETS[first] << 24 | _OCTETS[second] << 16 | _OCTETS[third] << 8 | _OCTETS[fourth]
        )
    except (ValueError, KeyError):
        return _parse_other_spelling(text)


def _parse_other_spelling(text: str) -> Address | None:
    bare = text.strip(" \t")
    if not bare or bare.lower() == "unknown":
        return None
    if bare.startswith("[") and bare.endswith("]"):
        bare = bare[1:-1]
    if bare[:5].lower() == "ipv6:":
        bare = bare[5:]
    try:
        if ":" in bare:
            return _embedded(IPv6Address(bare.partition("%")[0]))
        return IPv4Address(bare)
    except AddressValueError:
        raise AddressError(f"not an IP address: {text[:80]!a}") from None


def _embedded(address: IPv6Address) -> Address:
    number = int(address)
    if number >> 32 == 0xFFFF or number >> 32 << 32 == _NAT64:
        return IPv4Address(number & 0xFFFFFFFF)
    if number >> 112 == 0x2002:
        return IPv4Address(number >> 80 & 0xFFFFFFFF)
    return address


def client_text(address: Address) -> str:
    """An address in canonical text: `str` of it, which takes microseconds, for keys, records and logs."""
    return _ipv4_text(int(address)) if isinstance(address, IPv4Address) else _ipv6_text(int(address))


@lru_cache(maxsize=_CACHED)
def _ipv4_text(number: int) -> str:
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


@lru_cache(maxsize=_CACHED)
def _ipv6_text(number: int) -> str:
    return str(IPv6Address(number))


def network_of(address: Address, ipv4_prefix: int, ipv6_prefix: int) -> str:
    """The client network in canonical text, like "192.0.2.0/24" or "2001:db8:1:2::/64".

    Prefixes are lengths in bits, 0 to 32 and 0 to 128 (the configuration has checked them).
    """
    if address.version == 4:
        spare = 32 - ipv4_prefix
        number = int(address) >> spare << spare
        return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}/{ipv4_prefix}"
    spare = 128 - ipv6_prefix
    number = int(address) >> spare << spare
    if ipv6_prefix > 64:
        return f"{IPv6Address(number)}/{ipv6_prefix}"
    return f"{_upper_half(number >> 64)}::/{ipv6_prefix}"


def _upper_half(number: int) -> str:
    """The first 64 bits of a network up to its last group that is not zero.

    The zeros that follow fill at least four of the eight groups, so they are the longest run and
    "::" belongs there (RFC 5952 section 4.2.3).  A third of what str(IPv6Address) takes.
    """
    if not number:
        return ""
    groups = 4
    while not number & 0xFFFF:
        number >>= 16
        groups -= 1
    text = f"{number & 0xFFFF:x}"
    for _ in range(groups - 1):
        number >>= 16
        text = f"{number & 0xFFFF:x}:{text}"
    return text


def normalise_address(text: str) -> str:
    """The key text of an envelope address; "" (the null sender) stays "".

    Local part unquoted, NFC, everything in lower case, the domain as A-labels (UTS 46) without a
    trailing dot.  A domain that IDNA refuses stays as text.
    """
    text = text.lower() if text.isascii() else _composed(text)
    if text[:1] != '"' and text[-1:] != "." and text.isascii():
        return text
    local, at, domain = text.rpartition("@")
    if not at:
        return _unquoted(text)
    return f"{_unquoted(local)}@{host_name(domain)}"


def _composed(text: str) -> str:
    """Lower case in NFC; some letters need a second round before they hold still."""
    previous = None
    while text != previous:
        previous = text
        text = unicodedata.normalize("NFC", text.lower())
    return text


def _unquoted(local: str) -> str:
    """Without quotes, all layers of them: one mail server has removed the outermost already."""
    while match := _QUOTED.fullmatch(local):
        local = _ESCAPE.sub(r"\1", match[1])
    return local


def host_name(text: str) -> str:
    """A host or domain name as keys hold it: lower case, A-labels, no trailing dot; "" stays ""."""
    if text.isascii():
        return text.lower().rstrip(".")
    name = _composed(text).rstrip(".")
    if len(name) > _DOMAIN_OCTETS:
        return name
    try:
        return idna.encode(name, uts46=True).decode("ascii").rstrip(".")
    except UnicodeError:  # idna's own errors are UnicodeErrors too
        return name


def split_address(text: str) -> tuple[str, str]:
    """Local part and domain, split at the last "@"; the domain is "" when there is none."""
    local, at, domain = text.rpartition("@")
    return (local, domain) if at else (text, "")


def strip_extension(address: str, delimiters: str) -> str:
    """The address without its extension: `user+list@example.org` is `user@example.org` for "+".

    As Postfix's recipient_delimiter does (postconf(5)): the first character of the local part that
    is one of `delimiters` begins the extension; never leaves an empty local part; leaves
    postmaster, mailer-daemon and double-bounce alone, and with "-" among the delimiters also
    owner-foo and foo-request.
    """
    local, at, domain = address.rpartition("@")
    if not at:
        local, domain = address, ""
    cut = len(local)
    for mark in delimiters:
        found = local.find(mark, 0, cut)
        if found >= 0:
            cut = found
    if cut in {0, len(local)} or _is_special(local.lower(), delimiters):
        return address
    return f"{local[:cut]}{at}{domain}"


def _is_special(local: str, delimiters: str) -> bool:
    if local in _NEVER_SPLIT:
        return True
    if "-" not in delimiters:
        return False
    return local.startswith("owner-") or (local.endswith("-request") and local != "-request")


def network_and_wider(event: DecisionEvent) -> tuple[str, str]:
    """Whose limit a decision concerns, and the wider network around it; "" for a name, which has none."""
    address = event.attempt.client_address
    if address is None or (event.origin and "/" not in event.origin):
        return event.origin, ""
    spare = 8 if address.version == 4 else 64
    return _networks_of(address.version, int(address) >> spare)


@lru_cache(maxsize=256)
def _networks_of(version: int, number: int) -> tuple[str, str]:
    """The /24 or /64 of this number, and the /16 or /32 around it."""
    address: Address = IPv4Address(number << 8) if version == 4 else IPv6Address(number << 64)
    return network_of(address, 24, 64), network_of(address, 16, 32)


_MANY = 4
"""Networks of one wider one from which on the wider one is named."""


def widened(wider_of: dict[str, str]) -> dict[str, str]:
    """Which network stands for each of these: itself, or the wider one where that has many of them."""
    sizes = Counter(wider_of.values())
    return {
        network: wider if wider and sizes[wider] >= _MANY else network for network, wider in wider_of.items()
    }
