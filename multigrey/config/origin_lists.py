"""The tables behind origins: providers and shared hosts, shipped and the administrator's own.

Both kinds of files are TOML; multigrey/data/ holds the shipped ones, which say themselves what they
mean.  An administrator's entry for a suffix (or pattern) takes the place of the shipped entry for it, in
both tables: a provider can be made a shared host, and the reverse.  `identity.host_names.host_table` says
what suffixes and patterns stand for, and which one counts where several match.
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
"""Days after which a table should have been looked over again."""
_PATTERN = re.compile(r"(?=.{1,253}\Z)[a-z0-9_*#-]{1,63}(?:\.[a-z0-9_*#-]{1,63})+")
_SUFFIX = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})+")
_WORD = re.compile(r"[a-z][a-z0-9-]{0,62}")
_TOML_PLACE = re.compile(r"(?s)(.*) \(at line (\d+), column \d+\)")


def _read_suffix(value: object) -> str:
    """A domain with at least two labels, in the form `identity.addresses.host_name` gives."""
    if not isinstance(value, str):
        raise ValueError(f"expected a domain in quotes, got {shown(value)}")  # noqa: TRY004  (pydantic's)
    if value.startswith((".", "*.")):
        raise ValueError(f"{shown(value)}: sub-domains always match; write the domain without {value[:1]}")
    name = host_name(value)
    if not _SUFFIX.fullmatch(name):
        raise ValueError(f'expected a domain such as "mail.example.org", got {shown(value)}')
    return name


def _read_pattern(value: object) -> str:
    """A host name with `*` or `#` in it, but for its last labels."""
    if not isinstance(value, str):
        raise ValueError(f"expected a name in quotes, got {shown(value)}")  # noqa: TRY004  (pydantic's)
    name = value.lower().rstrip(".") if is_pattern(value) else host_name(value)
    if not _PATTERN.fullmatch(name):
        raise ValueError(f'expected a name such as "mailout#.example.org", got {shown(value)}')
    if not is_pattern(name):
        raise ValueError(f"{shown(value)} has neither * nor #: write it under suffixes")
    if re.search("#[#0-9]", name):
        raise ValueError(f"{shown(value)}: # stands for all digits there are; none may follow it")
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
    reason: Label = Field(description="Why they stand here.")
    source: Label | None = Field(default=None, description="Where that is known from.")
    date: Date | None = Field(default=None, description="When the source was looked at.")
    retries: bool = Field(
        default=False,
        description="Whether the provider is known to retry for hours or days, so that its mail need not be "
        "delayed.",
    )
    schedule: Label | None = Field(default=None, description="How it retries, and where that is known from.")
    spf: tuple[_Suffix, ...] = Field(
        default=(),
        description="Domains whose SPF records list this provider's own addresses and nobody else's.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.suffixes and not self.names:
            conflicts([(("suffixes",), "must name at least one domain, or names one pattern")])
        return self

    def places(self) -> Iterator[tuple[str, int, str]]:
        """Every suffix and pattern, with the key of the file and the place in its list."""
        for key, values in (("suffixes", self.suffixes), ("names", self.names)):
            for number, value in enumerate(values):
                yield key, number, value


class HostEntries(ConfigTable):
    """`[[host]]`: suffixes whose hosts belong to different customers."""

    suffixes: tuple[_Suffix, ...] = Field(default=(), description="Domains that hold the hosts' names.")
    exempt: tuple[_Suffix, ...] = Field(
        default=(), description="Domains for which the ordinary rules hold after all."
    )
    reason: Label = Field(description="Why they stand here.")
    source: Label | None = Field(default=None, description="Where that is known from.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.suffixes and not self.exempt:
            conflicts([(("suffixes",), "must name at least one domain, or exempt must")])
        return self


class ProvidersFile(ConfigTable):
    """A file of providers."""

    updated: Date | None = Field(default=None, description="When the file was looked over last.")
    provider: tuple[ProviderTable, ...] = ()

    def entries(self) -> Iterator[tuple[KeyPath, str, Provider]]:
        """Every suffix and pattern with the place it stands in and what it means."""
        for index, table in enumerate(self.provider):
            entry = Provider(table.origin, table.reason, table.source or "", table.retries, table.spf)
            for key, number, value in table.places():
                yield ("provider", index, key, number), value, entry


class HostsFile(ConfigTable):
    """A file of shared hosts."""

    updated: Date | None = Field(default=None, description="When the file was looked over last.")
    host: tuple[HostEntries, ...] = ()

    def entries(self) -> Iterator[tuple[KeyPath, str, SharedHost]]:
        """Every suffix with the place it stands in and what it means."""
        for index, table in enumerate(self.host):
            for key, suffixes in (("suffixes", table.suffixes), ("exempt", table.exempt)):
                entry = SharedHost(table.reason, table.source or "", exempt=key == "exempt")
                for number, suffix in enumerate(suffixes):
                    yield ("host", index, key, number), suffix, entry


File = ProvidersFile | HostsFile
_AnyFile = TypeVar("_AnyFile", ProvidersFile, HostsFile)


def load_origins(settings: OriginSettings | None = None, uid: int | None = None) -> Origins:
    """The origins of a configuration: the shipped tables and the administrator's own.

    `uid`: the user the program was started as (by default the effective user now), who may own the
    files beside root.  Reads files; raises ConfigError with everything that is wrong in them.
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
    """The entries of providers that `load_origins` takes, each with its suffixes and patterns that count.

    One whose place an administrator's entry has taken is left out.  Reads files; raises ConfigError.
    """
    files = _files(settings, uid)
    last = {key: file for file in files for _, key, _ in file.entries()}
    for file in files:
        for table in file.provider if isinstance(file, ProvidersFile) else ():
            keys = tuple(key for _, _, key in table.places() if last[key] is file)
            if keys:
                yield table, keys


