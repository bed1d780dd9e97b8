"""Parses and normalises IP addresses, envelope addresses and host names, from which keys are made.

`parse_client_address` is strict: it raises AddressError for text that is not an IP address.  The other
functions make key text of everything that a mail server sends.  They take every string (empty, binary
noise as surrogate escapes, megabytes) and never raise: a name that cannot be normalised, or that is longer
than any address (`LONGEST_ADDRESS`), stays as it is, in lower case.  Normalising twice changes nothing.

The results are stored (as digests) for weeks: if one of these rules changes, or a new Unicode table changes
a result, the senders concerned are forgotten.  Mail servers send the same command in different forms (Exim
keeps the quotes of a sender's local part, Postfix removes them; both keep case).  Therefore the whole
address is lower-cased, although RFC 5321 section 2.4 leaves the case of local parts to the receiving host.
"""

from __future__ import annotations

import encodings.punycode  # noqa: F401  (idna's codec, see below)
import re
import unicodedata

# idna loads its tables and its codec only when a name first needs them.  They are imported here, at start:
# after the daemon has given up root it may not be able to read them any more.
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
"""A quoted string (RFC 5321 section 4.1.2), with any characters inside."""
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_OCTETS = {str(octet): octet for octet in range(256)}
"""Parsing the plain form with this table takes half the time of IPv4Address(text)."""
_CACHED = 512
_NEVER_SPLIT = frozenset({"postmaster", "mailer-daemon", "double-bounce"})
_NAT64 = 0x64FF9B << 96
"""64:ff9b::/96 (RFC 6052 section 2.1) without its last 32 bits."""
_DOMAIN_OCTETS = 255
"""RFC 1035 section 2.3.4; longer text is not a domain and is not converted."""


def parse_client_address(text: str) -> Address | None:
    """The address in a mail server's request; None for the empty text and for `unknown`.

    Accepts brackets, the `IPv6:` tag of an address literal, any case and a zone id (dropped).  An IPv6
    address that stands for an IPv4 host becomes that IPv4 address: mapped (RFC 4291 section 2.5.5.2),
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
    """The canonical text of an address for keys, records and logs.

    It is `str` of the address, but cached, because `str` takes microseconds.
    """
    return _ipv4_text(int(address)) if isinstance(address, IPv4Address) else _ipv6_text(int(address))


# Shortcut of str.
@lru_cache(maxsize=_CACHED)
def _ipv4_text(number: int) -> str:
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


@lru_cache(maxsize=_CACHED)
def _ipv6_text(number: int) -> str:
    return str(IPv6Address(number))


# Shortcut of ipaddress.ip_network.
def network_of(address: Address, ipv4_prefix: int, ipv6_prefix: int) -> str:
    """The canonical text of the client network, such as "192.0.2.0/24" or "2001:db8:1:2::/64".

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
    """The text of the first 64 bits of a network, up to the last group that is not zero.

    The zeros that follow fill at least four of the eight groups, so they are the longest run and "::"
    belongs there (RFC 5952 section 4.2.3).  Takes a third of the time of str(IPv6Address).
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

    The local part is unquoted, the whole is in NFC and lower case, the domain is in A-labels (UTS 46)
    without a trailing dot.  A domain that IDNA refuses stays as text.
    """
    if len(text) > LONGEST_ADDRESS:
        # Sorting combining characters (NFC) and removing quotes in quotes take quadratic time.
        return text.lower()
    text = text.lower() if text.isascii() else _composed(text)
    if text[:1] != '"' and text[-1:] != "." and text.isascii():
        return text
    local, at, domain = text.rpartition("@")
    if not at:
        return _unquoted(text)
    return f"{_unquoted(local)}@{host_name(domain)}"


def _composed(text: str) -> str:
    """The text in lower case and NFC.  Some letters need a second pass before the text stops changing."""
    previous = None
    while text != previous:
        previous = text
        text = unicodedata.normalize("NFC", text.lower())
    return text


def _unquoted(local: str) -> str:
    """The local part without quotes.  Removes every layer, because a mail server may have removed one."""
    while match := _QUOTED.fullmatch(local):
        local = _ESCAPE.sub(r"\1", match[1])
    return local


def host_name(text: str) -> str:
    """The key text of a host or domain name: lower case, A-labels, no trailing dot; "" stays ""."""
    if text.isascii():
        return text.lower().rstrip(".")
    if len(text) > _DOMAIN_OCTETS:
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
    """The address without its extension: `user+list@example.org` becomes `user@example.org` for "+".

    Works as Postfix's recipient_delimiter (postconf(5)): the first character of the local part that is in
    `delimiters` begins the extension.  The local part never becomes empty.  postmaster, mailer-daemon and
    double-bounce stay unchanged; so do owner-foo and foo-request if "-" is a delimiter.
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
    """The network or name whose limit a decision concerns, and the wider network around it; "" for a name."""
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
"""Number of networks in one wider network from which on they are shown as the wider one."""


def widened(wider_of: dict[str, str]) -> dict[str, str]:
    """For each network: itself, or the wider network if that contains at least `_MANY` of them."""
    sizes = Counter(wider_of.values())
    return {
        network: wider if wider and sizes[wider] >= _MANY else network for network, wider in wider_of.items()
    }
