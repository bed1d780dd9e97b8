"""What is remembered of a message while its recipients are asked about one by one.

*Carrying.*  A recipient that passes carries the other new recipients of its message: otherwise a server's
error limits (Postfix: smtpd_hard_error_limit, 20) turn a mail to 50 recipients into four rounds of
retries, and a sender that never retries for a part of its recipients loses them.  What concerns the
recipient alone (an entry for it, somebody's wish to opt out) carries nobody.  An origin that has not proved
itself carries at most `MOST_CARRIED` recipients of one message, in the domains of those that passed: one
pair that came back must not open the door for a whole dictionary.  Recipients that come back for the first
time carry as many others as they are themselves: a message of which twenty were refused twice would need
another round for every twenty more.

*First recipients.*  Address probes and callouts end after RCPT, so the null sender and probes are let pass
there for the first recipient of a message, which is judged at DATA; from the second on they are judged.

In memory, bounded; losing it costs a delay, never a message.
"""

from __future__ import annotations

from typing import TypeVar

from multigrey.model import Attempt, Origin

__all__ = ["MOST_CARRIED", "MessageTable"]

K = TypeVar("K")
V = TypeVar("V")

MOST_CARRIED = 10
"""New recipients that pass with a message of an origin that has not proved itself."""
_DEFAULT_SIZE = 4_096
_WITHOUT_LIMIT = 1 << 30


class _Carrier:
    """What one message may still carry, and whose it is."""

    __slots__ = ("carried", "listener", "most", "origin", "recipients", "returned", "sender")

    def __init__(self, attempt: Attempt, origin: Origin) -> None:
        self.listener = attempt.listener
        self.origin = origin.text
        self.sender = attempt.sender
        self.recipients = [attempt.recipient]
        self.most = 0
        """How many recipients that were known before let in."""
        self.returned = 0
        """How many have come back with it for the first time."""
        self.carried = 0

    def is_of(self, attempt: Attempt, origin: Origin) -> bool:
        return (
            self.sender == attempt.sender and self.origin == origin.text and self.listener == attempt.listener
        )


class MessageTable:
    """Messages with a recipient that passed, their first recipients, and those that carry the header."""

    def __init__(self, size: int = _DEFAULT_SIZE) -> None:
        """`size` is the number of messages kept; the oldest is dropped first."""
        self._size = size
        self._carriers: dict[str, _Carrier] = {}
        """By message id: whoever has the same one by chance takes its place."""
        self._first: dict[tuple[str, str], str] = {}
        self._headed: dict[tuple[str, str], None] = {}

    def note_pass(
        self, attempt: Attempt, origin: Origin, *, proven: bool = False, returned: bool = False
    ) -> None:
        """A recipient of this message passed, and carries others.

        `proven`: without limit; `returned`: it has only just come back, and carries one.
        """
        message = attempt.message
        if not message or not attempt.sender:
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
        """Whether another recipient of this message, of the same origin and sender, lets this one in."""
        carrier = self._carriers.get(attempt.message) if self._carriers else None
        if carrier is None or not carrier.is_of(attempt, origin):
            return False
        if carrier.carried >= max(carrier.most, carrier.returned):
            return False
        if carrier.most == _WITHOUT_LIMIT:
            return True
        return _domain(attempt.recipient) in {_domain(recipient) for recipient in carrier.recipients}

    def note_carried(self, attempt: Attempt, origin: Origin) -> None:
        """A new recipient was let in with its message."""
        carrier = self._carriers.get(attempt.message)
        if carrier is not None and carrier.is_of(attempt, origin):
            carrier.carried += 1

    def note_first(self, attempt: Attempt) -> bool:
        """Whether this is the first recipient of its message, from now on at least; False without an id."""
        if not attempt.message:
            return False
        key = (attempt.listener, attempt.message)
        first = self._first.get(key)
        if first is None:
            self._keep(self._first, key, attempt.recipient)
        return first is None or first == attempt.recipient

    def first(self, attempt: Attempt) -> str | None:
        """The first recipient of this message; None: it is not known."""
        return self._first.get((attempt.listener, attempt.message)) if attempt.message else None

    def wants_header(self, attempt: Attempt) -> bool:
        """True once per message: the answer that carries the header (always, when no id was told)."""
        if not attempt.message:
            return True
        key = (attempt.listener, attempt.message)
        if key in self._headed:
            return False
        self._keep(self._headed, key, None)
        return True

    def _keep(self, table: dict[K, V], key: K, value: V) -> None:
        table[key] = value
        if len(table) > self._size:
            del table[next(iter(table))]


def _domain(recipient: str) -> str:
    return recipient.rpartition("@")[2].lower()
