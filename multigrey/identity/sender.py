"""Key text of an envelope sender: what stays the same from message to message of one sender.

Many senders write something new into each MAIL FROM: lists and newsletters the recipient and a
counter (VERP), forwarders the original sender under a signature that changes daily (SRS), others a
signature of their own (BATV), services a token per message.  Taken as they are, such senders are
never known, and some not even when they retry.  `sender_text` takes out what changes:

    - the original address of what SRS or BATV has wrapped up, however often;
    - the `+tag` extension (RFC 5233);
    - the recipient, in the spellings VERP uses, and tokens, counters and dates: all become `#`.

Everything else stays, and so do malformed wrappings.  Two humans at one domain never get one text
unless they differ in nothing but the extension or a BATV signature.  Applying it again changes nothing.

An original address can be forged by whoever writes SRS addresses, so whoever uses the text has to keep
the domain it came from beside it: `keys` does, and counts trust for that domain alone.

The results are stored (as digests) for weeks: changing a rule forgets the senders it concerns.
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
"""Names, and names with a year behind them: nothing of the kind is folded, but for these beginnings."""
_MACHINE = "|".join(sorted({re.escape(word[:4]) for word in MACHINE_WORDS}))
_MACHINE_HOST = "boun|bnc|verp|retu"
"""How the words begin beside which, or below which, also what looks like a name can be a token."""
_HUMAN = re.compile(
    rf"((?!{_MACHINE})[a-z]++(?:[._-](?!{_MACHINE})[a-z]++)*[0-9]{{0,4}})"
    rf"@((?!{_MACHINE_HOST})[a-z0-9]*+(?:[.-](?!{_MACHINE_HOST})[a-z0-9]*+)*)",
    re.ASCII,
).fullmatch
"""The address of a name in ASCII, without those words: nothing in it has another form."""
_OF_MACHINE = re.compile(rf"(?:^|[._-])(?:{_MACHINE})").search
_AT_MACHINE = re.compile(rf"(?:^|[.-])(?:{_MACHINE_HOST})").search
_NO_NAME = ("double-bounce", "v-")
_PROBE = re.compile("double-bounce(?:[0-9b-df-hj-np-tv-z]{2,13}|-[0-9a-z]{1,32})?")
"""Postfix's own token is a number in base 31, without vowels (safe_ultostr)."""
_SHORT = 16
"""No word of fewer characters is a token by itself."""

_DOMAIN = re.compile(r"[\w-]++(?:\.[\w-]++)+")
_BATV_TAG = re.compile("[0-9][0-9a-f]{8,9}")
"""draft-levine-smtp-batv section 3: a key digit, three of the day, six of the hash; some hash one less."""
_BATV_LIKE = re.compile("[0-9][0-9a-z]{2,15}")
_SRS = ("srs0=", "srs0+", "srs0-", "srs1=", "srs1+", "srs1-")

_FLAT = str.maketrans(dict.fromkeys("@=#%*~?!/:_-+", "."))
_AT_SIGNS = (".", "..", "...", ".40", ".at.", "..a..")
"""What VERP writes for "@", flattened: user=domain, user**domain, user===domain, user%40domain,
user_at_domain, user==a==domain."""
_VERP_MARKS = "+-=._*#~"
"""What stands between a recipient and the rest."""
_SALESFORCE = ".bnc.salesforce.com"
"""Below it Salesforce keeps the addresses of its customers."""
_SOFT = "._-"
"""At-signs that are in human names too."""


def sender_text(sender: str, recipient: str) -> str:
    """The key text of an envelope sender; "" (the null sender) stays "".

    Both addresses as `normalise_address` gives them; an upper case sender does no harm.  Takes every
    string and never raises.
    """
    sender = sender.lower()
    if len(sender) > LONGEST_ADDRESS or plain_domain(sender, recipient) is not None:
        return sender
    if _is_plain(*split_address(sender), recipient):
        return sender
    while (folded := _fold(sender, recipient)) != sender:  # each round leaves fewer characters but "#"
        sender = folded
    return sender


def plain_domain(sender: str, recipient: str) -> str | None:
    """The domain of a sender like a human's, of whom a look shows that nothing is folded; else None.

    Both as `sender_text` wants them, which would give `sender` back.
    """
    match = _HUMAN(sender)
    if match is None or sender.startswith(_NO_NAME) or match.end(1) > len(recipient):
        return None
    return match[2]


def listed_forms(sender: str, recipient: str) -> tuple[str, ...]:
    """The sender, and what it is without what its own domain has wrapped around it, if that is another text.

    That is a signature (BATV and the like) and the recipient's address (VERP).  Whoever means a sender in a
    list writes one of these.  The domain is the same in all; what a forwarder wraps up (SRS) stays wrapped,
    because anybody can write any address there.  Both as `sender_text` wants them.
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
    """A sender of which another domain asserts where it comes from."""

    scheme: str
    """How it is written: `SRS`, or `Salesforce`."""
    domain: str
    """The domain that asserts it: the sender's own."""
    inner: str
    """The address that it asserts."""


