"""Key text of envelope addresses, remembered for the few that come again and again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from multigrey.identity.addresses import (
    LONGEST_ADDRESS,
    normalise_address,
    split_address,
    strip_extension,
)
from multigrey.identity.sender import plain_domain, sender_text
from multigrey.model import Attempt

__all__ = ["Envelope", "address_text", "envelope_of", "sender_key_domain", "sender_key_text"]

_CACHED = 512
"""Enough for the recipients and senders of the moment; who is known is remembered elsewhere (`recent`)."""
_CACHED_ENVELOPES = 128
"""Enough for attempts that are judged together."""
_cached_address_text = lru_cache(maxsize=_CACHED)(normalise_address)


def address_text(address: str) -> str:
    """Key text of an envelope address; cached, because the same few are asked for again and again."""
    if len(address) > LONGEST_ADDRESS:
        return normalise_address(address)
    return _cached_address_text(address)


@lru_cache(maxsize=_CACHED)
def _cached_sender(sender: str, recipient: str) -> tuple[str, str]:
    plain = address_text(sender)
    text = sender_text(plain, address_text(recipient))
    domain, told = split_address(text)[1], split_address(plain)[1]
    if domain == told or told.endswith(f".{domain}"):  # the latter: a host of a pool was left out
        return text, domain
    return f"{text}/{told}", told


def sender_key_text(attempt: Attempt) -> str:
    """Key text of the envelope sender, without what changes from message to message (see `senders`).

    What a forwarder wrapped up (SRS) is the original address with the forwarder's domain behind it: whoever
    sends chooses the local part, and must not be able to choose whose records it is known by.
    """
    return _sender(attempt.sender, attempt.recipient)[0]


def sender_key_domain(attempt: Attempt) -> str:
    """The domain trust is counted for: that of the envelope itself; "" for the null sender."""
    return _sender(attempt.sender, attempt.recipient)[1]


def _sender(sender: str, recipient: str) -> tuple[str, str]:
    if len(sender) > LONGEST_ADDRESS or len(recipient) > LONGEST_ADDRESS:
        return _cached_sender.__wrapped__(sender, recipient)
    return _cached_sender(sender, recipient)


@lru_cache(maxsize=_CACHED)
def _cached_recipient_text(recipient: str, delimiters: str) -> str:
    return strip_extension(normalise_address(recipient), delimiters)


def _recipient_text(recipient: str, delimiters: str) -> str:
    if len(recipient) > LONGEST_ADDRESS:
        return strip_extension(normalise_address(recipient), delimiters)
    return _cached_recipient_text(recipient, delimiters)


class Envelope(NamedTuple):
    """What keys and records are made of, from one envelope."""

    sender: str
    """Key text of the sender (see `sender_key_text`)."""
    domain: str
    """See `sender_key_domain`."""
    shown: str
    """The sender normalised, with everything that `sender` leaves out."""
    recipient: str
    """Key text of the recipient."""
    tail: bytes
    """The end of a key's text, if that is sender and recipient; b"": there is no recipient."""


def _envelope(sender: str, recipient: str, delimiters: str) -> Envelope:
    shown, to = address_text(sender), _recipient_text(recipient, delimiters)
    domain = plain_domain(shown, address_text(recipient))
    text = shown
    if domain is None:
        text, domain = _sender(sender, recipient)
    tail = filled_in(SENDER_AND_RECIPIENT, (text, to)) if to else b""
    return Envelope(text, domain, shown, to, tail)


_cached_envelope = lru_cache(maxsize=_CACHED_ENVELOPES)(_envelope)


def envelope_of(attempt: Attempt, delimiters: str) -> Envelope:
    """The texts of an attempt's envelope; `delimiters` as in `identity.addresses.strip_extension`."""
    sender, recipient = attempt.sender, attempt.recipient
    if len(sender) > LONGEST_ADDRESS or len(recipient) > LONGEST_ADDRESS:
        return _envelope(sender, recipient, delimiters)
    return _cached_envelope(sender, recipient, delimiters)


def filled_in(template: str, texts: Sequence[str]) -> bytes:
    """A template filled in.  One and two texts are written out, because strangers need them three times."""
    if len(texts) == 1:
        told = template % (len(texts[0]), texts[0])
    elif len(texts) == 2:
        told = template % (len(texts[0]), texts[0], len(texts[1]), texts[1])
    else:
        told = template % tuple([part for text in texts for part in (len(text), text)])
    if told.isascii():
        return told.encode("ascii")
    # The length is that of the bytes.
    sizes = [len(text.encode("utf-8", "surrogateescape")) for text in texts]
    parts = [part for pair in zip(sizes, texts, strict=True) for part in pair]
    return (template % tuple(parts)).encode("utf-8", "surrogateescape")


def template_of(names: Sequence[str]) -> str:
    """`name=%d:%s;` for each: the length in bytes and the bytes of its value."""
    return "".join(f"{name.replace('%', '%%')}=%d:%s;" for name in names)


SENDER_AND_RECIPIENT = template_of(("sender", "recipient"))
TRUST = template_of(("origin", "sender-domain"))
STANDING = template_of(("origin",))
VERSION = template_of(("ip-version", "announced", "sender", "recipient"))
DOMAIN = template_of(("domain",))
