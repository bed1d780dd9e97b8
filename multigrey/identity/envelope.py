"""Makes the key text of envelope addresses, with caches for the addresses that repeat."""

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

__all__ = [
    "DOMAIN",
    "SENDER_AND_RECIPIENT",
    "STANDING",
    "TRUST",
    "VERSION",
    "Envelope",
    "address_text",
    "envelope_of",
    "filled_in",
    "recipient_text",
    "sender_key_domain",
    "sender_key_text",
    "template_of",
]

_CACHED = 512
"""Enough for the current recipients and senders; known ones are cached elsewhere."""
_CACHED_ENVELOPES = 128
"""Enough for attempts that are judged at the same time."""
_cached_address_text = lru_cache(maxsize=_CACHED)(normalise_address)


def address_text(address: str) -> str:
    """Key text of an envelope address; cached, because the same few addresses repeat."""
    if len(address) > LONGEST_ADDRESS:
        return normalise_address(address)
    return _cached_address_text(address)


@lru_cache(maxsize=_CACHED)
def _cached_sender(sender: str, recipient: str) -> tuple[str, str]:
    plain = address_text(sender)
    text = sender_text(plain, address_text(recipient))
    domain, told = split_address(text)[1], split_address(plain)[1]
    if domain == told or told.endswith(f".{domain}"):  # the latter: the name of a host in a pool was removed
        return text, domain
    return f"{text}/{told}", told


def sender_key_text(attempt: Attempt) -> str:
    """Key text of the envelope sender, without the parts that change with each message (see `sender`).

    For an address wrapped by a forwarder (SRS) it is the original address followed by the forwarder's
    domain.  A sender can choose the local part freely, so without that domain it could use another
    sender's records.
    """
    return _sender(attempt.sender, attempt.recipient)[0]


def sender_key_domain(attempt: Attempt) -> str:
    """The domain for which trust is counted: that of the envelope itself; "" for the null sender."""
    return _sender(attempt.sender, attempt.recipient)[1]


def _sender(sender: str, recipient: str) -> tuple[str, str]:
    if len(sender) > LONGEST_ADDRESS or len(recipient) > LONGEST_ADDRESS:
        return _cached_sender.__wrapped__(sender, recipient)
    return _cached_sender(sender, recipient)


@lru_cache(maxsize=_CACHED)
def _cached_recipient_text(recipient: str, delimiters: str) -> str:
    return strip_extension(normalise_address(recipient), delimiters)


def recipient_text(recipient: str, delimiters: str) -> str:
    """Key text of an envelope recipient without its extension (see `strip_extension`)."""
    if len(recipient) > LONGEST_ADDRESS:
        return strip_extension(normalise_address(recipient), delimiters)
    return _cached_recipient_text(recipient, delimiters)


class Envelope(NamedTuple):
    """The texts of one envelope from which keys and records are made."""

    sender: str
    """Key text of the sender (see `sender_key_text`)."""
    domain: str
    """See `sender_key_domain`."""
    shown: str
    """The normalised sender, including the parts that `sender` leaves out."""
    recipient: str
    """Key text of the recipient."""
    tail: bytes
    """The end of the text of a key that ends in sender and recipient; b"" without a recipient."""


def _envelope(sender: str, recipient: str, delimiters: str) -> Envelope:
    shown, to = address_text(sender), recipient_text(recipient, delimiters)
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


# Shortcut of bytes.join.
def filled_in(template: str, texts: Sequence[str]) -> bytes:
    """The template with the length and bytes of each text filled in.

    The cases of one and two texts are written out for speed: every unknown attempt needs them three times.
    """
    if len(texts) == 1:
        told = template % (len(texts[0]), texts[0])
    elif len(texts) == 2:
        told = template % (len(texts[0]), texts[0], len(texts[1]), texts[1])
    else:
        told = template % tuple([part for text in texts for part in (len(text), text)])
    if told.isascii():
        return told.encode("ascii")
    # The length in the template is in bytes, so texts that are not ASCII are encoded before measuring.
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
