"""The operations `reload` and `override`, and the task that ends overrides when their time is over."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any

import trio

from multigrey.config.settings import Settings
from multigrey.control.operations.context import DaemonControl, OperationContext
from multigrey.control.operations.operation import (
    BY,
    Level,
    Operation,
    OperationError,
    OptionError,
    Options,
    Result,
    text_option,
)
from multigrey.overrides.mode import SLOTS, Override, Overrides

__all__ = ["OverrideControl", "changed_keys", "differences", "operations"]

logger = logging.getLogger(__name__)

_LOOK_EVERY = 1.0
_MOST = 100
"""Most differences of two configurations that are reported."""


def operations(parts: OperationContext) -> Iterable[Operation]:
    """The operations of this module."""
    found = _Operations(parts)
    yield Operation("reload", Level.ADMIN, answer=found.reload)
    yield Operation("override", Level.ADMIN, answer=found.override)


class _Operations:
    """The operations on these parts."""

    def __init__(self, parts: OperationContext) -> None:
        self._parts = parts

    async def reload(self, options: Options) -> Result:
        """Reload; returns what changed.  Raises ConfigError, PluginError: the old configuration stays."""
        del options
        return await self._steering().reload()

    async def override(self, options: Options) -> Result:
        """Set the override of `slot` to `word` for `seconds`; without a `word`, end the one of the slot."""
        slot, word = text_option(options, "slot"), options.get("word")
        if slot not in SLOTS:
            raise OptionError(f"slot: expected one of {', '.join(SLOTS)}, got {slot!r}")
        steering, by = self._steering(), str(options.get(BY, ""))
        if word is None:
            return {"ended": await steering.end_override(slot, by)}
        seconds = options.get("seconds")
        if type(seconds) is not int:
            raise OptionError("seconds: expected a whole number")
        try:
            return {"override": await steering.override(slot, text_option(options, "word"), seconds, by)}
        except ValueError as error:
            raise OptionError(str(error)) from error

    def _steering(self) -> DaemonControl:
        if self._parts.steering is None:
            raise OperationError("no daemon is running")
        return self._parts.steering


class OverrideControl:
    """Reload and overrides of a running daemon; see `context.DaemonControl`."""

    def __init__(
        self,
        overrides: Overrides,
        reload: Callable[[], Awaitable[Mapping[str, Any]]],
        apply: Callable[[], None],
    ) -> None:
        """`apply` makes the engine's Setup again, from the configuration and the active overrides."""
        self._overrides = overrides
        self._reload = reload
        self._apply = apply

    async def reload(self) -> Mapping[str, Any]:
        """See `DaemonControl.reload`."""
        return await self._reload()

    async def override(self, slot: str, word: str, seconds: int, by: str) -> Mapping[str, Any]:
        """See `DaemonControl.override`."""
        override = await self._overrides.put(slot, word, seconds, by)
        self._apply()
        logger.warning("override: %s is %s for %d s, set by %s", slot, word, seconds, by)
        return override.as_mapping()

    async def end_override(self, slot: str, by: str) -> Mapping[str, Any] | None:
        """See `DaemonControl.end_override`."""
        ended = await self._overrides.end(slot)
        self._apply()
        if ended is None:
            return None
        logger.warning("override: %s %s ended by %s", slot, ended.word, by)
        return ended.as_mapping()

    async def start(self) -> None:
        """Apply the overrides that an earlier run left; end those whose time is over.  Raises StoreError."""
        self._over(await self._overrides.expire())
        self._apply()
        for override in self._overrides.active:
            logger.warning("override: %s is still %s, set by %s", override.slot, override.word, override.by)

    async def run(self) -> None:
        """End each override when its time is over; runs until cancelled."""
        while True:
            await trio.sleep(_LOOK_EVERY)
            if over := await self._overrides.expire():
                self._over(over)
                self._apply()

    def _over(self, overrides: list[Override]) -> None:
        for override in overrides:
            logger.warning("override: %s %s ended: its time is over", override.slot, override.word)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Where two configurations (in the form of `as_json`) differ: key, old and new value; None: not set."""
    before, after = dict(_flat("", old)), dict(_flat("", new))
    keys = [*before, *(key for key in after if key not in before)]
    found: list[Mapping[str, Any]] = [
        {"key": key, "old": before.get(key), "new": after.get(key)}
        for key in keys
        if before.get(key) != after.get(key)
    ]
    return found[:_MOST]


def changed_keys(names: Iterable[str], old: Settings, new: Settings) -> list[str]:
    """Which of these keys (dotted) and tables differ."""
    return [name for name in names if attrgetter(name)(old) != attrgetter(name)(new)]


def _flat(name: str, value: Any) -> list[tuple[str, Any]]:
    """Every plain value with its whole key, such as `listen[2].address` for the second [[listen]]."""
    if isinstance(value, Mapping):
        inner = [_flat(f"{name}.{key}" if name else key, part) for key, part in value.items()]
    elif isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
        inner = [_flat(f"{name}[{number}]", part) for number, part in enumerate(value, 1)]
    else:
        return [] if value == [] else [(name, value)]
    return [pair for pairs in inner for pair in pairs]
