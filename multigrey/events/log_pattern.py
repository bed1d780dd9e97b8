"""Patterns that are searched in text pasted from a log.

They are RE2's: with Python's own, a line that a stranger had caused took a third of a second.
"""

from __future__ import annotations

from typing import Any

import re2

__all__ = ["LogMatch", "LogPattern"]


def _options() -> re2.Options:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # octets: a stranger's need not be UTF-8
    options.log_errors = False
    return options


class LogPattern:
    """A pattern of RE2 that is searched in text."""

    def __init__(self, pattern: str) -> None:
        self._compiled: Any = re2.compile(pattern.encode(), _options())

    def search(self, line: str) -> LogMatch | None:
        """The first match."""
        found = self._compiled.search(line.encode("utf-8", "surrogateescape"))
        return None if found is None else LogMatch(found)


class LogMatch:
    """A match with groups as text; None for a group that took no part."""

    def __init__(self, found: Any) -> None:
        self._found = found
        self.rest = _text(found.string[found.end() :])

    def __getitem__(self, group: int) -> Any:
        return self.groups()[group - 1]

    def groups(self) -> tuple[Any, ...]:
        """All groups."""
        return tuple(None if each is None else _text(each) for each in self._found.groups())


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")
