"""Chooses the record that decides among those found for an attempt, and says how long a record is kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from multigrey.greylist.policy import Policy
from multigrey.model import Record

__all__ = ["choose_record", "is_from_future", "keep_until", "speaking_record"]


def choose_record(records: Iterable[Record | None], now: int, set_back: int = 0) -> Record | None:
    """The record that decides: one that has passed, else the oldest.

    Its future times are set back by as much as the clock was (`set_back` seconds), at least to now.
    """
    best: Record | None = None
    for record in records:
        if record is None:
            continue
        if is_from_future(record, now):
            record = _settled(record, now, set_back)  # noqa: PLW2901  (the same record, without future times)
        if best is None or _speaks_before(record, best):
            best = record
    return best


def keep_until(policy: Policy, record: Record) -> int:
    """The wall-clock second before which a record must not be forgotten."""
    if record.passed_at:
        return record.last_seen + policy.max_age
    return record.first_seen + policy.retry_window


def speaking_record(
    policy: Policy, now: int, records: Sequence[Record | None], set_back: int = 0
) -> Record | None:
    """As `choose_record`, but a record that may be forgotten by now never hides one that still counts."""
    found = choose_record(records, now, set_back)
    if found is None or len(records) == 1 or keep_until(policy, found) >= now:
        return found
    live = [record for record in records if record is not None and keep_until(policy, record) >= now]
    return choose_record(live, now, set_back) or found


def is_from_future(record: Record, now: int) -> bool:
    """Whether one of its times lies in the future, because the clock was set back."""
    return record.last_seen > now or record.first_seen > now or record.passed_at > now


def _speaks_before(one: Record, other: Record) -> bool:
    if bool(one.passed_at) != bool(other.passed_at):
        return bool(one.passed_at)
    if one.passed_at:
        return one.last_seen > other.last_seen
    return one.first_seen < other.first_seen


def _settled(record: Record, now: int, set_back: int) -> Record:
    def settled(time: int) -> int:
        return time if time <= now else min(time - set_back, now)

    return replace(
        record,
        first_seen=settled(record.first_seen),
        last_seen=settled(record.last_seen),
        passed_at=settled(record.passed_at),
    )
