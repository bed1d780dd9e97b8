"""A table of the messages whose recipients are being judged one by one.

*Carrying.*  A recipient that passes carries the other new recipients of its message, which then pass too.
Without this, a mail server's error limits (Postfix: smtpd_hard_error_limit, 20) turn a mail to 50 recipients
into four rounds of retries, and a sender that never retries for some of its recipients loses them.  A
recipient that passes for a reason of its own (a whitelist entry for it, its opt-out) carries no others.  An
origin without trust carries at most `MOST_CARRIED` recipients of one message, only in the domains of the
recipients that passed: one pair that came back must not let a whole dictionary of recipients pass.
Recipients that come back for the first time carry as many others as they are themselves; otherwise a message
of which twenty were refused twice would need another round for every twenty more.

*First recipients.*  Address probes and callouts end after RCPT.  So the null sender and probes pass there for
the first recipient of a message, which is judged at DATA; further recipients are judged at RCPT.

The table is in memory and bounded, in messages and in octets: a message with a longer text is not kept.  If
the table is lost, mail is delayed, but never lost.
"""

from __future__ import annotations

from typing import TypeVar

from multigrey.identity.addresses import LONGEST_ADDRESS
from multigrey.model import Attempt, Origin

__all__ = ["MOST_CARRIED", "MOST_MESSAGES", "MessageTable"]

K = TypeVar("K")
V = TypeVar("V")

MOST_CARRIED = 10
"""Largest number of new recipients that pass with one message of an origin without trust."""
MOST_MESSAGES = 4_096
"""Messages that are remembered at a time, unless the caller says otherwise."""
_WITHOUT_LIMIT = 1 << 30


class _Carrier:
    """A message with a recipient that passed: its sender, and how many recipients it carries."""

    __slots__ = ("carried", "listener", "most", "origin", "recipients", "returned", "sender")

    def __init__(self, attempt: Attempt, origin: Origin) -> None:
        self.listener = attempt.listener
        self.origin = origin.text
        self.sender = attempt.sender
        self.recipients = [attempt.recipient]
        self.most = 0
        """How many it may carry because of recipients that were known before."""
        self.returned = 0
        """How many of its recipients have come back for the first time; it may carry as many others."""
        self.carried = 0

    def is_of(self, attempt: Attempt, origin: Origin) -> bool:
        return (
            self.sender == attempt.sender and self.origin == origin.text and self.listener == attempt.listener
        )


class MessageTable:
    """Messages with a recipient that passed, their first recipients, and which have received the header."""

    def __init__(self, size: int = MOST_MESSAGES) -> None:
        """`size` is the number of messages kept; the oldest is dropped first."""
        self._size = size
        self._carriers: dict[str, _Carrier] = {}
        """By message id; another message with the same id replaces the entry."""
        self._first: dict[tuple[str, str], str] = {}
        self._headed: dict[tuple[str, str], None] = {}

    def note_pass(
        self, attempt: Attempt, origin: Origin, *, proven: bool = False, returned: bool = False
    ) -> None:
        """Note that a recipient of this message passed and carries others.

        `proven`: it carries any number.  `returned`: it has come back for the first time, and carries one.
        """
        message = attempt.message
        if not message or not attempt.sender or _is_too_long(message, attempt.sender, attempt.recipient):
            return
        carrier = self._carriers.get(message)
        if carrier is None or not carrier.is_of(attempt, origin):
            carrier = _Carrier(attempt, origin)
            self._keep(self._carriers, message, carrier)
        elif len(carrier.recipients) < MOST_CARRIED:
            carrier.recipients.append(attempt.recipient)
        if returned:
            carrier.returned += 1
        else:
            carrier.most = max(carrier.most, _WITHOUT_LIMIT if proven else MOST_CARRIED)

    def is_carried(self, attempt: Attempt, origin: Origin) -> bool:
        """Whether another recipient of this message, of the same origin and sender, carries this one."""
        carrier = self._carriers.get(attempt.message) if self._carriers else None
        if carrier is None or not carrier.is_of(attempt, origin):
            return False
        if carrier.carried >= max(carrier.most, carrier.returned):
            return False
        if carrier.most == _WITHOUT_LIMIT:
            return True
        return _domain(attempt.recipient) in {_domain(recipient) for recipient in carrier.recipients}

    def note_carried(self, attempt: Attempt, origin: Origin) -> None:
        """Note that a new recipient passed with its message."""
        carrier = self._carriers.get(attempt.message)
        if carrier is not None and carrier.is_of(attempt, origin):
            carrier.carried += 1

    def note_first(self, attempt: Attempt) -> bool:
        """Whether this is the first recipient of its message; False without a message id.

        If no first recipient is known, this one becomes it.
        """
        if not attempt.message:
            return False
        key = (attempt.listener, attempt.message)
        first = self._first.get(key)
        if first is None and not _is_too_long(attempt.message, attempt.recipient):
            self._keep(self._first, key, attempt.recipient)
        return first is None or first == attempt.recipient

    def first(self, attempt: Attempt) -> str | None:
        """The first recipient of this message; None if it is not known."""
        return self._first.get((attempt.listener, attempt.message)) if attempt.message else None

    def wants_header(self, attempt: Attempt) -> bool:
        """Whether this answer should carry the header: True once per message; without an id always True."""
        if not attempt.message:
            return True
        key = (attempt.listener, attempt.message)
        if key in self._headed:
            return False
        if not _is_too_long(attempt.message):
            self._keep(self._headed, key, None)
        return True

    def _keep(self, table: dict[K, V], key: K, value: V) -> None:
        table[key] = value
        if len(table) > self._size:
            del table[next(iter(table))]


def _is_too_long(*texts: str) -> bool:
    return any(len(text) > LONGEST_ADDRESS for text in texts)


def _domain(recipient: str) -> str:
    return recipient.rpartition("@")[2].lower()
