"""The traits that multigrey itself provides for rules."""

from __future__ import annotations

from multigrey.errors import AddressError
from multigrey.identity.addresses import parse_client_address
from multigrey.identity.origin import Origins
from multigrey.model import Attempt, value

__all__ = ["GeneratedName", "HeloIsAddress", "HeloMismatch", "NoClientName", "NullSender"]

_DIGITS = "0123456789"


@value
class GeneratedName:
    """`generated-name`: the client's verified name is made from its address or from words for pools."""

    origins: Origins

    def holds(self, attempt: Attempt) -> bool:
        """See `Trait.holds`."""
        return self.origins.generated(attempt)


@value
class HeloMismatch:
    """`helo-mismatch`: HELO lies outside the registered domain of the client's verified name."""

    origins: Origins

    def holds(self, attempt: Attempt) -> bool:
        """See `Trait.holds`."""
        return self.origins.helo_mismatch(attempt)


class HeloIsAddress:
    """`helo-is-address`: HELO is an address literal (RFC 5321 section 4.1.3) or a bare IP address."""

    def holds(self, attempt: Attempt) -> bool:
        """See `Trait.holds`."""
        helo = attempt.helo.strip(" \t").rstrip(".")
        if helo.startswith("["):
            return True
        if helo[-1:] not in _DIGITS and ":" not in helo:
            return False
        try:
            return parse_client_address(helo) is not None
        except AddressError:
            return False


class NullSender:
    """`null-sender`: a bounce, or a probe that looks like one."""

    def holds(self, attempt: Attempt) -> bool:
        """See `Trait.holds`.  False if only the client address is known: the sender may be any."""
        return not attempt.sender and not attempt.raw and bool(attempt.recipient or attempt.message)


class NoClientName:
    """`no-client-name`: the client has no verified name."""

    def holds(self, attempt: Attempt) -> bool:
        """See `Trait.holds`."""
        return not attempt.client_name
