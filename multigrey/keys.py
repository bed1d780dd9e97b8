"""From an attempt to the keys under which a store remembers it.

A key is a list of components (`[greylist] key`).  Its text is every component's name and normalised
value, each value with its length in front, so that no value can pretend to be two; the store holds a
digest of that text under the site key, so that a stolen store names nobody.

The texts and digests are pinned by tests: changing them would silently forget every sender.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from multigrey.addresses import (
    client_text,
    host_name,
    network_of,
    normalise_address,
    split_address,
    strip_extension,
)
from multigrey.contracts import KeyComponent
from multigrey.model import Attempt, Key, Origin, Table
from multigrey.senders import plain_domain, sender_text

__all__ = [
    "NETWORK_KEY",
    "ORIGIN_KEY",
    "ClientAddress",
    "ClientNetwork",
    "Envelope",
    "Helo",
    "KeyScheme",
    "OriginText",
    "Recipient",
    "RecipientDomain",
    "Sender",
    "SenderDomain",
    "address_text",
    "envelope_of",
    "sender_key_domain",
    "sender_key_text",
]

NETWORK_KEY = ("client-network", "sender", "recipient")
"""The key every record is also kept under, so that changing `[greylist] key` forgets nobody."""

ORIGIN_KEY = ("origin", "sender", "recipient")
"""The default, and the key under which what a slow source found of the origin is remembered."""

_DIGEST_SIZE = 16
_NOBODY = Origin("", named=False)

_CACHED_LENGTH = 320
"""An address has 64 + 1 + 255 octets at most (RFC 5321 section 4.5.3.1); longer ones are not worth memory."""

_CACHED = 512
"""Enough for the recipients and senders of the moment; who is known is remembered elsewhere (`recent`)."""

_CACHED_ENVELOPES = 128
"""Enough for attempts that are judged together."""

_cached_address_text = lru_cache(maxsize=_CACHED)(normalise_address)


def address_text(address: str) -> str:
    """Key text of an envelope address; cached, because the same few are asked for again and again."""
    if len(address) > _CACHED_LENGTH:
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
    if len(sender) > _CACHED_LENGTH or len(recipient) > _CACHED_LENGTH:
        return _cached_sender.__wrapped__(sender, recipient)
    return _cached_sender(sender, recipient)


@lru_cache(maxsize=_CACHED)
def _cached_recipient_text(recipient: str, delimiters: str) -> str:
    return strip_extension(normalise_address(recipient), delimiters)


def _recipient_text(recipient: str, delimiters: str) -> str:
    if len(recipient) > _CACHED_LENGTH:
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
    tail = _told(_TAIL, (text, to)) if to else b""
    return Envelope(text, domain, shown, to, tail)


_cached_envelope = lru_cache(maxsize=_CACHED_ENVELOPES)(_envelope)


def envelope_of(attempt: Attempt, delimiters: str) -> Envelope:
    """The texts of an attempt's envelope; `delimiters` as in `addresses.strip_extension`."""
    sender, recipient = attempt.sender, attempt.recipient
    if len(sender) > _CACHED_LENGTH or len(recipient) > _CACHED_LENGTH:
        return _envelope(sender, recipient, delimiters)
    return _cached_envelope(sender, recipient, delimiters)


@dataclass(frozen=True, slots=True)
class ClientAddress:
    """`client-address`: the exact address of the client."""

    def text(self, attempt: Attempt) -> str | None:
        """See `KeyComponent.text`."""
        return None if attempt.client_address is None else client_text(attempt.client_address)


@dataclass(frozen=True, slots=True)
class ClientNetwork:
    """`client-network`: the client's address under its prefix."""

    ipv4_prefix: int = 24
    ipv6_prefix: int = 64

    def text(self, attempt: Attempt) -> str | None:
        """See `KeyComponent.text`."""
        if attempt.client_address is None:
            return None
        return network_of(attempt.client_address, self.ipv4_prefix, self.ipv6_prefix)


@dataclass(frozen=True, slots=True)
class OriginText:
    """`origin`: who is sending, if that has a name; else the client network stands in."""

    def text(self, attempt: Attempt) -> None:
        """See `KeyComponent.text`.  None: the origin is told to the KeyScheme by whoever found it."""
        del attempt


