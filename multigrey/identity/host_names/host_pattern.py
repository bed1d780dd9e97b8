"""Computes the pattern of a host name: the part that names of one kind share below a registered domain.

Providers number the hosts of a kind, or give each a token: `mta-3.isp.example` and `mta-4.isp.example`
are of one kind (`mta-#`), `cust-12-7.pool.isp.example` is of another (`cust-#.pool`).  In a pattern

    #   stands for digits and the separators between them (also for an address in the name);
    *   stands for a token that mixes letters and digits without a plain beginning (`x7f3k2`), for a word
        that is too long, and for the labels in the middle of a deep name.

Letters stay as they are, because it cannot be decided whether `xkqzv` is a word.  So tokens of letters
alone make one pattern each.

`folded_name` is for a name that contains the client's own address: every run of digits becomes `#`, and so
do the hex digits of the address, so that all hosts of one pool have one text.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address

from multigrey.model import Address

__all__ = ["APEX", "folded_name", "is_made", "is_mail_server", "pattern_of"]

APEX = "@"
"""The pattern of a host name that is the registered domain itself."""

_LONGEST_WORD = 16
_LONGEST = 48
_LABELS = 4
_LONGEST_NAME = 253
_CACHED = 512

_TOKEN = re.compile(r"[a-z0-9]+")
_RUN = re.compile(r"[0-9#]+")
_GROUPS = re.compile(
    r"(?<![a-z0-9])(?=[a-z0-9_-]*[0-9])[0-9a-f]{1,4}(?:[_-]{1,2}[0-9a-f]{1,4}){3,}(?![a-z0-9])"
)
"""Four or more hex groups: an IPv6 address, or the end of one."""
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""RFC 9562 section 4."""
_HEX = re.compile(r"(?=[a-f]*[0-9])[0-9a-f]{6,}")
_NUMBERED = re.compile(r"([a-z]{2,}|[a-z](?=[0-9]+\Z))[0-9]+[a-z]*")
"""A word and a number, and possibly letters after them."""
_COUNTED = re.compile(r"(?!(?=.{4})[0-9a-f]+\Z)[0-9]+([a-z]{2,})")
_AGAIN = re.compile(r"([#*])(?:[_-]*\1)+")

_MAIL = re.compile(r"(?<![a-z])(?:e?mail|mout|mta|mx|smtp|out|relay|send|post|bounce|newsletter)")
"""Words with which the names of mail servers begin."""

_ADDRESS_GROUPS = re.compile(r"(?<![a-z0-9])[0-9a-f]{1,4}(?:[._-]{1,2}[0-9a-f]{1,4}){2,}(?![a-z0-9])")
_LONG_HEX = re.compile(r"[0-9a-f]{12,}")
_MARKS = re.compile(r"#(?:[._-]*#)*(?:--)?")


def pattern_of(name: str, domain: str) -> str:
    """The pattern of a host name; at most 48 characters.

    `name` is in the form that `identity.addresses.host_name` returns, `domain` is its registered domain.
    Takes every text.
    """
    return _pattern(name[: len(name) - len(domain)] if name.endswith(domain) else name)


def is_made(pattern: str) -> bool:
    """Whether something was folded, so that names of this pattern are made by a machine."""
    return "#" in pattern or "*" in pattern


def is_mail_server(pattern: str) -> bool:
    """Whether hosts of this pattern have names as mail servers have."""
    return _MAIL.search(pattern) is not None


@lru_cache(maxsize=_CACHED)
def _pattern(own: str) -> str:
    folded: list[str] = []
    for label in own[-_LONGEST_NAME:].split("."):
        shown = _label(label)
        if label and not (folded and shown == folded[-1] and is_made(shown[:1])):
            folded.append(shown)
    if len(folded) > _LABELS:
        folded = [folded[0], "*", *folded[2 - _LABELS :]]
    return ".".join(folded)[:_LONGEST] or APEX


def _label(label: str) -> str:
    grouped = _GROUPS.sub("#", _UUID.sub("*", label))
    return _AGAIN.sub(r"\1", _TOKEN.sub(lambda found: _token(found[0]), grouped))


def _token(token: str) -> str:
    if token.isdecimal():
        return "#"
    if token.isalpha():
        return token if len(token) <= _LONGEST_WORD else "*"
    if _HEX.fullmatch(token):
        return "*"
    if numbered := _NUMBERED.fullmatch(token):
        return f"{numbered[1]}#" if len(numbered[1]) <= _LONGEST_WORD else "*"
    if counted := _COUNTED.fullmatch(token):
        return f"#{counted[1]}" if len(counted[1]) <= _LONGEST_WORD else "*"
    return "*"


def folded_name(name: str, domain: str, address: Address) -> str:
    """A host name that contains its own address, without the address; "" if nothing of it was found.

    `name` is in the form that `identity.addresses.host_name` returns; `domain` is its registered domain,
    which stays unchanged.
    """
    own = name[: len(name) - len(domain)] if name.endswith(domain) else name
    if isinstance(address, IPv4Address):
        for text in _hex_texts(int(address)):
            own = own.replace(text, "#")
        folded = _RUN.sub("#", own)
    else:
        own = _LONG_HEX.sub("#", _ADDRESS_GROUPS.sub("#", own))
        # Some names leave out zero groups, so the number of groups must not make a difference.
        folded = _MARKS.sub("#", _RUN.sub("#", own))
    return f"{folded}{domain}" if "#" in folded else ""


def _hex_texts(number: int) -> tuple[str, ...]:
    """The address in hex digits, and three octets of it, in order and reversed; the longest texts first."""
    text = f"{number:08x}"
    reverse = "".join([text[start : start + 2] for start in (6, 4, 2, 0)])
    return (text, reverse, text[:6], text[2:], reverse[:6], reverse[2:])
