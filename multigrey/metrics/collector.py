"""Makes the samples of all metrics from the current counts, at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from multigrey.background.loop_lag import LoopLag
from multigrey.clock import Since
from multigrey.engine.stages import MODES
from multigrey.histogram import Histogram
from multigrey.listeners.timings import Timings
from multigrey.metrics.definitions import COUNTER, METRICS, STORE_FIGURES, Metric
from multigrey.metrics.tally import Tally
from multigrey.plugins.registry import BuiltRegistry

__all__ = ["OverLimit", "ScrapedFigures", "Sources", "exposition", "families"]

Labels = tuple[str, ...]
Row = tuple[Labels, float]

_OPENMETRICS = "application/openmetrics-text"


@dataclass(frozen=True, slots=True)
class OverLimit:
    """Attempts over the limit of new records."""

    attempts: int = 0
    """Since the start."""
    networks: int = 0
    """The number of networks that are over the limit now."""
    worst: Mapping[str, tuple[int, int]] = field(default_factory=lambda: MappingProxyType({}))
    """The networks with the most: attempts in the last hour, and the second since when over the limit."""


@dataclass(frozen=True, slots=True)
class ScrapedFigures:
    """The figures that are looked up at each scrape."""

    mode: str
    connections: int
    connections_limit: int
    internal_errors: int
    log_lines_lost: int
    listeners_accept: Mapping[str, bool]
    """Whether connections can be accepted, by listener."""
    log_written: bool
    """Whether the latest decision lines could be written where they belong."""
    reload_accepted: bool
    """Whether the latest reload was accepted."""
    lists_readable: Mapping[str, bool]
    """By whitelist."""
    records_limit: int
    store_full: bool
    records_bounded: int
    targets: Mapping[str, int]
    """By class."""
    lists: Mapping[str, Mapping[str, int]]
    """The number of entries of each whitelist by state."""
    health: Mapping[str, int | float | str] | None
    """The figures of the store; None: it did not report them."""
    state_in_place: bool
    """Whether the state directory still holds the files that the daemon writes."""
    history: Mapping[str, int | str] | None
    """The figures of the history of decisions; None: it is disabled."""
    over_limit: OverLimit
    implausible: Mapping[tuple[str, str], bool]
    """Whether a listener has a problem, by listener and problem."""
    own_clients: Mapping[str, float]
    """By listener, the share of own clients."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The objects that samples are made from."""

    version: str
    started: Since
    tally: Tally
    timings: Timings
    lag: LoopLag
    registry: Callable[[], BuiltRegistry]


class _Scrape(Collector):
    """The families of one scrape."""

    def __init__(self, sources: Sources, figures: ScrapedFigures) -> None:
        self._sources = sources
        self._figures = figures

    def collect(self) -> Iterator[Family]:
        """See `Collector.collect`."""
        return families(self._sources, self._figures)


def exposition(sources: Sources, figures: ScrapedFigures, accept: str) -> tuple[bytes, str]:
    """Return all samples in the format that the `Accept` field allows, and the content type."""
    encode: Callable[[Collector], bytes] = generate_latest
    kind = CONTENT_TYPE_PLAIN_0_0_4
    if _OPENMETRICS in accept:
        encode, kind = openmetrics.generate_latest, openmetrics.CONTENT_TYPE_LATEST
    return encode(_Scrape(sources, figures)), kind


def families(sources: Sources, figures: ScrapedFigures) -> Iterator[Family]:
    """Yield every metric that has samples, with them, in the order of the manual."""
    rows = {name: [*found] for name, found in _rows(sources, figures)}
    histograms = {name: [*found] for name, found in _histograms(sources)}
    for name, metric in METRICS.items():
        if histograms.get(name):
            yield _histogram(metric, histograms[name])
        elif rows.get(name):
            yield _simple(metric, rows[name])


def _histogram(metric: Metric, found: Iterable[tuple[Labels, Histogram]]) -> Family:
    family = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    for labels, histogram in found:
        buckets = [
            ("+Inf" if bound == inf else repr(float(bound)), count) for bound, count in histogram.buckets()
        ]
        family.add_metric(labels, buckets, histogram.sum)
    return family


def _bound(bound: float) -> str:
    return "+Inf" if bound == inf else repr(float(bound))


def _simple(metric: Metric, found: Iterable[Row]) -> Family:
    make = CounterMetricFamily if metric.kind == COUNTER else GaugeMetricFamily
    family = make(metric.name, metric.meaning, labels=metric.labels)
    for labels, number in found:
        family.add_metric(labels, number)
    return family


def _histograms(sources: Sources) -> Iterator[tuple[str, Iterable[tuple[Labels, Histogram]]]]:
    yield "multigrey_acceptance_delay_seconds", list(sources.tally.delays.items())
    timings = sources.timings
    yield "multigrey_answer_seconds", [((), timings.answers)]
    yield "multigrey_commit_seconds", [((), timings.commits)]
    yield "multigrey_commit_answers", [((), timings.batches)]
    yield "multigrey_loop_lag_seconds", [((), sources.lag.seen)]


