"""Every error multigrey raises on purpose, and who is meant to see it.

One family per audience: whoever talks to us on a socket, whoever keeps the configuration, whoever
keeps the disk.  Anything else that leaves a public function is a bug of ours.
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
    """Base of all of them; `str()` is one line an administrator can act on."""


class AddressError(MultigreyError, ValueError):
    """A text that is no IP address or network where one is expected."""


class ProtocolError(MultigreyError):
    """The peer broke its protocol: send `reply` (if there is one), then close the connection.

    The only exception that may leave a dialogue.
    """

    def __init__(self, message: str, reply: bytes | None = None) -> None:
        super().__init__(message)
        self.reply = reply


class CommandError(MultigreyError):
    """A command from a client that cannot be carried out; the text is the answer it gets."""


class StoreError(MultigreyError):
    """The store cannot read or keep what it was asked to: the attempt is answered by `on_error`."""


class CodecError(MultigreyError):
    """Stored bytes that are not what this program writes."""


class NewerFormatError(CodecError):
    """Stored bytes of a later multigrey: refused, never guessed at."""


class ListenerError(MultigreyError):
    """An endpoint that cannot be opened; the text says by whom it is probably held."""


class PluginError(MultigreyError):
    """A plugin that is missing, broken or breaks its contract; the text names the distribution."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the configuration: where, which key, what is wrong, what is expected."""

    file: str
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class ConfigError(MultigreyError):
    """Everything that is wrong with a configuration, all at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