def outdated(settings: OriginSettings | None, today: Date, uid: int | None = None) -> Iterator[str]:
    """A warning for each table that nobody has looked over for more than a year.

    An administrator's file without a date is not judged.  Reads files; raises ConfigError.
    """
    settings = settings or OriginSettings()
    own = [path for path in (settings.providers_file, settings.shared_hosts_file) if path is not None]
    names = ["the list of providers that comes with multigrey", "the list of shared hosts that comes with it"]
    for name, file in zip([*names, *map(str, own)], _files(settings, uid), strict=True):
        if file.updated is not None and (today - file.updated).days > _YEAR:
            yield (
                f"{name} was looked over on {file.updated} last, more than a year ago: names and habits of "
                "providers change; update multigrey, or look over the list"
            )


def _files(settings: OriginSettings | None, uid: int | None) -> tuple[File, ...]:
    """The shipped files and then the administrator's own.  Raises ConfigError."""
    settings = settings or OriginSettings()
    own = _Own(os.geteuid() if uid is None else uid)
    own.take(settings.providers_file, ProvidersFile)
    own.take(settings.shared_hosts_file, HostsFile)
    if own.problems:
        raise ConfigError(own.problems)
    return (*shipped(), *own.files)


def registered_domain(name: str) -> str | None:
    """The registered domain of a name by the public suffix list, both sections; None if it has none.

    `name` as `identity.addresses.host_name` gives it.  Below no suffix of the list it is the last two labels.
    """
    return _registered_domains()(name)


@cache
def _registered_domains() -> RegisteredDomains:
    """The list inside the package publicsuffixlist, read once: it takes 60 ms and 2 MB."""
    return RegisteredDomains(read_list())


def read_shipped() -> None:
    """Read now what comes with multigrey, while its files can be read (root may be given up later)."""
    shipped()
    _registered_domains()


@cache
def shipped() -> tuple[ProvidersFile, HostsFile]:
    """The tables that come with multigrey, read once: after root was given up they may be out of reach."""
    data = files("multigrey") / "data"
    return (
        ProvidersFile.model_validate(tomllib.loads((data / "providers.toml").read_text("utf-8"))),
        HostsFile.model_validate(tomllib.loads((data / "shared-hosts.toml").read_text("utf-8"))),
    )


@dataclass
class _Own:
    """The administrator's files and what is wrong with them."""

    uid: int
    files: list[File] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    _seen: dict[str, str] = field(default_factory=dict)
    """Where each suffix stood first."""

    def take(self, path: Path | None, model: type[_AnyFile]) -> None:
        """Read a file, if there is one."""
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
                yield key, f'"{suffix}" stands in {self._seen[suffix]} already'
            self._seen.setdefault(suffix, place(key))
            domain = tail_of(suffix) if is_pattern(suffix) else suffix
            if isinstance(entry, Provider) and registered_domain(domain) is None:
                what = "ends in" if domain != suffix else "is"
                yield key, f'"{suffix}" {what} a public suffix: others can obtain names in it'


def _syntax_problem(path: Path, message: str) -> Problem:
    placed = _TOML_PLACE.fullmatch(message)
    if placed is None:
        return Problem(str(path), None, "", f"syntax error: {message}")
    return Problem(str(path), int(placed[2]), "", f"syntax error: {placed[1]}")
