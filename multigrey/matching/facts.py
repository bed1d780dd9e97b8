"""The fields of an attempt that conditions test, in the form in which they are compared."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Generic, TypeVar

from multigrey.contracts import Trait
from multigrey.identity.addresses import LONGEST_ADDRESS, host_name, split_address
from multigrey.identity.components import Recipient
from multigrey.identity.envelope import address_text
from multigrey.identity.sender import forwarded_sender, listed_forms
from multigrey.model import Attempt, Origin
from multigrey.text import printable

__all__ = ["Facts", "Surroundings", "WorkedOut", "forwarded_note", "sender_forms"]

T = TypeVar("T")

_CACHED = 4096
"""Enough for the current senders and recipients, as in the tables of whitelists; 2 MB or less."""


def sender_forms(attempt: Attempt) -> tuple[str, ...]:
    """The texts of the sender with which lists, rules and other conditions compare; one of them must match.

    They are the envelope sender, and the same without the signature (BATV) and the recipient (VERP) that its
    own domain has added.  Empty for an attempt that has a raw key instead of addresses.
    """
    if attempt.raw:
        return ()
    sender, recipient = attempt.sender, attempt.recipient
    if len(sender) > LONGEST_ADDRESS or len(recipient) > LONGEST_ADDRESS:
        return _forms.__wrapped__(sender, recipient)
    return _forms(sender, recipient)


@lru_cache(maxsize=_CACHED)
def _forms(sender: str, recipient: str) -> tuple[str, ...]:
    return listed_forms(address_text(sender), address_text(recipient))


def forwarded_note(attempt: Attempt) -> str:
    """A note for the administrator about a forwarder's sender (SRS) that no entry matches; "" for others."""
    found = None if attempt.raw else forwarded_sender(address_text(attempt.sender))
    if found is None:
        return ""
    scheme, domain, inner = found
    return printable(
        f"the sender is wrapped by {scheme} of {domain}; entries never match the inner address {inner}"
    )


class Surroundings:
    """What conditions depend on besides the attempt; one object for all rules of a configuration."""

    __slots__ = ("_minute", "_moment", "_zone", "recipient")

    def __init__(self, zone: tzinfo | None = None, delimiters: str = "+") -> None:
        """`zone`: the time zone, None for the system's; `delimiters`: `[greylist] recipient_delimiter`."""
        self.recipient = Recipient(delimiters)
        self._zone = zone
        self._minute = -1
        self._moment = (0, 0)

    def moment(self, now: int) -> tuple[int, int]:
        """Day of the week (0 is Monday) and minute of the day at a wall-clock second."""
        if now // 60 != self._minute:
            local = datetime.fromtimestamp(now, self._zone)
            self._moment = local.weekday(), local.hour * 60 + local.minute
            self._minute = now // 60
        return self._moment


class WorkedOut(Generic[T]):
    """An attribute that a function computes at its first use: `functools.cached_property` without a lock."""

    def __init__(self, work_out: Callable[[Facts], T]) -> None:
        self._work_out = work_out
        self.__doc__ = work_out.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, facts: Facts, owner: type | None = None) -> T:
        value = facts.__dict__[self._name] = self._work_out(facts)
        return value


class Facts:
    """The fields of one attempt, each computed once, at its first use.

    Texts are those from which keys are made; None means that the attempt does not have the field.
    """

    def __init__(
        self,
        attempt: Attempt,
        origin: Origin,
        provider: str,
        now: int,
        found: frozenset[str] | None,
        unanswered: frozenset[str],
        surroundings: Surroundings,
    ) -> None:
        """`found` and `unanswered` are traits, as in `Rules.evaluate`."""
        self.attempt = attempt
        self.origin = origin
        self.provider = provider or None
        self.now = now
        self.found = found
        self.unanswered = unanswered
        self.surroundings = surroundings

    @WorkedOut
    def authenticated(self) -> str | None:
        """Login name, or subject of the client certificate."""
        return self.attempt.authenticated or None

    @WorkedOut
    def client_name(self) -> str | None:
        """The verified client name."""
        return host_name(self.attempt.client_name or "") or None

    @WorkedOut
    def origin_domain(self) -> str | None:
        """The domain of a named origin, without "spf:" in front; or the word of a provider."""
        return self.origin.text.rpartition(":")[2] if self.origin.named else None

    @WorkedOut
    def helo(self) -> str:
        """The name that the client gave in HELO; may be empty."""
        return host_name(self.attempt.helo)

    @WorkedOut
    def sender(self) -> str | None:
        """The envelope sender; "" is the null sender."""
        return None if self.attempt.raw else address_text(self.attempt.sender)

    @WorkedOut
    def senders(self) -> tuple[str, ...]:
        """The texts of the envelope sender with which conditions compare, `sender` first (`sender_forms`)."""
        return sender_forms(self.attempt)

    @WorkedOut
    def sender_domain(self) -> str | None:
        """The domain of the envelope sender."""
        return split_address(self.sender or "")[1] or None

    @WorkedOut
    def recipients(self) -> tuple[str, ...]:
        """The envelope recipient, and the same without its extension if it has one."""
        bare = self.surroundings.recipient.text(self.attempt)
        if bare is None or self.attempt.raw:
            return ()
        text = address_text(self.attempt.recipient)
        return (text,) if bare == text else (text, bare)

    @WorkedOut
    def recipient_domain(self) -> str | None:
        """The domain of the envelope recipient."""
        return (split_address(self.recipients[0])[1] or None) if self.recipients else None

    @WorkedOut
    def policy_context(self) -> str | None:
        """Postfix's attribute of this name."""
        return self.attempt.attributes.get("policy_context") or None

    @WorkedOut
    def encrypted(self) -> bool | None:
        """Whether the session is encrypted; None: the mail server did not say."""
        told = self.attempt.attributes.get("encryption_protocol")
        return None if told is None else bool(told)

    @WorkedOut
    def size(self) -> int | None:
        """Octets that the client announced; None without an announcement (Postfix sends 0, Exim -1)."""
        told = self.attempt.attributes.get("size", "")
        return int(told) or None if told.isascii() and told.isdigit() and len(told) < 19 else None

    @WorkedOut
    def moment(self) -> tuple[int, int]:
        """Day of the week and minute of the day."""
        return self.surroundings.moment(self.now)

    @WorkedOut
    def _held(self) -> dict[str, bool]:
        return {}

    def holds(self, name: str, trait: Trait) -> bool:
        """Whether a trait holds that needs no waiting; it is tested only once."""
        held = self._held.get(name)
        if held is None:
            held = self._held[name] = trait.holds(self.attempt)
        return held
