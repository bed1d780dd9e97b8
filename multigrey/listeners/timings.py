"""The times that connections measure, and the bounds of their histograms."""

from __future__ import annotations

from dataclasses import dataclass, field

from multigrey.histogram import Histogram

__all__ = ["ANSWER_BOUNDS", "BATCH_BOUNDS", "COMMIT_BOUNDS", "Timings"]

ANSWER_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
COMMIT_BOUNDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
BATCH_BOUNDS = (1, 2, 5, 10, 20, 50, 100, 200, 500)


@dataclass(slots=True)
class Timings:
    """The times that connections measure."""

    answers: Histogram = field(default_factory=lambda: Histogram(ANSWER_BOUNDS))
    """Seconds from reading a request to handing its answer to the kernel."""
    commits: Histogram = field(default_factory=lambda: Histogram(COMMIT_BOUNDS))
    """Seconds that the first of the answers to the same commit waited for it."""
    batches: Histogram = field(default_factory=lambda: Histogram(BATCH_BOUNDS))
    """How many answers waited for the same commit."""
