"""The HTTP service for metrics and health checks, as the daemon runs it."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Network

import trio

from multigrey import __version__
from multigrey.analysis.plausibility import Implausibility
from multigrey.background.alarms import Alarms
from multigrey.background.eviction import Eviction
from multigrey.background.loop_lag import LoopLag
from multigrey.background.supervise import supervise
from multigrey.clock import Since
from multigrey.config.settings import Settings
from multigrey.config.values.hosts import host_of, is_address
from multigrey.config.values.types import Endpoint
from multigrey.core import Core
from multigrey.errors import CodecError, StoreError
from multigrey.listeners.server import Server
from multigrey.listeners.sockets import open_endpoint
from multigrey.listeners.timings import Timings
from multigrey.log.decision_log import DecisionLog
from multigrey.metrics.collector import OverLimit, ScrapedFigures, Sources, exposition
from multigrey.metrics.health import Health, Probe
from multigrey.metrics.http import HttpRequest, Response, serve
from multigrey.metrics.list_states import Lists, readable
from multigrey.metrics.tally import Tally
from multigrey.model import Action, Change, Entry, Key, Reason
from multigrey.stores.meta import OPEN_DEFERRALS
from multigrey.threads import in_thread

__all__ = ["PATHS", "MetricsService", "ServedDaemon", "open_metrics"]

logger = logging.getLogger(__name__)

PATHS = {
    "/metrics": "All metrics, as text or as OpenMetrics, as the request accepts.",
    "/healthz": "Whether attempts can be decided and recorded: 200, or 503 with what is wrong.",
    "/readyz": "Whether the daemon answers mail servers: 200, or 503 while starting and stopping.",
}
"""The paths that can be fetched, and what each returns."""

SAVE_EVERY = 300
"""Seconds between two writes of the open deferrals to the store."""
_HOURS: Key = OPEN_DEFERRALS.key()
_STORE_WAITS = 2.0
_MOST_FLOODS = 5


@dataclass(frozen=True, slots=True)
class ServedDaemon:
    """The parts of a running daemon that metrics are read from; values that change are functions."""

    core: Core
    server: Server
    eviction: Eviction
    log: Callable[[], DecisionLog]
    lag: LoopLag
    """Measured by another task of the daemon."""
    alarms: Alarms
    host: str
    """The name of this host."""
    state_trouble: Callable[[], str]
    """What is wrong with the state directory; "" if nothing is."""
    reload_refused: Callable[[], str]
    """Why the latest reload was refused; "" if it was not."""
    history: Callable[[], Mapping[str, int | str]] | None
    """The health of the history of decisions; None: it is disabled."""
    ready: Callable[[], str]
    """Why the daemon does not answer mail servers; "" if it does."""


def open_metrics(running: ServedDaemon, address: Endpoint) -> MetricsService:
    """Open the endpoint, and count every decision from now on.  Raises ListenerError."""
    (opened,) = open_endpoint(address, mode=0, owner=None, group=None, inherited={})
    metrics = MetricsService(running, opened.socket)
    running.core.engine.subscribers = (*running.core.engine.subscribers, metrics.tally)
    running.server.timings = metrics.timings
    return metrics


class MetricsService:
    """Counts decisions, and serves metrics and health checks."""

    def __init__(self, running: ServedDaemon, sock: socket.socket) -> None:
        """`sock` is listening and non-blocking."""
        self._running = running
        self._socket = sock
        self._probe = Probe(running.core.engine)
        self._restored = False
        self._targets: tuple[Settings | None, Mapping[str, int]] = (None, {})
        self._lists: tuple[Settings | None, Lists] = (None, Lists({}, {}))
        self.timings = Timings()
        """The timings that the server of connections fills."""
        self.tally = Tally(lambda: running.core.engine.setup, lambda name: self._class_targets().get(name))
        """A subscriber of the engine."""
        for listen in running.core.settings.listen:  # an alert on an increase needs a first sample of zero
            action = Action.PASS if listen.on_error == "pass" else Action.DEFER
            self.tally.decisions[action, Reason.ERROR, listen.name, False] = 0
        self._sources = Sources(
            __version__,
            Since(running.core.engine.clock),
            self.tally,
            self.timings,
            running.lag,
            lambda: running.core.registry,
        )

    async def run(self) -> None:
        """Count and answer until cancelled.  The store must be running."""
        await self._restore()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervise, "saving open deferrals", self._save_repeatedly)
            nursery.start_soon(serve, self._socket, self._allowed, self._answer)

    async def save(self) -> None:
        """Write to the store which deferrals are still open.  Call it once more at the end."""
        self._settle()
        entry = Entry(OPEN_DEFERRALS.coder.encode(self.tally.open_hours()), None)

        def decide(values: Sequence[bytes | None]) -> Change[None]:
            del values
            return Change(None, {_HOURS: entry}, durable=False)

        try:
            await self._running.core.engine.store.apply((_HOURS,), decide)
        except StoreError as error:
            logger.warning("metrics: open deferrals cannot be written now, and will be later: %s", error)

    async def _restore(self) -> None:
        """Read the open deferrals of the previous run; only once, even if `run` is started again."""
        if self._restored:
            return
        self._restored = True
        try:
            (value,) = await self._running.core.engine.store.read((_HOURS,))
            if value is not None:
                self.tally.restore(OPEN_DEFERRALS.coder.decode(value))
        except (StoreError, CodecError) as error:
            logger.warning("metrics: the open deferrals of the previous run cannot be read: %s", error)

    async def _save_repeatedly(self) -> None:
        while True:
            await trio.sleep(SAVE_EVERY)
            await self.save()

    def _allowed(self) -> Sequence[IPv4Network | IPv6Network]:
        return self._running.core.settings.metrics.allow_from

    def _knows(self, request: HttpRequest) -> bool:
        """Whether a request names this host.  Probes may send no name, while browsers always do."""
        if (field := request.fields.get("host")) is None:
            return True
        host = host_of([field])
        own = {"localhost", self._running.host.lower(), *self._running.core.settings.metrics.hosts}
        return host is not None and (host in own or is_address(host))

    async def _answer(self, request: HttpRequest) -> Response:
        if not self._knows(request):
            text = "This host name is not allowed: add it to hosts in [metrics].\n"
            return Response(HTTPStatus.MISDIRECTED_REQUEST, text.encode())
        match request.path:
            case "/metrics":
                body, kind = exposition(
                    self._sources, await self._figures(), request.fields.get("accept", "")
                )
                return Response(HTTPStatus.OK, body, kind)
            case "/healthz":
                found = await self._probe.health(self._running.core.settings.limits.answer_within)
                trouble = self._running.state_trouble()
                if trouble and not found.trouble:
                    found = Health(trouble)
                return _checked(found.trouble, found.text + await self._damage())
            case "/readyz":
                trouble = self._running.ready()
                return _checked(trouble, f"{trouble or 'ready'}\n")
        known = " ".join(PATHS)
        return Response(HTTPStatus.NOT_FOUND, f"Not found; known paths: {known}\n".encode())

    async def _figures(self) -> ScrapedFigures:
        running, settings = self._running, self._running.core.settings
        now = self._settle()
        return ScrapedFigures(
            mode=running.core.engine.setup.mode,
            connections=running.server.connections,
            connections_limit=settings.limits.connections,
            internal_errors=running.server.internal_errors,
            log_lines_lost=running.log().lost,
            listeners_accept={
                listen.name: listen.name not in running.server.not_accepting for listen in settings.listen
            },
            log_written=not running.log().trouble,
            reload_accepted=not running.reload_refused(),
            lists_readable=await in_thread(readable, settings),
            records_limit=settings.limits.max_records,
            store_full=running.eviction.full,
            records_bounded=running.eviction.forgotten,
            targets=self._class_targets(),
            lists=(await self._loaded_lists(settings)).states(now),
            health=await self._store_health(),
            state_in_place=not running.state_trouble(),
            history=None if running.history is None else running.history(),
            over_limit=self._over_limit(),
            implausible=self._implausible(settings),
            own_clients=running.alarms.own_share(),
        )

    def _settle(self) -> int:
        """Close the hours that are over, unless the clock is in doubt.  Returns the time."""
        engine = self._running.core.engine
        now = engine.clock.now()
        if engine.shared.clock_believed():
            self.tally.settle(now)
        return now

    def _over_limit(self) -> OverLimit:
        alarms = self._running.alarms
        floods = alarms.floods()
        worst = {each.network: (each.attempts, each.since) for each in floods[:_MOST_FLOODS]}
        return OverLimit(alarms.attempts_over_limit, len(floods), worst)

    def _implausible(self, settings: Settings) -> Mapping[tuple[str, str], bool]:
        """Whether each listener has each problem; also False, for alerts need a first sample of zero."""
        found = {(each.listener, each.problem) for each in self._running.alarms.problems()}
        names = [listen.name for listen in settings.listen]
        return {(name, each.value): (name, each) in found for name in names for each in Implausibility}

    async def _damage(self) -> str:
        """A line about damage that does not keep mail from being judged; "" without any."""
        damaged = (await self._store_health() or {}).get("damaged")
        return f"attention: {damaged}\n" if damaged else ""

    async def _store_health(self) -> Mapping[str, int | float | str] | None:
        with trio.move_on_after(_STORE_WAITS):
            try:
                return await self._running.core.engine.store.health()
            except StoreError:
                return None
        return None

    async def _loaded_lists(self, settings: Settings) -> Lists:
        """The lists of this configuration; read once, when they are first needed."""
        if self._lists[0] is not settings:
            found = await in_thread(partial(Lists.of, settings, self._running.core.assembly.summary))
            self._lists = (settings, found)
        return self._lists[1]

    def _class_targets(self) -> Mapping[str, int]:
        settings = self._running.core.settings
        if self._targets[0] is not settings:
            found = {each.name: each.target for each in settings.class_ if each.target is not None}
            self._targets = (settings, found)
        return self._targets[1]


def _checked(trouble: str, text: str) -> Response:
    status = HTTPStatus.SERVICE_UNAVAILABLE if trouble else HTTPStatus.OK
    return Response(status, text.encode("utf-8", "backslashreplace"))
