"""Shortens addresses and names for what is shown of a record, so that a sender cannot choose its size.

    octets                          shown
    up to 80                        the whole text
    local part of more than 32      its first 23, "~", 8 hexadecimal digits of a digest
    domain of more than 47          "~", 8 hexadecimal digits of a digest, its last 38

So two long addresses still differ, and are found again by the whole address or by their domain.  Shortening
twice changes nothing.
"""

from __future__ import annotations

from hashlib import blake2b

__all__ = ["LONGEST_SHOWN", "is_in_domain", "shortened"]

LONGEST_SHOWN = 80
"""Octets of a text that is shown; none is longer."""

_LOCAL, _LOCAL_HEAD = 32, 23
_DOMAIN, _DOMAIN_TAIL = LONGEST_SHOWN - _LOCAL - 1, 38
_DIGITS = 8


def shortened(text: str) -> str:
    """An address, name or other text of at most `LONGEST_SHOWN` octets that stands for this one."""
    if len(text) <= LONGEST_SHOWN and (text.isascii() or len(_octets(text)) <= LONGEST_SHOWN):
        return text
    local, at, domain = text.rpartition("@")
    if not at:
        return _short_domain(text)
    return f"{_short_local(local)}@{_short_domain(domain)}"


def is_in_domain(wanted: str, domain: str) -> bool:
    """Whether a domain that may be shortened is the wanted one, or lies below it."""
    return bool(domain) and (domain in {wanted, _short_domain(wanted)} or domain.endswith("." + wanted))


def _short_local(local: str) -> str:
    octets = _octets(local)
    if len(octets) <= _LOCAL:
        return local
    return f"{_text(octets[:_LOCAL_HEAD])}~{_digest(octets)}"


def _short_domain(domain: str) -> str:
    octets = _octets(domain)
    if len(octets) <= _DOMAIN:
        return domain
    return f"~{_digest(octets)}{_text(octets[-_DOMAIN_TAIL:])}"


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(octets: bytes) -> str:
    """The octets without characters that were cut."""
    return octets.decode("utf-8", "ignore")


def _digest(octets: bytes) -> str:
    return blake2b(octets, digest_size=_DIGITS // 2).hexdigest()
