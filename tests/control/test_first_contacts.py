"""First contacts that never came back, from a part of the history before what a report reads."""

from __future__ import annotations

import trio
import trio.testing

from multigrey.config.tables.history import History as HistorySettings
from multigrey.control import first_contacts as module
from multigrey.control.first_contacts import first_contacts
from multigrey.history.recorder import HistoryRecorder
from multigrey.identity.redaction import Redactor
from multigrey.model import DAY, Reason
from tests.support.clocks import START, FakeClock
from tests.support.decisions import decision
from tests.support.engines import SITE_KEY

UNTIL = START - 2 * DAY


def contact(seconds, who, origin="example.org", **changes):
    """A decision so many seconds before the end of what is looked at, or after it."""
    reason = changes.pop("reason", Reason.NEW)
    who = {"recipient": f"{who}@example.net", "sender": f"a@{origin.replace('/', '-')}", "origin": origin}
    return decision(reason, UNTIL - seconds, f"{abs(seconds):06d}", **who, **changes)


async def found(directory, events, since=0, redactor=None):
    history = HistoryRecorder(
        directory, HistorySettings(), FakeClock(), redactor, redact=redactor is not None
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(history.run)
        await trio.testing.wait_all_tasks_blocked()
        for event in sorted(events, key=lambda event: event.time):
            history(event)
        kind = lambda event: "unnamed" if "/" in event.origin else "named"  # noqa: E731  a row of a test
        rows = await first_contacts(history, since, UNTIL, kind)
        nursery.cancel_scope.cancel()
    return [(row.origin, row.attempt.recipient.partition("@")[0]) for row in rows]


EVENTS = [
    contact(500, "once", "45.1.2.0/24"),
    contact(400, "twice", "early.example"),
    contact(390, "twice", "early.example", reason=Reason.EARLY),
    contact(300, "back", "shop.example"),
    contact(-DAY, "back", "shop.example", reason=Reason.RETRY),
    contact(200, "other", "both.example"),
    contact(100, "latest", "both.example"),
    contact(50, "known", "known.example", reason=Reason.KNOWN),
    contact(-10, "late", "late.example"),
]


async def test_one_of_each_origin_and_named_ones_first(tmp_path):
    assert await found(tmp_path, EVENTS) == [("both.example", "latest"), ("45.1.2.0/24", "once")]


async def test_nothing_before_the_time_is_looked_at(tmp_path):
    assert await found(tmp_path, EVENTS, UNTIL - 450) == [("both.example", "latest")]
    (tmp_path / "empty").mkdir()
    assert await found(tmp_path / "empty", []) == []


async def test_what_is_looked_at_and_searched_for_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_SEARCHED", 2)
    many = [contact(index, f"r{index}", f"o{index}.example") for index in range(9)]
    (tmp_path / "a").mkdir()
    assert await found(tmp_path / "a", many) == [("o0.example", "r0"), ("o1.example", "r1")]
    monkeypatch.setattr(module, "_SEARCHED", 60)
    monkeypatch.setattr(module, "LOOKED_AT", 3)
    (tmp_path / "b").mkdir()
    assert len(await found(tmp_path / "b", many)) == 3


async def test_redacted_people_are_told_apart(tmp_path):
    rows = await found(tmp_path, EVENTS, redactor=Redactor(SITE_KEY))
    assert [origin for origin, _ in rows][:1] == ["both.example"]
    assert len(rows) == 2
