"""What every table of the configuration has in common.

Checks across several keys stand beside the model they concern and call `conflicts`, which names
the key each message belongs to; pydantic alone could only blame the whole table.
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
    """Raise one error for all (key path below this table, message) found; nothing found: return."""
    problems = list(found)
    if problems:
        raise PydanticCustomError("conflicts", "conflicting keys", {"problems": problems})


def repeated(tables: Iterable[ConfigTable], key: str) -> Iterable[Conflict]:
    """Every table after the first with the same value under `key`."""
    first: dict[object, int] = {}
    for index, table in enumerate(tables):
        value = getattr(table, key)
        if value in first:
            yield (index, key), f"{value} is the {key} of number {first[value] + 1} already"
        first.setdefault(value, index)
