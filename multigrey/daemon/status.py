"""The part of `status` that only the running daemon knows."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multigrey.background.eviction import Eviction
from multigrey.clock import Since
from multigrey.config.load import Loaded
from multigrey.config.settings import Listen
from multigrey.control.peers import uid_of
from multigrey.core import Core
from multigrey.listeners.connection import Connection
from multigrey.listeners.server import Server
from multigrey.log.decision_log import DecisionLog

__all__ = ["Running"]

_MOST_PEERS = 20
"""Most peers that are listed for a listener: those with the most connections."""


@dataclass(frozen=True, slots=True)
class Running:
    """A view of the running daemon; values that a reload may change are functions."""

    core: Core
    server: Server
    eviction: Eviction
    listens: Sequence[Listen]
    """The open endpoints; a reload does not change them."""
    loaded: Callable[[], Loaded]
    log: Callable[[], DecisionLog]
    history: Callable[[], Mapping[str, int | str]] | None
    """The health of the history of decisions; None: it is disabled."""
    since: Since
    """When the daemon started."""

    @property
    def warnings(self) -> Sequence[object]:
        """The warnings about the configuration, its lists and plugins."""
        return (*self.loaded().warnings, *self.core.assembly.warnings)

    def status(self) -> Mapping[str, Any]:
        """Return this part of `status`, in the form of its JSON."""
        loaded = self.loaded()
        open_at = Counter(connection.listening.name for connection in self.server.open)
        peers = Counter((each.listening.name, _peer(each)) for each in self.server.open)
        return {
            "since": self.since.time,
            "uptime": self.since.seconds,
            "clock_believed": self.core.engine.shared.clock_believed(),
            "pid": os.getpid(),
            "config": None if loaded.path is None else str(loaded.path.absolute()),
            "warnings": [str(warning) for warning in self.warnings],
            "listeners": [
                {
                    "name": listen.name,
                    "protocol": listen.protocol,
                    "address": str(listen.address),
                    "on_error": listen.on_error,
                    "connections": open_at[listen.name],
                    "peers": _most_of(peers, listen.name),
                    "trouble": self.server.not_accepting.get(listen.name, ""),
                }
                for listen in self.listens
            ],
            "connections": {"open": self.server.connections, "most": self.server.limits.connections},
            "limits": {
                "max_records": self.eviction.max_records,
                "fits": self.eviction.fits,
                "full": self.eviction.full,
                "lags": self.core.engine.store.lags,
                "forgotten": self.eviction.forgotten,
            },
            "decisions": dict(self.core.engine.figures()),
            "internal_errors": self.server.internal_errors,
            "log_lines_lost": self.log().lost,
            "log_trouble": self.log().trouble,
            "history": None if self.history is None else dict(self.history()),
        }


def _peer(connection: Connection) -> str:
    """The peer of a connection: its IP address, or the user at the other end of a unix socket."""
    try:
        if connection.sock.family == socket.AF_UNIX:
            return f"uid {uid_of(connection.sock)}"
    except OSError:
        return "gone"
    return connection.peer.partition(" ")[0]


def _most_of(peers: Counter[tuple[str, str]], listener: str) -> list[Mapping[str, Any]]:
    found = [(number, peer) for (name, peer), number in peers.items() if name == listener]
    most = sorted(found, key=lambda each: (-each[0], each[1]))[:_MOST_PEERS]
    return [{"peer": peer, "connections": number} for number, peer in most]
