"""A week of decisions of a busy server, in its history and in its figures of hours.

python -m benchmarks.week STATE_DIR COUNT

Decisions differ in time, sender and recipient only; these are written into the encoded form, because encoding
ten millions of them takes longer than everything that is measured.
"""

from __future__ import annotations

import sys
from ipaddress import ip_address
from pathlib import Path

import trio

from multigrey.analysis.hours import add_to
from multigrey.background.hours import Hours
from multigrey.clock import SystemClock
from multigrey.codec import encode_event
from multigrey.contracts import StoreOptions
from multigrey.events.query import mark
from multigrey.history.file import NAME, HistoryEntry, open_history
from multigrey.model import DAY, HOUR, Action, Attempt, DecisionEvent, Reason, Verdict
from multigrey.stores.lmdb.store import LmdbStore

_BATCH = 12_800
_MAP_SIZE = 8 << 30
_NUMBER = b"7777777777"
"""Stands for the number of a mail in a template."""
_TIME = 1_234_567_890
_KINDS = (
    *([(Action.PASS, Reason.KNOWN)] * 11),
    *([(Action.DEFER, Reason.NEW)] * 6),
    *([(Action.DEFER, Reason.EARLY)] * 2),
    (Action.PASS, Reason.RETRY),
)
"""What became of twenty decisions."""


class _Template:
    """An encoded decision, with places for its time and the number of its mail."""

    def __init__(self, action: Action, reason: Reason, origin: int) -> None:
        name = f"mx.firm{origin}.example"
        attempts = 2 if reason is Reason.RETRY else 1
        address = ip_address(0x2D000001 + 256 * origin)
        sender, recipient = f"a{_NUMBER.decode()}@firm{origin}.example", f"b{_NUMBER.decode()}@example.org"
        attempt = Attempt("smtp", address, name, name, sender, recipient)
        verdict = Verdict(action, reason, delay=120, age=400 if attempts > 1 else 0, attempts=attempts)
        event = DecisionEvent(_TIME, "abcdef", attempt, verdict, f"firm{origin}.example")
        self._data = encode_event(event)
        self._marks = {
            mark("name", f"firm{origin}.example"),
            mark("name", "example"),
            mark("client", str(address)),
        }

    def entry(self, time: int, mail: int) -> HistoryEntry:
        """The decision on this mail at this time."""
        number = b"%010d" % mail
        data = self._data.replace(_NUMBER, number).replace(_TIME.to_bytes(4, "big"), time.to_bytes(4, "big"))
        addresses = {mark("address", f"{letter}{mail:010}@example.org") for letter in "ab"}
        return HistoryEntry(time, frozenset(self._marks | addresses), data)


def fill_history(state_dir: Path, count: int, now: int) -> None:
    """Write `count` decisions of the last week."""
    templates = [[_Template(*kind, origin) for origin in range(97)] for kind in _KINDS]
    history = open_history(state_dir / NAME, _MAP_SIZE)
    begin = now - 7 * DAY
    for start in range(0, count, _BATCH):
        numbers = range(start, min(start + _BATCH, count))
        history.append([
            templates[number % 20][number % 97].entry(begin + number * 7 * DAY // count, number)
            for number in numbers
        ])  # fmt: skip
    history.close()


async def fill_hours(state_dir: Path, count: int, now: int) -> None:
    """Write the figures of hours that belong to these decisions."""
    store = LmdbStore(StoreOptions(state_dir, 1 << 28))
    hours = Hours(store)
    each = count // (7 * 24 * 20)
    for hour in range(now - now % HOUR - 7 * DAY + HOUR, now, HOUR):
        counts: dict[str, int] = {}
        for action, reason in _KINDS:
            add_to(counts, {f"reason count {reason.value}": each, f"all {_word(action)}": each})
        add_to(
            counts,
            {
                "all first": 6 * each,
                "all back": each,
                "all returned": each,
                "all d420": each,
                "all longest": 400,
            },
        )
        hours.add(hour, counts)
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        await hours.note(now)
        nursery.cancel_scope.cancel()


def _word(action: Action) -> str:
    return "deferred" if action is Action.DEFER else "passed"


def main(state_dir: str, count: str) -> None:
    """Write both."""
    now = SystemClock().now()
    fill_history(Path(state_dir), int(count), now)
    trio.run(fill_hours, Path(state_dir), int(count), now)


if __name__ == "__main__":
    main(*sys.argv[1:])
