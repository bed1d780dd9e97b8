"""Makes the key text of an envelope sender: the part that is the same in all messages of one sender.

Many senders put something new into each MAIL FROM.  Lists and newsletters add the recipient and a counter
(VERP), forwarders wrap the original sender with a signature that changes daily (SRS), others add a signature
of their own (BATV), services add a token per message.  Unchanged, such senders would never be known, and
some not even on their retry.  `sender_text` removes what changes:

    - an address wrapped by SRS or BATV, even several times, becomes the original address;
    - the `+tag` extension (RFC 5233) is removed;
    - the recipient, in the spellings of VERP, and tokens, counters and dates become `#`.

Everything else stays, including malformed wrappings.  Two humans at one domain never get the same text,
unless they differ only in the extension or a BATV signature.  Applying it again changes nothing.

A sender of SRS addresses can forge the original address.  Therefore the caller must use the text only
together with the domain from which it came: `envelope` does so, and trust is counted for that domain alone.

The results are stored (as digests) for weeks: if a rule changes, the senders concerned are forgotten.
"""

from __future__ import annotations

import re
from base64 import b32encode, b64encode
from functools import lru_cache
from typing import NamedTuple

from multigrey.identity.addresses import LONGEST_ADDRESS, split_address
from multigrey.identity.sender_patterns import (
    MACHINE_WORDS,
    PLACEHOLDER,
    fold_known,
    fold_padded,
    fold_tokens,
    may_hold_token,
)

__all__ = [
    "PLACEHOLDER",
    "Forwarded",
    "forwarded_sender",
    "is_probe",
    "listed_forms",
    "plain_domain",
    "sender_domain",
    "sender_text",
]


_NAME = re.compile(r"[^\W\d_]++(?:[._-][^\W\d_]++)*[0-9]{0,4}")
"""Names, and names followed by a year.  They are not folded, except beside the words below."""
_MACHINE = "|".join(sorted({re.escape(word[:4]) for word in MACHINE_WORDS}))
_MACHINE_HOST = "boun|bnc|verp|retu"
"""Beginnings of the words and of the subdomains with which text that looks like a name can be a token."""
_HUMAN = re.compile(
    rf"((?!{_MACHINE})[a-z]++(?:[._-](?!{_MACHINE})[a-z]++)*[0-9]{{0,4}})"
    rf"@((?!{_MACHINE_HOST})[a-z0-9]*+(?:[.-](?!{_MACHINE_HOST})[a-z0-9]*+)*)",
    re.ASCII,
).fullmatch
"""An address that is a name in ASCII, without those words.  Its key text is the address itself."""
_OF_MACHINE = re.compile(rf"(?:^|[._-])(?:{_MACHINE})").search
_AT_MACHINE = re.compile(rf"(?:^|[.-])(?:{_MACHINE_HOST})").search
_NO_NAME = ("double-bounce", "v-")
_PROBE = re.compile("double-bounce(?:[0-9b-df-hj-np-tv-z]{2,13}|-[0-9a-z]{1,32})?")
"""Postfix's token is a number in base 31, without vowels (safe_ultostr)."""
_SHORT = 16
"""A word of fewer characters is never a token by itself."""

_DOMAIN = re.compile(r"[\w-]++(?:\.[\w-]++)+")
_BATV_TAG = re.compile("[0-9][0-9a-f]{8,9}")
"""draft-levine-smtp-batv section 3: one digit for the key, three for the day, six of the hash.  Some
implementations have one digit of the hash less."""
_BATV_LIKE = re.compile("[0-9][0-9a-z]{2,15}")
_SRS = ("srs0=", "srs0+", "srs0-", "srs1=", "srs1+", "srs1-")

_FLAT = str.maketrans(dict.fromkeys("@=#%*~?!/:_-+", "."))
_AT_SIGNS = (".", "..", "...", ".40", ".at.", "..a..")
"""What VERP writes instead of "@", flattened: user=domain, user**domain, user===domain, user%40domain,
user_at_domain, user==a==domain."""
_VERP_MARKS = "+-=._*#~"
"""Separators between a recipient and the rest."""
_SALESFORCE = ".bnc.salesforce.com"
"""The suffix below which Salesforce puts the addresses of its customers."""
_SOFT = "._-"
"""Replacements of "@" that occur in human names too."""


def sender_text(sender: str, recipient: str) -> str:
    """The key text of an envelope sender; "" (the null sender) stays "".

    Both addresses are in the form that `normalise_address` returns; the sender may be in upper case.  Takes
    every string and never raises.
    """
    sender = sender.lower()
    if len(sender) > LONGEST_ADDRESS or plain_domain(sender, recipient) is not None:
        return sender
    if _is_plain(*split_address(sender), recipient):
        return sender
    # The loop ends: each pass leaves fewer characters, "#" not counted.
    while (folded := _fold(sender, recipient)) != sender:
        sender = folded
    return sender


