"""The operation `export`: the addresses of clients that came back after a deferral, for other programs.

Only exact addresses are exported, of clients that themselves brought mail that had been deferred.  Not
exported are origins, networks, clients that passed only because of a list, a rule or the reputation of
other hosts, and decisions that were only observed.  Records cannot answer this: they show the client of the
first attempt, and any server of the same origin may have made the retry.  So `export` searches the history;
a decision that the history does not hold (any more) is not exported.

`export` yields `{"addresses": [[address, first retry, last seen], ...]}` any number of times, the latest
last seen first, and then `{"time": now, "recorded_since": time, "number": n, "more": n, "hidden": n}`: the
time of the oldest decision in the history, how many addresses were exported, how many more there are beyond
`max`, and how many retries held no address in clear (redacted ones).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable

from multigrey.control.operations.context import OperationContext
from multigrey.control.operations.operation import (
    Level,
    Operation,
    OperationError,
    OptionError,
    Options,
    Result,
)
from multigrey.errors import StoreError
from multigrey.events.query import Query
from multigrey.history.reader import HistoryReader
from multigrey.model import DAY, Action, DecisionEvent, Reason

__all__ = ["CHECK_ADDRESS", "MOST", "RetryingClients", "operations"]

CHECK_ADDRESS = "check@multigrey.invalid"
"""Sender and recipient of the attempt that `multigrey check` makes; such attempts are not exported."""

MOST = 100_000
"""Most addresses exported: more than postscreen or a set of nft should have."""
_USUAL = 10_000
_SINCE = 36 * DAY
_MOST_LOOKED_AT = 4 * MOST
_TOGETHER = 500


def operations(parts: OperationContext) -> Iterable[Operation]:
    """The operation of this module."""
    yield Operation(
        "export", Level.READ, stream=lambda options: _export(parts, options), offline=True, is_search=True
    )


class RetryingClients:
    """The addresses of clients that came back, gathered from decisions.

    Decisions may come in any order, but should come latest first: once the limit of clients is reached, no
    further client is taken.
    """

    def __init__(self, most: int = _MOST_LOOKED_AT) -> None:
        """`most`: the limit of clients kept, whether they came back or not."""
        self._most = most
        self._seen: dict[str, int] = {}
        self._first: dict[str, int] = {}
        self.hidden = 0
        """How many retries hold no client address in clear."""

    def add(self, event: DecisionEvent) -> None:
        """Add a decision."""
        verdict, attempt = event.verdict, event.attempt
        if verdict.action is not Action.PASS or verdict.reason not in _CAME_BACK or verdict.observed:
            return
        if attempt.raw or attempt.sender == CHECK_ADDRESS:
            return
        retry = verdict.reason is Reason.RETRY
        if attempt.client_address is None:
            self.hidden += retry
            return
        address = str(attempt.client_address)
        if address not in self._seen and len(self._seen) >= self._most:
            return
        self._seen[address] = max(event.time, self._seen.get(address, 0))
        if retry:
            self._first[address] = min(event.time, self._first.get(address, event.time))

    def rows(self) -> list[tuple[str, int, int]]:
        """Address, first retry and last seen, the latest last seen first."""
        found = [(address, first, self._seen[address]) for address, first in self._first.items()]
        return sorted(found, key=lambda row: (-row[2], row[0]))


_CAME_BACK = frozenset({Reason.RETRY, Reason.KNOWN})


async def _export(parts: OperationContext, options: Options) -> AsyncGenerator[Result, None]:
    most = _number(options, "max", _USUAL, MOST)
    since = _number(options, "since", _SINCE, 10 * 366 * DAY)
    if not isinstance(parts.decisions, HistoryReader):
        raise OperationError("which clients came back is not known: [history] enabled is false")
    now = parts.clock.now()
    proven = RetryingClients()

    def taken(event: DecisionEvent) -> bool:
        """Add a decision, and refuse it as a result: so the search keeps none, however many there are."""
        proven.add(event)
        return False

    try:
        await parts.decisions.search(Query((), (taken,), now - since), 1)
        recorded_since = await parts.decisions.since()
    except StoreError as error:
        raise OperationError(f"the history cannot be read: {error}") from error
    rows = proven.rows()
    told = rows[:most]
    for begin in range(0, len(told), _TOGETHER):
        yield {"addresses": [list(row) for row in told[begin : begin + _TOGETHER]]}
    yield {
        "time": now,
        "recorded_since": recorded_since or None,
        "number": len(told),
        "more": len(rows) - len(told),
        "hidden": proven.hidden,
    }


def _number(options: Options, name: str, usual: int, most: int) -> int:
    value = options.get(name, usual)
    if type(value) is not int or not 1 <= value <= most:
        raise OptionError(f"{name}: expected a number from 1 to {most}")
    return value
