"""The control protocol without I/O: JSON Lines, one object in each line.

Grammar, in bytes:

    question = {"multigrey": 1, "id": ID, "ask": NAME, "with": {...}} LF
    answer   = {"id": ID, "answer": {...}} LF
             / *({"id": ID, "item": {...}} LF) {"id": ID, "end": true} LF
             / {"id": ID, "error": TEXT, "code": CODE} LF

    ID           a whole number, or a text of at most 64 characters
    NAME         of an operation
    "with"       what the operation is to know; may be left out
    refused      (CODE) it cannot be done as asked; TEXT says why
    wrong        the line is no question of a version that is known
    not-allowed  to whoever asks
    busy         too many questions at a time, or connections
    internal     a bug; the daemon's log has more

ID is whatever the asker chooses; several questions may wait for their answers at a time, which come in
any order.  An error about a line whose id is not known has the id null.

Whatever bytes come in, what comes out of `next_question` is a question or nothing.  A line that is no
question is answered by an error and otherwise ignored; after one that is too long nothing can be
understood any more, and the dialogue is over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, NoReturn

from multigrey.errors import MultigreyError

__all__ = [
    "LINE_SIZE",
    "MOST_AT_A_TIME",
    "VERSION",
    "AnswerLine",
    "Code",
    "ControlDialogue",
    "ControlError",
    "Request",
    "encoded",
    "question",
    "read_told",
]

VERSION = 1
LINE_SIZE = 256 * 1024
"""Most octets of a question."""
MOST_AT_A_TIME = 16
"""Most questions of one connection that are being answered."""
_ID_LENGTH = 64
_LARGEST_ID = 2**53
"""What every JSON reader gives back unchanged (RFC 8259 section 6)."""
_QUESTION_KEYS = frozenset(["multigrey", "id", "ask", "with"])

QuestionId = int | str | None


class Code(Enum):
    """What kind of error it is."""

    REFUSED = "refused"
    """It cannot be done as asked; the text says why."""
    WRONG = "wrong"
    """The line is no question of a version that is known."""
    NOT_ALLOWED = "not-allowed"
    NO_DAEMON = "no-daemon"
    """Nobody answers; said by the commands themselves."""
    CONFIG = "config"
    """The configuration is wrong; said when the one of a stopped daemon is."""
    BUSY = "busy"
    """Too many questions or connections."""
    INTERNAL = "internal"
    """A bug; the daemon's log has more."""


@dataclass(frozen=True, slots=True)
class Request:
    """Something asked."""

    id: QuestionId
    name: str
    options: Mapping[str, Any]


class _WrongLineError(Exception):
    """Not a question; says why."""

    def __init__(self, why: str, question_id: QuestionId = None, code: Code = Code.WRONG) -> None:
        super().__init__(why)
        self.id = question_id
        self.code = code


