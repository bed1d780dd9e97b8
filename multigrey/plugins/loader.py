"""Finds and imports plugins, and combines what they register.

The order is: the built-in plugin (under the same contract), the entry points of group `multigrey` by
name, the Python files of `[plugins] dir` by name (files whose names begin with "_" are not plugins;
other files may import them).  All state is in the objects made here, so any number of them can exist
at the same time.

Problem, and consequence
  cannot be imported, `multigrey_settings` fails   left out; an error if its table is configured
  `multigrey_register` fails                       left out with all it registered; error likewise
  configured, but not installed                    error
  breaks the contract of hooks (unknown or         error: it would go unnoticed otherwise
  missing hooks, wrong arguments), same name twice
  a file that others can write                     error: they could run code in the daemon
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import CodeType, MappingProxyType

import pluggy
from pydantic import BaseModel

from multigrey.clock import Clock, SystemClock
from multigrey.config.origin_lists import registered_domain
from multigrey.errors import PluginError
from multigrey.identity.origin import Origins
from multigrey.plugins import hookspecs
from multigrey.plugins.builtins import BuiltIns
from multigrey.plugins.guards import BUILT_IN, FAILURES, PluginInfo, describe, discard
from multigrey.plugins.registry import BuiltRegistry, PluginRegistry
from multigrey.text import did_you_mean

__all__ = ["LoadedPlugins", "load_plugins"]

GREYLIST = "greylist"
CONTROL = "control"
LOG = "log"
_SHARED_TABLES = frozenset({GREYLIST, CONTROL, LOG})
"""The tables that every plugin is given; a plugin cannot have a table of its own with such a name."""


@dataclass(frozen=True, slots=True)
class _Member:
    """A plugin that was loaded without error."""

    info: PluginInfo
    plugin: object
    register: Callable[..., object] | None
    table: str = ""
    """Name of its table under `[plugins]`; "" if it has no table."""
    model: type[BaseModel] | None = None

    def is_wanted(self, configured: Container[str]) -> bool:
        return self.info is BUILT_IN or self.table in configured or self.info.name in configured


class LoadedPlugins:
    """All plugins that were found; made by `load_plugins`."""

    def __init__(self, members: Iterable[_Member], broken: Mapping[PluginInfo, str]) -> None:
        self._members = tuple(members)
        self.broken = MappingProxyType(dict(broken))
        """Plugins that could not be loaded, each with the reason."""

    @property
    def infos(self) -> tuple[PluginInfo, ...]:
        """The plugins that were loaded, in order; the built-in one is the first."""
        return tuple(member.info for member in self._members)

    def settings_models(self) -> Mapping[str, type[BaseModel]]:
        """The pydantic model of each table under `[plugins]` that belongs to a loaded plugin."""
        return {member.table: member.model for member in self._members if member.model is not None}

    def why_missing(self, table: str) -> str:
        """The message for a configured table that belongs to no loaded plugin."""
        for info, error in self.broken.items():
            if info.name == table:
                return f"{info} could not be loaded: {error}"
        if any(info.name == table for info in self.infos):
            return f"plugin {table} has no settings"
        return f"no plugin {table} is installed{did_you_mean(table, self.settings_models())}"

    def register(
        self,
        settings: Mapping[str, BaseModel],
        *,
        configured: Container[str] | None = None,
        clock: Clock | None = None,
    ) -> BuiltRegistry:
        """Call the register hook of every plugin; a plugin that fails leaves nothing registered.

        `settings` has the checked tables by name, `greylist` and `control` included.  `configured` has
        the names of the tables that the administrator wrote (the others are defaults); None means all
        in `settings`.  Raises PluginError, with one line for each configured plugin that is missing or
        failed.
        """
        wanted = settings if configured is None else configured
        known = {*_SHARED_TABLES, *self.settings_models()}
        errors = [f"[plugins.{name}]: {self.why_missing(name)}" for name in settings if name not in known]
        built = BuiltRegistry(SystemClock() if clock is None else clock)
        built.warnings += [f"{info} could not be loaded: {error}" for info, error in self.broken.items()]
        shown = MappingProxyType(dict(settings))
        for member in self._members:
            error = _register(member, built, shown)
            if error:
                (errors if member.is_wanted(wanted) else built.warnings).append(error)
        if errors:
            raise PluginError("\n".join(errors))
        return built


def _register(member: _Member, built: BuiltRegistry, settings: Mapping[str, BaseModel]) -> str:
    """Register one plugin.  Returns what went wrong; "" if everything it registered was adopted."""
    if member.register is None:
        return ""
    draft = PluginRegistry(built, member.info)
    try:
        result = member.register(registry=draft, settings=settings, registered_domain=registered_domain)
    except PluginError as error:
        text = str(error)
        return text if text.startswith(str(member.info)) else f"{member.info}: {text}"
    except FAILURES as error:
        return f"{member.info}: {describe(error)}"
    finally:
        draft.close()
    if result is not None:
        discard(result)
        return f"{member.info}: multigrey_register must be a plain function that returns nothing"
    built.adopt(draft)
    return ""


def load_plugins(
    directory: Path | None,
    *,
    entry_points: Iterable[importlib.metadata.EntryPoint] | None = None,
    origins: Origins | None = None,
) -> LoadedPlugins:
    """Find and import plugins: built-in ones, entry points, then the files in `directory`.

    `entry_points` replaces those of the installed distributions.  `origins` is for the built-in traits
    (by default from the shipped tables).  Raises PluginError for all that the table at the head of this
    module calls an error.
    """
    loader = _Loader()
    loader.take(BUILT_IN, partial(BuiltIns, origins))
    if entry_points is None:
        entry_points = importlib.metadata.entry_points(group=hookspecs.PROJECT)
    for entry_point in sorted(entry_points, key=lambda one: (one.name, one.value)):
        loader.take(_info_of(entry_point), entry_point.load)
    for path in [] if directory is None else _files(directory):
        loader.take(PluginInfo(path.stem, str(path)), partial(_import_file, path))
    return loader.finish()


def _info_of(entry_point: importlib.metadata.EntryPoint) -> PluginInfo:
    try:
        distribution = entry_point.dist
        if distribution is not None:
            return PluginInfo(entry_point.name, f"{distribution.name} {distribution.version}")
    except FAILURES:  # a distribution with damaged metadata: the entry point may still work
        pass
    return PluginInfo(entry_point.name, entry_point.value)


def _files(directory: Path) -> list[Path]:
    """The Python files in a directory.  Raises PluginError if other users can write it or one of them.

    A user who can write such a file can run code in the daemon.  Root runs no code of others at all: this is
    about commands, because the daemon has given up root before.
    """
    try:
        owner = directory.stat().st_uid
        files = sorted(path for path in directory.iterdir() if path.suffix == ".py")
        for path in (directory, *files):
            status = path.stat()
            if status.st_mode & 0o022:
                raise PluginError(f"{path}: is writable by group or others: run chmod go-w {path}")
            if os.geteuid() == 0 and status.st_uid != 0:
                raise PluginError(
                    f"{path}: belongs to user id {status.st_uid}, and root runs no code of other users: "
                    f"run the command as that user (sudo -u '#{status.st_uid}'), or chown root {path}"
                )
            if status.st_uid not in {0, os.geteuid(), owner}:
                raise PluginError(
                    f"{path}: belongs neither to root nor to the owner of its directory: "
                    f"run chown root {path}"
                )
    except OSError as error:
        raise PluginError(f"{error.filename or directory}: cannot be read: {error.strerror}") from error
    return [path for path in files if path.name[0] not in "._"]


class _FreshLoader(SourceFileLoader):
    """Compiles from the source each time.

    Python's bytecode cache compares size and time in whole seconds, so it could miss a second change.
    """

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _import_file(path: Path) -> object:
    """Import the module in a file again.  It is put into `sys.modules`, where pydantic looks up types."""
    digest = blake2b(os.fsencode(path.absolute()), digest_size=6).hexdigest()
    name = f"multigrey_plugin_{path.stem}_{digest}"
    spec = spec_from_loader(name, _FreshLoader(name, str(path)))
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        raise
    return module


class _Loader:
    """Collects plugins, and everything that is wrong with them."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._members: list[_Member] = []
        self._broken: dict[PluginInfo, str] = {}
        self._mistakes: list[str] = []

    def take(self, info: PluginInfo, load: Callable[[], object]) -> None:
        """Import a plugin and find its hooks; errors of the plugin are recorded, never raised."""
        plugin: object = None
        try:
            plugin = load()
            self._members.append(self._accept(info, plugin))
        except PluginError as error:
            self._mistakes.append(f"{info}: {error}")
            self._drop(plugin)
        except FAILURES as error:
            self._broken[info] = describe(error)
            self._drop(plugin)

    def finish(self) -> LoadedPlugins:
        """Return the collected plugins.  Raises PluginError, with one line for each contract violation."""
        if self._mistakes:
            raise PluginError("\n".join(self._mistakes))
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginError(str(error)) from error
        return LoadedPlugins(self._members, self._broken)

    def _drop(self, plugin: object) -> None:
        if self._manager.is_registered(plugin) and all(one.plugin is not plugin for one in self._members):
            self._manager.unregister(plugin)

    def _accept(self, info: PluginInfo, plugin: object) -> _Member:
        for member in self._members:
            if member.info.name == info.name or member.plugin is plugin:
                raise PluginError(f"is the same plugin as {member.info}, or has the same name")
        try:
            self._manager.register(plugin, name=str(info))
        except pluggy.PluginValidationError as error:
            raise PluginError("; ".join(str(error).split("\n"))) from error
        hooks = {caller.name: caller for caller in self._manager.get_hookcallers(plugin) or ()}
        if not hooks:
            raise PluginError("has no hook: mark a function with multigrey.api.hookimpl")
        calls = {name: _only_call(caller, plugin) for name, caller in hooks.items()}
        table, model = self._settings_of(calls.get("multigrey_settings"))
        return _Member(info, plugin, calls.get("multigrey_register"), table, model)

    def _settings_of(self, hook: Callable[..., object] | None) -> tuple[str, type[BaseModel] | None]:
        if hook is None:
            return "", None
        result = hook()
        match result:
            case (str(table), type() as model) if table and issubclass(model, BaseModel):
                pass
            case _:
                discard(result)
                raise PluginError("multigrey_settings must return a name and a class made from BaseModel")
        if table in _SHARED_TABLES:
            raise PluginError(f"[plugins.{table}]: this name is reserved: choose another one")
        for member in self._members:
            if member.table == table:
                raise PluginError(f"[plugins.{table}] is already the table of {member.info}")
        return table, model


def _only_call(caller: pluggy.HookCaller, plugin: object) -> Callable[..., object]:
    """A function that calls the plugin's own implementation of a hook with the arguments that it names."""
    known = ("multigrey_register", "multigrey_settings")
    implementation = next(one for one in caller.get_hookimpls() if one.plugin is plugin)
    if not caller.has_spec() and not implementation.optionalhook:
        raise PluginError(f"hook {caller.name} does not exist (known: {' and '.join(known)})")
    if implementation.hookwrapper or implementation.wrapper:
        raise PluginError(f"{caller.name} must not be a wrapper, which could change other plugins")

    def call(**arguments: object) -> object:
        return implementation.function(*(arguments[name] for name in implementation.argnames))

    return call
