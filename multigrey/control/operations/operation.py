"""The contract between whoever asks (the control socket, commands on a stopped store) and what is done.

An operation is a name, who may use it, and a function from options to a result.  Results are what
JSON can hold: mappings, lists, texts, numbers, true, false and null; times are seconds since 1970,
durations seconds.  One that streams gives such mappings one after the other until it is cancelled or
ends.

Options are whatever the asker sent, so an operation checks them; only `by`, who asks (for the log and
for what is kept), is put there by whoever calls the operation, over anything sent under that name.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from multigrey.errors import MultigreyError

__all__ = ["BY", "Level", "Operation", "OperationError", "Operations", "Options", "Result", "text_option"]

Options = Mapping[str, Any]
Result = Mapping[str, Any]


class Level(Enum):
    """Who may use an operation; whoever may `admin` may `read`."""

    READ = "read"
    ADMIN = "admin"


BY = "by"
"""The option that tells who asks, as in "root (uid 0)"; not taken from the asker."""


class OperationError(MultigreyError):
    """An operation that cannot be done as asked; the text is for whoever asked."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked; exactly one of `answer` and `stream` is there."""

    name: str
    level: Level
    answer: Callable[[Options], Awaitable[Result]] | None = None
    stream: Callable[[Options], AsyncIterator[Result]] | None = None
    offline: bool = False
    """Whether it also works on the store of a stopped daemon."""


class Operations:
    """Operations by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, Operation] = {}

    def add(self, operation: Operation) -> None:
        """Add one.  Raises ValueError when the name is taken or it is not one of answer and stream."""
        if operation.name in self._by_name:
            raise ValueError(f"operation {operation.name!r} is there already")
        if (operation.answer is None) is (operation.stream is None):
            raise ValueError(f"operation {operation.name!r} must either answer or stream")
        self._by_name[operation.name] = operation

    def get(self, name: str) -> Operation:
        """The operation of this name.  Raises OperationError for an unknown one."""
        try:
            return self._by_name[name]
        except KeyError:
            raise OperationError(f"there is no operation {name!r}") from None

    def names(self) -> tuple[str, ...]:
        """All names, in order."""
        return tuple(sorted(self._by_name))


def text_option(options: Options, name: str) -> str:
    """A text that an operation cannot do without.  Raises OperationError."""
    value = options.get(name)
    if not isinstance(value, str) or not value or "\0" in value:
        raise OperationError(f"{name}: expected a text")
    return value