class ControlDialogue:
    """One connection: bytes in, questions out; answers in, bytes out."""

    def __init__(self, line_size: int = LINE_SIZE, most_at_a_time: int = MOST_AT_A_TIME) -> None:
        self._line_size = line_size
        self._most = most_at_a_time
        self._buffer = bytearray()
        self._looked = 0
        """How much of the buffer is known to hold no line end."""
        self._out = bytearray()
        self._open: set[QuestionId] = set()
        self._ended = False
        self.over = False
        """Nothing more will be asked; what is under way may still be answered."""

    @property
    def under_way(self) -> int:
        """How many questions wait for their answer or end."""
        return len(self._open)

    def receive(self, data: bytes) -> None:
        """Bytes from the asker; b"" is its end of file, and a last line needs no line end."""
        if self.over:
            return
        if not data:
            if self._buffer.strip():
                self._buffer += b"\n"
            self._ended = True
        else:
            self._buffer += data

    def next_question(self) -> Request | None:
        """The next question; None: there is none as yet."""
        while not self.over:
            line = self._next_line()
            if line is None:
                break
            if not line.strip():
                continue
            try:
                return self._question(line)
            except _WrongLineError as wrong:
                self._say({"id": wrong.id, "error": str(wrong), "code": wrong.code.value})
        self.over |= self._ended
        return None

    def answer(self, question_id: QuestionId, answer: bytes) -> None:
        """Queue the answer, as `encoded` made it."""
        self._open.discard(question_id)
        self._out += _line(question_id, "answer", answer)

    def item(self, question_id: QuestionId, item: bytes) -> None:
        """Queue one of the items, as `encoded` made it."""
        self._out += _line(question_id, "item", item)

    def end(self, question_id: QuestionId) -> None:
        """Queue the end of the items."""
        self._open.discard(question_id)
        self._say({"id": question_id, "end": True})

    def error(self, question_id: QuestionId, text: str, code: Code) -> None:
        """Queue an error instead of an answer or end."""
        self._open.discard(question_id)
        self._say({"id": question_id, "error": text, "code": code.value})

    def data_to_send(self) -> bytes:
        """Take everything queued."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def _say(self, message: Mapping[str, Any]) -> None:
        self._out += encoded(message) + b"\n"

    def _next_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._looked)
        size = len(self._buffer) if end < 0 else end
        if size > self._line_size:
            self.over = True
            self._buffer.clear()
            error = f"the line is longer than {self._line_size} octets"
            self._say({"id": None, "error": error, "code": Code.WRONG.value})
            return None
        if end < 0:
            self._looked = size
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._looked = 0
        return line

    def _question(self, line: bytes) -> Request:
        message = _message(line)
        question_id = _id_of(message)
        version = message.get("multigrey")
        if type(version) is not int or version != VERSION:
            raise _WrongLineError(
                f'version {_shown(version)} is not known here; known is "multigrey": {VERSION}', question_id
            )
        if unknown := message.keys() - _QUESTION_KEYS:
            raise _WrongLineError(f"{_shown(min(unknown))} is no key of a question", question_id)
        name, options = message.get("ask"), message.get("with", {})
        if not isinstance(name, str) or not isinstance(options, dict):
            raise _WrongLineError('expected "ask" with a name and "with" with an object', question_id)
        if question_id is None:
            raise _WrongLineError('expected "id": a whole number or a text of at most 64 characters')
        if question_id in self._open:
            raise _WrongLineError(f"a question with the id {_shown(question_id)} is still being answered")
        if len(self._open) >= self._most:
            why = f"more than {self._most} questions at a time: wait for an answer"
            raise _WrongLineError(why, question_id, Code.BUSY)
        self._open.add(question_id)
        return Request(question_id, name, options)


def encoded(value: Mapping[str, Any]) -> bytes:
    """JSON in ASCII; a byte that was no UTF-8 stays the lone surrogate it is in Python, escaped.

    Raises TypeError or ValueError for what JSON cannot hold: a bug of whoever made it.
    """
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")


def _line(question_id: QuestionId, key: str, value: bytes) -> bytes:
    return b'{"id":%b,"%b":%b}\n' % (json.dumps(question_id).encode("ascii"), key.encode("ascii"), value)


def _message(line: bytes) -> Mapping[str, Any]:
    try:
        message = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _WrongLineError(f"not JSON: {_reason(error)}") from error
    if not isinstance(message, dict):
        raise _WrongLineError("expected an object in each line")
    return message


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not in JSON")


def _id_of(message: Mapping[str, Any]) -> QuestionId:
    found = message.get("id")
    if type(found) is int and abs(found) <= _LARGEST_ID:
        return found
    return found if isinstance(found, str) and len(found) <= _ID_LENGTH else None


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


class ControlError(MultigreyError):
    """What was asked cannot be had; `code` says what kind of trouble it is."""

    def __init__(self, message: str, code: Code = Code.REFUSED) -> None:
        super().__init__(message)
        self.code = code


class AnswerLine(NamedTuple):
    """One line of what is told in answer to a question."""

    value: Mapping[str, Any] | None
    """None: it only says that this was all."""
    is_last: bool


def question(name: str, options: Mapping[str, Any]) -> bytes:
    """The line that asks for an operation."""
    return json.dumps({"multigrey": VERSION, "id": 1, "ask": name, "with": dict(options)}).encode() + b"\n"


def read_told(line: bytes) -> AnswerLine:
    """What a line tells.  Raises ControlError, also for a line that no daemon of this version sends."""
    try:
        message = json.loads(line)
        if "error" in message:
            raise ControlError(str(message["error"]), _code_of(message.get("code")))
        if "end" in message:
            return AnswerLine(None, is_last=True)
        is_answer = "answer" in message
        value = message["answer" if is_answer else "item"]
    except (ValueError, TypeError, KeyError, RecursionError):
        value = None
        is_answer = False
    if not isinstance(value, Mapping):
        raise ControlError("what answers there is no multigrey of this version", Code.NO_DAEMON)
    return AnswerLine(value, is_last=is_answer)


def _code_of(word: object) -> Code:
    return next((code for code in Code if code.value == word), Code.REFUSED)
