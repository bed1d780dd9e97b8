"""Reads `Settings` from the file, the environment and the command line, and reports all problems at once.

The order of precedence is: command line, file, environment, built-in default.
"""

from __future__ import annotations

import os
import pwd
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from multigrey.config.defaults import (
    Default,
    find_config,
    handed_over,
    listen_default,
    state_dir_default,
)
from multigrey.config.error_messages import explain
from multigrey.config.files import (
    UnreadableError,
    code_dangers,
    directory_dangers,
    list_dangers,
    read_config,
)
from multigrey.config.list_files import default_lists, ignored_in, lists_directory
from multigrey.config.locate import KeyPath, key_text, line_of, locate
from multigrey.config.settings import Settings
from multigrey.config.tables.plugins import Plugins
from multigrey.config.tables.whitelist import WhitelistSettings
from multigrey.config.warnings import advice
from multigrey.errors import ConfigError, Problem
from multigrey.text import did_you_mean

__all__ = ["Loaded", "load", "load_rest"]

COMMAND_LINE = "command line"

T = TypeVar("T", bound=BaseModel)

_SYNTAX = re.compile(r"(?s)(.*) \(at (?:line (\d+), column (\d+)|end of document)\)")
_KEY_PARTS = re.compile(r'("(?:[^"\\]|\\.)*")|([A-Za-z0-9_-]+)|\[(\d+)\]')
_UNQUOTED = re.compile(r"\s*([\w.-]+)\s*=\s*([^\s\"'\[{#][^#\n]*?)\s*(?:#.*)?")


@dataclass(frozen=True)
class _Source:
    """The places that the values of one configuration come from."""

    path: Path | None
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    given: dict[KeyPath, str] = field(default_factory=dict)
    """For each value that is not in the file: where it comes from ("command line", "environment", …)."""

    def problem(self, path: KeyPath, message: str) -> Problem:
        """A Problem at the place of the key, or of the nearest table around it."""
        if origin := self._given(path):
            return Problem(origin, None, key_text(path), message)
        return Problem(str(self.path or "default"), line_of(self.lines, path), key_text(path), message)

    def origin_of(self, path: KeyPath) -> str:
        """Where the value of a key comes from."""
        if origin := self._given(path):
            return origin
        return f"{self.path}:{self.lines[path]}" if path in self.lines else "default"

    def _given(self, path: KeyPath) -> str | None:
        while path:
            if path in self.given:
                return self.given[path]
            path = path[:-1]
        return None


@dataclass(frozen=True)
class Loaded:
    """A configuration that is valid as far as can be checked without plugins."""

    settings: Settings
    path: Path | None
    """The configuration file; None if it is missing and defaults are used."""
    lists_dir: Path | None
    """The directory whose lists need no `[[whitelist]]`, whether it exists or not; None: no place for one."""
    warnings: tuple[Problem, ...]
    _source: _Source = field(repr=False)

    def origin_of(self, key: str | KeyPath) -> str:
        """Where a value comes from: "default", "FILE:LINE", "environment" or "command line".

        `key` as in problems ("greylist.delay", "listen[2].address") or as a path.
        """
        return self._source.origin_of(_key_path(key) if isinstance(key, str) else key)

    def problem(self, key_path: KeyPath, message: str) -> Problem:
        """A Problem at the place of a key, for later checks (such as of words that plugins registered)."""
        return self._source.problem(key_path, message)

    def plugin_tables(self, models: Mapping[str, type[BaseModel]]) -> dict[str, BaseModel]:
        """Return the settings of each plugin, from its table [plugins.NAME] or its defaults.

        `models`: the settings model of each plugin, by its name.  A plugin that needs a table but has
        none is left out.  Raises ConfigError with every problem; a table without a plugin is one.
        """
        checked, problems = self.checked_tables(models)
        if problems:
            raise ConfigError(problems)
        return checked

    def checked_tables(
        self, models: Mapping[str, type[BaseModel]]
    ) -> tuple[dict[str, BaseModel], list[Problem]]:
        """The right ones of `plugin_tables`, and what is wrong with the others."""
        problems: list[Problem] = []
        checked: dict[str, BaseModel] = {}
        for name in self.settings.plugins.tables:
            if name not in models:
                near = did_you_mean(name, models)
                known = ", ".join(sorted(models)) or "none"
                message = f"no plugin of this name is installed{near or f' (plugins with settings: {known})'}"
                problems.append(self.problem(("plugins", name), message))
        for name, model in models.items():
            table = self.settings.plugins.tables.get(name)
            try:
                checked[name] = model.model_validate(deepcopy(table or {}), context=_context(self.path))
            except ValidationError as error:
                if table is not None:
                    problems += [
                        self.problem(("plugins", name, *path), message)
                        for path, message in explain(error, model)
                    ]
        return checked, problems


