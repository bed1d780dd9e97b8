"""What operations work with: the parts of a running daemon, or of a stopped one's store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from multigrey.background.alarms import Alarms
from multigrey.clock import Clock
from multigrey.config.settings import Settings
from multigrey.control.feed import Follower, Rates
from multigrey.engine.engine import Engine
from multigrey.overrides.expectations import Expectations
from multigrey.plugins.registry import BuiltRegistry

__all__ = ["Decisions", "Parts", "Steering"]


class Decisions(Protocol):
    """What is remembered of decisions made."""

    async def find(self, decision_id: str) -> Mapping[str, Any] | None:
        """The decision of this id with everything its attempt told; None when it is not known (any more)."""

    async def about(self, words: Mapping[str, str], limit: int) -> Sequence[Mapping[str, Any]]:
        """The latest decisions that concern an address, domain or client; oldest first."""

    async def forget(self, words: Mapping[str, str]) -> int:
        """Remove the decisions that concern all of these (see `events.query.WORDS`); returns how many."""

    async def compact(self) -> None:
        """Leave nothing of what was removed on the disk."""


class Steering(Protocol):
    """What a running daemon does when an administrator says so; `by` tells who, for log and status."""

    async def reload(self) -> Mapping[str, Any]:
        """Read configuration, lists and plugins again; tells what changed.

        Raises ConfigError and PluginError; then everything stays as it was.
        """

    async def override(self, slot: str, word: str, seconds: int, by: str) -> Mapping[str, Any]:
        """Let something hold for a while (see `overrides`).  Raises ValueError, StoreError."""

    async def end_override(self, slot: str, by: str) -> Mapping[str, Any] | None:
        """End it before its time; tells what it was, None when nothing was.  Raises StoreError."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Whatever may change with a reload is a function."""

    engine: Engine
    clock: Clock
    settings: Callable[[], Settings]
    registry: Callable[[], BuiltRegistry]
    state_dir: Path
    decisions: Decisions | None = None
    """None: nothing is remembered."""
    follow: Callable[[], Follower] | None = None
    """Every decision from now on; None: nobody decides (a stopped daemon)."""
    rates: Rates | None = None
    """How many decisions there were lately, by origin; None: nobody decides."""
    alarms: Alarms | None = None
    """Floods, and input that cannot be true; None: nobody decides."""
    expectations: Expectations | None = None
    """Mail that somebody waits for; of a stopped daemon it can only be looked at."""
    status: Callable[[], Mapping[str, Any]] | None = None
    """What only the daemon knows: uptime, listeners, loop lag, lists; None: it is stopped."""
    steering: Steering | None = None
    """What changes the daemon as a whole; None: it is stopped."""
