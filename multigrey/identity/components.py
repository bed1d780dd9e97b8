"""The parts a key can be made of (see `contracts.KeyComponent`)."""

from __future__ import annotations

from dataclasses import dataclass

from multigrey.identity.addresses import (
    client_text,
    host_name,
    network_of,
    split_address,
)
from multigrey.identity.envelope import _recipient_text, address_text, sender_key_domain, sender_key_text
from multigrey.model import Attempt

__all__ = [
    "ClientAddress",
    "ClientNetwork",
    "Helo",
    "OriginText",
    "Recipient",
    "RecipientDomain",
    "Sender",
    "SenderDomain",
]


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
