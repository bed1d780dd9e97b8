"""The administration part of a running daemon: control socket, status, overrides, alarms, reload."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import trio

from multigrey.background.alarms import Alarms, untold
from multigrey.background.flow import Flow
from multigrey.background.growth import Growth
from multigrey.background.hours import Hours
from multigrey.background.loop_lag import LoopLag
from multigrey.background.state_directory import StateDirectory
from multigrey.background.supervise import supervise
from multigrey.clock import Since
from multigrey.config.load import Loaded
from multigrey.config.settings import Settings
from multigrey.config.show import as_plain
from multigrey.config.tables.control import Control
from multigrey.control.feed import Followers, Rates
from multigrey.control.operations.all import all_operations
from multigrey.control.operations.context import Decisions, OperationContext
from multigrey.control.operations.mode import OverrideControl, changed_keys, differences
from multigrey.control.operations.report import origin_class_of
from multigrey.control.operations.status import newest_change
from multigrey.control.peers import Groups, unknown_groups
from multigrey.control.server import ControlServer
from multigrey.core import Core
from multigrey.daemon.confinement import Confinement
from multigrey.daemon.status import Running
from multigrey.engine.setup import Setup
from multigrey.errors import StoreError
from multigrey.listeners.sockets import OpenSocket
from multigrey.model import Action, DecisionEvent
from multigrey.threads import in_thread

__all__ = ["NEEDS_RESTART", "Admin", "list_changes"]

logger = logging.getLogger(__name__)


NEEDS_RESTART = (
    *("listen", "state_dir", "user", "store", "control", "confinement"),
    *("history.enabled", "history.map_size", "metrics.address"),
)
"""The keys (dotted) and tables that a reload does not change."""


class Admin:
    """The administration part of one daemon."""

    def __init__(
        self,
        *,
        core: Core,
        running: Running,
        reload: Callable[[], Awaitable[None]],
        confinement: Confinement,
        decisions: Decisions | None = None,
    ) -> None:
        """Nothing runs yet; see `start` and `start_work`."""
        engine, clock = core.engine, core.engine.clock
        self._core = core
        self._engine = engine
        self._clock = clock
        self._running = running
        self._reload = reload
        self._confinement = confinement
        self.refused = ""
        """Why the latest reload was refused, as long as no later one succeeded."""
        self._files: Mapping[str, float] = {}
        self._loaded_at = Since(clock)
        self._began_with = running.loaded()
        self.lag = LoopLag()
        """The delay of the event loop, for status and metrics."""
        self.state_directory = StateDirectory(core.settings.state_dir, engine.store)
        """Whether the daemon's files still have their names, for status and metrics."""
        self.growth = Growth(engine.store, clock.now, self._decided)
        self.flow = Flow(
            engine.store,
            clock,
            lambda event: origin_class_of(engine.setup, event),
            lambda: engine.setup.redactor,
            Hours(engine.store, lambda: engine.counts),
            self._target_of,
        )
        self._helm = OverrideControl(core.overrides, self.reload, core.apply)
        followers, rates = Followers(), Rates(clock)
        self.alarms = Alarms(clock, untold(running.listens), lambda: engine.setup.redactor)
        """Floods and implausible input, for status, reports and metrics."""
        self.subscribers: tuple[Callable[[DecisionEvent], None], ...] = (
            *(followers, rates, self.alarms, self.flow),
        )
        """Functions that the engine must call with every decision."""
        self.parts = OperationContext(
            core,
            decisions=decisions,
            follow=followers.follow,
            rates=rates,
            flow=self.flow,
            alarms=self.alarms,
            status=self.status,
            steering=self._helm,
        )
        self._server: ControlServer | None = None

    def status(self) -> Mapping[str, Any]:
        """The daemon's own part of `status`."""
        return {
            **self._running.status(),
            **self.alarms.status(),
            "loaded": self._loaded_at.time,
            "files": self._files,
            "overrides": [override.as_mapping() for override in self._core.overrides.active],
            "needs_restart": self._waiting_for_restart(),
            "loop_lag": {"latest": round(self.lag.latest, 4), "worst": round(self.lag.worst, 4)},
            "confinement": self._confinement.granted,
            "state_trouble": self.state_directory.trouble,
            "reload_refused": self.refused,
            "control": None if self._server is None else self._server.figures(),
        }

    def _waiting_for_restart(self) -> list[str]:
        """The keys and tables that reloads have changed without effect until a restart."""
        return changed_keys(NEEDS_RESTART, self._began_with.settings, self._running.loaded().settings)

    def _decided(self) -> Mapping[Action, int]:
        """The number of decisions since the start, by action."""
        counts = Counter[Action]()
        for (action, _), number in self._engine.counts.items():
            counts[action] += number
        return counts

    def _target_of(self, name: str) -> int | None:
        """The target of a class in seconds."""
        return next((each.target for each in self._core.settings.class_ if each.name == name), None)

    async def finish(self) -> None:
        """Write, at the end, what may also be lost."""
        for figures in (self.growth, self.flow):
            with suppress(StoreError):
                await figures.note()

    async def start(self) -> None:
        """Restore the overrides of earlier runs.  Call once, when the core is loaded.  Raises StoreError."""
        await self._helm.start()
        await self.take_over()

    async def take_over(self) -> None:
        """Note the time and the list files of the configuration, after it was read (again)."""
        self._files = await in_thread(list_changes, self._running.loaded().settings)
        self._loaded_at = Since(self._clock)
        self.refused = ""

    async def reload(self) -> Mapping[str, Any]:
        """See `parts.DaemonControl.reload`."""
        before, lists = self._running.loaded(), _entries(self._engine.setup)
        await self._reload()
        after, now = self._running.loaded(), _entries(self._engine.setup)
        changed = differences(_values(before), _values(after))
        return {
            "config": None if after.path is None else str(after.path.absolute()),
            "changed": changed,
            "needs_restart": self._waiting_for_restart(),
            "lists": [
                {"list": name, "entries": now[name], "before": lists.get(name)}
                for name in now
                if now[name] != lists.get(name)
            ],
            "lists_gone": [name for name in lists if name not in now],
            "warnings": [str(warning) for warning in self._running.warnings],
        }

    def start_work(self, nursery: trio.Nursery, control: Control, endpoint: OpenSocket | None) -> None:
        """Start the background tasks, and the control server at `endpoint` (None: no control socket)."""
        nursery.start_soon(supervise, "overrides", self._helm.run)
        nursery.start_soon(supervise, "loop lag", self.lag.run)
        nursery.start_soon(supervise, "state directory", self.state_directory.run)
        nursery.start_soon(supervise, "growth", self.growth.run)
        nursery.start_soon(supervise, "flow", self.flow.run)
        nursery.start_soon(supervise, "alarms", self.alarms.run)
        if endpoint is not None:
            groups = Groups(control.read_group, control.admin_group, control.operate_group)
            operations = all_operations(self.parts)
            self._server = ControlServer(endpoint.socket, operations, groups, hides_people=self._hides_people)
            nursery.start_soon(self._serve, endpoint, groups, self._server)

    def _hides_people(self) -> bool:
        return self._core.settings.log.redact

    async def _serve(self, endpoint: OpenSocket, groups: Groups, server: ControlServer) -> None:
        for group in await trio.to_thread.run_sync(unknown_groups, groups, abandon_on_cancel=True):
            logger.warning("[control] %s: this group does not exist", group)
        try:
            await supervise("control socket", partial(server.run, task_status=trio.TASK_STATUS_IGNORED))
        finally:
            endpoint.close()


def _values(loaded: Loaded) -> Mapping[str, Any]:
    values: Mapping[str, Any] = as_plain(loaded)["settings"]
    return values


def _entries(setup: Setup) -> Mapping[str, int]:
    """The number of entries of each list."""
    return {f"{source.name} {source.path}".rstrip(): source.entries for source in setup.about_sources}


def list_changes(settings: Settings) -> Mapping[str, float]:
    """Return when each list file or directory was last changed, by path; without unreadable ones.

    Times are in wall-clock seconds.
    """
    paths: set[Path] = {entry.path for entry in settings.whitelist if entry.path is not None}
    seen = {str(path): newest_change(path) for path in paths}
    return {path: changed for path, changed in seen.items() if changed is not None}
