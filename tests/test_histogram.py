"""Adding up, with bounds as Prometheus wants them."""

from __future__ import annotations

import math

import pytest

from multigrey.histogram import Histogram


@pytest.mark.parametrize(
    ("seen", "buckets"),
    [
        ([], [(1, 0), (5, 0), (math.inf, 0)]),
        ([1], [(1, 1), (5, 1), (math.inf, 1)]),
        ([1.01, 5, 5.01], [(1, 0), (5, 2), (math.inf, 3)]),
        ([0, -1, 10**9], [(1, 2), (5, 2), (math.inf, 3)]),
    ],
)
def test_values_lie_below_the_bound_they_equal(seen, buckets):
    histogram = Histogram((1, 5))
    for each in seen:
        histogram.observe(each)
    assert histogram.buckets() == buckets
    assert histogram.total == len(seen)
    assert histogram.sum == sum(seen)
