"""Every key of multigrey.toml: its type, default, bounds and what it is for, said once.

The tables of multigrey.toml(5) are made from the descriptions below, and `load` from the types, so
a key cannot be missing from either.  Each table stands in a file of `config.tables`.
Everything is immutable: a reload builds a new Settings.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from pydantic import Field, field_validator, model_validator

from multigrey.config.tables.control import Control
from multigrey.config.tables.greylist import Greylist
from multigrey.config.tables.history import History
from multigrey.config.tables.limits import Limits
from multigrey.config.tables.listen import Listen
from multigrey.config.tables.log import Log
from multigrey.config.tables.metrics import Metrics
from multigrey.config.tables.origin import OriginSettings
from multigrey.config.tables.plugins import Plugins
from multigrey.config.tables.rule import Class, RuleTable, TimeZone, impossible_times, unknown_listeners
from multigrey.config.tables.store import StoreSettings
from multigrey.config.tables.table import ConfigTable, Conflict, Label, conflicts, repeated
from multigrey.config.tables.whitelist import WhitelistSettings
from multigrey.config.values.types import (
    FilePath,
)

__all__ = ["Class", "Control", "History", "Limits", "Listen", "Metrics", "RuleTable", "Settings"]


class Settings(ConfigTable):
    """A whole configuration, with every default filled in."""

    state_dir: FilePath = Field(
        description="The directory of everything that must survive a restart.  By default $STATE_DIRECTORY "
        "(systemd's StateDirectory=), else /var/lib/multigrey for root and "
        "$XDG_STATE_HOME/multigrey (~/.local/state/multigrey) for others.  Changes need a restart."
    )
    user: Label | None = Field(
        default=None,
        description="The user to become after start-up when started as root; needed then, because the "
        "daemon never serves as root.  Leave it out when systemd's User= does the same.",
    )
    time_zone: TimeZone | None = Field(
        default=None,
        description="The time zone in which rules and classes tell times of day and days of the week, such "
        "as Europe/Vienna; by default the system's.",
    )
    listen: tuple[Listen, ...] = Field(description=" ".join((Listen.__doc__ or "").split()))
    greylist: Greylist = Field(default_factory=Greylist)
    origin: OriginSettings = Field(default_factory=OriginSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    whitelist: tuple[WhitelistSettings, ...] = ()
    rule: tuple[RuleTable, ...] = ()
    class_: tuple[Class, ...] = Field(default=(), alias="class")
    limits: Limits = Field(default_factory=Limits)
    control: Control = Field(default_factory=Control)
    history: History = Field(default_factory=History)
    plugins: Plugins = Field(default_factory=Plugins)
    log: Log = Field(default_factory=Log)
    metrics: Metrics = Field(default_factory=Metrics)

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, listen: tuple[Listen, ...]) -> tuple[Listen, ...]:
        if not listen:
            raise ValueError("there is no [[listen]]: nobody could ask; leave the key out for the defaults")
        conflicts(repeated(listen, "address"))
        conflicts(repeated(listen, "name"))
        return listen

    @field_validator("rule", "class_")
    @classmethod
    def _check_names(cls, tables: tuple[ConfigTable, ...]) -> tuple[ConfigTable, ...]:
        conflicts(repeated(tables, "name"))
        return tables

    @model_validator(mode="after")
    def _check(self) -> Self:
        conflicts(self._problems())
        return self

    def _problems(self) -> Iterable[Conflict]:
        grey = self.greylist
        yield from impossible_times(
            self.rule, grey.delay, grey.unnamed_delay, grey.retry_window, grey.max_age
        )
        listeners = [listen.name for listen in self.listen]
        yield from unknown_listeners(self.rule, "rule", listeners)
        yield from unknown_listeners(self.class_, "class", listeners)
