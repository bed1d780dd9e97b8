"""From an attempt to the keys under which a store remembers it.

A key is a list of components (`[greylist] key`).  Its text is every component's name and normalised
value, each value with its length in front, so that no value can pretend to be two; the store holds a
digest of that text under the site key, so that a stolen store names nobody.

The texts and digests are pinned by tests: changing them would silently forget every sender.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from multigrey.addresses import host_name, network_of, normalise_address, split_address, strip_extension
from multigrey.contracts import KeyComponent
from multigrey.model import Attempt, Key, Origin, Table

__all__ = [
    "NETWORK_KEY",
    "ClientAddress",
    "ClientNetwork",
    "Helo",
    "KeyScheme",
    "Recipient",
    "RecipientDomain",
    "Sender",
    "SenderDomain",
    "address_text",
]

NETWORK_KEY = ("client-network", "sender", "recipient")
"""The key every record is also kept under, so that changing `[greylist] key` forgets nobody."""

_DIGEST_SIZE = 16

_CACHED_LENGTH = 320
"""An address has 64 + 1 + 255 octets at most (RFC 5321 section 4.5.3.1); longer ones are not worth memory."""

_cached_address_text = lru_cache(maxsize=4096)(normalise_address)


def address_text(address: str) -> str:
    """Key text of an envelope address; cached, because the same few are asked for again and again."""
    if len(address) > _CACHED_LENGTH:
        return normalise_address(address)
    return _cached_address_text(address)


@lru_cache(maxsize=4096)
def _cached_recipient_text(recipient: str, delimiters: str) -> str:
    return strip_extension(normalise_address(recipient), delimiters)


def _recipient_text(recipient: str, delimiters: str) -> str:
    if len(recipient) > _CACHED_LENGTH:
        return strip_extension(normalise_address(recipient), delimiters)
    return _cached_recipient_text(recipient, delimiters)


@dataclass(frozen=True, slots=True)
class ClientAddress:
    """`client-address`: the exact address of the client."""

    def text(self, attempt: Attempt) -> str | None:
        """See `KeyComponent.text`."""
        return None if attempt.client_address is None else str(attempt.client_address)


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
class Sender:
    """`sender`: the envelope sender; the null sender has the empty text, which is a value."""

    def text(self, attempt: Attempt) -> str | None:
        """See `KeyComponent.text`."""
        return address_text(attempt.sender)


@dataclass(frozen=True, slots=True)
class SenderDomain:
    """`sender-domain`: the domain of the envelope sender; none for the null sender."""

    def text(self, attempt: Attempt) -> str | None:
        """See `KeyComponent.text`."""
        return split_address(address_text(attempt.sender))[1] or None


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


class _Recipe:
    """One list of components, ready to be made into digests."""

    __slots__ = ("components", "template")

    def __init__(self, names: Sequence[str], components: Sequence[KeyComponent]) -> None:
        if len(names) != len(components):
            raise ValueError("as many names as components are needed")
        self.template = _template(names)
        # The client network is needed for other things too: None stands for "as told by the caller".
        self.components = tuple(
            None if isinstance(component, ClientNetwork) else component for component in components
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
        default: tuple[KeyComponent, ...] = (network, Sender(), recipient)
        recipes = [_Recipe(names, components)]
        if tuple(names) != NETWORK_KEY:
            recipes.append(_Recipe(NETWORK_KEY, default))
        self._recipes = tuple(recipes)
        self._by_origin = _Recipe(("origin", "sender", "recipient"), default)

    def record_keys(self, attempt: Attempt, origin: Origin, network: str | None = None) -> tuple[Key, ...]:
        """The configured key first, then the client-network key if it is another one.

        A named origin adds a key of its own, so that its next client matches whatever its network.
        `network` is the text of the client network, if the caller has it already.
        """
        if attempt.raw:
            return ((Table.RECORD, self.digest(("raw", attempt.raw))),)
        if network is None:
            network = self._network.text(attempt) or ""
        digests = [self._digest_of(recipe, attempt, network, network) for recipe in self._recipes]
        if origin.named:
            digests.append(self._digest_of(self._by_origin, attempt, origin.text, network))
        return tuple([(Table.RECORD, digest) for digest in digests])

    def origin_key(self, trust: str, sender_domain: str) -> Key:
        """The key of what is known of (origin, sender domain)."""
        return (Table.ORIGIN, self._hashed(_TRUST, (trust, sender_domain)))

    def digest(self, *parts: tuple[str, str]) -> bytes:
        """The digest of named texts."""
        return self._hashed(_template([name for name, _ in parts]), [value for _, value in parts])

    def _digest_of(self, recipe: _Recipe, attempt: Attempt, told: str, missing: str) -> bytes:
        texts = []
        for component in recipe.components:
            text = told if component is None else component.text(attempt)
            texts.append(missing if text is None else text)
        return self._hashed(recipe.template, texts)

    def _hashed(self, template: bytes, texts: Sequence[str]) -> bytes:
        values: list[int | bytes] = []
        for text in texts:
            data = text.encode("utf-8", "surrogateescape")
            values += (len(data), data)
        keyed = self._hash.copy()
        keyed.update(template % tuple(values))
        return keyed.digest()


def _template(names: Sequence[str]) -> bytes:
    """`name=%d:%s;` for each: the length in bytes and the bytes of its value."""
    return b"".join(b"%s=%%d:%%s;" % name.encode().replace(b"%", b"%%") for name in names)


_TRUST = _template(("origin", "sender-domain"))
