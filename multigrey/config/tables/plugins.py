"""`[plugins]`: the plugin directory, and the tables of the plugins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from multigrey.config.tables.table import ConfigTable
from multigrey.config.values.types import (
    FilePath,
)

__all__ = ["Plugins"]


class Plugins(ConfigTable):
    """`[plugins]`: a directory of further plugins.  Each plugin has its own settings in [plugins.NAME]."""

    dir: FilePath | None = Field(
        default=None,
        description="A directory of Python files that are loaded as plugins, in addition to those installed "
        "as packages.  A relative path is relative to the directory of the configuration file.  Plugins run "
        "with all the rights of the daemon: the directory must belong to root or to the daemon's user, and "
        "must not be writable by group or others.  Commands that root calls load only what belongs to root.",
    )
    tables: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict, exclude=True, repr=False)
    """The tables [plugins.NAME] as read from TOML, unchecked; `Loaded.plugin_tables` checks them."""

    @model_validator(mode="before")
    @classmethod
    def _separate(cls, raw: object) -> object:
        if not isinstance(raw, dict):
            return raw
        tables = {name: value for name, value in raw.items() if isinstance(value, dict)}
        return {"tables": tables, **{name: value for name, value in raw.items() if name not in tables}}