@dataclass(frozen=True, slots=True)
class Sender:
    """`sender`: the normalised envelope sender; the null sender has the empty text, which is a value."""

    def text(self, attempt: Attempt) -> str | None:
        """See `KeyComponent.text`."""
        return sender_key_text(attempt)


@dataclass(frozen=True, slots=True)
class SenderDomain:
    """`sender-domain`: the domain of the normalised envelope sender; none for the null sender."""

    def text(self, attempt: Attempt) -> str | None:
        """See `KeyComponent.text`."""
        return sender_key_domain(attempt) or None


@dataclass(frozen=True, slots=True)
class Recipient:
    """`recipient`: the envelope recipient without its extension."""

    delimiters: str = "+"

    def text(self, attempt: Attempt) -> str | None:
        """See `KeyComponent.text`."""
        return _recipient_text(attempt.recipient, self.delimiters) or None


@dataclass(frozen=True, slots=True)
class RecipientDomain:
    """`recipient-domain`: the domain of the envelope recipient."""

    def text(self, attempt: Attempt) -> str | None:
        """See `KeyComponent.text`."""
        return split_address(address_text(attempt.recipient))[1] or None


@dataclass(frozen=True, slots=True)
class Helo:
    """`helo`: the name the client gave in HELO or EHLO."""

    def text(self, attempt: Attempt) -> str | None:
        """See `KeyComponent.text`."""
        return host_name(attempt.helo) or None


_FROM_ENVELOPE = (
    ClientAddress,
    ClientNetwork,
    OriginText,
    Sender,
    SenderDomain,
    Recipient,
    RecipientDomain,
    Helo,
)


class _Told(Enum):
    """Stands in a recipe for what the caller tells, because it is needed for other things too."""

    ORIGIN = 1
    NETWORK = 2


class _Recipe:
    """One list of components, ready to be made into digests."""

    __slots__ = ("components", "head", "template")

    def __init__(self, names: Sequence[str], components: Sequence[KeyComponent]) -> None:
        if len(names) != len(components):
            raise ValueError("as many names as components are needed")
        self.template = _template(names)
        self.head = _template(names[:1])
        self.components = tuple(
            _Told.ORIGIN
            if isinstance(component, OriginText)
            else _Told.NETWORK
            if isinstance(component, ClientNetwork)
            else component
            for component in components
        )


