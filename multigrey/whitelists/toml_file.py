"""TOML whitelists from files to entries, with everything that is wrong with them at once.

A list is one file, or a drop-in directory of them: every `*.toml` in it, in the order of their names,
but no hidden files and nothing editors and package managers leave behind.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from multigrey.config.error_messages import explain
from multigrey.config.files import list_dangers
from multigrey.config.locate import KeyPath, key_text, line_of, locate
from multigrey.errors import ConfigError, Problem
from multigrey.whitelists.entry import ListedEntry
from multigrey.whitelists.toml_entry import ListFile, make_entry

__all__ = ["LARGEST_LIST", "ReadList", "ignored_files", "list_files", "read_lists", "read_text", "understood"]

LARGEST_LIST = 16 << 20
"""Octets; room for a hundred thousand entries."""

_POSITION = re.compile(r"(?s)(.*) \(at (?:line (\d+), column (\d+)|end of document)\)")
_LEFT_BEHIND = re.compile(
    r"\..*|.*(?:~|#|\.(?:bak|orig|rej|save|swp|tmp|dpkg-\w+|rpm\w+|ucf-\w+))", re.DOTALL
)


@dataclass(frozen=True)
class ReadList:
    """What one file says."""

    path: Path
    entries: tuple[ListedEntry, ...]
    owner: str = ""
    """Who answers for entries that name nobody."""


class _UnreadableError(Exception):
    """Why nothing can be taken from a file: a line, if there is one, and what is wrong."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


def read_lists(path: Path, owner: str = "") -> list[ReadList]:
    """The lists at a path, a file or a directory.  Raises ConfigError with everything that is wrong.

    `owner` answers for entries that name nobody.
    """
    problems: list[Problem] = []
    lists: list[ReadList] = []
    for file in list_files(path):
        try:
            text = _read(file)
            found, wrong = _parse(file, text, owner)
        except _UnreadableError as error:
            problems.append(Problem(str(file), error.line, "", error.message))
            continue
        problems += wrong
        lists.append(found)
        problems += [Problem(str(file), None, "", danger) for danger in _dangers(file)]
    if problems:
        raise ConfigError(problems)
    return lists


def read_text(path: Path) -> str:
    """The text of one list file.  Raises ConfigError."""
    try:
        return _read(path)
    except _UnreadableError as error:
        raise ConfigError([Problem(str(path), error.line, "", error.message)]) from error


def understood(path: Path, text: str, owner: str = "") -> ReadList:
    """What the text of one list file says.  Raises ConfigError with everything that is wrong with it."""
    try:
        found, problems = _parse(path, text, owner)
    except _UnreadableError as error:
        raise ConfigError([Problem(str(path), error.line, "", error.message)]) from error
    if problems:
        raise ConfigError(problems)
    return found


def list_files(path: Path) -> list[Path]:
    """The files a list is made of, in order; one that is no directory is all of it.  Raises ConfigError."""
    return [file for file in _inside(path) if file.suffix == ".toml"] if path.is_dir() else [path]


def ignored_files(path: Path) -> list[Path]:
    """Files in a drop-in directory that somebody may take for lists.  Raises ConfigError."""
    return [file for file in _inside(path) if file.suffix != ".toml"] if path.is_dir() else []


def _inside(path: Path) -> list[Path]:
    try:
        files = sorted(path.iterdir())
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        raise ConfigError([Problem(str(path), None, "", reason)]) from error
    return [file for file in files if not _LEFT_BEHIND.fullmatch(file.name)]


def _dangers(file: Path) -> Iterator[str]:
    """What would let others write this file; its directory is only asked about with the list itself."""
    yield from (danger for danger in list_dangers(file) if danger.startswith(f"{file} "))


def _read(path: Path) -> str:
    """The text of a file.  Raises _UnreadableError."""
    try:
        # A FIFO must not make us wait for somebody to write to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _UnreadableError("is no regular file")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                raw = file.read(LARGEST_LIST + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _UnreadableError(f"cannot be read: {error.strerror or error}") from error
    if len(raw) > LARGEST_LIST:
        raise _UnreadableError(f"is larger than {LARGEST_LIST >> 20} MiB; split it into several files")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _UnreadableError(
            f"is not UTF-8 (octet 0x{raw[error.start]:02x}); save it as UTF-8", line
        ) from error


def _parse(path: Path, text: str, owner: str) -> tuple[ReadList, list[Problem]]:
    """The entries of a file, or what is wrong with it.  Raises _UnreadableError when it is no TOML."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(text, str(error)) from error
    except RecursionError as error:
        raise _UnreadableError("is nested too deeply to be read") from error
    lines = locate(text)

    def problem(key: KeyPath, message: str) -> Problem:
        return Problem(str(path), line_of(lines, key), key_text(key), message)

    try:
        table = ListFile.model_validate(data)
    except ValidationError as error:
        return ReadList(path, ()), [problem(key, message) for key, message in _once(explain(error, ListFile))]
    entries = tuple(
        make_entry(path, lines.get(("entry", index)), table.list, each, owner)
        for index, each in enumerate(table.entry)
    )
    return ReadList(path, entries, table.list.owner or owner), []


def _once(found: Iterator[tuple[KeyPath, str]]) -> Sequence[tuple[KeyPath, str]]:
    """Problems without repetition, in the order of the file's keys."""
    return list(dict.fromkeys(found))


def _syntax_error(text: str, message: str) -> _UnreadableError:
    """What tomllib said, with the line in front."""
    matched = _POSITION.fullmatch(message)
    if matched is None:
        return _UnreadableError(f"syntax error: {message}", 1)
    what, line, column = matched.groups()
    if line is None:
        return _UnreadableError(f"syntax error at the end of the file: {what}", max(text.count("\n"), 1))
    return _UnreadableError(f"syntax error in column {column}: {what}", int(line))
