"""What is remembered of a message while its recipients are asked about one by one.

Once one recipient passes as a retry, further new recipients of that message pass too: otherwise a
server's error limits (Postfix: smtpd_hard_error_limit, 20) turn a mail to 50 recipients into four
rounds of retries.  In memory, bounded; losing it costs a delay, never a message.
"""

from __future__ import annotations

from typing import TypeVar

from multigrey.model import Attempt, Origin

__all__ = ["MessageTable"]

K = TypeVar("K")

_DEFAULT_SIZE = 10_000


class MessageTable:
    """Messages that passed as a retry, and those that already carry the header."""

    def __init__(self, size: int = _DEFAULT_SIZE) -> None:
        """`size` is the number of messages kept; the oldest is dropped first."""
        self._size = size
        self._passed: dict[tuple[str, str, str, str], None] = {}
        self._headed: dict[tuple[str, str], None] = {}

    def note_pass(self, attempt: Attempt, origin: Origin) -> None:
        """A recipient of this message passed as a retry."""
        if attempt.message:
            self._keep(self._passed, _identity(attempt, origin))

    def has_passed(self, attempt: Attempt, origin: Origin) -> bool:
        """Whether another recipient of this message, of the same origin and sender, did."""
        return bool(self._passed and attempt.message) and _identity(attempt, origin) in self._passed

    def wants_header(self, attempt: Attempt) -> bool:
        """True once per message: the answer that carries the header (always, when no id was told)."""
        if not attempt.message:
            return True
        key = (attempt.listener, attempt.message)
        if key in self._headed:
            return False
        self._keep(self._headed, key)
        return True

    def _keep(self, table: dict[K, None], key: K) -> None:
        table[key] = None
        if len(table) > self._size:
            del table[next(iter(table))]


def _identity(attempt: Attempt, origin: Origin) -> tuple[str, str, str, str]:
    return (attempt.listener, attempt.message, origin.text, attempt.sender)
