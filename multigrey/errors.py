"""The errors that multigrey raises on purpose, one family for each audience.

The audiences are the client on a socket, the administrator who writes the configuration, and the
administrator who looks after the disk.  Any other exception that leaves a public function is a bug in
multigrey.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "AddressError",
    "CodecError",
    "CommandError",
    "ConfigError",
    "ListenerError",
    "MultigreyError",
    "NewerFormatError",
    "PluginError",
    "Problem",
    "ProtocolError",
    "StoreError",
]


class MultigreyError(Exception):
    """Base of all errors; `str()` is one line that an administrator can act on."""


class AddressError(MultigreyError, ValueError):
    """A text that is not an IP address or network where one is expected."""


class ProtocolError(MultigreyError):
    """The peer broke its protocol.  The catcher sends `reply` (if there is one) and closes the connection.

    The only exception that may leave a dialogue.
    """

    def __init__(self, message: str, reply: bytes | None = None) -> None:
        super().__init__(message)
        self.reply = reply


class CommandError(MultigreyError):
    """A command from a client that cannot be carried out; the text is the answer to the client."""


class StoreError(MultigreyError):
    """The store cannot read or write what it was asked to; `on_error` decides the attempt."""


class CodecError(MultigreyError):
    """Stored bytes that this program does not write."""


class NewerFormatError(CodecError):
    """Stored bytes of a later multigrey.  They are refused, never guessed."""


class ListenerError(MultigreyError):
    """An endpoint that cannot be opened; the text says which process probably holds it."""


class PluginError(MultigreyError):
    """A plugin that is missing, fails or breaks its contract; the text names the distribution."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One error in the configuration: file, line, key, and what is wrong and what is expected."""

    file: str
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class ConfigError(MultigreyError):
    """All errors of a configuration together."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
