"""The parts of multigrey-metrics(7) that are made from the code."""
# ruff: noqa: INP001  (man/ is not a package; `python -m man.regions` and tests run from the checkout)

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from man.mdoc import prose, tagged
from multigrey.analysis.plausibility import Implausibility
from multigrey.metrics.definitions import LABELS, METRICS
from multigrey.metrics.service import PATHS

__all__ = ["METRICS_REGIONS", "labels", "metrics", "paths", "problems"]


def metrics() -> list[str]:
    """Every metric with its kind, labels and meaning."""
    items = []
    for metric in METRICS.values():
        named = f"Bro {' , '.join(metric.labels)} Brc " if metric.labels else ""
        items.append((f"Va {metric.sample} {named}Pq {metric.kind}", prose(metric.meaning)))
    return tagged(items)


def labels() -> list[str]:
    """Every label and its values."""
    return tagged((f"Va {name}", prose(meaning)) for name, meaning in LABELS.items())


def paths() -> list[str]:
    """What can be fetched."""
    return tagged((f"Pa {path}", prose(meaning)) for path, meaning in PATHS.items())


def problems() -> list[str]:
    """Input that cannot be true: the usual cause and the remedy."""
    items = []
    for problem in Implausibility:
        text = f"{problem.meaning}  Usually {problem.cause}.  Remedy: {problem.remedy}."
        items.append((f"Cm {problem.value}", prose(text)))
    return tagged(items)


METRICS_REGIONS: Mapping[str, Callable[..., Sequence[str]]] = {
    "metric-labels": labels,
    "metric-paths": paths,
    "metric-problems": problems,
    "metrics": metrics,
}
