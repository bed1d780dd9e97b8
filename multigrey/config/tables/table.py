"""The base class of every table of the configuration, and helpers for checks across several keys.

Such a check is a method of the model it concerns.  It calls `conflicts`, so that each message belongs
to one key; with pydantic alone the error could only name the whole table.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

from multigrey.config.values.types import Kind, read_label

__all__ = ["ConfigTable", "Conflict", "Label", "conflicts", "repeated"]

Conflict = tuple[tuple[str | int, ...], str]
"""A key path below the table that is being checked, and what is wrong with its value."""

Label = Annotated[str, Kind("text", read_label)]


class ConfigTable(BaseModel):
    """A table of the configuration: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, validate_default=False)


def conflicts(found: Iterable[Conflict]) -> None:
    """Raise one PydanticCustomError for all conflicts found; return if there are none."""
    problems = list(found)
    if problems:
        raise PydanticCustomError("conflicts", "conflicting keys", {"problems": problems})


def repeated(tables: Iterable[ConfigTable], key: str) -> Iterable[Conflict]:
    """Yield every table whose value under `key` an earlier table already has."""
    first: dict[object, int] = {}
    for index, table in enumerate(tables):
        value = getattr(table, key)
        if value in first:
            yield (index, key), f"{value} is already the {key} of number {first[value] + 1}"
        first.setdefault(value, index)
