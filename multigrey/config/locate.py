"""Finds the line of each key of a TOML file.

tomllib returns values without their positions.  So this module scans the same text again and notes
the line of every key, table and list element.  The text must be valid: tomllib has accepted it, and
this scanner checks nothing.  Grammar: TOML 1.0.

Key paths are tuples of keys and list positions (counted from 0), as in ("listen", 0, "address").
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

__all__ = ["KeyPath", "key_text", "line_of", "locate", "quoted"]

KeyPath = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}'  # up to two more quotes belong to the text
    r"|'''(?:[^']|'(?!''))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]*")
"""A number, truth value or date.  A date may contain a space, so only these characters end it."""


def locate(text: str) -> dict[KeyPath, int]:
    """Return the line, counted from 1, of every key path in a valid TOML document."""
    return _Walk(text).lines


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int | None:
    """The line of `path`, or of the nearest table around it that has one; None if neither is in the file."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return None


def key_text(path: KeyPath) -> str:
    """A key path as text: `listen[2].address` is in the second [[listen]] (positions counted from 1)."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        else:
            key = part if _BARE_KEY.fullmatch(part) else quoted(part)
            text += f".{key}" if text else key
    return text


def quoted(text: str) -> str:
    """A text as a TOML basic string that is safe to print: no control characters, no line ends."""
    return f'"{"".join(map(_printable, text))}"'


def _printable(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"


class _Walk:
    """One pass over the text.  `_at` is the position, `_line` the line of that position."""

    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._text = text
        self._at = 0
        self._line = 1
        self._arrays: dict[KeyPath, int] = {}
        """The number of tables found so far in each array of tables."""
        table: KeyPath = ()
        self._skip(_BLANK)
        while self._at < len(text):
            if text.startswith("[[", self._at):
                table = self._array_header()
            elif text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        """Move past what `pattern` matches at the position (perhaps nothing), and return the matched text."""
        matched = pattern.match(self._text, self._at)
        found = matched[0] if matched else ""
        self._at += len(found)
        self._line += found.count("\n")
        return found

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _key(self) -> list[str]:
        """A key, perhaps dotted."""
        parts = []
        while True:
            self._skip(_SPACE)
            bare = self._skip(_BARE_KEY)
            parts.append(bare or tomllib.loads(f"key = {self._skip(_STRING)}")["key"])
            self._skip(_SPACE)
            if self._peek() != ".":
                return parts
            self._at += 1

    def _inside(self, table: KeyPath, parts: list[str]) -> KeyPath:
        """The path of `parts` below `table`; an array of tables on the way stands for its newest table."""
        path = table
        for part in parts:
            path = (*path, part)
            self.lines.setdefault(path, self._line)
            if path in self._arrays:
                path = (*path, self._arrays[path] - 1)
        return path

    def _header(self) -> KeyPath:
        self._at += 1
        line = self._line
        path = self._inside((), self._key())
        self.lines[path] = line
        self._at += 1
        return path

    def _array_header(self) -> KeyPath:
        self._at += 2
        *outer, last = self._key()
        array = (*self._inside((), outer), last)
        self.lines.setdefault(array, self._line)
        index = self._arrays.get(array, 0)
        self._arrays[array] = index + 1
        self.lines[*array, index] = self._line
        self._at += 2
        return (*array, index)

    def _pair(self, table: KeyPath) -> None:
        path = self._inside(table, self._key())
        self._at += 1  # =
        self._skip(_SPACE)
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        match self._peek():
            case "[":
                self._array(path)
            case "{":
                self._inline_table(path)
            case '"' | "'":
                self._skip(_STRING)
            case _:
                self._skip(_SCALAR)

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        index = 0
        self._skip(_BLANK)
        while self._peek() != "]":
            element = (*path, index)
            self.lines[element] = self._line
            self._value(element)
            self._skip(_BLANK)
            if self._peek() == ",":
                self._at += 1
                self._skip(_BLANK)
            index += 1
        self._at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        self._skip(_BLANK)
        while self._peek() != "}":
            self._pair(path)
            self._skip(_BLANK)
            if self._peek() == ",":
                self._at += 1
                self._skip(_BLANK)
        self._at += 1
