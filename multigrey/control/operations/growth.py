"""`growth`: how the store grew and what was decided, hour by hour (see `multigrey.background.growth`).

growth   {"since": SECOND}; five weeks if left out, 400 days at most
         {"time", "since", "every", "columns": [...], "samples": [[...], ...]}
"""

from __future__ import annotations

from collections.abc import Iterable

from multigrey.background.growth import DAYS_KEPT, Sample, samples_since
from multigrey.control.operations.context import Parts
from multigrey.control.operations.operation import BY, Level, Operation, OperationError, Options, Result
from multigrey.model import DAY, HOUR

__all__ = ["operations"]

_USUAL = 35 * DAY


def operations(parts: Parts) -> Iterable[Operation]:
    """`growth`."""
    yield Operation("growth", Level.READ, answer=lambda options: _growth(parts, options), offline=True)


async def _growth(parts: Parts, options: Options) -> Result:
    unknown = options.keys() - {"since", BY}
    if unknown:
        raise OperationError(f"there is no option {min(unknown)!r}")
    now = parts.clock.now()
    since = options.get("since")
    if since is None:
        since = max(now - _USUAL, 0)
    if type(since) is not int or not 0 <= since <= now:
        raise OperationError(f"since: a number from 0 to {now} is expected")
    samples = await samples_since(parts.engine.store, since, now)
    return {
        "time": now,
        "since": max(since, now - DAYS_KEPT * DAY),
        "every": HOUR,
        "columns": list(Sample._fields),
        "samples": [list(sample) for sample in samples],
    }
