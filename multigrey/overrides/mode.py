"""What an administrator changes for a while: the mode, and how hard unknown senders have it.

Two slots, each with at most one override, kept in the store's META table so that a restart does not end
them:

    mode      enforce, observe or off takes the place of `[greylist] mode`
    pressure  tighten: delays of new records double, clients without a trustworthy name wait at least a
              quarter of an hour, and providers that are known to retry are delayed like others;
              relax: clients without a trustworthy name wait no longer than others, however impatient
              they are

An override ends by itself.  It is a pure change of the Setup that the configuration gives, made anew
after each reload.  Delays that a rule of the administrator sets stay as they are, and so do those of
records that exist: a delay holds for its record.  What origins have earned is left alone in either
direction, for they have shown that they would come back anyway.
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
"""What there is to override, and by which words."""
LONGEST = 366 * DAY
"""Seconds an override lasts at most: what is to stay belongs into the configuration."""

_UNNAMED_DELAY = 900
"""Seconds a client without a name waits at least under `tighten`: few programs of spammers do."""


@dataclass(frozen=True, slots=True)
class Override:
    """One change.  Times are wall-clock seconds."""

    slot: str
    word: str
    since: int
    until: int
    """Its end; from this second on it does not hold."""
    by: str = ""
    """Who asked for it."""

    def as_mapping(self) -> Mapping[str, Any]:
        """For whoever asks."""
        return asdict(self)


def overridden(setup: Setup, overrides: Sequence[Override]) -> Setup:
    """What becomes of a Setup under these overrides."""
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
    """Twice the delay, but never so long that a patient sender could miss the retry window."""
    most = max(policy.delay, policy.retry_window // 2)
    delay = min(max(2 * policy.delay, least), most)
    return replace(policy, delay=delay, patience=min(2 * policy.patience, most))


class Overrides:
    """The overrides that hold, in memory and in the store."""

    def __init__(self, clock: Clock, store: Store) -> None:
        """Knows none until `load`."""
        self._clock = clock
        self._store = store
        self._by_slot: dict[str, Override] = {}
        self._ends: dict[str, float] = {}
        """By slot, the end by the monotonic clock: an hour is one whatever is done to the wall clock."""

    @property
    def active(self) -> tuple[Override, ...]:
        """Those that hold now."""
        now = self._clock.monotonic()
        return tuple(override for slot, override in self._by_slot.items() if now < self._ends[slot])

    async def load(self) -> None:
        """Read what earlier runs left.  Raises StoreError; one that cannot be read is left out."""
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
        """Let `word` hold for `seconds`, instead of what held before.

        Raises ValueError for what there is not, or lasts too long; StoreError.
        """
        if word not in SLOTS.get(slot, ()):
            raise ValueError(f"{slot} {word!r}: there is no such override")
        if not 1 <= seconds <= LONGEST:
            raise ValueError(f"an override lasts from one second to {LONGEST // DAY} days")
        now = self._clock.now()
        override = Override(slot, word, now, now + seconds, by)
        fields = {name: value for name, value in asdict(override).items() if name != "slot"}
        await self._write(slot, Entry(OVERRIDES.coder.encode(fields), None))
        self._hold(override, seconds)
        return override

    def _hold(self, override: Override, seconds: int) -> None:
        """Let it hold for so long, but never for longer than it was meant to."""
        self._by_slot[override.slot] = override
        most = override.until - override.since
        self._ends[override.slot] = self._clock.monotonic() + min(seconds, most)

    async def end(self, slot: str) -> Override | None:
        """End what holds; returns it, None when nothing did.  Raises StoreError."""
        found = self._by_slot.get(slot)
        if found is not None:
            await self._write(slot, None)
            del self._by_slot[slot]
        return found

    async def expire(self) -> list[Override]:
        """Drop what is over; returns it.  What the store then still has is dropped at the next start."""
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
        raise CodecError("not an override that is known")
    return override
