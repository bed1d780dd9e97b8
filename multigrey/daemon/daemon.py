"""The daemon: starts all tasks in their nurseries, reloads, and stops in a fixed order.

    daemon
     +- background: decision log, store, expiry, plugin services, watchdog       (restarted, never fatal)
     +- connections: one task each                                              (drained with a deadline)
     +- accept: one task per endpoint                                           (cancelled first)
     +- signals: HUP reload, TERM/INT drain and stop, USR1 log file reopened, figures logged

It stops from the outside in: it accepts no new connections, finishes the answers under way, writes
the store's last batch, and last the end of the log.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import trio

from multigrey import __version__
from multigrey.background.eviction import Eviction
from multigrey.background.expiry import keep_forgetting
from multigrey.background.hits import HitCounter
from multigrey.background.supervise import supervise
from multigrey.clock import Clock, GuardedClock, Since
from multigrey.config.load import Loaded
from multigrey.config.settings import Settings
from multigrey.contracts import DialogueOptions, Store
from multigrey.control.operations.mode import changed_keys
from multigrey.core import Assembly, make_store, open_core
from multigrey.daemon.admin import NEEDS_RESTART, Admin
from multigrey.daemon.assembly import assemble
from multigrey.daemon.confinement import Confinement
from multigrey.daemon.descriptors import connections_that_fit
from multigrey.daemon.list_memory import Disposal, without_collections
from multigrey.daemon.status import Running
from multigrey.daemon.systemd import Notifier, watchdog_seconds
from multigrey.engine.ids import make_ids
from multigrey.errors import ConfigError, MultigreyError, PluginError, StoreError
from multigrey.history.recorder import HistoryRecorder
from multigrey.identity.redaction import Redactor
from multigrey.listeners.accept import accept_all
from multigrey.listeners.commands import Commands
from multigrey.listeners.connection import ConnectionLimits, Listening
from multigrey.listeners.endpoints import OpenEndpoint
from multigrey.listeners.server import Server
from multigrey.listeners.sockets import OpenSocket
from multigrey.log.decision_log import DecisionLog
from multigrey.plugins.isolation import IsolatedTask
from multigrey.stores.lmdb.damage.starts import SERVED
from multigrey.stores.site_key import check_site_key
from multigrey.threads import Threads

if TYPE_CHECKING:
    from multigrey.metrics.service import MetricsService

__all__ = ["Daemon"]

logger = logging.getLogger(__name__)

_COMPARING = 1.0
"""Seconds that serving waits for the clock to be compared with the store; until then it is not believed."""
_FINAL_WRITES = 2.0
"""Seconds for writing, at the end, what may also be lost."""
_LAST_SERVICES = 1.0
"""Seconds that services of plugins have to end while the store is still open."""

_OpenLog = tuple[DecisionLog, trio.CancelScope]


class Daemon:
    """One running multigrey daemon."""

    def __init__(
        self,
        *,
        loaded: Loaded,
        assembly: Assembly,
        endpoints: Sequence[OpenEndpoint],
        site_key: bytes,
        clock: Clock,
        load: Callable[[], Loaded],
        environ: Mapping[str, str],
        host: str,
        confinement: Confinement,
        control: OpenSocket | None = None,
        served: Callable[[], None] = lambda: None,
    ) -> None:
        """`load` reads the configuration again, for a reload; `control` is the control socket.

        `served` is called when the daemon has served for a minute, and when it is asked to end.
        """
        settings = loaded.settings
        self._loaded, self._load, self._confinement = loaded, load, confinement
        self._endpoints, self._control = endpoints, control
        self._site_key, self._host = site_key, host
        self._clock = clock = GuardedClock(clock)
        self._notifier = Notifier(environ)
        self._watchdog = watchdog_seconds(environ, os.getpid())
        self._served = served
        self._stopping = trio.Event()
        self._reloading = trio.Lock()
        self.log = self._make_log(settings)
        self.hits = HitCounter()
        self.store: Store = make_store(assembly)
        self.eviction = Eviction(clock, self.store, settings.limits.max_records)
        self.core = open_core(
            assembly,
            self.store,
            site_key=site_key,
            clock=clock,
            ids=make_ids(),
            host=host,
            is_full=lambda: self.eviction.full,
        )
        self.engine = self.core.engine
        self.commands = Commands(self.engine, self.core.blocks, host=host, reload=self.reload)
        self.server = Server(self.engine, self.commands, _limits(settings))
        self.history = self._make_history(settings)
        self.admin = self._make_admin()
        history = () if self.history is None else (self.history,)
        self.engine.subscribers = (self.log.write, self.hits, *self.admin.subscribers, *history)
        self._listening = [self._make_listening(endpoint) for endpoint in endpoints]
        self._serving = False
        self._metrics = self._make_metrics(settings)
        self._background: trio.Nursery | None = None
        self._logging = trio.CancelScope()
        self._services: list[IsolatedTask] = []
        self._loading = Threads(1)
        self._disposal = Disposal()
        self._disposal.watch(assembly.lists)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `stop` or a signal; reports "started" when every endpoint answers.

        Raises StoreError if the store cannot be opened.
        """
        try:
            async with trio.open_nursery() as background:
                await self._run_in(background, task_status)
                background.cancel_scope.cancel()
        finally:
            self._stop_services()

    async def _run_in(self, background: trio.Nursery, task_status: trio.TaskStatus[None]) -> None:
        self._background = background
        await background.start(self._run_log, self.log, self._logging)
        await background.start(self.store.run)
        await check_site_key(self.store, self._site_key)
        await self.core.load()
        await self.admin.start()
        await background.start(self._watch_signals, background)
        compared = trio.Event()
        self._start_background(background, compared)
        with trio.move_on_after(_COMPARING):
            await compared.wait()
        await self._serve(task_status)
        with trio.move_on_after(_FINAL_WRITES):
            await self.hits.flush(self.store)
            await self.engine.knowledge.flush(self.store)
            await self.admin.finish()
            if self.history is not None:
                await self.history.finish()
            if self._metrics is not None:
                await self._metrics.save()
        self._stop_services()
        with trio.move_on_after(_LAST_SERVICES):
            for service in self._services:
                await service.ended.wait()

    def stop(self) -> None:
        """Begin to stop in an orderly way; `run` returns when everything has ended."""
        self._stopping.set()

    async def reload(self) -> None:
        """Read configuration, lists and plugins again, and use them from the next attempt on.

        Raises ConfigError or PluginError; then everything stays as it was.
        """
        async with self._reloading:
            self._notifier.reloading(self._clock.monotonic())
            try:
                # Plugins load here.  One that does not return must not hold up the end of the daemon.
                with without_collections():
                    loaded = await self._loading.run(self._load)
                    self._confinement.refuse_wider(loaded)
                    assembly = await self._loading.run(assemble, loaded, self._site_key, self._clock)
                log = await self._opened_log(loaded)
            except (ConfigError, PluginError) as error:
                self.admin.refused = str(error)
                logger.error("reload refused, the old configuration stays:\n%s", error)  # noqa: TRY400  (the administrator's fault: no traceback)
                raise
            finally:
                self._notifier.ready("serving")
            await self._take_over(loaded, assembly, log)
            self._log_loaded("reloaded")

    async def _take_over(self, loaded: Loaded, assembly: Assembly, log: _OpenLog | None) -> None:
        """Apply everything that a reload changes; an attempt in progress ends with the old settings."""
        old, self._loaded = self._loaded.settings, loaded
        self._report_restart(old, settings := loaded.settings)
        self._disposal.watch(assembly.lists)
        self.core.take_over(assembly)
        await self.admin.take_over()
        self.server.limits = _limits(settings, self.server.connections)
        self.eviction.max_records = settings.limits.max_records
        if self.history is not None:
            self.history.settings, self.history.redact = settings.history, settings.log.redact
        for listening, endpoint in zip(self._listening, self._endpoints, strict=True):
            listening.make_dialogue = self._make_listening(endpoint).make_dialogue
        self._start_services()
        if log is not None:
            # Only now, when the new log is open, does the old one end: no decision is lost in between.
            self.engine.subscribers = (log[0].write, *self.engine.subscribers[1:])
            self._logging.cancel()
            self.log, self._logging = log
        await self.log.reopen()

    async def _opened_log(self, loaded: Loaded) -> _OpenLog | None:
        """The open log of a new configuration; None: the old one does.  Raises ConfigError."""
        if loaded.settings.log == self._loaded.settings.log:
            return None
        assert self._background is not None
        log, scope = self._make_log(loaded.settings), trio.CancelScope()
        try:
            await self._background.start(self._run_log, log, scope)
        except MultigreyError as error:
            raise ConfigError([loaded.problem(("log", "to"), str(error))]) from error
        return log, scope

    async def _run_log(
        self,
        log: DecisionLog,
        scope: trio.CancelScope,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        with scope:
            await log.run(task_status=task_status)

    def _start_services(self) -> None:
        """Run the services of the current plugins, and stop those of the previous ones."""
        self._stop_services()
        self._services = []
        for name, service in self.core.registry.services.items():
            label = f"service {name}"
            run = partial(service.run, task_status=trio.TASK_STATUS_IGNORED)
            self._services.append(IsolatedTask(label, partial(supervise, label, run)))

    def _stop_services(self) -> None:
        for service in self._services:
            service.cancel()

    def _start_background(self, background: trio.Nursery, compared: trio.Event) -> None:
        max_age = self._loaded.settings.greylist.max_age
        forget = partial(keep_forgetting, self._clock, self.store, max_age, compared)
        background.start_soon(supervise, "expiry", forget)
        knowledge = self.engine.knowledge
        assert knowledge.names is not None
        background.start_soon(supervise, "marks", partial(knowledge.marks.run, self.store))
        background.start_soon(supervise, "names", partial(knowledge.names.run, self.store, self._clock))
        background.start_soon(supervise, "hits", partial(self.hits.run, self.store, self._clock))
        evict = partial(self.eviction.run, task_status=trio.TASK_STATUS_IGNORED)
        background.start_soon(supervise, "eviction", evict)
        background.start_soon(supervise, "disposal of lists", self._disposal.run)
        self._start_services()
        if self.history is not None:
            background.start_soon(supervise, "history", self.history.run)
        self.admin.start_work(background, self._loaded.settings.control, self._control)
        if self._metrics is not None:
            background.start_soon(supervise, "metrics", self._metrics.run)
        background.start_soon(self._note_service)
        if self._watchdog is not None:
            background.start_soon(self._feed_watchdog, self._watchdog)

    async def _serve(self, task_status: trio.TaskStatus[None]) -> None:
        accepting = trio.CancelScope()
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self.server.run)
                nursery.start_soon(self._accept_all, accepting)
                self._log_loaded("ready")
                self._notifier.ready("serving")
                self._serving = True
                task_status.started()
                await self._stopping.wait()
                self._served()
                self._notifier.stopping()
                logger.info("stopping; open connections: %d", self.server.connections)
                accepting.cancel()
                await self.server.drain(self._loaded.settings.limits.drain)
                nursery.cancel_scope.cancel()
        finally:
            for endpoint in self._endpoints:
                endpoint.open.close()

    async def _accept_all(self, scope: trio.CancelScope) -> None:
        with scope:
            async with trio.open_nursery() as accept:
                for listening in self._listening:
                    accept.start_soon(accept_all, self.server, listening)

    def _make_log(self, settings: Settings) -> DecisionLog:
        log = settings.log
        return DecisionLog(
            form=log.format,
            to=log.to,
            ident=log.ident,
            facility=log.facility,
            host=self._host,
            clock=self._clock,
            hide=Redactor(self._site_key).fields if log.redact else None,
        )

    def _make_history(self, settings: Settings) -> HistoryRecorder | None:
        if not settings.history.enabled:
            return None
        redactor, redact = Redactor(self._site_key), settings.log.redact
        return HistoryRecorder(settings.state_dir, settings.history, self._clock, redactor, redact=redact)

    def _make_admin(self) -> Admin:
        running = Running(
            core=self.core,
            server=self.server,
            eviction=self.eviction,
            listens=[endpoint.listen for endpoint in self._endpoints],
            loaded=lambda: self._loaded,
            log=lambda: self.log,
            history=None if self.history is None else self.history.health,
            since=Since(self._clock),
        )
        return Admin(
            core=self.core,
            running=running,
            reload=self.reload,
            decisions=self.history,
            confinement=self._confinement,
        )

    def _make_metrics(self, settings: Settings) -> MetricsService | None:
        """The metrics service; None if it is not configured.  Raises ListenerError."""
        address = settings.metrics.address
        if address is None:
            return None
        from multigrey.metrics.service import ServedDaemon, open_metrics  # noqa: PLC0415  (needs an extra)

        running = ServedDaemon(
            core=self.core,
            server=self.server,
            eviction=self.eviction,
            log=lambda: self.log,
            lag=self.admin.lag,
            alarms=self.admin.alarms,
            host=self._host,
            state_trouble=lambda: self.admin.state_directory.trouble,
            reload_refused=lambda: self.admin.refused,
            history=None if self.history is None else self.history.health,
            ready=self._why_not_ready,
        )
        return open_metrics(running, address)

    def _why_not_ready(self) -> str:
        if self._stopping.is_set():
            return "stopping"
        return "" if self._serving else "starting"

    def _make_listening(self, endpoint: OpenEndpoint) -> Listening:
        listen = endpoint.listen
        make = self.core.registry.protocols[listen.protocol]
        options = DialogueOptions(
            listener=listen.name,
            request_size=self._loaded.settings.limits.request_size,
            administer=endpoint.open.socket.family == socket.AF_UNIX,
        )
        return Listening(
            listen.name,
            endpoint.open.socket,
            partial(make, options),
            listen.on_error,
            tuple(listen.allow_from),
        )

    def _log_loaded(self, what: str) -> None:
        for warning in (*self._loaded.warnings, *self.core.assembly.warnings):
            logger.warning("%s", warning)
        for name, count in self.core.assembly.summary.items():
            logger.info("whitelist %s; entries: %d", name, count)
        endpoints = ", ".join(f"{e.listen.protocol} on {e.listen.address}" for e in self._endpoints)
        logger.info("multigrey %s %s: %s", __version__, what, endpoints)

    def _report_restart(self, old: Settings, new: Settings) -> None:
        for name in changed_keys(NEEDS_RESTART, old, new):
            logger.warning("%s changed: needs restart", name)

    async def _watch_signals(self, background: trio.Nursery, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(
            signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1
        ) as signals:
            task_status.started()
            async for number in signals:
                # In tasks of their own: what takes long must not keep the next signal from being seen.
                if number == signal.SIGHUP:
                    if not self._reloading.statistics().tasks_waiting:
                        background.start_soon(self._reload_by_signal)
                elif number == signal.SIGUSR1:
                    background.start_soon(self._report_by_signal)
                elif self._stopping.is_set():
                    logger.warning("second signal: ending at once")
                    await self.server.drain(0)
                else:
                    self.stop()

    async def _reload_by_signal(self) -> None:
        try:
            await self.reload()
        except (ConfigError, PluginError):
            return  # `reload` has logged it
        except Exception:
            logger.exception("reload failed because of a bug; the old configuration stays")

    async def _report_by_signal(self) -> None:
        await self.log.reopen()
        try:
            health = await self.store.health()
        except StoreError as error:
            health = {"store": str(error)}
        figures = {**self.engine.figures(), **health, "connections": self.server.connections}
        logger.info(
            "figures: %s", " ".join(f"{name.replace(' ', '-')}={value}" for name, value in figures.items())
        )

    async def _note_service(self) -> None:
        await trio.sleep(SERVED)
        self._served()

    async def _feed_watchdog(self, seconds: float) -> None:
        while True:
            self._notifier.watchdog()
            await trio.sleep(seconds)


def _limits(settings: Settings, connected: int = 0) -> ConnectionLimits:
    limits = settings.limits
    connections = connections_that_fit(limits.connections, connected)
    return ConnectionLimits(connections, limits.idle, limits.answer_within)
