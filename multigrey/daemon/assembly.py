"""Builds the objects that the engine works with from a configuration.

This is the one place where names in the configuration are resolved to what plugins registered.  It
reads list files and imports plugins, so it runs outside the event loop, at start and at every reload.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from itertools import starmap

from pydantic import BaseModel

from multigrey.clock import Clock, SystemClock
from multigrey.config.load import Loaded
from multigrey.config.origin_lists import load_origins, registered_domain
from multigrey.config.settings import Settings
from multigrey.config.tables.control import Control, NoEndpoint
from multigrey.config.tables.greylist import Greylist
from multigrey.config.tables.rule import RuleTable, zone_of
from multigrey.config.values.types import UnixEndpoint, format_duration
from multigrey.contracts import LongList, SourceOptions
from multigrey.control.endpoint import control_path
from multigrey.core import Assembly
from multigrey.engine.setup import LOOPBACK, Networks, Setup, SourceInfo
from multigrey.engine.stages import OBSERVE
from multigrey.errors import ConfigError, PluginError, Problem
from multigrey.greylist.policy import Policy
from multigrey.greylist.reputation import Proof
from multigrey.identity.components import ClientNetwork, Recipient
from multigrey.identity.keys import KeyScheme
from multigrey.identity.origin import Origins
from multigrey.identity.redaction import Redactor
from multigrey.model import Attempt, Match, Origin
from multigrey.plugins.guards import PluginKind, guarded_match
from multigrey.plugins.loader import LoadedPlugins, load_plugins
from multigrey.plugins.registry import BuiltRegistry
from multigrey.plugins.slow_calls import ask_all
from multigrey.protocols.reply_text import with_help
from multigrey.rules.rules import Classes, Rules, wrong_classes, wrong_rules
from multigrey.text import did_you_mean
from multigrey.whitelists import role_addresses
from multigrey.whitelists.list_source import EntryList
from multigrey.whitelists.postgrey import ClientList, RecipientList

__all__ = ["assemble", "check"]


def check(loaded: Loaded) -> tuple[list[Problem], tuple[str, ...]]:
    """Return the problems and the warnings that are found only when plugins and lists are loaded."""
    parts = _Parts(loaded, SystemClock())
    return parts.all_problems, tuple(parts.warnings)


def assemble(loaded: Loaded, site_key: bytes, clock: Clock | None = None) -> Assembly:
    """Load plugins and lists, and make an Assembly.

    Raises ConfigError with everything that is wrong, PluginError if only plugins are.
    """
    parts = _Parts(loaded, SystemClock() if clock is None else clock)
    if parts.problems:
        raise ConfigError(parts.all_problems)
    if parts.plugin_trouble:
        raise PluginError(parts.plugin_trouble)
    assert parts.registry is not None
    setup = _setup(parts, parts.registry, site_key)
    warnings = tuple(parts.warnings)
    return Assembly(
        loaded.settings, parts.registry, setup, parts.summary, warnings, tuple(parts.lists), loaded.path
    )


class _Parts:
    """What a configuration names: its plugins and lists.  What is wrong with one does not hide the others."""

    def __init__(self, loaded: Loaded, clock: Clock) -> None:
        self._loaded = loaded
        self.settings = loaded.settings
        self._clock = clock
        self.problems: list[Problem] = []
        self.plugin_trouble = ""
        self._wrong_tables = False
        self.warnings: list[str] = []
        self.origins = self._origins()
        self.registry = self._registry()
        self.sources: list[Callable[[Attempt], Match | None]] = [role_addresses().match]
        self.about_sources = [SourceInfo(role_addresses().name, entries=role_addresses().count)]
        self.summary: dict[str, int] = {}
        self.lists: list[LongList] = []
        self.rules, self.classes = Rules(), Classes()
        if self.registry is not None:
            before = len(self.problems)
            self.problems += [*_unknown_words(loaded, self.registry), *_wrong_rules(loaded, self.registry)]
            self._compile_rules(self.registry)
            if self._wrong_tables:
                # These plugins did not register all they would, so what seems unknown may be theirs.
                del self.problems[before:]
            for index in range(len(loaded.settings.whitelist)):
                self._read_list(index, self.registry)

    @property
    def all_problems(self) -> list[Problem]:
        """The problems, those of plugins included."""
        more = [self._loaded.problem(("plugins",), self.plugin_trouble)] if self.plugin_trouble else []
        return [*self.problems, *more]

    def _origins(self) -> Origins:
        try:
            return load_origins(self.settings.origin)
        except ConfigError as error:
            self.problems += error.problems
            return load_origins()

    def _registry(self) -> BuiltRegistry | None:
        """What plugins register; None: nothing, because one breaks the contract."""
        loaded, settings = self._loaded, self.settings
        try:
            plugins = load_plugins(settings.plugins.dir, origins=self.origins)
        except PluginError as error:
            self.plugin_trouble = str(error)
            return None
        unknown = _unknown_tables(loaded, plugins)
        tables, wrong = loaded.checked_tables(plugins.settings_models())
        missing = {problem.key for problem in unknown}
        self._wrong_tables = any(problem.key not in missing for problem in wrong)
        self.problems += [*unknown, *(problem for problem in wrong if problem.key not in missing)]
        given = {**tables, "greylist": settings.greylist, "control": _control(settings), "log": settings.log}
        wanted = settings.plugins.tables.keys() & tables.keys()
        try:
            registry = plugins.register(given, configured=wanted, clock=self._clock)
        except PluginError as error:
            self.plugin_trouble = str(error)
            return plugins.register(given, configured=(), clock=self._clock)
        self.warnings += [*registry.warnings, *map(str, _late_budgets(loaded, tables, registry))]
        return registry

    def _compile_rules(self, registry: BuiltRegistry) -> None:
        """Compile rules and classes, which reads the lists that they name."""
        settings = self.settings
        zone, delimiters = zone_of(settings.time_zone), settings.greylist.recipient_delimiter
        rules = [_with_help(rule, settings) for rule in settings.rule]
        try:
            self.rules = Rules(rules, registry.traits, zone=zone, delimiters=delimiters)
        except ConfigError as error:
            self.problems += error.problems
        try:
            self.classes = Classes(settings.class_, registry.traits, zone=zone, delimiters=delimiters)
        except ConfigError as error:
            self.problems += error.problems

    def _read_list(self, index: int, registry: BuiltRegistry) -> None:
        entry = self.settings.whitelist[index]
        network = ClientNetwork(self.settings.greylist.ipv4_prefix, self.settings.greylist.ipv6_prefix)

        def origin_of(attempt: Attempt) -> Origin:
            return self.origins.of(attempt, network.text(attempt) or "")

        options = SourceOptions(entry.path, entry.owner or "", self._clock.now, origin_of)
        if entry.source not in registry.whitelist_sources:
            return  # one of the unknown words
        try:
            source = registry.whitelist_sources[entry.source](options)
        except ConfigError as error:
            self.problems += error.problems
            return
        if isinstance(source, ClientList | RecipientList | EntryList):
            self.lists.append(source)
        self.sources.append(guarded_match(source, registry.counters, entry.source))
        count = getattr(source, "count", 0)
        about = SourceInfo(entry.source, str(entry.path or ""), options.owner, count)
        if isinstance(source, EntryList):
            about = about._replace(every=source.every, why=source.why)
            about = about._replace(text_at=source.text_at, almost=source.almost)
        self.about_sources.append(about)
        self.summary[f"{entry.source} {entry.path or index}"] = count
        self.warnings += [str(warning) for warning in getattr(source, "warnings", ())]


def _control(settings: Settings) -> Control:
    """`[control]`, with the address that is in use instead of the configured one."""
    path = control_path(settings.control, settings.state_dir)
    address = NoEndpoint() if path is None else UnixEndpoint(path)
    return settings.control.model_copy(update={"address": address})


def _setup(parts: _Parts, registry: BuiltRegistry, site_key: bytes) -> Setup:
    settings, origins = parts.settings, parts.origins
    greylist = settings.greylist
    slow = tuple(registry.slow_sources.values())
    recipient = Recipient(greylist.recipient_delimiter)
    network = ClientNetwork(greylist.ipv4_prefix, greylist.ipv6_prefix)

    def scheme(key: Sequence[str]) -> KeyScheme:
        components = [registry.key_components[name] for name in key]
        return KeyScheme(site_key, key, components, network, recipient)

    ask = partial(ask_all, slow, budget_seconds=settings.limits.slow, counters=registry.counters)
    return Setup(
        scheme=scheme(greylist.key),
        schemes={rule.key: scheme(rule.key) for rule in settings.rule if rule.key is not None},
        policy=_policy(greylist),
        unnamed_policy=_unnamed_policy(greylist),
        text=with_help(greylist.text, greylist.help_url or ""),
        rules=parts.rules,
        classes=parts.classes,
        sources=tuple(parts.sources),
        about_sources=tuple(parts.about_sources),
        ask=ask if slow else None,
        recipient=recipient,
        origin_of=origins.of,
        provider_of=origins.provider_of,
        origins=origins,
        registered_domain=registered_domain,
        retrying=origins.retrying,
        provider_by_spf=origins.word_by_spf,
        retries=origins.retries,
        providers_pass=settings.origin.providers == "pass",
        own_networks=_own_networks(settings.origin.own_networks),
        ipv4_prefix=greylist.ipv4_prefix,
        ipv6_prefix=greylist.ipv6_prefix,
        null_sender_at_data=greylist.null_sender == "data",
        message_pass=greylist.message_pass,
        header=greylist.header,
        redactor=Redactor(site_key) if settings.log.redact else None,
        mode=greylist.mode,
    )


def _with_help(rule: RuleTable, settings: Settings) -> RuleTable:
    text = rule.text and with_help(rule.text, settings.greylist.help_url or "")
    return rule if text == rule.text else rule.model_copy(update={"text": text})


def _own_networks(networks: Iterable[IPv4Network | IPv6Network]) -> Networks:
    """Loopback and these networks, in the form in which `Setup.is_own` compares them."""
    found = {version: list(rows) for version, rows in LOOPBACK.items()}
    for network in networks:
        spare = network.max_prefixlen - network.prefixlen
        found[network.version].append((spare, int(network.network_address) >> spare))
    return found


def _policy(greylist: Greylist) -> Policy:
    """The policy for named origins."""
    proof = Proof(
        resolved=greylist.prove_after,
        domains=greylist.prove_domains,
        percent=greylist.prove_percent,
    )
    return Policy(
        delay=greylist.delay,
        retry_window=greylist.retry_window,
        max_age=greylist.max_age,
        auto_whitelist_after=greylist.auto_whitelist_after,
        proof=proof if greylist.prove_origins else None,
        observe=greylist.mode == OBSERVE,
    )


def _unnamed_policy(greylist: Greylist) -> Policy:
    return replace(_policy(greylist), delay=greylist.unnamed_delay, patience=greylist.patience)


def _unknown_tables(loaded: Loaded, plugins: LoadedPlugins) -> list[Problem]:
    """Tables of plugins that are not installed or could not be loaded, with the reason."""
    models = plugins.settings_models()
    return [
        loaded.problem(("plugins", name), plugins.why_missing(name))
        for name in loaded.settings.plugins.tables
        if name not in models
    ]


def _late_budgets(
    loaded: Loaded, tables: Mapping[str, BaseModel], registry: BuiltRegistry
) -> Iterable[Problem]:
    """Warn of the own time limits of slow sources (`budget`, in seconds) that [limits] slow cuts short."""
    slow = loaded.settings.limits.slow
    owners = {owner.name for (kind, _), owner in registry.owners.items() if kind == PluginKind.SLOW_SOURCE}
    for name in sorted(owners & tables.keys()):
        budget = getattr(tables[name], "budget", None)
        if isinstance(budget, int | float) and budget >= slow:
            message = (
                f"{format_duration(budget)} is not shorter than slow in [limits] ({format_duration(slow)}), "
                "so a late source loses everything it has found: choose a smaller value"
            )
            yield loaded.problem(("plugins", name, "budget"), message)


def _wrong_rules(loaded: Loaded, registry: BuiltRegistry) -> Iterable[Problem]:
    settings, traits, slow = loaded.settings, registry.traits, registry.slow_traits
    yield from starmap(loaded.problem, wrong_rules(settings.rule, traits, slow, registry.key_components))
    yield from starmap(loaded.problem, wrong_classes(settings.class_, traits, slow))


def _unknown_words(loaded: Loaded, registry: BuiltRegistry) -> Iterable[Problem]:
    """Names in the configuration that are not registered, each with its place and the nearest known name."""
    settings = loaded.settings
    for word in settings.greylist.key:
        yield from _unknown(loaded, ("greylist", "key"), word, registry.key_components, "key component")
    for index, listen in enumerate(settings.listen):
        yield from _unknown(
            loaded, ("listen", index, "protocol"), listen.protocol, registry.protocols, "protocol"
        )
    for index, entry in enumerate(settings.whitelist):
        yield from _unknown(
            loaded, ("whitelist", index, "source"), entry.source, registry.whitelist_sources, "source"
        )
    yield from _unknown(loaded, ("store", "backend"), settings.store.backend, registry.stores, "store")


def _unknown(
    loaded: Loaded, path: tuple[str | int, ...], word: str, known: Mapping[str, object], what: str
) -> Iterable[Problem]:
    if word in known:
        return
    hint = did_you_mean(word, known)
    yield loaded.problem(path, f"{word!r} is not a {what}{hint} (known: {', '.join(sorted(known))})")
