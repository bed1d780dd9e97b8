"""What only the running daemon can tell of itself."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multigrey.bounding import Bounding
from multigrey.config.load import Loaded
from multigrey.config.settings import Listen
from multigrey.engine import Engine
from multigrey.listeners.connections import Server

__all__ = ["Running"]


@dataclass(frozen=True, slots=True)
class Running:
    """A view of the daemon; whatever may change with a reload is a function."""

    engine: Engine
    server: Server
    bounding: Bounding
    listens: Sequence[Listen]
    """The endpoints that are open; a reload changes none."""
    loaded: Callable[[], Loaded]
    warnings: Callable[[], Sequence[object]]
    """What was odd about the configuration, its lists and plugins."""
    log_lines_lost: Callable[[], int]
    since: int
    """When it started."""

    def status(self) -> Mapping[str, Any]:
        """Its part of `status`."""
        loaded = self.loaded()
        open_at = Counter(connection.listening.name for connection in self.server.open)
        return {
            "since": self.since,
            "pid": os.getpid(),
            "config": None if loaded.path is None else str(loaded.path),
            "warnings": [str(warning) for warning in self.warnings()],
            "listeners": [
                {
                    "name": listen.name,
                    "protocol": listen.protocol,
                    "address": str(listen.address),
                    "on_error": listen.on_error,
                    "connections": open_at[listen.name],
                }
                for listen in self.listens
            ],
            "connections": {"open": self.server.connections, "most": self.server.limits.connections},
            "limits": {
                "max_records": self.bounding.max_records,
                "full": self.bounding.full,
                "forgotten": self.bounding.forgotten,
            },
            "decisions": dict(self.engine.figures()),
            "internal_errors": self.server.internal_errors,
            "log_lines_lost": self.log_lines_lost(),
        }
