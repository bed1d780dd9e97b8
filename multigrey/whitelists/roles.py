"""The whitelist source for the role addresses at which every mail server must be reachable.

These are postmaster (RFC 5321 section 4.5.1, also without a domain) and abuse (RFC 2142 section 4).
They pass for every sender, because a greylisted sender has no other address for a complaint.
"""

from __future__ import annotations

from multigrey.errors import Problem
from multigrey.identity.envelope import address_text
from multigrey.model import Attempt, Match

__all__ = ["RoleAddresses", "role_addresses"]

_NAME = "role-addresses"


class RoleAddresses:
    """`postmaster@` and `abuse@` in any domain, with or without an extension after "+"."""

    name = _NAME
    warnings: tuple[Problem, ...] = ()

    def __init__(self) -> None:
        self._postmaster = Match(_NAME, "postmaster@")
        self._abuse = Match(_NAME, "abuse@")
        self.count = 2

    def match(self, attempt: Attempt) -> Match | None:
        """See `WhitelistSource.match`."""
        text = address_text(attempt.recipient)
        if text.startswith("postmaster"):
            return self._postmaster if _is_role(text, "postmaster") or text == "postmaster" else None
        return self._abuse if text.startswith("abuse") and _is_role(text, "abuse") else None


def _is_role(text: str, role: str) -> bool:
    local, at, _ = text.rpartition("@")
    return bool(at) and local.partition("+")[0] == role


def role_addresses() -> RoleAddresses:
    """Return the source that is always in use, before the sources of the configuration."""
    return RoleAddresses()
