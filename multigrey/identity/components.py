"""The components from which a key can be made (see `contracts.KeyComponent`)."""

from __future__ import annotations

from dataclasses import dataclass

from multigrey.identity.addresses import (
    client_text,
    host_name,
    network_of,
    split_address,
)
from multigrey.identity.envelope import address_text, recipient_text, sender_key_domain, sender_key_text
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
    """`origin`: the text of a named origin; the client network replaces an unnamed one."""

    def text(self, attempt: Attempt) -> None:
        """Always None: the caller of `KeyScheme` passes the origin itself."""
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
        return recipient_text(attempt.recipient, self.delimiters) or None


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