def load(
    path: Path | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, str] | None = None,
    *,
    uid: int | None = None,
    listen: Sequence[tuple[str, str]] = (),
) -> Loaded:
    """Read and check a configuration.  Raises ConfigError with every problem.

    `path`: the file; None looks in the usual places, and uses defaults if no file is found there.
    `overrides`: values from the command line by dotted key, as in {"greylist.delay": "5m"}.  `uid`: the
    user that the program was *started* as (by default the current effective user), so that a reload
    after giving up root finds the same defaults.  `listen`: protocols with addresses from the command line,
    which replace every [[listen]] of these protocols.
    """
    loaded, problems = load_rest(path, environ, overrides, uid=uid, listen=listen)
    if problems or loaded is None:
        raise ConfigError(problems)
    return loaded


def load_rest(
    path: Path | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, str] | None = None,
    *,
    uid: int | None = None,
    listen: Sequence[tuple[str, str]] = (),
) -> tuple[Loaded | None, list[Problem]]:
    """As `load`, but returns every problem, and the configuration as far as it can be used all the same.

    It is without the wrong values and, if they are needed, without the tables around them, so that later
    checks can find more in the same pass.  It is None if the file cannot be read.  A daemon must not use it.
    """
    uid = os.geteuid() if uid is None else uid
    if path is None:
        path = find_config(environ, os.path.exists)
    try:
        data, source, problems = _read(path, uid)
    except ConfigError as error:
        return None, list(error.problems)
    for key, text in (overrides or {}).items():
        _override(data, source, key, text)
    problems += _fill_in(data, source, environ, uid)
    _listen(data, source, listen)
    owners = {uid, os.geteuid(), *_uid_of(data.get("user"))}
    lists_dir = lists_directory(path, environ, uid, os.path.isdir)
    problems += [source.problem(("whitelist",), each) for each in _add_lists(data, source, lists_dir, owners)]
    told = {problem.message for problem in problems}
    settings, wrong = _validated(data, path)
    problems += [source.problem(*found) for found in wrong]
    dangers = _dangerous_paths(data, path, owners)
    problems += [source.problem(key, danger) for key, danger in dangers if danger not in told]
    problems.sort(key=_place)
    if settings is None:
        return None, problems
    warnings = tuple(source.problem(*found) for found in (*advice(settings), *_not_read(lists_dir)))
    return Loaded(settings, path, lists_dir, warnings, source), problems


def _validated(data: dict[str, Any], path: Path | None) -> tuple[Settings | None, list[tuple[KeyPath, str]]]:
    """The settings in `data`, as far as they are right, and what is wrong with the others, by key."""
    first: list[tuple[KeyPath, str]] = []
    for whole_tables in (False, True, True):
        try:
            return Settings.model_validate(data, context=_context(path)), first
        except ValidationError as error:
            wrong = [*explain(error, Settings)]
        first = first or wrong  # what follows from leaving keys out is not the administrator's mistake
        data = deepcopy(data)
        for key, _ in wrong:
            _leave_out(data, key[:1] if whole_tables else key)
    return None, first


def _leave_out(data: dict[str, Any], key: KeyPath) -> None:
    """Remove the value of a key, or the list that holds it; tables in a list keep their numbers."""
    while key and isinstance(key[-1], int):
        key = key[:-1]
    place: Any = data
    for part in key[:-1]:
        try:
            place = place[part]
        except (KeyError, IndexError, TypeError):
            return
    if key and isinstance(place, dict):
        place.pop(key[-1], None)


def _context(path: Path | None) -> dict[str, Path | None]:
    """The validation context for readers of values (see `types.FilePath`)."""
    return {"directory": None if path is None else path.absolute().parent}


def _place(problem: Problem) -> tuple[int, str]:
    return problem.line or 0, problem.key


def _read(path: Path | None, uid: int) -> tuple[dict[str, Any], _Source, list[Problem]]:
    """Read the file as TOML.  Raises ConfigError if it cannot be read, so that no key can be checked."""
    if path is None:
        return {}, _Source(None), []
    problem = partial(Problem, str(path))
    try:
        text, dangers = read_config(path, uid)
    except UnreadableError as error:
        raise ConfigError([problem(error.line, "", error.message)]) from error
    problems = [problem(None, "", danger) for danger in dangers]
    try:
        return tomllib.loads(text), _Source(path, locate(text)), problems
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([*problems, _syntax_problem(problem, text, str(error))]) from error
    except RecursionError as error:
        raise ConfigError([*problems, problem(None, "", "is nested too deeply to be read")]) from error


def _syntax_problem(problem: Callable[[int, str, str], Problem], text: str, message: str) -> Problem:
    """A Problem from tomllib's message, with line and column, and a hint if quotes are missing."""
    lines = text.splitlines() or [""]
    matched = _SYNTAX.fullmatch(message)
    if matched is None:
        return problem(1, "", f"syntax error: {message}")
    what, line, column = matched.groups()
    if line is None:
        return problem(len(lines), "", f"syntax error at the end of the file: {what}")
    number = min(int(line), len(lines))
    where = f"syntax error in column {column}: {what}"
    if unquoted := _UNQUOTED.fullmatch(lines[number - 1]):
        key, value = unquoted.groups()
        where += f'; write text in quotes, as in {key} = "{value}"'
    return problem(number, "", where)


