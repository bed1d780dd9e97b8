"""Logs what went wrong on connections, and hints for the administrator, both seldom; counts bugs."""

from __future__ import annotations

import logging

from multigrey.errors import ProtocolError
from multigrey.listeners.connection import Connection
from multigrey.model import Ignored
from multigrey.throttle import Throttle

__all__ = ["Faults"]

_HINTS = 20
"""Number of different hints that are logged for one endpoint: they contain text that the peer chooses."""

logger = logging.getLogger(__name__)


class Faults:
    """The faults of all connections of the daemon."""

    def __init__(self) -> None:
        self.internal_errors = 0
        """Bugs of ours that ended a connection."""
        self._seldom = Throttle()
        self._hints: dict[str, set[str]] = {}

    def report(self, connection: Connection, error: Exception, now: float) -> None:
        """Log what ended a connection: a fault of the peer, the network or ours.  `now`: any seconds."""
        if isinstance(error, ProtocolError):
            self._protocol_error(connection, error, now)
        elif isinstance(error, OSError):
            logger.debug("%s: %s: %s", connection.listening.name, connection.peer, error)
        else:
            self.internal_errors += 1
            logger.error("%s: %s: internal error", connection.listening.name, connection.peer, exc_info=error)

    def hint(self, connection: Connection, ignored: Ignored) -> None:
        """Log what an administrator should know, once for each endpoint."""
        endpoint, hint = connection.listening.name, ignored.hint
        hints = self._hints.setdefault(endpoint, set())
        if not hint or hint in hints or len(hints) >= _HINTS:
            return
        hints.add(hint)
        logger.warning("%s: %s", endpoint, hint)
        if len(hints) == _HINTS:
            logger.warning(
                "%s: further hints are not logged until a restart: there were %d", endpoint, _HINTS
            )

    def _protocol_error(self, connection: Connection, error: ProtocolError, now: float) -> None:
        host = connection.peer.partition(" ")[0]
        if self._seldom.due((connection.listening.name, host), now):
            logger.warning("%s: %s: %s", connection.listening.name, connection.peer, error)
        try:
            connection.sock.send(connection.dialogue.data_to_send() + (error.reply or b""))
        except OSError as failure:
            logger.debug("%s: %s: %s", connection.listening.name, connection.peer, failure)
        except Exception:
            self.internal_errors += 1
            logger.exception("%s: %s: internal error", connection.listening.name, connection.peer)
