"""Makes the keys under which a store keeps the records of an attempt.

A key is a list of components (`[greylist] key`).  Its text is the name and the normalised value of each
component.  Each value has its length in front, so that one value cannot imitate two.  The store holds only a
digest of that text under the site key, so that a stolen store reveals no senders and recipients.

Tests fix the texts and digests: changing them would silently forget every sender.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from hashlib import blake2b

from multigrey.contracts import KeyComponent
from multigrey.identity.addresses import host_name
from multigrey.identity.components import (
    ClientAddress,
    ClientNetwork,
    Helo,
    OriginText,
    Recipient,
    RecipientDomain,
    Sender,
    SenderDomain,
)
from multigrey.identity.envelope import (
    DOMAIN,
    STANDING,
    TRUST,
    VERSION,
    Envelope,
    envelope_of,
    filled_in,
    template_of,
)
from multigrey.model import Attempt, Key, Origin, Table

__all__ = ["NETWORK_KEY", "ORIGIN_KEY", "KeyScheme"]

NETWORK_KEY = ("client-network", "sender", "recipient")
"""The key under which every record is kept too, so that a change of `[greylist] key` forgets no sender."""

ORIGIN_KEY = ("origin", "sender", "recipient")
"""The default key.  Records of an origin that a slow source found are kept under it, too."""

_DIGEST_SIZE = 16
_NOBODY = Origin("", named=False)

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
    """Marks a component of a recipe whose text the caller passes in, because the caller has it already."""

    ORIGIN = 1
    NETWORK = 2


class _Recipe:
    """A list of components, prepared for making digests."""

    __slots__ = ("components", "head", "template")

    def __init__(self, names: Sequence[str], components: Sequence[KeyComponent]) -> None:
        if len(names) != len(components):
            raise ValueError("as many names as components are needed")
        self.template = template_of(names)
        self.head = template_of(names[:1])
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
        """`names` are the words of `[greylist] key`, `components` their components in the same order."""
        self._hash = blake2b(digest_size=_DIGEST_SIZE, key=site_key)
        self._network = network
        self._domain_mark = lru_cache(maxsize=512)(lambda domain: self._hashed(DOMAIN, (domain,)))
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
        """Whether the keys are made only of client, HELO, sender and recipient."""

    def record_keys(self, attempt: Attempt, origin: Origin, network: str | None = None) -> tuple[Key, ...]:
        """The configured key, then the client-network key if it is a different one.

        A named origin adds a key of its own, so that its other clients match from any network.
        `network` is the text of the client network, if the caller has it already; it replaces each
        component without a value.
        """
        if attempt.raw:
            return ((Table.RECORD, self.digest(("raw", attempt.raw))),)
        if network is None:
            network = self._network.text(attempt) or ""
        recipe = self._configured
        if recipe is self._by_origin and not origin.named:
            # Without a named origin both recipes use the client network; one of the keys is enough.
            recipe = self._by_network
        keys = [(Table.RECORD, self._digest_of(recipe, attempt, origin, network))]
        if recipe is not self._by_network:
            keys.append((Table.RECORD, self._digest_of(self._by_network, attempt, origin, network)))
        if origin.named and recipe is not self._by_origin:
            keys.append(self.named_key(attempt, origin, network))
        return tuple(keys)

    def named_key(self, attempt: Attempt, origin: Origin, network: str) -> Key:
        """The key under a named origin, independent of the configured key."""
        return (Table.RECORD, self._digest_of(self._by_origin, attempt, origin, network))

    def network_key(self, attempt: Attempt, network: str) -> Key:
        """The key under the client network, independent of the configured key."""
        return (Table.RECORD, self._digest_of(self._by_network, attempt, _NOBODY, network))

    def mark_digest(self, attempt: Attempt, origin: Origin, network: str) -> bytes:
        """The digest from which a mark is made: of the named key if there is one, else of the network key."""
        key = self.named_key(attempt, origin, network) if origin.named else self.network_key(attempt, network)
        return key[1]

    def version_key(self, attempt: Attempt, version: int) -> Key:
        """The key of an attempt by a host with this HELO name, over this IP version.

        A host with an IPv4 and an IPv6 address may retry from the other one.  Only its HELO name, if that is
        in the sender's own domain, shows that it is the same host.
        """
        told = self.envelope(attempt)
        texts = (str(version), host_name(attempt.helo), told.sender, told.recipient)
        return (Table.RECORD, self._hashed(VERSION, texts))

    def domain_mark(self, domain: str) -> bytes:
        """The mark of a registered domain in the list of sender domains whose mail returned."""
        return self._domain_mark(domain)

    def standing_key(self, trust: str) -> Key:
        """The key of the standing of an origin."""
        return (Table.ORIGIN, self._hashed(STANDING, (trust,)))

    def origin_key(self, trust: str, sender_domain: str) -> Key:
        """The key of the origin record of (origin, sender domain)."""
        return (Table.ORIGIN, self._hashed(TRUST, (trust, sender_domain)))

    def digest(self, *parts: tuple[str, str]) -> bytes:
        """The digest of named texts."""
        return self._hashed(template_of([name for name, _ in parts]), [value for _, value in parts])

    def envelope(self, attempt: Attempt) -> Envelope:
        """The texts of an attempt's envelope."""
        return envelope_of(attempt, self._delimiters)

    def _digest_of(self, recipe: _Recipe, attempt: Attempt, origin: Origin, network: str) -> bytes:
        if recipe is self._by_network or recipe is self._by_origin:
            tail = envelope_of(attempt, self._delimiters).tail
            if tail:
                who = origin.text if origin.named and recipe is self._by_origin else network
                return self._digested(filled_in(recipe.head, (who,)) + tail)
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
        return self._digested(filled_in(template, texts))

    def _digested(self, text: bytes) -> bytes:
        keyed = self._hash.copy()
        keyed.update(text)
        return keyed.digest()
