"""The whole of multigrey.toml: every key with its type, default, bounds and description.

The descriptions become the tables of multigrey.toml(5), and `load` validates with the types, so a key
cannot be missing from either.  Each table has its own file in `config.tables`.  Settings are
immutable: a reload builds a new Settings.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from pydantic import Field, field_validator, model_validator

from multigrey.config.tables.confinement import ConfinementSettings
from multigrey.config.tables.control import Control
from multigrey.config.tables.greylist import Greylist, help_problem
from multigrey.config.tables.history import History
from multigrey.config.tables.limits import Limits
from multigrey.config.tables.listen import Listen, named_by_protocol
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
        description="The directory for everything that must survive a restart.  The default is "
        "$STATE_DIRECTORY (systemd's StateDirectory=), else /var/lib/multigrey for root and "
        "$XDG_STATE_HOME/multigrey (~/.local/state/multigrey) for other users.  A change needs a restart."
    )
    user: Label | None = Field(
        default=None,
        description="The user that the daemon switches to after start-up when it is started as root.  It is "
        "required then, because the daemon never serves as root.  Leave it out when systemd's User= sets "
        "the user.",
    )
    time_zone: TimeZone | None = Field(
        default=None,
        description="The time zone for times of day and days of the week in rules and classes, such as "
        "Europe/Vienna.  The default is the system's time zone.",
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
    confinement: ConfinementSettings = Field(default_factory=ConfinementSettings)

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, listen: tuple[Listen, ...]) -> tuple[Listen, ...]:
        if not listen:
            raise ValueError(
                "is empty, so no mail server could connect: add a [[listen]], or leave the key out for the "
                "defaults"
            )
        conflicts(repeated(listen, "address"))
        conflicts(repeated(listen := named_by_protocol(listen), "name"))
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
        texts: list[tuple[tuple[str | int, ...], str]] = [(("greylist", "text"), grey.text)]
        texts += [(("rule", index, "text"), rule.text or "") for index, rule in enumerate(self.rule)]
        for path, text in texts:
            if problem := help_problem(text, grey.help_url):
                yield path, problem