def _rows(sources: Sources, figures: ScrapedFigures) -> Iterator[tuple[str, Iterable[Row]]]:
    yield "multigrey_build_info", [((sources.version,), 1)]
    yield "multigrey_start_time_seconds", [((), sources.started.time)]
    yield "multigrey_uptime_seconds", [((), sources.started.seconds)]
    yield "multigrey_mode", [((mode,), mode == figures.mode) for mode in MODES]
    yield from _tallied(sources.tally, figures.targets)
    yield from _of_traffic(figures)
    yield "multigrey_connections", [((), figures.connections)]
    yield "multigrey_connections_limit", [((), figures.connections_limit)]
    yield "multigrey_internal_errors", [((), figures.internal_errors)]
    yield "multigrey_log_lines_lost", [((), figures.log_lines_lost)]
    yield "multigrey_listener_up", _by_one(figures.listeners_accept)
    yield "multigrey_log_up", [((), figures.log_written)]
    yield "multigrey_reload_up", [((), figures.reload_accepted)]
    yield "multigrey_list_up", _by_one(figures.lists_readable)
    yield "multigrey_store_records_limit", [((), figures.records_limit)]
    yield "multigrey_store_full", [((), figures.store_full)]
    yield "multigrey_store_records_bounded", [((), figures.records_bounded)]
    yield "multigrey_state_directory_up", [((), figures.state_in_place)]
    yield from _of_store(figures.health)
    yield from _of_history(figures.history)
    yield from _of_plugins(sources.registry())
    yield (
        "multigrey_list_entries",
        [
            ((name, state), number)
            for name, states in figures.lists.items()
            for state, number in states.items()
        ],
    )


def _tallied(tally: Tally, targets: Mapping[str, int]) -> Iterator[tuple[str, Iterable[Row]]]:
    yield (
        "multigrey_decisions",
        [
            ((action.value, reason.value, listener, "yes" if observed else "no"), number)
            for (action, reason, listener, observed), number in tally.decisions.items()
        ],
    )
    yield "multigrey_class_target_seconds", _by_one(targets)
    yield "multigrey_class_over_target", _by_one({**dict.fromkeys(targets, 0), **tally.over_target})
    yield "multigrey_deferrals", _by_one(tally.deferred)
    yield "multigrey_deferrals_returned", _by_one(tally.returned)
    yield "multigrey_deferrals_never_returned", _by_one(tally.never_returned)
    yield "multigrey_deferrals_waiting", _by_one(tally.waiting())


def _of_traffic(figures: ScrapedFigures) -> Iterator[tuple[str, Iterable[Row]]]:
    over, worst = figures.over_limit, figures.over_limit.worst.items()
    yield "multigrey_over_limit_attempts", [((), over.attempts)]
    yield "multigrey_over_limit_networks", [((), over.networks)]
    yield "multigrey_over_limit_hourly_attempts", [((network,), number) for network, (number, _) in worst]
    yield "multigrey_over_limit_since_seconds", [((network,), since) for network, (_, since) in worst]
    yield "multigrey_input_implausible", figures.implausible.items()
    yield "multigrey_own_clients_ratio", [((name,), share) for name, share in figures.own_clients.items()]


def _of_store(health: Mapping[str, int | float | str] | None) -> Iterator[tuple[str, Iterable[Row]]]:
    yield "multigrey_store_up", [((), health is not None)]
    if health is None:
        return
    yield "multigrey_store_info", [((str(health.get("backend", "")),), 1)]
    if "damaged" in health:
        yield "multigrey_store_damaged", [((), health["damaged"] != "")]
    for key, (name, factor) in STORE_FIGURES.items():
        figure = health.get(key)
        if isinstance(figure, int | float):
            yield name, [((), figure * factor)]


def _of_history(history: Mapping[str, int | str] | None) -> Iterator[tuple[str, Iterable[Row]]]:
    if history is None:
        return
    yield "multigrey_history_up", [((), not history["trouble"])]
    yield "multigrey_history_decisions", [((), int(history["decisions"]))]
    yield "multigrey_history_lost", [((), int(history["lost"]))]


def _of_plugins(registry: BuiltRegistry) -> Iterator[tuple[str, Iterable[Row]]]:
    """Counts of all plugins, also zero: an alert on an increase needs a first sample of zero."""
    counters = registry.counters
    nothing = dict.fromkeys(sorted({owner.name for owner in registry.owners.values()}), 0)
    yield "multigrey_plugin_calls", _by_one({**nothing, **counters.calls})
    yield "multigrey_plugin_failures", _by_one({**nothing, **counters.failures})
    yield "multigrey_plugin_timeouts", _by_one({**nothing, **counters.timeouts})
    working = dict.fromkeys({**nothing, **counters.failures}, True)
    yield "multigrey_plugin_up", _by_one({**working, **dict.fromkeys(counters.troubles, False)})


def _by_one(numbers: Mapping[str, int]) -> list[Row]:
    return [((label,), number) for label, number in numbers.items()]
