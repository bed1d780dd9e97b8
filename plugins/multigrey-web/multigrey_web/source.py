"""Requests to the daemon's control socket: those that change nothing, and, apart from them, acts of users."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

from multigrey.control.client import ControlError, ask, items
from multigrey_web.answers import Ask

__all__ = ["ACTING", "OPERATIONS", "acting", "asking"]

_OF_USERS = ("expect-list", "origins.providers")
OPERATIONS = frozenset(
    {"status", "growth", "report", "waiting", "records.show", "history", "explain", "flow", *_OF_USERS}
)
ACTING = frozenset({"expect", "records.pass", "override"})
_STREAMING = frozenset({"history", "origins.providers"})
_MOST_ITEMS = 100
_PATIENCE = 60.0
"""Most seconds for an answer, or for the next item of one."""


def asking(path: Path | None) -> Ask:
    """Return the function that sends requests to this control socket; None: the daemon has none."""
    return partial(_asked, path)


def acting(path: Path | None) -> Ask:
    """Return the function that carries out acts of users, who have been allowed to."""
    return partial(_acted, path)


async def _acted(path: Path | None, name: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    if path is None:
        raise ControlError('the daemon has no control socket: [control] address is "off"')
    if name not in ACTING:
        raise ControlError(f"{name}: this operation is not allowed for web pages")
    return await ask(path, name, options, patience=_PATIENCE)


async def _asked(path: Path | None, name: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Send one request.  A stream is returned as `{"items": [...]}`, up to a limit.  Raises ControlError."""
    if path is None:
        raise ControlError('the daemon has no control socket: [control] address is "off"')
    if name not in OPERATIONS:
        raise ControlError(f"{name}: this operation is not allowed for web pages")
    if name not in _STREAMING:
        return await ask(path, name, options, patience=_PATIENCE)
    found: list[Mapping[str, Any]] = []
    async with aclosing(items(path, name, options, patience=_PATIENCE)) as told:
        async for item in told:
            found.append(item)
            if len(found) >= _MOST_ITEMS:
                break
    return {"items": found}
