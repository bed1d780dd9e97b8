"""Reads TOML whitelist files into entries, and reports all problems at once.

A list is one file or a drop-in directory: every `*.toml` in it, in the order of the names, without
hidden files and leftovers of editors and package managers.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from multigrey.config.error_messages import explain
from multigrey.config.files import list_dangers
from multigrey.config.list_files import ignored_in, inside
from multigrey.config.locate import KeyPath, key_text, line_of, locate, quoted
from multigrey.errors import ConfigError, Problem
from multigrey.whitelists.checks.misfits import clients_instead
from multigrey.whitelists.entry import ListedEntry
from multigrey.whitelists.packed_entries import PackedEntries
from multigrey.whitelists.toml_entry import ListFile, checked_values, make_entry
from multigrey.whitelists.toml_parts import UnusualError, parts

__all__ = ["LARGEST_LIST", "ReadList", "ignored_files", "list_files", "read_lists", "read_text", "understood"]

LARGEST_LIST = 16 << 20
"""The largest size in octets: room for a hundred thousand entries."""

_POSITION = re.compile(r"(?s)(.*) \(at (?:line (\d+), column (\d+)|end of document)\)")


@dataclass(frozen=True)
class ReadList:
    """The content of one list file."""

    path: Path
    entries: Sequence[ListedEntry]
    owner: str = ""
    """The owner of entries without an owner."""


class _UnreadableError(Exception):
    """A file that cannot be read or parsed: what is wrong, and the line if it is known."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


def read_lists(path: Path, owner: str = "") -> list[ReadList]:
    """Read the lists at a path, a file or a directory.  Raises ConfigError with every problem.

    `owner` is the owner of entries without one.
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
    """Return the text of one list file.  Raises ConfigError."""
    try:
        return _read(path)
    except _UnreadableError as error:
        raise ConfigError([Problem(str(path), error.line, "", error.message)]) from error


def understood(path: Path, text: str, owner: str = "") -> ReadList:
    """Parse the text of one list file.  Raises ConfigError with every problem in it."""
    try:
        found, problems = _parse(path, text, owner)
    except _UnreadableError as error:
        raise ConfigError([Problem(str(path), error.line, "", error.message)]) from error
    if problems:
        raise ConfigError(problems)
    return found


def list_files(path: Path) -> list[Path]:
    """Return the files of a list in order: those of a directory, or the path itself.  Raises ConfigError."""
    return [file for file in _inside(path, inside) if file.suffix == ".toml"] if path.is_dir() else [path]


def ignored_files(path: Path, *, default: bool = False) -> list[Path]:
    """Return the files in a drop-in directory that look like lists but are not read.  Raises ConfigError.

    `default`: it is the directory whose lists need no table.
    """
    return _inside(path, partial(ignored_in, default=default)) if path.is_dir() else []


def _inside(path: Path, find: Callable[[Path], list[Path]]) -> list[Path]:
    try:
        return find(path)
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        raise ConfigError([Problem(str(path), None, "", reason)]) from error


def _dangers(file: Path) -> Iterator[str]:
    """Yield what would let others write this file; its directory is checked once, with the list itself."""
    yield from (danger for danger in list_dangers(file) if danger.startswith(f"{file} "))


def _read(path: Path) -> str:
    """The text of a file.  Raises _UnreadableError."""
    try:
        # O_NONBLOCK: without it, opening a FIFO would wait until a process writes to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _UnreadableError("is not a regular file")
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
    """The entries of a file, or the problems in it.  Raises _UnreadableError if it is not valid TOML."""
    try:
        return _parse_parts(path, text, owner)
    except UnusualError:
        return _parse_whole(path, text, owner)


def _parse_parts(path: Path, text: str, owner: str) -> tuple[ReadList, list[Problem]]:
    """The same, one entry after the other.  Raises UnusualError if the text cannot be read like that."""
    head, following = parts(text)
    defaults, problems = _checked(path, head, text, ())
    entries = PackedEntries(path)
    for index, part in enumerate(following):
        values = checked_values(part.values)
        if values is None:
            found, wrong = _checked(
                path, {"entry": [part.values]}, part.text, ("entry", index), part.line - 1
            )
            problems += wrong
            values = vars(found.entry[0]) if found.entry else {}
        if not problems:
            entries.append(make_entry(path, part.line, vars(defaults.list), values, owner))
    if problems:
        return ReadList(path, ()), sorted(problems, key=_line_of)
    return ReadList(path, entries, defaults.list.owner or owner), []


def _parse_whole(path: Path, text: str, owner: str) -> tuple[ReadList, list[Problem]]:
    """The same for any text."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(text, str(error)) from error
    except RecursionError as error:
        raise _UnreadableError("is nested too deeply to be read") from error
    table, problems = _checked(path, data, text, ())
    if problems:
        return ReadList(path, ()), sorted(problems, key=_line_of)
    lines, defaults = locate(text), vars(table.list)
    entries = (
        make_entry(path, lines.get(("entry", index)), defaults, vars(each), owner)
        for index, each in enumerate(table.entry)
    )
    return ReadList(path, PackedEntries(path, entries), table.list.owner or owner), []


def _line_of(problem: Problem) -> int:
    return problem.line or 0


def _checked(
    path: Path, data: Mapping[str, object], text: str, key: KeyPath, before: int = 0
) -> tuple[ListFile, list[Problem]]:
    """A table, or the problems in it; `before`: the lines before the text, `key`: of its one entry."""
    try:
        return ListFile.model_validate(data), []
    except ValidationError as error:
        lines = locate(text)
        found = dict.fromkeys(explain(error, ListFile))
        problems = []
        for place, message in found:
            line = line_of(lines, place)
            name = key_text((*key, *place[2:]) if key else place)
            problems.append(Problem(str(path), None if line is None else line + before, name, message))
        return ListFile(), problems


def _hint(text: str, line: int) -> str:
    """What to write instead of a line in the form of another program, as the end of a message."""
    lines = text.split("\n", line)
    written = lines[line - 1].partition("#")[0].strip() if line <= len(lines) else ""
    found = clients_instead(written) or clients_instead(f"client {written}")
    if not found:
        return ""
    return f"; write [[entry]] and below it {' or '.join(f'client = {quoted(each)}' for each in found)}"


def _syntax_error(text: str, message: str) -> _UnreadableError:
    """An error from tomllib's message, with the line apart."""
    matched = _POSITION.fullmatch(message)
    if matched is None:
        return _UnreadableError(f"syntax error: {message}", 1)
    what, line, column = matched.groups()
    if line is None:
        return _UnreadableError(f"syntax error at the end of the file: {what}", max(text.count("\n"), 1))
    return _UnreadableError(f"syntax error in column {column}: {what}{_hint(text, int(line))}", int(line))
