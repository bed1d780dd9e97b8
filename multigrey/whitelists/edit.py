"""Edits hand-written TOML whitelists and keeps their comments, order and layout.

A change adds, removes or replaces whole lines of the text.  The result is parsed again and compared:
it must contain the entries of the file with this change and no other difference, or the file stays as
it is.  So an unusual layout (entries in one line, say) leads to an error, never to a lost entry.

`rewrite` replaces a file atomically: readers see the old text or the new one, also after a crash.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple

from multigrey.config.locate import locate, quoted
from multigrey.errors import ConfigError, Problem
from multigrey.whitelists.entry import ListedEntry
from multigrey.whitelists.toml_entry import MATCH_KEYS
from multigrey.whitelists.toml_file import ReadList, read_text, understood

__all__ = [
    "ENTRY_KEYS",
    "Edited",
    "Value",
    "entry_at",
    "rewrite",
    "with_entry",
    "with_review",
    "without_entry",
]

Value = str | date | datetime | bool
"""The values that a key of an entry can have."""

ENTRY_KEYS = (*MATCH_KEYS, "owner", "reason", "ticket", "added", "review_by", "expires")
"""The keys of an entry, in the order in which they are written."""

_MODE = 0o644
_BLANK_OR_COMMENT = re.compile(r"\s*(#.*)?")
_COMMENT = re.compile(r"\s*#.*")
_REVIEW = re.compile(r"(\s*review_by\s*=\s*)[0-9-]+(.*)", re.DOTALL)

Meaning = tuple[object, ...]


class Edited(NamedTuple):
    """A list after a change."""

    text: str
    entry: ListedEntry
    """The entry that was added, removed (as it was before) or changed."""


# --- changes ---------------------------------------------------------------------------------------


def with_entry(path: Path, text: str, values: Mapping[str, Value], owner: str = "") -> Edited:
    """Add an entry at the end.  Raises ConfigError, with line numbers of the changed text.

    `owner` is the owner of entries without one.
    """
    before = understood(path, text, owner)
    lines = _lines(text)
    if lines and lines[-1].strip():
        lines.append("\n")
    lines.append("[[entry]]\n")
    lines += [f"{key} = {_written(values[key])}\n" for key in ENTRY_KEYS if key in values]
    changed = "".join(lines)
    after = understood(path, changed, owner)
    _insist(path, [*map(_meaning, before.entries)], [*map(_meaning, after.entries[:-1])])
    return Edited(changed, after.entries[-1])


def without_entry(path: Path, text: str, index: int, *, comments: bool = False) -> Edited:
    """Remove an entry; `index` counts from 0.  Raises ConfigError.

    `comments`: remove the comment lines directly above it, too.
    """
    before = understood(path, text)
    lines = _lines(text)
    begin, end = _block(path, text, before, index)
    while comments and begin and _COMMENT.fullmatch(lines[begin - 1].rstrip("\r\n")):
        begin -= 1
    while end < len(lines) and not lines[end].strip() and (not begin or not lines[begin - 1].strip()):
        end += 1
    changed = "".join(lines[:begin] + lines[end:])
    if end == len(lines):
        changed = changed.rstrip("\n") + "\n" if changed.strip() else changed
    after = understood(path, changed)
    meant = [_meaning(entry) for place, entry in enumerate(before.entries) if place != index]
    _insist(path, meant, [*map(_meaning, after.entries)])
    return Edited(changed, before.entries[index])


def with_review(path: Path, text: str, index: int, day: date) -> Edited:
    """Set the `review_by` date of an entry; `index` counts from 0.  Raises ConfigError."""
    before = understood(path, text)
    lines = _lines(text)
    begin, end = _block(path, text, before, index)
    for number in range(begin, end):
        if found := _REVIEW.fullmatch(lines[number]):
            lines[number] = f"{found[1]}{day.isoformat()}{found[2]}"
            break
    else:
        indent = lines[end - 1][: -len(lines[end - 1].lstrip())]
        lines.insert(end, f"{indent}review_by = {day.isoformat()}\n")
    changed = "".join(lines)
    after = understood(path, changed)
    meant = [
        _meaning(entry._replace(review_by=day) if place == index else entry)
        for place, entry in enumerate(before.entries)
    ]
    _insist(path, meant, [*map(_meaning, after.entries)])
    return Edited(changed, after.entries[index])


def entry_at(path: Path, text: str, line: int) -> int:
    """Return the position of the entry on this line (its header or one of its keys).

    Raises ConfigError if there is none.
    """
    found = understood(path, text)
    for index in range(len(found.entries)):
        begin, end = _block(path, text, found, index)
        if begin < line <= end:
            return index
    raise ConfigError([Problem(str(path), line, "", "this line is not part of an entry")])


# --- text ------------------------------------------------------------------------------------------


def _lines(text: str) -> list[str]:
    """The lines with their line ends; the last one gets one if it has none."""
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    return lines


def _block(path: Path, text: str, found: ReadList, index: int) -> tuple[int, int]:
    """The first line of an entry and the line after its last key, counted from 0.  Raises ConfigError."""
    places = locate(text)
    lines = _lines(text)
    begin = (places.get(("entry", index)) or 0) - 1
    if begin < 0 or not lines[begin].lstrip().startswith("[["):
        line = found.entries[index].line
        problem = "this entry is not written as a table [[entry]]: edit the file by hand"
        raise ConfigError([Problem(str(path), line, "entry", problem)])
    headers = [line - 1 for key, line in places.items() if key == ("list",) or _is_entry(key)]
    end = min((line for line in headers if line > begin), default=len(lines))
    while _BLANK_OR_COMMENT.fullmatch(lines[end - 1].rstrip("\r\n")):
        end -= 1
    return begin, end


def _is_entry(key: Sequence[str | int]) -> bool:
    return len(key) == 2 and key[0] == "entry"


def _written(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    text = value.isoformat()
    return text.replace("+00:00", "Z") if isinstance(value, datetime) else text


def _meaning(entry: ListedEntry) -> Meaning:
    """All values of an entry except its line."""
    return tuple(entry._replace(line=None))


def _insist(path: Path, meant: Sequence[Meaning], found: Sequence[Meaning]) -> None:
    if [*meant] != [*found]:
        problem = "the change would alter more than this entry: edit the file by hand"
        raise ConfigError([Problem(str(path), None, "", problem)])


# --- files -----------------------------------------------------------------------------------------


def rewrite(path: Path, change: Callable[[str], Edited], *, create: bool = False) -> Edited:
    """Change a file atomically; its mode, its owner and a symbolic link to it stay.  Raises ConfigError.

    `change` is called with the current text.  A lock on the directory keeps out other calls of
    `rewrite` meanwhile.  `create`: treat a missing file as an empty one.
    """
    real = Path(os.path.realpath(path))
    try:
        folder = os.open(real.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _trouble(real.parent, error) from error
    try:
        # The lock is on the directory: the file itself is replaced, so a lock on it would be lost.
        fcntl.flock(folder, fcntl.LOCK_EX)
        is_new = create and not real.exists()
        edited = change("" if is_new else read_text(path))
        try:
            _replace(real, edited.text, folder, None if is_new else real.stat())
        except OSError as error:
            raise _trouble(path, error) from error
        return edited
    finally:
        os.close(folder)


def _replace(path: Path, text: str, folder: int, like: os.stat_result | None) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="", closefd=False) as file:
                file.write(text)
            if like is not None and (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, like.st_uid, like.st_gid)
            os.fchmod(descriptor, _MODE if like is None else like.st_mode & 0o7777)
            os.fsync(descriptor)  # before the rename, or a crash could leave an empty file in its place
        finally:
            os.close(descriptor)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    os.fsync(folder)  # so that the rename itself survives a crash


def _trouble(path: Path, error: OSError) -> ConfigError:
    return ConfigError([Problem(str(path), None, "", f"cannot be changed: {error.strerror or error}")])
