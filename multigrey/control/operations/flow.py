"""The operation `flow`: figures of all mail and of the busiest origins, from samples of five minutes.

flow   {"since": SECOND, "origins": N}; by default a day ago, and 100; at most forty days are kept
       {"time", "since", "recorded_since", "retry_window", "step", "columns", "slots", "totals", "bounds",
        "histogram", "days", "week", "origins"}

See `analysis.flow` for their meaning.  The present is in it, from the first decision on.  `slots` have the
shape [begin, complete, counts], with null for a time in which nothing was counted.  `days` have the shape
[begin, mails that came back, median delay, 95th percentile].
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from multigrey.analysis.flow import BOUNDS, COUNTS, Span
from multigrey.background.flow import KEPT, view_of
from multigrey.control.operations.context import OperationContext
from multigrey.control.operations.operation import BY, Level, Operation, OptionError, Options, Result
from multigrey.model import DAY

__all__ = ["operations"]

_USUAL_ORIGINS, _MOST_ORIGINS = 100, 1_000


def operations(parts: OperationContext) -> Iterable[Operation]:
    """The operation of this module."""
    yield Operation("flow", Level.READ, answer=lambda options: _flow(parts, options), offline=True)


async def _flow(parts: OperationContext, options: Options) -> Result:
    unknown = options.keys() - {"since", "origins", BY}
    if unknown:
        raise OptionError(f"unknown option {min(unknown)!r}")
    now = parts.clock.now()
    since = _number(options, "since", max(now - DAY, 0), 0, now)
    setup = parts.engine.setup
    span = Span(
        now=now,
        since=max(since, now - KEPT),
        retry_window=max(setup.policy.retry_window, setup.unnamed_policy.retry_window),
        utc_offset=_utc_offset(now),
        most_origins=_number(options, "origins", _USUAL_ORIGINS, 1, _MOST_ORIGINS),
    )
    view = await view_of(parts.engine.store, parts.flow, span)
    return {
        "time": now,
        "since": span.since,
        "recorded_since": view.recorded_since,
        "retry_window": span.retry_window,
        "step": view.step,
        "columns": list(COUNTS),
        "slots": [[begin, complete, counts] for begin, complete, counts in view.slots],
        "totals": dict(view.totals),
        "bounds": list(BOUNDS),
        "histogram": list(view.histogram),
        "days": [list(day) for day in view.days],
        "week": dict(view.week),
        "origins": [dict(origin) for origin in view.origins],
    }


def _number(options: Options, name: str, usual: int, least: int, most: int) -> int:
    number = options.get(name)
    if number is None:
        return usual
    if type(number) is not int or not least <= number <= most:
        raise OptionError(f"{name}: a number from {least} to {most} is expected")
    return number


def _utc_offset(now: int) -> int:
    offset = datetime.fromtimestamp(now).astimezone().utcoffset()
    return 0 if offset is None else round(offset.total_seconds())
