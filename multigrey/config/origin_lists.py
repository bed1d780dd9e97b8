"""Reads the tables that define origins: providers and shared hosts, shipped and the administrator's.

Both kinds of files are TOML.  multigrey/data/ holds the shipped files, whose comments explain the
format.  An administrator's entry for a suffix (or pattern) replaces the shipped entry for it in both
tables, so a provider can be made a shared host, and the reverse.  `identity.host_names.host_table`
defines what suffixes and patterns match, and which entry counts where several match.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date as Date  # noqa: N812  (`date` is a key of the tables)
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from multigrey.config.error_messages import explain
from multigrey.config.files import UnreadableError, read_config
from multigrey.config.locate import KeyPath, key_text, line_of, locate
from multigrey.config.suffixes import RegisteredDomains, read_list
from multigrey.config.tables.origin import OriginSettings
from multigrey.config.tables.table import ConfigTable, Label, conflicts
from multigrey.config.values.kind import Kind, shown
from multigrey.errors import ConfigError, Problem
from multigrey.identity.addresses import host_name
from multigrey.identity.host_names.host_table import is_pattern, tail_of
from multigrey.identity.origin import Origins, Provider, SharedHost

__all__ = [
    "HostsFile",
    "ProviderTable",
    "ProvidersFile",
    "effective_providers",
    "load_origins",
    "outdated",
    "read_shipped",
    "registered_domain",
    "shipped",
]

_YEAR = 366
"""Days after which a table should be reviewed again."""
_PATTERN = re.compile(r"(?=.{1,253}\Z)[a-z0-9_*#-]{1,63}(?:\.[a-z0-9_*#-]{1,63})+")
_SUFFIX = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})+")
_WORD = re.compile(r"[a-z][a-z0-9-]{0,62}")
_TOML_PLACE = re.compile(r"(?s)(.*) \(at line (\d+), column \d+\)")


def _read_suffix(value: object) -> str:
    """A domain with at least two labels, in the form that `identity.addresses.host_name` returns."""
    if not isinstance(value, str):
        raise ValueError(f"expected a domain in quotes, got {shown(value)}")  # noqa: TRY004  (pydantic's)
    if value.startswith((".", "*.")):
        raise ValueError(f"{shown(value)}: sub-domains always match; write the domain without {value[:1]}")
    name = host_name(value)
    if not _SUFFIX.fullmatch(name):
        raise ValueError(f'expected a domain such as "mail.example.org", got {shown(value)}')
    return name


def _read_pattern(value: object) -> str:
    """A host name with `*` or `#` in it, but not in its last labels."""
    if not isinstance(value, str):
        raise ValueError(f"expected a name in quotes, got {shown(value)}")  # noqa: TRY004  (pydantic's)
    name = value.lower().rstrip(".") if is_pattern(value) else host_name(value)
    if not _PATTERN.fullmatch(name):
        raise ValueError(f'expected a name such as "mailout#.example.org", got {shown(value)}')
    if not is_pattern(name):
        raise ValueError(f"{shown(value)} has neither * nor #: write it under suffixes")
    if re.search("#[#0-9]", name):
        raise ValueError(f"{shown(value)}: # stands for all digits in its place; no digit may follow it")
    return name


def _read_origin(value: object) -> str:
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise ValueError(f"expected a word of lower-case letters, digits and hyphens, got {shown(value)}")
    return value


_Suffix = Annotated[str, Kind("domain", _read_suffix)]
_Pattern = Annotated[str, Kind("pattern", _read_pattern)]
_OriginWord = Annotated[str, Kind("word", _read_origin)]


class ProviderTable(ConfigTable):
    """`[[provider]]`: servers that are one origin."""

    origin: _OriginWord = Field(description="The word that stands for all of them.")
    suffixes: tuple[_Suffix, ...] = Field(
        default=(), description="Domains that hold the verified names of this provider's servers only."
    )
    names: tuple[_Pattern, ...] = Field(
        default=(),
        description="Patterns of whole verified names, for servers whose domain holds other hosts too: * is "
        "any part of a label, # one digit or more.",
    )
    reason: Label = Field(description="Why they are listed.")
    source: Label | None = Field(default=None, description="Where this information comes from.")
    date: Date | None = Field(default=None, description="When the source was last read.")
    retries: bool = Field(
        default=False,
        description="Whether the provider is known to retry for hours or days, so that its mail need not be "
        "delayed.",
    )
    schedule: Label | None = Field(
        default=None, description="How it retries, and where this information comes from."
    )
    spf: tuple[_Suffix, ...] = Field(
        default=(),
        description="Domains whose SPF records list only addresses of this provider.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.suffixes and not self.names:
            conflicts([(("suffixes",), "must name at least one domain, or names one pattern")])
        return self

    def places(self) -> Iterator[tuple[str, int, str]]:
        """Yield the key in the file, the position in its list, and the text of every suffix and pattern."""
        for key, values in (("suffixes", self.suffixes), ("names", self.names)):
            for number, value in enumerate(values):
                yield key, number, value


class HostEntries(ConfigTable):
    """`[[host]]`: suffixes whose hosts belong to different customers."""

    suffixes: tuple[_Suffix, ...] = Field(default=(), description="Domains that hold the hosts' names.")
    exempt: tuple[_Suffix, ...] = Field(
        default=(), description="Domains below the suffixes for which the ordinary rules hold nevertheless."
    )
    reason: Label = Field(description="Why they are listed.")
    source: Label | None = Field(default=None, description="Where this information comes from.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.suffixes and not self.exempt:
            conflicts([(("suffixes",), "must name at least one domain, or exempt must")])
        return self


class ProvidersFile(ConfigTable):
    """A file of providers."""

    updated: Date | None = Field(default=None, description="When the file was last reviewed.")
    provider: tuple[ProviderTable, ...] = ()

    def entries(self) -> Iterator[tuple[KeyPath, str, Provider]]:
        """Yield the key path and the text of every suffix and pattern, and the entry it stands for."""
        for index, table in enumerate(self.provider):
            entry = Provider(table.origin, table.reason, table.source or "", table.retries, table.spf)
            for key, number, value in table.places():
                yield ("provider", index, key, number), value, entry


class HostsFile(ConfigTable):
    """A file of shared hosts."""

    updated: Date | None = Field(default=None, description="When the file was last reviewed.")
    host: tuple[HostEntries, ...] = ()

    def entries(self) -> Iterator[tuple[KeyPath, str, SharedHost]]:
        """Yield the key path and the text of every suffix, and the entry it stands for."""
        for index, table in enumerate(self.host):
            for key, suffixes in (("suffixes", table.suffixes), ("exempt", table.exempt)):
                entry = SharedHost(table.reason, table.source or "", exempt=key == "exempt")
                for number, suffix in enumerate(suffixes):
                    yield ("host", index, key, number), suffix, entry


File = ProvidersFile | HostsFile
_AnyFile = TypeVar("_AnyFile", ProvidersFile, HostsFile)


def load_origins(settings: OriginSettings | None = None, uid: int | None = None) -> Origins:
    """Return the origins of a configuration: the shipped tables with the administrator's own.

    `uid`: the user that the program was started as (by default the current effective user).  The
    administrator's files must belong to this user or root.  Reads files.  Raises ConfigError with
    every problem in them.
    """
    tables: dict[str, Provider | SharedHost] = {}
    for file in _files(settings, uid):
        tables.update((key, entry) for _, key, entry in file.entries())
    return Origins(
        _registered_domains(),  # read now, not when the first mail comes
        {key: entry for key, entry in tables.items() if isinstance(entry, Provider)},
        {key: entry for key, entry in tables.items() if isinstance(entry, SharedHost)},
    )


def effective_providers(
    settings: OriginSettings | None = None, uid: int | None = None
) -> Iterator[tuple[ProviderTable, tuple[str, ...]]]:
    """Yield the provider entries that `load_origins` uses, each with its suffixes and patterns that count.

    A suffix or pattern that an administrator's entry replaces is left out, and so is an entry with none
    left.  Reads files.  Raises ConfigError.
    """
    files = _files(settings, uid)
    last = {key: file for file in files for _, key, _ in file.entries()}
    for file in files:
        for table in file.provider if isinstance(file, ProvidersFile) else ():
            keys = tuple(key for _, _, key in table.places() if last[key] is file)
            if keys:
                yield table, keys


def outdated(settings: OriginSettings | None, today: Date, uid: int | None = None) -> Iterator[str]:
    """Yield a warning for each table that was last reviewed more than a year ago.

    An administrator's file without a date is skipped.  Reads files.  Raises ConfigError.
    """
    settings = settings or OriginSettings()
    own = [path for path in (settings.providers_file, settings.shared_hosts_file) if path is not None]
    names = ["the list of providers that comes with multigrey", "the list of shared hosts that comes with it"]
    for name, file in zip([*names, *map(str, own)], _files(settings, uid), strict=True):
        if file.updated is not None and (today - file.updated).days > _YEAR:
            yield (
                f"{name} was last reviewed on {file.updated}, more than a year ago, and names and retry "
                "habits of providers change: update multigrey, or review the list"
            )


def _files(settings: OriginSettings | None, uid: int | None) -> tuple[File, ...]:
    """The shipped files, followed by the administrator's own.  Raises ConfigError."""
    settings = settings or OriginSettings()
    own = _Own(os.geteuid() if uid is None else uid)
    own.take(settings.providers_file, ProvidersFile)
    own.take(settings.shared_hosts_file, HostsFile)
    if own.problems:
        raise ConfigError(own.problems)
    return (*shipped(), *own.files)


