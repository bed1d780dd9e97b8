from __future__ import annotations

from multigrey.background.loop_lag import LoopLag
from multigrey.listeners.timings import Timings


def test_every_bound_ascends():
    timings = Timings()
    for histogram in (timings.answers, timings.commits, timings.batches, LoopLag().seen):
        assert list(histogram.bounds) == sorted(set(histogram.bounds))
