"""The operation `growth`: size of the store and number of decisions by the hour (see `background.growth`).

growth   {"since": SECOND}; by default five weeks ago; at most 400 days are kept
         {"time", "since", "every", "columns": [...], "samples": [[...], ...]}
"""

from __future__ import annotations

from collections.abc import Iterable

from multigrey.background.growth import DAYS_KEPT, Sample, samples_since
from multigrey.control.operations.context import OperationContext
from multigrey.control.operations.operation import BY, Level, Operation, OptionError, Options, Result
from multigrey.model import DAY, HOUR

__all__ = ["operations"]

_USUAL = 35 * DAY


def operations(parts: OperationContext) -> Iterable[Operation]:
    """The operation of this module."""
    yield Operation("growth", Level.READ, answer=lambda options: _growth(parts, options), offline=True)


async def _growth(parts: OperationContext, options: Options) -> Result:
    unknown = options.keys() - {"since", BY}
    if unknown:
        raise OptionError(f"unknown option {min(unknown)!r}")
    now = parts.clock.now()
    since = options.get("since")
    if since is None:
        since = max(now - _USUAL, 0)
    if type(since) is not int or not 0 <= since <= now:
        raise OptionError(f"since: a number from 0 to {now} is expected")
    samples = await samples_since(parts.engine.store, since, now)
    return {
        "time": now,
        "since": max(since, now - DAYS_KEPT * DAY),
        "every": HOUR,
        "columns": list(Sample._fields),
        "samples": [list(sample) for sample in samples],
    }
