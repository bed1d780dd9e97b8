"""The contract between operations and their callers: the control socket, and commands on a stopped store.

An operation is a name, the level of rights it needs, and a function from options to a result.  A result
holds what JSON can hold: mappings, lists, texts, numbers, true, false and null.  Times are seconds since
1970, durations are seconds.  An operation that streams yields such mappings until it ends or is cancelled.

Options come from the client unchecked, so each operation checks them.  Only the option `by` (the user, for
the log and for stored values) is set by the caller, which overwrites anything the client sent as `by`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from multigrey.control.protocol import Code
from multigrey.errors import AddressError, CommandError, MultigreyError

__all__ = [
    "BY",
    "Level",
    "Operation",
    "OperationError",
    "Operations",
    "OptionError",
    "Options",
    "Result",
    "code_of",
    "text_option",
]

Options = Mapping[str, Any]
Result = Mapping[str, Any]


class Level(Enum):
    """The right that an operation needs; each includes those before it."""

    READ = "read"
    OPERATE = "operate"
    """Let in the mail that one recipient waits for, as a help desk does."""
    ADMIN = "admin"

    def includes(self, other: Level) -> bool:
        """Whether a client with this right may do what needs the other."""
        levels = list(Level)
        return levels.index(self) >= levels.index(other)


BY = "by"
"""The option that holds the user, as in "root (uid 0)"; set by the caller, never taken from the client."""


class OperationError(MultigreyError):
    """The operation cannot be done as requested; the text is for the client."""


class OptionError(OperationError):
    """An option of the request is missing or wrong: the caller's mistake, as in a wrong command line."""


def code_of(error: MultigreyError) -> Code:
    """The code under which an operation's error is sent."""
    wrong = isinstance(error, OptionError | AddressError | CommandError)
    return Code.WRONG if wrong else Code.REFUSED


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation; exactly one of `answer` and `stream` is set."""

    name: str
    level: Level
    answer: Callable[[Options], Awaitable[Result]] | None = None
    stream: Callable[[Options], AsyncIterator[Result]] | None = None
    offline: bool = False
    """Whether it also works on the store of a stopped daemon."""
    is_search: bool = False
    """Whether it shows whose mail came: then the daemon logs who asked, though nothing changes."""
    not_for_operators: Callable[[Options], str] = lambda _: ""
    """What a client that may only operate has to give besides such options; "": they are enough."""


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
            raise OperationError(f"unknown operation {name!r}") from None

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(self._by_name))


def text_option(options: Options, name: str) -> str:
    """A text that the operation requires.  Raises OptionError when it is missing or not a text."""
    value = options.get(name)
    if not isinstance(value, str) or not value or "\0" in value:
        raise OptionError(f"{name}: expected a text")
    return value
