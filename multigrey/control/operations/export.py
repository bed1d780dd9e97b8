"""Clients that have shown that they come back, for whoever else may make use of that.

Exported are exact addresses only: of clients that were seen to bring mail that had been deferred.  Never
an origin, never a network, nobody who passed only because of a list, a rule or somebody else's good
name, and nothing that was only observed.  Records do not tell that: they show who came first, and any
server of the same origin may have come back.  So the history of decisions is looked through, and what it
has forgotten, or never heard of, is not exported.

`export` tells `{"addresses": [[address, first retry, last seen], ...]}` any number of times, the ones
seen last first, and then `{"time": now, "recorded_since": time, "number": n, "more": n, "hidden": n}`:
since when decisions are remembered, how many addresses were told, how many there were beyond `max`, and
how many decisions held no address that could be told (redacted ones).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable

from multigrey.control.operations.context import Parts
from multigrey.control.operations.operation import Level, Operation, OperationError, Options, Result
from multigrey.errors import StoreError
from multigrey.events.query import Query
from multigrey.history.recorder import HistoryReader
from multigrey.model import DAY, Action, DecisionEvent, Reason

__all__ = ["CHECK_ADDRESS", "MOST", "Proven", "operations"]

CHECK_ADDRESS = "check@multigrey.invalid"
"""Sender and recipient of the attempt that `multigrey check` makes: it proves nothing."""

MOST = 100_000
"""Addresses exported at most: more than postscreen or a set of nft should have."""
_USUAL = 10_000
_SINCE = 36 * DAY
_MOST_LOOKED_AT = 4 * MOST
_TOGETHER = 500


def operations(parts: Parts) -> Iterable[Operation]:
    """`export`."""
    yield Operation("export", Level.READ, stream=lambda options: _export(parts, options), offline=True)


class Proven:
    """Addresses gathered from decisions, which come in any order; best the latest first.

    Once it knows too many clients it takes no more: those that came first were seen last.
    """

    def __init__(self, most: int = _MOST_LOOKED_AT) -> None:
        """`most`: clients looked at, proven or not."""
        self._most = most
        self._seen: dict[str, int] = {}
        self._first: dict[str, int] = {}
        self.hidden = 0
        """Retries whose client is not an address."""

    def add(self, event: DecisionEvent) -> None:
        """Take a decision into account."""
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
        """Address, first retry, last seen: the one seen last first."""
        found = [(address, first, self._seen[address]) for address, first in self._first.items()]
        return sorted(found, key=lambda row: (-row[2], row[0]))


_CAME_BACK = frozenset({Reason.RETRY, Reason.KNOWN})


async def _export(parts: Parts, options: Options) -> AsyncGenerator[Result, None]:
    most = _number(options, "max", _USUAL, MOST)
    since = _number(options, "since", _SINCE, 10 * 366 * DAY)
    if not isinstance(parts.decisions, HistoryReader):
        raise OperationError("who came back is not known: [history] enabled is false")
    now = parts.clock.now()
    proven = Proven()

    def taken(event: DecisionEvent) -> bool:
        """Looks at a decision and wants none of them: so however many there are, none is kept."""
        proven.add(event)
        return False

    try:
        await parts.decisions.search(Query((), (taken,), now - since), 1)
        recorded_since = await parts.decisions.since()
    except StoreError as error:
        raise OperationError(f"what is remembered cannot be read: {error}") from error
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
        raise OperationError(f"{name}: expected a number from 1 to {most}")
    return value
