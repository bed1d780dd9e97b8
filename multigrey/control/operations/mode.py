"""What changes the daemon as a whole, and how what was changed for a while comes to its end."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any

import trio

from multigrey.config.settings import Settings
from multigrey.control.operations.context import Parts, Steering
from multigrey.control.operations.operation import (
    BY,
    Level,
    Operation,
    OperationError,
    Options,
    Result,
    text_option,
)
from multigrey.overrides.mode import SLOTS, Override, Overrides

__all__ = ["Helm", "changed_keys", "differences", "operations"]

logger = logging.getLogger(__name__)

_LOOK_EVERY = 1.0
_MOST = 100
"""Changes that are told one by one."""


def operations(parts: Parts) -> Iterable[Operation]:
    """`reload`, `override`."""
    steering = _Steered(parts)
    yield Operation("reload", Level.ADMIN, answer=steering.reload)
    yield Operation("override", Level.ADMIN, answer=steering.override)


class _Steered:
    """The operations on these parts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def reload(self, options: Options) -> Result:
        """What changed.  Raises ConfigError, PluginError: refused, the old configuration stays."""
        del options
        return await self._steering().reload()

    async def override(self, options: Options) -> Result:
        """`slot`, and `word` with `seconds`; without a word the override of the slot ends."""
        slot, word = text_option(options, "slot"), options.get("word")
        if slot not in SLOTS:
            raise OperationError(f"slot: expected one of {', '.join(SLOTS)}, got {slot!r}")
        steering, by = self._steering(), str(options.get(BY, ""))
        if word is None:
            return {"ended": await steering.end_override(slot, by)}
        seconds = options.get("seconds")
        if type(seconds) is not int:
            raise OperationError("seconds: expected a whole number")
        try:
            return {"override": await steering.override(slot, text_option(options, "word"), seconds, by)}
        except ValueError as error:
            raise OperationError(str(error)) from error

    def _steering(self) -> Steering:
        if self._parts.steering is None:
            raise OperationError("no daemon is running")
        return self._parts.steering


class Helm:
    """See `parts.Steering`."""

    def __init__(
        self,
        overrides: Overrides,
        reload: Callable[[], Awaitable[Mapping[str, Any]]],
        apply: Callable[[], None],
    ) -> None:
        """`apply` makes the engine's Setup anew from the configuration and the overrides that hold."""
        self._overrides = overrides
        self._reload = reload
        self._apply = apply

    async def reload(self) -> Mapping[str, Any]:
        """See `Steering.reload`."""
        return await self._reload()

    async def override(self, slot: str, word: str, seconds: int, by: str) -> Mapping[str, Any]:
        """See `Steering.override`."""
        override = await self._overrides.put(slot, word, seconds, by)
        self._apply()
        logger.warning("%s is %s for %d s, says %s", slot, word, seconds, by)
        return override.as_mapping()

    async def end_override(self, slot: str, by: str) -> Mapping[str, Any] | None:
        """See `Steering.end_override`."""
        ended = await self._overrides.end(slot)
        self._apply()
        if ended is None:
            return None
        logger.warning("%s is no longer %s, says %s", slot, ended.word, by)
        return ended.as_mapping()

    async def start(self) -> None:
        """Go on with what earlier runs left.  Raises StoreError."""
        self._over(await self._overrides.expire())
        self._apply()
        for override in self._overrides.active:
            logger.warning("%s is still %s, as %s said", override.slot, override.word, override.by)

    async def run(self) -> None:
        """End whatever is over, for ever."""
        while True:
            await trio.sleep(_LOOK_EVERY)
            if over := await self._overrides.expire():
                self._over(over)
                self._apply()

    def _over(self, overrides: list[Override]) -> None:
        for override in overrides:
            logger.warning("%s is no longer %s: its time is over", override.slot, override.word)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Where two configurations (as `as_json` tells them) differ: key, old and new value; None: not there."""
    before, after = dict(_flat("", old)), dict(_flat("", new))
    keys = [*before, *(key for key in after if key not in before)]
    found: list[Mapping[str, Any]] = [
        {"key": key, "old": before.get(key), "new": after.get(key)}
        for key in keys
        if before.get(key) != after.get(key)
    ]
    return found[:_MOST]


def changed_keys(names: Iterable[str], old: Settings, new: Settings) -> list[str]:
    """Which of these keys (dotted) and tables are others."""
    return [name for name in names if attrgetter(name)(old) != attrgetter(name)(new)]


def _flat(name: str, value: Any) -> list[tuple[str, Any]]:
    """Every plain value with its whole key, like `listen[2].address` for the second one's."""
    if isinstance(value, Mapping):
        inner = [_flat(f"{name}.{key}" if name else key, part) for key, part in value.items()]
    elif isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
        inner = [_flat(f"{name}[{number}]", part) for number, part in enumerate(value, 1)]
    else:
        return [(name, value)]
    return [pair for pairs in inner for pair in pairs]
