"""The operation `status`: the state of the daemon, its store, lists and plugins."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import trio

from multigrey import __version__
from multigrey.codec import decode_record
from multigrey.contracts import Store
from multigrey.control.operations.context import OperationContext
from multigrey.control.operations.operation import Level, Operation, Options, Result
from multigrey.errors import CodecError, StoreError
from multigrey.model import Record, Table
from multigrey.overrides.mode import Overrides
from multigrey.plugins.guards import BUILT_IN
from multigrey.plugins.registry import BuiltRegistry
from multigrey.threads import in_thread

__all__ = ["count_records", "newest_change", "operations"]

_SLICE = 200
_BREATH = 0.001
_MOST_COUNTED = 20_000
_COUNTING = 1.0
"""Seconds for counting records; if that is too short for all of them, the numbers are estimates."""
_WAITING = 5.0
"""Seconds a store may take to report its figures."""
_MOST_FILES = 1_000


def operations(parts: OperationContext) -> Iterable[Operation]:
    """The operation of this module."""

    async def status(options: Options) -> Result:
        del options
        return await _status(parts)

    yield Operation("status", Level.READ, answer=status, offline=True)


async def _status(parts: OperationContext) -> Result:
    setup, settings = parts.engine.setup, parts.settings
    registry = parts.core.registry
    told = {} if parts.status is None else dict(parts.status())
    files = told.pop("files", {})
    overrides = told.get("overrides")
    if overrides is None:
        overrides = await _stored_overrides(parts)
    return {
        "version": __version__,
        "now": parts.clock.now(),
        "running": parts.status is not None,
        "state_dir": str(parts.settings.state_dir),
        **told,
        "mode": {"configured": settings.greylist.mode, "in_effect": setup.mode},
        "delays": {"named": setup.policy.delay, "unnamed": setup.unnamed_policy.delay},
        "overrides": overrides,
        "store": await _health(parts.engine.store),
        "records": await count_records(
            parts.engine.store, parts.clock.now(), setup.unnamed_policy.retry_window
        ),
        "lists": await in_thread(_lists, parts, files),
        "rules": len(settings.rule),
        "classes": len(settings.class_),
        "plugins": [
            {
                "name": name,
                "distribution": distribution,
                "calls": registry.counters.calls.get(name, 0),
                "failures": registry.counters.failures.get(name, 0),
                "timeouts": registry.counters.timeouts.get(name, 0),
                "trouble": registry.counters.troubles.get(name, ""),
            }
            for name, distribution in sorted(_plugins(registry))
        ],
    }


def _plugins(registry: BuiltRegistry) -> set[tuple[str, str]]:
    """Name and distribution of each plugin; also of what is built in, if that has failed."""
    found = {(plugin.name, plugin.distribution) for plugin in registry.owners.values()}
    if BUILT_IN.name in registry.counters.failures:
        found.add((BUILT_IN.name, BUILT_IN.distribution))
    return found


async def _stored_overrides(parts: OperationContext) -> list[Mapping[str, Any]]:
    """The overrides in the store, for a daemon that is stopped."""
    overrides = Overrides(parts.clock, parts.engine.store)
    try:
        await overrides.load()
    except StoreError:
        return []
    return [override.as_mapping() for override in overrides.active]


async def _health(store: Store) -> Mapping[str, Any]:
    try:
        with trio.fail_after(_WAITING):
            return dict(await store.health())
    except (StoreError, trio.TooSlowError) as error:
        return {"error": str(error) or f"the store did not report its figures within {_WAITING:g} s"}


async def count_records(store: Store, now: int, retry_window: int) -> Mapping[str, Any]:
    """How many records are known (have passed), waiting, observed, expired (too old for a first retry).

    Of a large store only the beginning is counted, and the numbers are extrapolated (`estimated`).  Keys
    are keyed digests, so any part of the store is a fair sample.
    """
    counts = dict.fromkeys(("known", "waiting", "observed", "expired", "unreadable"), 0)
    looked, cursor, complete = 0, b"", False
    try:
        with trio.move_on_after(_COUNTING):
            while looked < _MOST_COUNTED and not complete:
                rows, cursor = await store.scan(Table.RECORD, cursor, _SLICE)
                for _, value in rows:
                    counts[_state(value, now, retry_window)] += 1
                looked += len(rows)
                complete = not cursor
                await trio.sleep(_BREATH)
        total = looked if complete else int((await _health(store)).get("records", looked))
    except StoreError as error:
        return {"error": str(error)}
    if not complete and looked:
        counts = {name: round(number * total / looked) for name, number in counts.items()}
    return {**counts, "total": total, "estimated": not complete}


def _state(value: bytes, now: int, retry_window: int) -> str:
    try:
        record = decode_record(value)
    except CodecError:
        return "unreadable"
    return _state_of(record, now, retry_window)


def _state_of(record: Record, now: int, retry_window: int) -> str:
    if record.observed:
        return "observed"
    if record.passed_at:
        return "known"
    return "waiting" if now - record.first_seen <= retry_window else "expired"


def _lists(parts: OperationContext, files: Mapping[str, float]) -> list[Mapping[str, Any]]:
    """The whitelists in the order in which they are asked; reads the times of their files."""
    found: list[Mapping[str, Any]] = []
    for position, source in enumerate(parts.engine.setup.about_sources):
        path = Path(source.path) if source.path else None
        changed = None if path is None else newest_change(path)
        loaded = files.get(source.path)
        found.append(
            {
                "position": position,
                "source": source.name,
                "path": source.path or None,
                "owner": source.owner,
                "entries": source.entries,
                "changed": None if changed is None else int(changed),
                "missing": path is not None and changed is None,
                "trouble": "" if path is None else _trouble(path),
                "newer_on_disk": loaded is not None and changed is not None and changed != loaded,
            }
        )
    return found


def _trouble(path: Path) -> str:
    """Why a list cannot be read now; "" if it can."""
    try:
        path.stat()
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return "" if os.access(path, os.R_OK) else "cannot be read: permission denied"


def newest_change(path: Path) -> float | None:
    """When a list, or a directory of lists, changed last; None: it does not exist or cannot be seen."""
    try:
        times = [path.stat().st_mtime]
        if path.is_dir():
            files = sorted(path.glob("*.toml"))[:_MOST_FILES]
            times += [file.stat().st_mtime for file in files]
    except OSError:
        return None
    return max(times)