# Shortcut of sender_text.
def plain_domain(sender: str, recipient: str) -> str | None:
    """The domain of a sender that looks like a human's, if a quick test shows that nothing in it is folded.

    None for all others.  Parameters as in `sender_text`, which would return `sender` unchanged.
    """
    match = _HUMAN(sender)
    if match is None or sender.startswith(_NO_NAME) or match.end(1) > len(recipient):
        return None
    return match[2]


def listed_forms(sender: str, recipient: str) -> tuple[str, ...]:
    """The forms in which an administrator may list a sender: as it is, and without what its domain added.

    The domain may have added a signature (BATV and similar) and the recipient's address (VERP).  All forms
    have the same domain.  An address wrapped by a forwarder (SRS) stays wrapped, because any address can be
    forged there.  Parameters as in `sender_text`.
    """
    if len(sender) > LONGEST_ADDRESS or plain_domain(sender, recipient) is not None:
        return (sender,)
    local, at, domain = sender.rpartition("@")
    while (inner := _unwrapped(local, domain)) and inner[1] == domain:
        local = inner[0]
    found = [sender, f"{local}{at}{domain}"]
    if not local.startswith(_SRS) and (bare := _without_verp(local, recipient)):
        found.append(f"{bare}{at}{domain}")
    return tuple(dict.fromkeys(found)) if at else (sender,)


class Forwarded(NamedTuple):
    """A sender whose domain claims that the mail comes from an address of another domain."""

    scheme: str
    """The form in which it is written: `SRS` or `Salesforce`."""
    domain: str
    """The domain that claims it: the sender's own."""
    inner: str
    """The claimed address."""


def forwarded_sender(sender: str) -> Forwarded | None:
    """The address of another domain that a (normalised) sender contains; None for nearly all senders.

    The result must never be matched against lists: a forwarder can write any address there.
    """
    local, _, domain = sender.rpartition("@")
    if len(sender) > LONGEST_ADDRESS or not local:
        return None
    inner, host = local, domain
    while unwrapped := _unwrapped(inner, host):
        inner, host = unwrapped
    if host == domain:
        return None
    scheme = "Salesforce" if domain.endswith(_SALESFORCE) else "SRS"
    return Forwarded(scheme, domain, f"{inner}@{host}")


def is_probe(sender: str) -> bool:
    """Whether mail servers use this envelope sender to verify addresses (Postfix: double-bounce@).

    `verify@` and `verification@` do not count: they send login codes.  Source: address_verify_sender and
    address_verify_sender_ttl in Postfix's postconf(5).  Postfix appends a token to the local part; some mail
    servers put a hyphen before it.
    """
    if sender[:13].lower() != "double-bounce":
        return False
    local = split_address(sender.lower())[0]
    return _PROBE.fullmatch(local) is not None


def sender_domain(sender: str) -> str:
    """The domain of the normalised sender: with SRS the original one; "" for the null sender.

    Takes an envelope sender or the result of `sender_text`.
    """
    return split_address(sender_text(sender, ""))[1]


def _is_plain(local: str, domain: str, recipient: str) -> bool:
    """Whether a quick test shows that nothing is to be folded, as for nearly all humans."""
    if _NAME.fullmatch(local):
        if _AT_MACHINE(domain) or (may_hold_token(local) and _OF_MACHINE(local)):
            return False
        return not local.startswith(_NO_NAME) and not _may_hold(local, recipient)
    return len(local) < _SHORT and local.isalnum() and fold_tokens(local, domain, returns=False) == local


def _may_hold(local: str, recipient: str) -> bool:
    """False if a local part of letters cannot contain the recipient."""
    if len(local) <= len(recipient) or not recipient:
        return False
    return recipient.rpartition("@")[2].partition(".")[0] in local


def _fold(sender: str, recipient: str) -> str:
    local, at, domain = sender.rpartition("@")
    if not at:
        local, domain = sender, ""
    while unwrapped := _unwrapped(local, domain):
        local, domain = unwrapped
        at = "@" if domain else ""
    if not local.startswith(_SRS):
        known = fold_known(local, domain)
        local, domain = known or (_fold_parts(local, domain, recipient), domain)
    return f"{local}{at}{domain}"


def _fold_parts(local: str, domain: str, recipient: str) -> str:
    rest = _without_recipient(local, recipient)
    found = fold_padded(rest)
    extension = found.find("+")
    bare = found[:extension] if extension > 0 else found
    return fold_tokens(bare, domain, returns=rest is not local)


def _unwrapped(local: str, domain: str) -> tuple[str, str] | None:
    """Local part and domain of the wrapped address; None if nothing is wrapped or it is malformed."""
    begin = local[:5]
    if begin in _SRS:
        return _srs0(local[5:]) if begin[3] == "0" else _srs1(local[5:])
    if begin == "prvs=":
        core = _prvs(local[5:])
        return (core, domain) if core else None
    if begin in {"btv1=", "msprv"}:
        core = _other_batv(local)
        return (core, domain) if core else None
    if "+srs=" in local:  # Microsoft 365: mailbox+SRS=hash=day=domain=local
        return _srs0(local.partition("+srs=")[2])
    if domain.endswith(_SALESFORCE):  # local=domain__token, and "__" may be in the token too
        return _original(local.partition("__")[0]) or _original(local.rpartition("__")[0])
    return None


