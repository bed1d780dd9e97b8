"""What a decision is made from besides records: the numbers of the configuration, and the attempt itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from multigrey.greylist.reputation import Proof
from multigrey.identity.addresses import client_text
from multigrey.identity.redaction import Redactor
from multigrey.model import DAY, HOUR, Address, Origin, value

__all__ = ["OWN_HOSTS_AFTER", "STANDING_AGE", "WRITTEN_EVERY", "Case", "Policy", "hidden"]

WRITTEN_EVERY = HOUR
"""A known sender's record is written, and its origin counted, at most this often (seconds)."""

STANDING_AGE = 36 * DAY
"""Seconds for which the standing of an origin is kept at least: what it says spans 30 days."""

OWN_HOSTS_AFTER = 2
"""Counted passes after which an organisation that sends from its own hosts is trusted.

Nobody else can send from there, so what its hosts have shown says what they will do; a shared provider
sends for anybody and needs `Policy.auto_whitelist_after`.
"""


def _no_mark(domain: str) -> bytes:
    del domain
    return b""


@value
class Policy:
    """The numbers a decision needs, in seconds."""

    delay: int
    """Minimum age of a new record before a retry passes."""
    retry_window: int
    max_age: int
    auto_whitelist_after: int
    """Counted passes after which an origin is trusted for a sender domain; 0: never."""
    patience: int = 0
    """Up to this delay each early retry after the first makes the sender wait longer (unnamed origins)."""
    proof: Proof | None = None
    """What an origin has to show before it is no longer delayed; None: it always is."""
    observe: bool = False
    """Whether attempts that would be deferred pass, and are only watched."""


@value
class Case:
    """What a decision has to know of the attempt itself."""

    origin: Origin
    key: bytes
    """Digest of the configured key, to tell different keys of one origin apart."""
    null_sender: bool = False
    same_message: bool = False
    """Another recipient of this message, with the same origin and sender, carries this one."""
    provider: bool = False
    """The client is a server of a provider that is known to retry: it does not wait."""
    own_hosts: bool = False
    """The sender's organisation sends from its own hosts: nobody else can use this origin."""
    domain: str = ""
    """The sender's domain."""
    mark_of: Callable[[str], bytes] = _no_mark
    """Gives what stands for its registered domain, to tell different sender domains of one origin apart."""
    client: Address | str = ""
    sender: str = ""
    recipient: str = ""
    clock_believed: bool = True
    """False: the wall clock may be wrong; who is known stays so, and nothing earned is overwritten."""

    @property
    def client_shown(self) -> str:
        """The client as a record shows it."""
        return self.client if isinstance(self.client, str) else client_text(self.client)


def hidden(case: Case, redactor: Redactor) -> Case:
    """A case whose record shows tokens.

    What is decided does not change: keys are made before, and of the origin only that of a named one is
    ever compared, which stays.
    """
    origin = case.origin
    return replace(
        case,
        origin=origin if origin.named else Origin(redactor.origin(origin), named=False),
        client=redactor.client(case.client_shown),
        sender=redactor.address(case.sender),
        recipient=redactor.address(case.recipient),
    )
