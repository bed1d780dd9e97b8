"""An engine over a store, with everything that belongs to it.

The daemon, commands on a stopped daemon's store and rehearsals open it here and nowhere else, so that they
cannot come to different answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from multigrey import __version__
from multigrey.clock import Clock
from multigrey.config.settings import Settings
from multigrey.contracts import Store, StoreOptions
from multigrey.engine.engine import Engine
from multigrey.engine.setup import Setup
from multigrey.evidence.name_ledger import NameLedger
from multigrey.greylist.quota import NewRecordLimits, NewRecordQuota
from multigrey.model import DecisionEvent
from multigrey.overrides.blocks import Blocks
from multigrey.overrides.expectations import Expectations
from multigrey.overrides.mode import Overrides, overridden
from multigrey.plugins.registry import BuiltRegistry

__all__ = ["Assembly", "Core", "make_store", "open_core"]


@dataclass(frozen=True)
class Assembly:
    """A configuration with everything it names."""

    settings: Settings
    registry: BuiltRegistry
    setup: Setup
    """What the configuration alone gives."""
    summary: Mapping[str, int]
    """Whitelist sources and how many entries each has, for the log."""
    warnings: tuple[str, ...]


class Core:
    """See `open_core`; `assembly` is replaced by a reload."""

    def __init__(self, assembly: Assembly, engine: Engine, quota: NewRecordQuota) -> None:
        self.assembly = assembly
        self.engine = engine
        self.store = engine.store
        self.quota = quota
        self.overrides = Overrides(engine.clock, engine.store)
        self.expectations = Expectations(engine.store, engine.clock.now)
        self.blocks = Blocks(engine.store, self.apply)

    async def load(self) -> None:
        """Take up what earlier runs left; call once, when the store runs.  Raises StoreError, CodecError."""
        await self.engine.knowledge.begin(self.store, self.engine.clock.now())
        await self.overrides.load()
        await self.expectations.load()
        await self.blocks.load()
        self.apply()

    def apply(self) -> None:
        """Give the engine what the configuration says, with everything that administrators changed since."""
        setup = overridden(self.assembly.setup, self.overrides.active)
        self.engine.setup = self.blocks.joined(self.expectations.joined(setup))

    def take_over(self, assembly: Assembly) -> None:
        """The configuration was read again; an attempt in flight ends with what it began with."""
        self.assembly = assembly
        self.quota.limits = _limits(assembly.settings)
        self.apply()


def open_core(
    assembly: Assembly,
    store: Store,
    *,
    site_key: bytes,
    clock: Clock,
    ids: Iterator[str],
    host: str = "",
    subscribers: Sequence[Callable[[DecisionEvent], None]] = (),
    is_full: Callable[[], bool] = lambda: False,
    clock_believed: Callable[[], bool] = lambda: True,
) -> Core:
    """An engine over a store, which need not run yet; see `Engine` for what is not said here."""
    quota = NewRecordQuota(_limits(assembly.settings), key=site_key)
    engine = Engine(
        clock=clock,
        store=store,
        setup=assembly.setup,
        ids=ids,
        host=host,
        version=__version__,
        subscribers=subscribers,
        quota=quota,
        is_full=is_full,
        mark_key=site_key,
        clock_believed=clock_believed,
        names=NameLedger(site_key, believed=clock_believed),
    )
    return Core(assembly, engine, quota)


def make_store(assembly: Assembly, state_dir: Path | None = None) -> Store:
    """The configured store, in a state directory (None: the configured one)."""
    settings = assembly.settings
    options = StoreOptions(state_dir or settings.state_dir, settings.store.map_size)
    return assembly.registry.stores[settings.store.backend](options)


def _limits(settings: Settings) -> NewRecordLimits:
    return NewRecordLimits(settings.limits.new_records, settings.limits.new_records_named)
