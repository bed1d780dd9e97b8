"""The tables behind origins: providers and shared hosts, shipped and the administrator's own.

Both kinds of files are TOML; multigrey/data/ holds the shipped ones, which say themselves what they
mean.  An administrator's entry for a suffix takes the place of the shipped entry for this suffix, in
both tables: a provider can be made a shared host, and the reverse.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator

from multigrey.addresses import host_name
from multigrey.config.explain import explain
from multigrey.config.files import UnreadableError, read_config
from multigrey.config.kinds import Kind, shown
from multigrey.config.locate import KeyPath, key_text, line_of, locate
from multigrey.config.settings import OriginSettings
from multigrey.config.suffixes import RegisteredDomains, read_list
from multigrey.config.tables import ConfigTable, Label, conflicts
from multigrey.errors import ConfigError, Problem
from multigrey.origin import Origins, Provider, SharedHost

__all__ = ["HostsFile", "ProvidersFile", "load_origins", "read_shipped", "registered_domain", "shipped"]

_SUFFIX = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})+")
_WORD = re.compile(r"[a-z][a-z0-9-]{0,62}")
_TOML_PLACE = re.compile(r"(?s)(.*) \(at line (\d+), column \d+\)")


def _read_suffix(value: object) -> str:
    """A domain with at least two labels, in the form `addresses.host_name` gives."""
    if not isinstance(value, str):
        raise ValueError(f"expected a domain in quotes, got {shown(value)}")  # noqa: TRY004  (pydantic's)
    if value.startswith((".", "*.")):
        raise ValueError(f"{shown(value)}: sub-domains always match; write the domain without {value[:1]}")
    name = host_name(value)
    if not _SUFFIX.fullmatch(name):
        raise ValueError(f'expected a domain such as "mail.example.org", got {shown(value)}')
    return name


def _read_origin(value: object) -> str:
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise ValueError(f"expected a word of lower-case letters, digits and hyphens, got {shown(value)}")
    return value


_Suffix = Annotated[str, Kind("domain", _read_suffix)]
_OriginWord = Annotated[str, Kind("word", _read_origin)]


class ProviderTable(ConfigTable):
    """`[[provider]]`: servers that are one origin."""

    origin: _OriginWord = Field(description="The word that stands for all of them.")
    suffixes: tuple[_Suffix, ...] = Field(
        description="Domains that hold the verified names of this provider's servers only."
    )
    reason: Label = Field(description="Why they stand here.")
    source: Label | None = Field(default=None, description="Where that is known from.")

    @field_validator("suffixes")
    @classmethod
    def _check_suffixes(cls, suffixes: tuple[str, ...]) -> tuple[str, ...]:
        if not suffixes:
            raise ValueError("must name at least one domain")
        return suffixes


class HostTable(ConfigTable):
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

    updated: date | None = Field(default=None, description="When the file was looked over last.")
    provider: tuple[ProviderTable, ...] = ()

    def entries(self) -> Iterator[tuple[KeyPath, str, Provider]]:
        """Every suffix with the place it stands in and what it means."""
        for index, table in enumerate(self.provider):
            entry = Provider(table.origin, table.reason, table.source or "")
            for number, suffix in enumerate(table.suffixes):
                yield ("provider", index, "suffixes", number), suffix, entry


class HostsFile(ConfigTable):
    """A file of shared hosts."""

    updated: date | None = Field(default=None, description="When the file was looked over last.")
    host: tuple[HostTable, ...] = ()

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
    settings = settings or OriginSettings()
    uid = os.geteuid() if uid is None else uid
    own = _Own(uid)
    own.take(settings.providers, ProvidersFile)
    own.take(settings.shared_hosts, HostsFile)
    if own.problems:
        raise ConfigError(own.problems)
    tables: dict[str, Provider | SharedHost] = {}
    for file in (*shipped(), *own.files):
        tables.update((suffix, entry) for _, suffix, entry in file.entries())
    return Origins(
        _registered_domains(),  # read now, not when the first mail comes
        {suffix: entry for suffix, entry in tables.items() if isinstance(entry, Provider)},
        {suffix: entry for suffix, entry in tables.items() if isinstance(entry, SharedHost)},
    )


def registered_domain(name: str) -> str | None:
    """The registered domain of a name by the public suffix list, both sections; None if it has none.

    `name` as `addresses.host_name` gives it.  A name below no suffix of the list (an invented
    top-level domain) has none.
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
            if isinstance(entry, Provider) and registered_domain(suffix) is None:
                yield key, f'"{suffix}" is a public suffix or below none: others can obtain names in it'


def _syntax_problem(path: Path, message: str) -> Problem:
    placed = _TOML_PLACE.fullmatch(message)
    if placed is None:
        return Problem(str(path), None, "", f"syntax error: {message}")
    return Problem(str(path), int(placed[2]), "", f"syntax error: {placed[1]}")