class KeyScheme:
    """Makes the keys of attempts for one configuration."""

    def __init__(
        self,
        site_key: bytes,
        names: Sequence[str],
        components: Sequence[KeyComponent],
        network: ClientNetwork,
        recipient: Recipient,
    ) -> None:
        """`names` and `components` are `[greylist] key` and what stands behind its words."""
        self._hash = blake2b(digest_size=_DIGEST_SIZE, key=site_key)
        self._network = network
        self._domain_mark = lru_cache(maxsize=_CACHED)(lambda domain: self._hashed(_DOMAIN, (domain,)))
        self._by_network = _Recipe(NETWORK_KEY, (network, Sender(), recipient))
        self._by_origin = _Recipe(ORIGIN_KEY, (OriginText(), Sender(), recipient))
        self._delimiters = recipient.delimiters
        configured = _Recipe(names, components)
        if configured.template == self._by_network.template:
            configured = self._by_network
        elif configured.template == self._by_origin.template:
            configured = self._by_origin
        self._configured = configured
        self.follows_from_envelope = all(isinstance(component, _FROM_ENVELOPE) for component in components)
        """Whether client, HELO, sender and recipient are all that the keys are made of."""

    def first_key(self, attempt: Attempt, origin: Origin, network: str) -> Key:
        """The one key nearly every known attempt is recognised by.

        `network` is the text of the client network; it stands in for whatever has no value.
        """
        if attempt.raw:
            return (Table.RECORD, self.digest(("raw", attempt.raw)))
        recipe = self._configured
        if recipe is self._by_origin and not origin.named:
            recipe = self._by_network  # they say the same, and one key is enough
        return (Table.RECORD, self._digest_of(recipe, attempt, origin, network))

    def record_keys(self, attempt: Attempt, origin: Origin, network: str | None = None) -> tuple[Key, ...]:
        """The configured key first, then the client-network key if it is another one.

        A named origin adds a key of its own, so that its next client matches whatever its network.
        `network` is the text of the client network, if the caller has it already.
        """
        if network is None:
            network = self._network.text(attempt) or ""
        first = self.first_key(attempt, origin, network)
        return self.further_keys(first, attempt, origin, network)

    def further_keys(self, first: Key, attempt: Attempt, origin: Origin, network: str) -> tuple[Key, ...]:
        """`record_keys`, when the first of them is there already."""
        if attempt.raw:
            return (first,)
        keys = [first]
        if self._configured is not self._by_network and (
            origin.named or self._configured is not self._by_origin
        ):
            keys.append((Table.RECORD, self._digest_of(self._by_network, attempt, origin, network)))
        if origin.named and self._configured is not self._by_origin:
            keys.append(self.named_key(attempt, origin, network))
        return tuple(keys)

    def named_key(self, attempt: Attempt, origin: Origin, network: str) -> Key:
        """The key under a named origin, whatever is configured."""
        return (Table.RECORD, self._digest_of(self._by_origin, attempt, origin, network))

    def network_key(self, attempt: Attempt, network: str) -> Key:
        """The key under the client network, whatever is configured."""
        return (Table.RECORD, self._digest_of(self._by_network, attempt, _NOBODY, network))

    def mark_digest(self, attempt: Attempt, origin: Origin, network: str) -> bytes:
        """What a mark of an attempt is made of: the named key if there is one, else the network key."""
        key = self.named_key(attempt, origin, network) if origin.named else self.network_key(attempt, network)
        return key[1]

    def version_key(self, attempt: Attempt, version: int) -> Key:
        """The key of an attempt by a host that announces this name, over this IP version.

        A host with two addresses may come back by the other one; only the name it announces, of the
        sender's own domain, says that it is the same.
        """
        told = self.envelope(attempt)
        texts = (str(version), host_name(attempt.helo), told.sender, told.recipient)
        return (Table.RECORD, self._hashed(_VERSION, texts))

    def domain_mark(self, domain: str) -> bytes:
        """What stands for a registered domain among those that came back."""
        return self._domain_mark(domain)

    def standing_key(self, trust: str) -> Key:
        """The key of what is known of an origin as a whole."""
        return (Table.ORIGIN, self._hashed(_STANDING, (trust,)))

    def origin_key(self, trust: str, sender_domain: str) -> Key:
        """The key of what is known of (origin, sender domain)."""
        return (Table.ORIGIN, self._hashed(_TRUST, (trust, sender_domain)))

    def digest(self, *parts: tuple[str, str]) -> bytes:
        """The digest of named texts."""
        return self._hashed(_template([name for name, _ in parts]), [value for _, value in parts])

    def envelope(self, attempt: Attempt) -> Envelope:
        """The texts of an attempt's envelope."""
        return envelope_of(attempt, self._delimiters)

    def _digest_of(self, recipe: _Recipe, attempt: Attempt, origin: Origin, network: str) -> bytes:
        if recipe is self._by_network or recipe is self._by_origin:
            tail = envelope_of(attempt, self._delimiters).tail
            if tail:
                who = origin.text if origin.named and recipe is self._by_origin else network
                return self._digested(_told(recipe.head, (who,)) + tail)
        texts = []
        for component in recipe.components:
            if component is _Told.NETWORK:
                texts.append(network)
            elif component is _Told.ORIGIN:
                texts.append(origin.text if origin.named else network)
            else:
                text = component.text(attempt)
                texts.append(network if text is None else text)
        return self._hashed(recipe.template, texts)

    def _hashed(self, template: str, texts: Sequence[str]) -> bytes:
        return self._digested(_told(template, texts))

    def _digested(self, text: bytes) -> bytes:
        keyed = self._hash.copy()
        keyed.update(text)
        return keyed.digest()


def _told(template: str, texts: Sequence[str]) -> bytes:
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


def _template(names: Sequence[str]) -> str:
    """`name=%d:%s;` for each: the length in bytes and the bytes of its value."""
    return "".join(f"{name.replace('%', '%%')}=%d:%s;" for name in names)


_TAIL = _template(("sender", "recipient"))
_TRUST = _template(("origin", "sender-domain"))
_STANDING = _template(("origin",))
_VERSION = _template(("ip-version", "announced", "sender", "recipient"))
_DOMAIN = _template(("domain",))