def _srs0(text: str) -> tuple[str, str] | None:
    """Parses hash=day=domain=local, the text that Mail::SRS writes after `SRS0=`."""
    parts = text.split("=", 3)
    if len(parts) == 4 and all(parts) and _DOMAIN.fullmatch(parts[2]):
        return (parts[3], parts[2])
    return None


def _srs1(text: str) -> tuple[str, str] | None:
    """Parses hash=first forwarder=, followed by that forwarder's separator and the text after its `SRS0`."""
    parts = text.split("=", 2)
    if len(parts) == 3 and all(parts) and parts[2][0] in "=+-":
        return _srs0(parts[2][1:])
    return None


def _original(text: str) -> tuple[str, str] | None:
    local, _, domain = text.rpartition("=")
    return (local, domain) if local and _DOMAIN.fullmatch(domain) else None


def _prvs(text: str) -> str:
    """The local part in tag=local, or in local=tag and local/tag of the first drafts; "" for other text."""
    tag, _, core = text.partition("=")
    if _BATV_TAG.fullmatch(tag):
        return core
    for mark in "=/":
        front, _, last = text.rpartition(mark)
        if _BATV_TAG.fullmatch(last):
            return front
    return core if _BATV_LIKE.fullmatch(tag) else ""


def _other_batv(local: str) -> str:
    """The local part in Barracuda's btv1==tag==local and SparkPost's msprvs1=tag=local; else ""."""
    name, _, rest = local.partition("=")
    if name == "btv1":
        tag, _, core = rest[1:].partition("==")
        return core if tag and rest[:1] == "=" else ""
    if name == "msprvs1":
        tag, _, core = rest.partition("=")
        return core if tag else ""
    return ""


def _without_recipient(local: str, recipient: str) -> str:
    """The local part with the recipient in it folded.

    Returns the very same object if it does not contain the recipient; callers test this with `is`.
    """
    if not 0 < len(recipient) <= min(len(local), LONGEST_ADDRESS):
        return local
    host, spellings, codes = _spellings(recipient)
    flat = local.translate(_FLAT)
    if host and host in flat:
        for spelling, mark in spellings:
            start = flat.find(spelling)
            end = start + len(spelling)
            if start >= 0 and _stands_alone(flat, start, end, soft=local[start + mark] in _SOFT):
                return f"{local[:start]}{PLACEHOLDER}{local[end:]}"
    for code in codes:
        if code in local:
            return local.replace(code, PLACEHOLDER)
    return local


def _without_verp(local: str, recipient: str) -> str:
    """The local part without the recipient and the separators around it; "" if it does not contain it."""
    found = _without_recipient(local, recipient)
    if found is local:
        return ""
    front, _, back = found.partition(PLACEHOLDER)
    front, back = front.rstrip(_VERP_MARKS), back.lstrip(_VERP_MARKS)
    return f"{front}-{back}" if front and back else front or back


def _stands_alone(flat: str, start: int, end: int, *, soft: bool) -> bool:
    """Whether a recipient found in a flattened local part is not just part of a longer name.

    `soft`: its "@" is replaced by a character that human names contain too (`max.example.org`).  Then there
    must be other text beside it, and a separator between them.  Otherwise the text before it may touch it.
    """
    if end < len(flat) and flat[end] != ".":
        return False
    return not soft or (end - start < len(flat) and (start == 0 or flat[start - 1] == "."))


@lru_cache(maxsize=256)
def _spellings(recipient: str) -> tuple[str, tuple[tuple[str, int], ...], tuple[str, ...]]:
    """First label of the recipient's domain; the spellings of the address in VERP; its encodings.

    The spellings are flattened, each with the position of its replacement of "@".  All are in lower case.
    """
    local, domain = split_address(recipient)
    if not local or not _DOMAIN.fullmatch(domain):
        return ("", (), ())
    name, host = local.translate(_FLAT), domain.translate(_FLAT)
    spellings = [(f"{name}{mark}{host}", len(name)) for mark in _AT_SIGNS]
    spellings += [(f"{name}.40{host.replace('.', '.2e')}", len(name)), (f"{host}.{name}", len(host))]
    data = recipient.encode("utf-8", "surrogateescape")
    base64 = b64encode(data).decode("ascii").rstrip("=").lower()
    base32 = b32encode(data).decode("ascii").rstrip("=").lower()
    codes = (data.hex(), base32, base64, base64.replace("+", "-").replace("/", "_"))
    return (host.partition(".")[0], tuple(spellings), codes)
