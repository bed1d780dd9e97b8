"""The registry of plugins: checks what plugins register, and guards it.

The `multigrey_register` of each plugin gets its own `PluginRegistry`.  When the hook has returned
without error, the `BuiltRegistry` of all plugins adopts everything that the plugin added, else nothing.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

from multigrey.clock import Clock
from multigrey.contracts import (
    KeyComponent,
    MakeDialogue,
    MakeSource,
    MakeStore,
    Service,
    SlowSource,
    SourceOptions,
    Trait,
    WhitelistSource,
)
from multigrey.errors import ConfigError, PluginError
from multigrey.plugins.guards import (
    BUILT_IN,
    FAILURES,
    GuardCounters,
    GuardedSlowSource,
    GuardedTrait,
    PluginInfo,
    PluginKind,
    describe,
    guarded_ask,
    guarded_holds,
    guarded_text,
)

__all__ = ["BuiltRegistry", "PluginRegistry"]

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
"""Names are used in the configuration and in `key=value` log lines, so they have no spaces or quotes."""


class BuiltRegistry:
    """Everything that all plugins registered, by kind and name; guarded where the hot path calls it."""

    def __init__(self, clock: Clock) -> None:
        self.key_components: dict[str, KeyComponent] = {}
        self.whitelist_sources: dict[str, MakeSource] = {}
        self.traits: dict[str, GuardedTrait] = {}
        self.slow_sources: dict[str, GuardedSlowSource] = {}
        self.stores: dict[str, MakeStore] = {}
        self.protocols: dict[str, MakeDialogue] = {}
        self.services: dict[str, Service] = {}
        self.owners: dict[tuple[PluginKind, str], PluginInfo] = {}
        """The plugin that registered each object, by `PluginKind` and name."""
        self.warnings: list[str] = []
        """Plugins that were left out, each with the reason."""
        self.counters = GuardCounters(clock, self.owners)

    @property
    def slow_traits(self) -> frozenset[str]:
        """The traits that slow sources may find."""
        return frozenset().union(*(source.traits for source in self.slow_sources.values()))

    def adopt(self, draft: PluginRegistry) -> None:
        """Take over what a plugin registered, after its hook has returned without error."""
        for (kind, name), value in draft.added.items():
            self.owners[kind, name] = draft.plugin
            self._put(kind, name, value)

    def _put(self, kind: PluginKind, name: str, value: Any) -> None:
        match kind:
            case PluginKind.KEY_COMPONENT:
                ours = self.owners[kind, name] is BUILT_IN  # without a guard: one call less per attempt
                self.key_components[name] = value if ours else guarded_text(value, self.counters, name)
            case PluginKind.WHITELIST_SOURCE:
                self.whitelist_sources[name] = value
            case PluginKind.TRAIT:
                self.traits[name] = guarded_holds(value, self.counters, name)
            case PluginKind.SLOW_SOURCE:
                self.slow_sources[name] = guarded_ask(value, self.counters, name)
            case PluginKind.STORE:
                self.stores[name] = value
            case PluginKind.PROTOCOL:
                self.protocols[name] = value
            case _:
                self.services[name] = value


class PluginRegistry:
    """The objects that one plugin registers (see `contracts.Registry`), until a BuiltRegistry adopts them."""

    def __init__(self, built: BuiltRegistry, plugin: PluginInfo) -> None:
        self._built = built
        self._open = True
        self.plugin = plugin
        self.added: dict[tuple[PluginKind, str], object] = {}

    def close(self) -> None:
        """Refuse everything from now on, because the hook has returned."""
        self._open = False

    def key_component(self, name: str, component: KeyComponent) -> None:
        """See `Registry.key_component`."""
        self._add(PluginKind.KEY_COMPONENT, name, component, "text")

    def whitelist_source(self, name: str, make: MakeSource) -> None:
        """See `Registry.whitelist_source`."""
        self._check_function(PluginKind.WHITELIST_SOURCE, name, make)
        self._add(PluginKind.WHITELIST_SOURCE, name, _checked_maker(make, self.plugin, name))

    def trait(self, name: str, trait: Trait) -> None:
        """See `Registry.trait`."""
        sources = [*self._built.slow_sources.values(), *self._added_slow_sources()]
        if any(name in source.traits for source in sources):
            raise PluginError(f"{self.plugin}: trait {name!r} is already found by a slow source")
        self._add(PluginKind.TRAIT, name, trait, "holds")

    def slow_source(self, name: str, source: SlowSource) -> None:
        """See `Registry.slow_source`."""
        traits: object = getattr(source, "traits", None)
        if not isinstance(traits, frozenset) or not all(isinstance(trait, str) for trait in traits):
            raise PluginError(f"{self.plugin}: slow source {name!r}: traits must be a frozenset of names")
        for trait in traits:
            if owner := self._owner(PluginKind.TRAIT, trait):
                raise PluginError(f"{self.plugin}: slow source {name!r}: trait {trait!r} belongs to {owner}")
        self._add(PluginKind.SLOW_SOURCE, name, source, "ask", waits=True)

    def store(self, name: str, make: MakeStore) -> None:
        """See `Registry.store`."""
        self._check_function(PluginKind.STORE, name, make)
        self._add(PluginKind.STORE, name, make)

    def protocol(self, name: str, make: MakeDialogue) -> None:
        """See `Registry.protocol`."""
        self._check_function(PluginKind.PROTOCOL, name, make)
        self._add(PluginKind.PROTOCOL, name, make)

    def service(self, name: str, service: Service) -> None:
        """See `Registry.service`."""
        self._add(PluginKind.SERVICE, name, service, "run", waits=True)

    def _add(
        self, kind: PluginKind, name: str, value: object, method: str = "", *, waits: bool = False
    ) -> None:
        if not self._open:
            raise PluginError(
                f"{self.plugin}: {kind} {name!r} comes too late: "
                "register it before multigrey_register returns"
            )
        word: object = name
        if not isinstance(word, str) or not _WORD.fullmatch(word):
            raise PluginError(f"{self.plugin}: {name!r} cannot be the name of a {kind}")
        if owner := self._owner(kind, name):
            raise PluginError(f"{self.plugin}: {kind} {name!r} is already registered by {owner}")
        if method:
            _check_method(self.plugin, f"{kind} {name!r}", value, method, waits=waits)
        self.added[kind, name] = value

    def _owner(self, kind: PluginKind, name: str) -> PluginInfo | None:
        return self.plugin if (kind, name) in self.added else self._built.owners.get((kind, name))

    def _added_slow_sources(self) -> list[Any]:
        return [value for (kind, _), value in self.added.items() if kind == PluginKind.SLOW_SOURCE]

    def _check_function(self, kind: PluginKind, name: str, make: object) -> None:
        if not callable(make) or _is_async(make):
            raise PluginError(f"{self.plugin}: {kind} {name!r} must be a plain function or class")


def _check_method(plugin: PluginInfo, what: str, value: object, method: str, *, waits: bool) -> None:
    function = getattr(value, method, None)
    if inspect.isclass(value):
        raise PluginError(f"{plugin}: {what} is the class {value.__name__}: register an object of it")
    if not callable(function):
        raise PluginError(f"{plugin}: {what} has no method {method}()")
    if _is_async(function) is not waits:
        must = "must be async def" if waits else "must be a plain function, not async def"
        raise PluginError(f"{plugin}: {what}: {method}() {must}")


def _is_async(function: object) -> bool:
    """Whether calling it returns a coroutine (or an async generator)."""
    called = getattr(function, "__call__", None)  # noqa: B004  (the method itself is looked at)
    return any(
        inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one) for one in (function, called)
    )


def _checked_maker(make: MakeSource, plugin: PluginInfo, name: str) -> MakeSource:
    """Wrap `make`, so that it raises only ConfigError and PluginError, and returns only whitelist sources."""

    def checked(options: SourceOptions) -> WhitelistSource:
        try:
            source = make(options)
        except (ConfigError, PluginError):
            raise
        except FAILURES as error:
            raise PluginError(f"{plugin}: whitelist source {name!r}: {describe(error)}") from error
        _check_method(plugin, f"whitelist source {name!r}", source, "match", waits=False)
        return source

    return checked
