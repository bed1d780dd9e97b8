"""The core: an engine over a store, with its quota and what administrators changed at run time.

The daemon, commands that open a stopped daemon's store, and rehearsals all open it here and nowhere else.
Therefore they give the same answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from multigrey import __version__
from multigrey.clock import Clock, GuardedClock
from multigrey.config.settings import Settings
from multigrey.contracts import LongList, Store, StoreOptions
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
    """A configuration, and everything that is made from it."""

    settings: Settings
    registry: BuiltRegistry
    setup: Setup
    """The setup of the configuration alone, without overrides."""
    summary: Mapping[str, int]
    """The number of entries of each whitelist source, for the log."""
    warnings: tuple[str, ...]
    lists: tuple[LongList, ...] = ()
    """The whitelists that may have very many entries."""
    configuration: Path | None = None
    """The file; None: there is none, and defaults are used."""


class Core:
    """An open core (see `open_core`).  A reload replaces `assembly`."""

    def __init__(
        self, assembly: Assembly, engine: Engine, quota: NewRecordQuota, site_key: bytes = b""
    ) -> None:
        self.assembly = assembly
        self.engine = engine
        self.store = engine.store
        self.quota = quota
        self.site_key = site_key
        self.overrides = Overrides(engine.clock, engine.store)
        self.expectations = Expectations(engine.store, engine.clock.now)
        self.blocks = Blocks(engine.store, self.apply)

    @property
    def settings(self) -> Settings:
        """The configuration in effect."""
        return self.assembly.settings

    @property
    def registry(self) -> BuiltRegistry:
        """What the loaded plugins registered."""
        return self.assembly.registry

    async def load(self) -> None:
        """Read what earlier runs left.  Call once, when the store runs.  Raises StoreError, CodecError."""
        await self.engine.knowledge.begin(self.store, self.engine.clock.now())
        await self.overrides.load()
        await self.expectations.load()
        await self.blocks.load()
        self.apply()

    def apply(self) -> None:
        """Give the engine the setup of the configuration, with the changes that administrators made since."""
        setup = overridden(self.assembly.setup, self.overrides.active)
        self.engine.setup = self.blocks.joined(self.expectations.joined(setup))

    def take_over(self, assembly: Assembly) -> None:
        """Use a configuration that was read again.  An attempt in flight ends with its old setup."""
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
) -> Core:
    """Make an engine over a store, which need not run yet.  `Engine` describes the other parameters.

    Any clock but a guarded one is believed at every time.
    """
    guarded = clock if isinstance(clock, GuardedClock) else None
    believed = (lambda: True) if guarded is None else guarded.believed
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
        clock_believed=believed,
        set_back=(lambda: 0) if guarded is None else guarded.set_back,
        names=NameLedger(site_key, believed=believed),
    )
    return Core(assembly, engine, quota, site_key)


def make_store(assembly: Assembly, state_dir: Path | None = None) -> Store:
    """Make the configured store.  `state_dir`: None means the configured one."""
    settings = assembly.settings
    options = StoreOptions(state_dir or settings.state_dir, settings.store.map_size)
    return assembly.registry.stores[settings.store.backend](options)


def _limits(settings: Settings) -> NewRecordLimits:
    return NewRecordLimits(settings.limits.new_records, settings.limits.new_records_named)
