"""A question, and what is told in answer to it, as whoever asks sees them; the other end of `dialogue`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from multigrey.control.dialogue import VERSION, Code
from multigrey.errors import MultigreyError

__all__ = ["ControlError", "Told", "question", "read_told"]


class ControlError(MultigreyError):
    """What was asked cannot be had; `code` says what kind of trouble it is."""

    def __init__(self, message: str, code: Code = Code.REFUSED) -> None:
        super().__init__(message)
        self.code = code


class Told(NamedTuple):
    """One line of what is told in answer to a question."""

    value: Mapping[str, Any] | None
    """None: it only says that this was all."""
    is_last: bool


def question(name: str, options: Mapping[str, Any]) -> bytes:
    """The line that asks for an operation."""
    return json.dumps({"multigrey": VERSION, "id": 1, "ask": name, "with": dict(options)}).encode() + b"\n"


def read_told(line: bytes) -> Told:
    """What a line tells.  Raises ControlError, also for a line that no daemon of this version sends."""
    try:
        message = json.loads(line)
        if "error" in message:
            raise ControlError(str(message["error"]), _code_of(message.get("code")))
        if "end" in message:
            return Told(None, is_last=True)
        is_answer = "answer" in message
        value = message["answer" if is_answer else "item"]
    except (ValueError, TypeError, KeyError, RecursionError):
        value = None
        is_answer = False
    if not isinstance(value, Mapping):
        raise ControlError("what answers there is no multigrey of this version", Code.NO_DAEMON)
    return Told(value, is_last=is_answer)


def _code_of(word: object) -> Code:
    return next((code for code in Code if code.value == word), Code.REFUSED)