def registered_domain(name: str) -> str | None:
    """Return the registered domain of a name by both sections of the public suffix list; None if none.

    `name` is in the form that `identity.addresses.host_name` returns.  For a name below no suffix of the
    list, the registered domain is the last two labels.
    """
    return _registered_domains()(name)


@cache
def _registered_domains() -> RegisteredDomains:
    """The list inside the package publicsuffixlist.  Read once, because it takes 60 ms and 2 MB."""
    return RegisteredDomains(read_list())


def read_shipped() -> None:
    """Read the shipped files into the caches, before the daemon gives up root and may not reach them."""
    shipped()
    _registered_domains()


@cache
def shipped() -> tuple[ProvidersFile, HostsFile]:
    """The shipped tables.  Read once: after root is given up, the files may be unreadable."""
    data = files("multigrey") / "data"
    return (
        ProvidersFile.model_validate(tomllib.loads((data / "providers.toml").read_text("utf-8"))),
        HostsFile.model_validate(tomllib.loads((data / "shared-hosts.toml").read_text("utf-8"))),
    )


@dataclass
class _Own:
    """The administrator's files, and the problems found in them."""

    uid: int
    files: list[File] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    _seen: dict[str, str] = field(default_factory=dict)
    """The place (`FILE:LINE`) where each suffix was found first."""

    def take(self, path: Path | None, model: type[_AnyFile]) -> None:
        """Read and check the file at `path`; None: the configuration names no file."""
        if path is None:
            return
        try:
            text, dangers = read_config(path, self.uid)
            self.problems += [Problem(str(path), None, "", danger) for danger in dangers]
            data = tomllib.loads(text)
            lines = locate(text)
        except UnreadableError as error:
            self.problems.append(Problem(str(path), error.line, "", error.message))
            return
        except tomllib.TOMLDecodeError as error:
            self.problems.append(_syntax_problem(path, str(error)))
            return
        except RecursionError:
            self.problems.append(Problem(str(path), None, "", "is nested too deeply to be read"))
            return
        self._check(path, model, data, lines)

    def _check(
        self, path: Path, model: type[_AnyFile], data: Mapping[str, Any], lines: Mapping[KeyPath, int]
    ) -> None:
        def problem(key: KeyPath, message: str) -> Problem:
            return Problem(str(path), line_of(lines, key), key_text(key), message)

        try:
            file = model.model_validate(data)
        except ValidationError as error:
            self.problems += [problem(*found) for found in explain(error, model)]
            return
        self.problems += [
            problem(*found) for found in self._conflicts(file, lambda key: f"{path}:{line_of(lines, key)}")
        ]
        self.files.append(file)

    def _conflicts(self, file: File, place: Callable[[KeyPath], str]) -> Iterator[tuple[KeyPath, str]]:
        for key, suffix, entry in file.entries():
            if suffix in self._seen:
                yield key, f'"{suffix}" is already listed in {self._seen[suffix]}: remove one of the two'
            self._seen.setdefault(suffix, place(key))
            domain = tail_of(suffix) if is_pattern(suffix) else suffix
            if isinstance(entry, Provider) and registered_domain(domain) is None:
                what = "ends in" if domain != suffix else "is"
                yield key, f'"{suffix}" {what} a public suffix, so others can obtain names in it: remove it'


def _syntax_problem(path: Path, message: str) -> Problem:
    placed = _TOML_PLACE.fullmatch(message)
    if placed is None:
        return Problem(str(path), None, "", f"syntax error: {message}")
    return Problem(str(path), int(placed[2]), "", f"syntax error: {placed[1]}")
