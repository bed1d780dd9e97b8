"""The control protocol without I/O: JSON Lines, one object in each line.

Grammar, in bytes:

    request  = {"multigrey": 1, "id": ID, "ask": NAME, "with": {...}} LF
    answer   = {"id": ID, "answer": {...}} LF
             / *({"id": ID, "item": {...}} LF) {"id": ID, "end": true} LF
             / {"id": ID, "error": TEXT, "code": CODE} LF

    ID           a whole number, or a text of at most 64 characters
    NAME         the name of an operation
    "with"       the options of the operation; may be left out
    refused      (CODE) the operation cannot be done as requested; TEXT says why
    wrong        the line is not a request of a known version, or its options are wrong
    not-allowed  the client lacks the right
    busy         too many requests at a time, or too many connections
    internal     a bug; the daemon's log has more

The client chooses the ID.  It may send several requests before the first answer; answers come in any
order.  An error about a line whose id is not known has the id null.

`next_question` returns a request or None, for any input bytes.  A line that is not a request is answered
by an error and otherwise ignored.  A line that is too long ends the dialogue, because the start of the
next line is not known.
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
    "read_answer_line",
]

VERSION = 1
LINE_SIZE = 256 * 1024
"""Most octets of a request."""
MOST_AT_A_TIME = 16
"""Most requests of one connection that are being answered."""
_ID_LENGTH = 64
_LARGEST_ID = 2**53
"""Every JSON reader returns whole numbers up to this one unchanged (RFC 8259 section 6)."""
_QUESTION_KEYS = frozenset(["multigrey", "id", "ask", "with"])

QuestionId = int | str | None


class Code(Enum):
    """The kind of an error."""

    REFUSED = "refused"
    """The operation cannot be done as requested; the text says why."""
    WRONG = "wrong"
    """The line is not a request of a known version, or its options are wrong."""
    NOT_ALLOWED = "not-allowed"
    NO_DAEMON = "no-daemon"
    """No daemon answers.  Only commands and the control client use it, never a daemon."""
    CONFIG = "config"
    """The configuration of a stopped daemon is wrong."""
    BUSY = "busy"
    """Too many requests or connections."""
    INTERNAL = "internal"
    """A bug; the daemon's log has more."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a client."""

    id: QuestionId
    name: str
    options: Mapping[str, Any]


class _WrongLineError(Exception):
    """The line is not a request; the text says why."""

    def __init__(self, why: str, question_id: QuestionId = None, code: Code = Code.WRONG) -> None:
        super().__init__(why)
        self.id = question_id
        self.code = code


class ControlDialogue:
    """One connection: bytes in, requests out; answers in, bytes out."""

    def __init__(self, line_size: int = LINE_SIZE, most_at_a_time: int = MOST_AT_A_TIME) -> None:
        self._line_size = line_size
        self._most = most_at_a_time
        self._buffer = bytearray()
        self._looked = 0
        """Octets at the start of the buffer that are known to hold no line end."""
        self._out = bytearray()
        self._open: set[QuestionId] = set()
        self._ended = False
        self.over = False
        """No further request will come; those under way may still be answered."""

    @property
    def under_way(self) -> int:
        """How many requests wait for their answer or end."""
        return len(self._open)

    def receive(self, data: bytes) -> None:
        """Take bytes from the client; b"" is its end of file.  The last line needs no line end."""
        if self.over:
            return
        if not data:
            if self._buffer.strip():
                self._buffer += b"\n"
            self._ended = True
        else:
            self._buffer += data

    def next_question(self) -> Request | None:
        """The next request; None: more bytes are needed, or the dialogue is over."""
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
        """Queue one item, as `encoded` made it."""
        self._out += _line(question_id, "item", item)

    def end(self, question_id: QuestionId) -> None:
        """Queue the end of the items."""
        self._open.discard(question_id)
        self._say({"id": question_id, "end": True})

    def error(self, question_id: QuestionId, text: str, code: Code) -> None:
        """Queue an error in place of an answer or end."""
        self._open.discard(question_id)
        self._say({"id": question_id, "error": text, "code": code.value})

    def data_to_send(self) -> bytes:
        """Everything queued; the queue is empty afterwards."""
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
            known = '"multigrey", "id", "ask" and "with"'
            raise _WrongLineError(f"unknown key {_shown(min(unknown))}: a request has {known}", question_id)
        name, options = message.get("ask"), message.get("with", {})
        if not isinstance(name, str) or not isinstance(options, dict):
            raise _WrongLineError('expected "ask" with a name and "with" with an object', question_id)
        if question_id is None:
            raise _WrongLineError('expected "id": a whole number or a text of at most 64 characters')
        if question_id in self._open:
            # (with the id null: an error under this id would end the request that is still being answered)
            raise _WrongLineError(f"a request with the id {_shown(question_id)} is still being answered")
        if len(self._open) >= self._most:
            why = f"more than {self._most} requests at a time: wait for an answer"
            raise _WrongLineError(why, question_id, Code.BUSY)
        self._open.add(question_id)
        return Request(question_id, name, options)


def encoded(value: Mapping[str, Any]) -> bytes:
    """The value as JSON in ASCII.

    A byte that was not UTF-8 is a lone surrogate in Python and stays one, escaped.  Raises TypeError or
    ValueError for a value that JSON cannot hold: that is a bug of the caller.
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
    """A request failed; `code` is the kind of error."""

    def __init__(self, message: str, code: Code = Code.REFUSED) -> None:
        super().__init__(message)
        self.code = code


class AnswerLine(NamedTuple):
    """One line of the answer to a request."""

    value: Mapping[str, Any] | None
    """None: the line only marks the end."""
    is_last: bool


def question(name: str, options: Mapping[str, Any]) -> bytes:
    """The line that requests an operation."""
    return json.dumps({"multigrey": VERSION, "id": 1, "ask": name, "with": dict(options)}).encode() + b"\n"


def read_answer_line(line: bytes) -> AnswerLine:
    """Read one line of an answer.

    Raises ControlError for an error, and for a line that no daemon of this version sends.
    """
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
        raise ControlError("the program at the socket is not a multigrey of this version", Code.NO_DAEMON)
    return AnswerLine(value, is_last=is_answer)


def _code_of(word: object) -> Code:
    return next((code for code in Code if code.value == word), Code.REFUSED)
