"""Overrides: an administrator changes the mode, or how strict greylisting is, for a while.

There are two slots, each with at most one override.  Overrides are kept in the store's META table, so a
restart does not end them:

    mode      enforce, observe or off replaces `[greylist] mode`
    pressure  tighten: delays of new records double, clients without a trustworthy name wait at least a
              quarter of an hour, and providers that are known to retry are delayed like others;
              relax: clients without a trustworthy name wait no longer than others, even after early
              retries

An override ends by itself.  It is a pure change of the Setup that the configuration gives, and is applied
again after each reload.  Delays that a rule of the administrator sets stay as they are, and so do those of
existing records: a delay holds for its record.  No override changes what origins have earned, because they
have shown that they retry anyway.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from multigrey.clock import Clock
from multigrey.contracts import Store
from multigrey.engine.setup import Setup
from multigrey.engine.stages import MODES, OBSERVE
from multigrey.errors import CodecError, StoreError
from multigrey.greylist.policy import Policy
from multigrey.model import DAY, Change, Entry, Key
from multigrey.stores.meta import OVERRIDES

__all__ = ["LONGEST", "SLOTS", "Override", "Overrides", "overridden"]

logger = logging.getLogger(__name__)

MODE, PRESSURE = "mode", "pressure"
TIGHTEN, RELAX = "tighten", "relax"
SLOTS: Mapping[str, tuple[str, ...]] = {MODE: MODES, PRESSURE: (TIGHTEN, RELAX)}
"""The slots, and the words that each can hold."""
LONGEST = 366 * DAY
"""Most seconds of an override: a permanent change belongs in the configuration."""

_UNNAMED_DELAY = 900
"""Least delay of a client without a name under `tighten`, in seconds: few spam programs wait so long."""


@dataclass(frozen=True, slots=True)
class Override:
    """One override.  Times are wall-clock seconds."""

    slot: str
    word: str
    since: int
    until: int
    """Its end: from this second on it does not hold."""
    by: str = ""
    """Who asked for it."""

    def as_mapping(self) -> Mapping[str, Any]:
        """The override as JSON values."""
        return asdict(self)


def overridden(setup: Setup, overrides: Sequence[Override]) -> Setup:
    """The Setup, changed by these overrides."""
    for override in overrides:
        if override.slot == MODE:
            setup = _in_mode(setup, override.word)
        elif override.word == TIGHTEN:
            setup = replace(
                setup,
                policy=_slower(setup.policy, 0),
                unnamed_policy=_slower(setup.unnamed_policy, _UNNAMED_DELAY),
                providers_pass=False,
            )
        else:
            delay = min(setup.policy.delay, setup.unnamed_policy.delay)
            setup = replace(setup, unnamed_policy=replace(setup.unnamed_policy, delay=delay, patience=0))
    return setup


def _in_mode(setup: Setup, mode: str) -> Setup:
    observe = mode == OBSERVE
    return replace(
        setup,
        mode=mode,
        policy=replace(setup.policy, observe=observe),
        unnamed_policy=replace(setup.unnamed_policy, observe=observe),
    )


def _slower(policy: Policy, least: int) -> Policy:
    """Twice the delay, but never so long that a patient sender can miss the retry window."""
    most = max(policy.delay, policy.retry_window // 2)
    delay = min(max(2 * policy.delay, least), most)
    return replace(policy, delay=delay, patience=min(2 * policy.patience, most))


class Overrides:
    """The overrides that hold, in memory and in the store."""

    def __init__(self, clock: Clock, store: Store) -> None:
        """No override holds until `load`."""
        self._clock = clock
        self._store = store
        self._by_slot: dict[str, Override] = {}
        self._ends: dict[str, float] = {}
        """By slot, the end by the monotonic clock: setting the wall clock does not change it."""

    @property
    def active(self) -> tuple[Override, ...]:
        """The overrides that hold now."""
        now = self._clock.monotonic()
        return tuple(override for slot, override in self._by_slot.items() if now < self._ends[slot])

    async def load(self) -> None:
        """Read the overrides of earlier runs; leave out those that cannot be read.  Raises StoreError."""
        values = await self._store.read([_key(slot) for slot in SLOTS])
        for slot, value in zip(SLOTS, values, strict=True):
            if value is not None:
                try:
                    override = _decoded(slot, value)
                except CodecError as error:
                    logger.warning("a stored override of the %s is ignored: %s", slot, error)
                    continue
                self._hold(override, override.until - self._clock.now())

    async def put(self, slot: str, word: str, seconds: int, by: str) -> Override:
        """Let `word` hold for `seconds`, instead of the override that held before.

        Raises ValueError for an unknown slot or word and for a wrong duration; StoreError.
        """
        if word not in SLOTS.get(slot, ()):
            raise ValueError(f"{slot} {word!r}: unknown override")
        if not 1 <= seconds <= LONGEST:
            raise ValueError(f"an override lasts from one second to {LONGEST // DAY} days")
        now = self._clock.now()
        override = Override(slot, word, now, now + seconds, by)
        fields = {name: value for name, value in asdict(override).items() if name != "slot"}
        await self._write(slot, Entry(OVERRIDES.coder.encode(fields), None))
        self._hold(override, seconds)
        return override

    def _hold(self, override: Override, seconds: int) -> None:
        """Let it hold for so many seconds, but never for longer than it was made for."""
        self._by_slot[override.slot] = override
        # A wall clock that was set back since the override was made must not prolong it.
        most = override.until - override.since
        self._ends[override.slot] = self._clock.monotonic() + min(seconds, most)

    async def end(self, slot: str) -> Override | None:
        """End the override of a slot; returns it, or None when there was none.  Raises StoreError."""
        found = self._by_slot.get(slot)
        if found is not None:
            await self._write(slot, None)
            del self._by_slot[slot]
        return found

    async def expire(self) -> list[Override]:
        """Drop overrides that are over, and return them.  One that stays in the store is dropped later."""
        now = self._clock.monotonic()
        over = [override for slot, override in self._by_slot.items() if now >= self._ends[slot]]
        for override in over:
            del self._by_slot[override.slot]
            try:
                await self._write(override.slot, None)
            except StoreError as error:
                logger.warning("an override that is over stays in the store: %s", error)
        return over

    async def _write(self, slot: str, entry: Entry | None) -> None:
        puts = {_key(slot): entry}
        await self._store.apply(tuple(puts), lambda _: Change(None, puts, durable=True))


def _key(slot: str) -> Key:
    return OVERRIDES.key(slot.encode())


def _decoded(slot: str, value: bytes) -> Override:
    """Raises CodecError."""
    override = Override(slot, **OVERRIDES.coder.decode(value))
    if override.word not in SLOTS[slot]:
        raise CodecError("unknown override")
    return override