def forwarded_sender(sender: str) -> Forwarded | None:
    """What a sender (normalised) says of another domain's address; None for nearly all.

    Never matched with anything: who forwards can write there whatever it likes.
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
    """Whether an envelope sender is one by which mail servers verify addresses (Postfix: double-bounce@).

    `verify@` and `verification@` are none: they send login codes.  Source: address_verify_sender and
    address_verify_sender_ttl in Postfix's postconf(5), which appends a token to the local part; some put a
    hyphen between.
    """
    if sender[:13].lower() != "double-bounce":
        return False
    local = split_address(sender.lower())[0]
    return _PROBE.fullmatch(local) is not None


def sender_domain(sender: str) -> str:
    """The domain of the normalised sender: the original one under SRS; "" for the null sender.

    Takes an envelope sender or what `sender_text` made of it.
    """
    return split_address(sender_text(sender, ""))[1]


def _is_plain(local: str, domain: str, recipient: str) -> bool:
    """Whether a quick look shows that there is nothing to fold, as it does for nearly all humans."""
    if _NAME.fullmatch(local):
        if _AT_MACHINE(domain) or (may_hold_token(local) and _OF_MACHINE(local)):
            return False
        return not local.startswith(_NO_NAME) and not _may_hold(local, recipient)
    return len(local) < _SHORT and local.isalnum() and fold_tokens(local, domain, returns=False) == local


def _may_hold(local: str, recipient: str) -> bool:
    """False when a local part of letters can't have the recipient in it."""
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
    """Local part and domain of the address inside, None when there is none (or it is malformed)."""
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
    """hash=day=domain=local, as Mail::SRS writes it behind `SRS0=`."""
    parts = text.split("=", 3)
    if len(parts) == 4 and all(parts) and _DOMAIN.fullmatch(parts[2]):
        return (parts[3], parts[2])
    return None


def _srs1(text: str) -> tuple[str, str] | None:
    """hash=first forwarder=, then what stood behind that one's `SRS0`, its separator first."""
    parts = text.split("=", 2)
    if len(parts) == 3 and all(parts) and parts[2][0] in "=+-":
        return _srs0(parts[2][1:])
    return None


def _original(text: str) -> tuple[str, str] | None:
    local, _, domain = text.rpartition("=")
    return (local, domain) if local and _DOMAIN.fullmatch(domain) else None


def _prvs(text: str) -> str:
    """tag=local, or local=tag and local/tag as the first drafts had it; "" when it is neither."""
    tag, _, core = text.partition("=")
    if _BATV_TAG.fullmatch(tag):
        return core
    for mark in "=/":
        front, _, last = text.rpartition(mark)
        if _BATV_TAG.fullmatch(last):
            return front
    return core if _BATV_LIKE.fullmatch(tag) else ""


def _other_batv(local: str) -> str:
    """Barracuda's btv1==tag==local and SparkPost's msprvs1=tag=local."""
    name, _, rest = local.partition("=")
    if name == "btv1":
        tag, _, core = rest[1:].partition("==")
        return core if tag and rest[:1] == "=" else ""
    if name == "msprvs1":
        tag, _, core = rest.partition("=")
        return core if tag else ""
    return ""


def _without_recipient(local: str, recipient: str) -> str:
    """The local part with the recipient in it folded; the very same object when it isn't in it."""
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
    """The local part without the recipient in it and the marks around that; "" if it isn't in it."""
    found = _without_recipient(local, recipient)
    if found is local:
        return ""
    front, _, back = found.partition(PLACEHOLDER)
    front, back = front.rstrip(_VERP_MARKS), back.lstrip(_VERP_MARKS)
    return f"{front}-{back}" if front and back else front or back


def _stands_alone(flat: str, start: int, end: int, *, soft: bool) -> bool:
    """Whether a recipient found in a flattened local part isn't by chance part of a longer name.

    With an at-sign that human names have too (`max.example.org`) it needs something beside it and a
    separator between; with any other, what stands before it may touch it.
    """
    if end < len(flat) and flat[end] != ".":
        return False
    return not soft or (end - start < len(flat) and (start == 0 or flat[start - 1] == "."))


@lru_cache(maxsize=256)
def _spellings(recipient: str) -> tuple[str, tuple[tuple[str, int], ...], tuple[str, ...]]:
    """First label of the recipient's domain; the address as VERP writes it; its encodings.

    The former are flattened, with the place of their at-sign; all are in lower case.
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
