"""The inputs of a decision besides records: the configured numbers, and the attempt itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from multigrey.greylist.reputation import Proof
from multigrey.identity.addresses import client_text
from multigrey.identity.redaction import Redactor
from multigrey.model import DAY, HOUR, Address, Origin, value

__all__ = ["OWN_HOSTS_AFTER", "STANDING_AGE", "WRITTEN_EVERY", "Case", "Policy", "hidden"]

WRITTEN_EVERY = HOUR
"""Shortest time in seconds between two writes of a known sender's record, and two counts for its origin."""

STANDING_AGE = 36 * DAY
"""Seconds for which the standing of an origin is kept at least, because its figures span 30 days."""

OWN_HOSTS_AFTER = 2
"""Counted passes after which an organisation that sends from its own hosts is trusted.

Only the organisation can send from there, so earlier mail predicts later mail.  A shared provider sends for
many organisations and needs `Policy.auto_whitelist_after`.
"""


def _no_mark(domain: str) -> bytes:
    del domain
    return b""


@value
class Policy:
    """The configured numbers that a decision needs; times in seconds."""

    delay: int
    """Minimum age of a new record before a retry passes."""
    retry_window: int
    max_age: int
    auto_whitelist_after: int
    """Counted passes after which an origin is trusted for a sender domain; 0: never."""
    patience: int = 0
    """Largest delay to which early retries after the first extend the delay (unnamed origins); 0: they do not
    extend it."""
    proof: Proof | None = None
    """The figures with which an origin is not delayed any more; None: every origin is delayed."""
    observe: bool = False
    """Whether attempts that would be deferred pass and are only observed."""


@value
class Case:
    """The data of one attempt that a decision needs."""

    origin: Origin
    key: bytes
    """Digest of the configured key, to distinguish different keys of one origin."""
    null_sender: bool = False
    same_message: bool = False
    """Whether another recipient of this message, with the same origin and sender, carries this one."""
    provider: bool = False
    """Whether the client is a server of a provider that is known to retry; it is not delayed."""
    own_hosts: bool = False
    """Whether the sender's organisation sends from its own hosts, so that only it can use this origin."""
    domain: str = ""
    """The sender's domain."""
    mark_of: Callable[[str], bytes] = _no_mark
    """Returns the mark of a domain's registered domain, to distinguish the sender domains of one origin."""
    client: Address | str = ""
    sender: str = ""
    recipient: str = ""
    clock_believed: bool = True
    """False: the wall clock may be wrong.  Then known senders stay known, and no trust is overwritten."""
    set_back: int = 0
    """Seconds by which the clock was set back last."""

    @property
    def client_shown(self) -> str:
        """The text of the client in a record."""
        return self.client if isinstance(self.client, str) else client_text(self.client)


def hidden(case: Case, redactor: Redactor) -> Case:
    """A case whose record shows tokens instead of addresses.

    The decision does not change: keys have been made before, and only the text of a named origin is ever
    compared, which stays in clear.
    """
    origin = case.origin
    return replace(
        case,
        origin=origin if origin.named else Origin(redactor.origin(origin), named=False),
        client=redactor.client(case.client_shown),
        sender=redactor.address(case.sender),
        recipient=redactor.address(case.recipient),
    )