def _override(data: dict[str, Any], source: _Source, key: str, text: str) -> None:
    *tables, last = key.split(".")
    place = data
    for table in tables:
        inner = place.setdefault(table, {})
        if not isinstance(inner, dict):
            return  # reported as "expected a table"
        place = inner
    place[last] = text
    source.given[*tables, last] = COMMAND_LINE


def _fill_in(data: dict[str, Any], source: _Source, environ: Mapping[str, str], uid: int) -> list[Problem]:
    """Add the defaults that depend on environment and user to `data`; return what is wrong with them."""
    problems = []
    if "state_dir" not in data:
        state_dir = state_dir_default(environ, uid)
        if state_dir is None:
            message = "has no default, because neither $STATE_DIRECTORY nor $HOME is set: name a directory"
            problems.append(source.problem(("state_dir",), message))
            state_dir = Default("/", "default")
        data["state_dir"] = state_dir.value
        source.given["state_dir",] = state_dir.origin
    if "listen" not in data:
        directory = _context(source.path)["directory"] or Path("/")
        names = handed_over(environ, os.getpid())
        listen = listen_default(environ, directory / str(data["state_dir"]), names)
        data["listen"] = listen.value
        source.given["listen",] = listen.origin
    return problems


def _listen(data: dict[str, Any], source: _Source, listen: Sequence[tuple[str, str]]) -> None:
    protocols = {protocol for protocol, _ in listen}
    tables = data["listen"]
    if not protocols or not isinstance(tables, list):
        return
    kept = [each for each in tables if not (isinstance(each, dict) and each.get("protocol") in protocols)]
    data["listen"] = [*kept, *({"protocol": protocol, "address": address} for protocol, address in listen)]
    source.given["listen",] = COMMAND_LINE


def _add_lists(
    data: dict[str, Any], source: _Source, directory: Path | None, owners: Iterable[int]
) -> list[str]:
    """Add a table for each list that needs none in the file; return what is wrong with their directory."""
    tables = data.get("whitelist", [])
    if directory is None or not isinstance(tables, list) or not directory.is_dir():
        return []
    texts = [table.get("path") for table in tables if isinstance(table, dict)]
    named = {
        Path(os.path.realpath(directory.parent / text))
        for text in texts
        if isinstance(text, str) and "\0" not in text
    }
    try:
        found = list(default_lists(directory, named))
    except OSError as error:
        return [f"{directory} cannot be read: {error.strerror or error}"]
    for position in range(len(tables), len(tables) + len(found)):
        source.given["whitelist", position] = "default"
    data["whitelist"] = [*tables, *({"source": kind, "path": str(path)} for kind, path in found)]
    if Path(os.path.realpath(directory)) in named:  # the administrator chose it
        return []
    return [*directory_dangers(directory, owners)]


def _not_read(directory: Path | None) -> Iterator[tuple[KeyPath, str]]:
    """Yield a warning about each file that only lies beside the lists that need no table."""
    if directory is not None and directory.is_dir():
        for file in ignored_in(directory, default=True):
            if not file.name.startswith("README"):
                yield ("whitelist",), f"{file} is not read: the name of a list ends with .toml"


def _uid_of(user: object) -> Iterable[int]:
    try:
        return [pwd.getpwnam(str(user)).pw_uid]
    except (KeyError, ValueError):  # no such user; a NUL in the name
        return []


def _dangerous_paths(
    data: Mapping[str, Any], path: Path | None, owners: Iterable[int]
) -> Iterator[tuple[KeyPath, str]]:
    """Yield the plugin directory and whitelists that other users could write.

    Each table is validated alone, so that these dangers are reported even if other keys are wrong.
    """
    plugins = _valid(Plugins, data.get("plugins", {}), path)
    if plugins is not None and plugins.dir is not None:
        yield from ((("plugins", "dir"), danger) for danger in code_dangers(plugins.dir, owners))
    whitelists = data.get("whitelist", [])
    for index, table in enumerate(whitelists if isinstance(whitelists, list) else []):
        entry = _valid(WhitelistSettings, table, path)
        if entry is not None and entry.path is not None:
            for danger in list_dangers(entry.path):
                yield ("whitelist", index, "path"), danger


def _valid(model: type[T], raw: object, path: Path | None) -> T | None:
    try:
        return model.model_validate(raw, context=_context(path))
    except ValidationError:
        return None


def _key_path(text: str) -> KeyPath:
    """The path of a text that `key_text` wrote."""
    parts: list[str | int] = []
    for quoted, bare, position in _KEY_PARTS.findall(text):
        parts.append(int(position) - 1 if position else bare or tomllib.loads(f"key = {quoted}")["key"])
    return tuple(parts)
