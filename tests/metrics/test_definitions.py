"""The table of metrics keeps to the rules of Prometheus (https://prometheus.io/docs/practices/naming/)."""

from __future__ import annotations

import re

import pytest

from multigrey.metrics.definitions import COUNTER, GAUGE, HISTOGRAM, LABELS, METRICS, STORE_FIGURES

ALL = list(METRICS.values())


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_names_and_labels(metric):
    assert re.fullmatch(r"multigrey(_[a-z]+)+", metric.name)
    assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket", "_created"))
    assert metric.kind in {COUNTER, GAUGE, HISTOGRAM}
    assert set(metric.labels) <= LABELS.keys()
    assert metric.meaning.endswith(".")
    assert metric.sample == metric.name + ("_total" if metric.kind == COUNTER else "")


def test_every_label_is_used():
    assert {label for metric in ALL for label in metric.labels} == set(LABELS)


def test_no_label_names_who_sends_or_receives():
    personal = {
        "sender",
        "recipient",
        "client",
        "address",
        "domain",
        "helo",
        "rule",
        "entry",
        "message",
        "owner",
    }
    assert not personal & LABELS.keys()


def test_figures_of_stores_are_metrics():
    for name, _ in STORE_FIGURES.values():
        assert METRICS[name].labels == ()
