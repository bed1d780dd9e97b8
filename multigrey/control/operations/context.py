"""The parts of a daemon that operations work with: of a running daemon, or of the store of a stopped one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from multigrey.background.alarms import Alarms
from multigrey.background.flow import Flow
from multigrey.clock import Clock
from multigrey.config.settings import Settings
from multigrey.contracts import BackupPart
from multigrey.control.feed import Follower, Rates
from multigrey.core import Core
from multigrey.engine.engine import Engine

__all__ = ["DaemonControl", "Decisions", "OperationContext"]


class Decisions(Protocol):
    """The history: past decisions."""

    async def find(self, decision_id: str) -> Mapping[str, Any] | None:
        """The decision with this id and its whole attempt; None: the history does not hold it (any more)."""

    async def about(self, words: Mapping[str, str], limit: int) -> Sequence[Mapping[str, Any]]:
        """The latest decisions that concern an address, domain or client; oldest first."""

    async def forget(self, words: Mapping[str, str]) -> int:
        """Remove the decisions that match all of these words (see `events.query.WORDS`); returns how many."""

    async def backup(self) -> BackupPart | None:
        """A copy of the file; None: it does not exist."""

    async def compact(self) -> None:
        """Rewrite the file, so that nothing of the removed decisions is left on the disk."""


class DaemonControl(Protocol):
    """Changes to a running daemon by an administrator; `by` names the administrator, for log and status."""

    async def reload(self) -> Mapping[str, Any]:
        """Read configuration, lists and plugins again; returns what changed.

        Raises ConfigError and PluginError; then everything stays as it was.
        """

    async def override(self, slot: str, word: str, seconds: int, by: str) -> Mapping[str, Any]:
        """Set an override for some seconds (see `overrides`).  Raises ValueError, StoreError."""

    async def end_override(self, slot: str, by: str) -> Mapping[str, Any] | None:
        """End an override early; returns it, or None when there was none.  Raises StoreError."""


@dataclass(frozen=True, slots=True)
class OperationContext:
    """A core, and what only a running daemon has besides."""

    core: Core
    decisions: Decisions | None = None
    """None: the history is switched off."""
    follow: Callable[[], Follower] | None = None
    """Starts following every decision from now on; None: the daemon is stopped."""
    rates: Rates | None = None
    """How many decisions there were lately, by origin; None: the daemon is stopped."""
    flow: Flow | None = None
    """Figures of mail that are not in the store yet; None: the daemon is stopped."""
    alarms: Alarms | None = None
    """Floods, and input that cannot be true; None: the daemon is stopped."""
    status: Callable[[], Mapping[str, Any]] | None = None
    """What only the daemon knows: uptime, listeners, loop lag, lists; None: the daemon is stopped."""
    steering: DaemonControl | None = None
    """Reload and overrides; None: the daemon is stopped."""

    @property
    def engine(self) -> Engine:
        """The engine that judges attempts, or would."""
        return self.core.engine

    @property
    def clock(self) -> Clock:
        """The engine's clock."""
        return self.core.engine.clock

    @property
    def settings(self) -> Settings:
        """The configuration in effect; a reload replaces it."""
        return self.core.settings
