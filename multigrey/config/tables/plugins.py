"""`[plugins]`: where plugins are, and their own tables."""

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
    """`[plugins]`: where else plugins lie; each plugin's own settings stand in [plugins.NAME]."""

    dir: FilePath | None = Field(
        default=None,
        description="A directory of Python files that are loaded as plugins, beside those installed as "
        "packages; a relative path begins in the directory of the configuration file.  They run with all "
        "the rights of the daemon: the directory must belong to root or the daemon's user and not be "
        "writable by group or others.",
    )
    tables: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict, exclude=True, repr=False)
    """The tables [plugins.NAME] as TOML gave them; `Loaded.plugin_tables` checks them."""

    @model_validator(mode="before")
    @classmethod
    def _separate(cls, raw: object) -> object:
        if not isinstance(raw, dict):
            return raw
        tables = {name: value for name, value in raw.items() if isinstance(value, dict)}
        return {"tables": tables, **{name: value for name, value in raw.items() if name not in tables}}
