"""The class `Kind`, by which pydantic reads a value, and how values are shown in messages."""

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
    """A kind of value: its name in the manual, its reader, and its writer to TOML (before quoting).

    It is used in `Annotated`.  `read` does all of the validation: the type in `Annotated` is for type
    checkers only.
    """

    name: str
    read: Callable[[Any], Any]
    write: Callable[[Any], str] = str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Called by pydantic when it builds a model."""
        return core_schema.no_info_plain_validator_function(self.read)


def shown(value: object) -> str:
    """A value as the administrator wrote it, cut to at most 80 characters, for messages."""
    if isinstance(value, str):
        return quoted(value if len(value) <= 80 else f"{value[:77]}…")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    return str(value)
