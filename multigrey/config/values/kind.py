"""What all kinds of values share: how they tell pydantic to be read, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from multigrey.config.locate import quoted

__all__ = ["Kind", "shown"]


@dataclass(frozen=True)
class Kind:
    """How a value is called in the manual page, read, and written in TOML (before quoting).

    Stands in `Annotated` and does the whole reading: the type beside it is for type checkers.
    """

    name: str
    read: Callable[[Any], Any]
    write: Callable[[Any], str] = str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Called by pydantic when it builds a model."""
        return core_schema.no_info_plain_validator_function(self.read)


def shown(value: object) -> str:
    """A value as the administrator wrote it, cut to a readable length."""
    if isinstance(value, str):
        return quoted(value if len(value) <= 80 else f"{value[:77]}…")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    return str(value)
