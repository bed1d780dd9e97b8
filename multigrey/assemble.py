"""From a configuration to the objects the engine works with.

The one place where words of the configuration meet what plugins registered under them.  Runs off
the event loop (it reads list files and imports plugins), at start and at every reload.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial

from multigrey.config.load import Loaded
from multigrey.config.settings import Greylist, Settings
from multigrey.contracts import SourceOptions
from multigrey.decision import Policy
from multigrey.engine import Setup
from multigrey.errors import ConfigError, PluginError, Problem
from multigrey.guards import ask_all, guarded_match
from multigrey.keys import ClientNetwork, KeyScheme, Recipient
from multigrey.model import Attempt, Match
from multigrey.plugins import Plugins, load_plugins
from multigrey.registry import BuiltRegistry
from multigrey.rules import Rules
from multigrey.rules import check as check_rules
from multigrey.whitelists import role_addresses

__all__ = ["Assembly", "assemble", "check"]


@dataclass(frozen=True)
class Assembly:
    """A configuration with everything it names."""

    settings: Settings
    registry: BuiltRegistry
    setup: Setup
    summary: Mapping[str, int]
    """Whitelist sources and how many entries each has, for the log."""
    warnings: tuple[str, ...]


def check(loaded: Loaded) -> tuple[list[Problem], tuple[str, ...]]:
    """What is wrong, and what is only odd, that shows once plugins and lists are loaded."""
    try:
        return [], assemble(loaded, bytes(32)).warnings
    except ConfigError as error:
        return list(error.problems), ()
    except PluginError as error:
        return [loaded.problem(("plugins",), str(error))], ()


def assemble(loaded: Loaded, site_key: bytes) -> Assembly:
    """Load plugins and lists and make a Setup.  Raises ConfigError and PluginError."""
    settings = loaded.settings
    plugins = load_plugins(settings.plugins.dir)
    _refuse(_unknown_tables(loaded, plugins))
    tables = loaded.plugin_tables(plugins.settings_models())
    registry = plugins.register({**tables, "greylist": settings.greylist}, configured=settings.plugins.tables)
    _refuse([*_unknown_words(loaded, registry), *_wrong_rules(loaded, registry)])
    problems: list[Problem] = []
    warnings = [*registry.warnings]
    sources: list[Callable[[Attempt], Match | None]] = [role_addresses().match]
    summary: dict[str, int] = {}
    for index, entry in enumerate(settings.whitelist):
        try:
            source = registry.whitelist_sources[entry.source](SourceOptions(entry.path, entry.owner or ""))
        except ConfigError as error:
            problems += error.problems
            continue
        sources.append(guarded_match(source, registry.counters, entry.source))
        summary[f"{entry.source} {entry.path or index}"] = getattr(source, "count", 0)
        warnings += [str(warning) for warning in getattr(source, "warnings", ())]
    _refuse(problems)
    setup = _setup(settings, registry, site_key, tuple(sources))
    return Assembly(settings, registry, setup, summary, tuple(warnings))


def _refuse(problems: Sequence[Problem]) -> None:
    if problems:
        raise ConfigError(problems)


def _setup(
    settings: Settings,
    registry: BuiltRegistry,
    site_key: bytes,
    sources: tuple[Callable[[Attempt], Match | None], ...],
) -> Setup:
    greylist = settings.greylist
    slow = tuple(registry.slow_sources.values())
    recipient = Recipient(greylist.recipient_delimiter)
    ask = partial(ask_all, slow, budget_seconds=settings.limits.slow, counters=registry.counters)
    return Setup(
        scheme=KeyScheme(
            site_key,
            greylist.key,
            [registry.key_components[name] for name in greylist.key],
            ClientNetwork(greylist.ipv4_prefix, greylist.ipv6_prefix),
            recipient,
        ),
        policy=_policy(greylist),
        unnamed_delay=greylist.delay if greylist.unnamed_delay is None else greylist.unnamed_delay,
        text=greylist.text,
        rules=Rules(settings.rule, registry.traits),
        sources=sources,
        ask=ask if slow else None,
        recipient=recipient,
        ipv4_prefix=greylist.ipv4_prefix,
        ipv6_prefix=greylist.ipv6_prefix,
        null_sender_at_data=greylist.null_sender == "data",
        message_pass=greylist.message_pass,
        header=greylist.header,
    )


def _policy(greylist: Greylist) -> Policy:
    return Policy(
        delay=greylist.delay,
        retry_window=greylist.retry_window,
        max_age=greylist.max_age,
        auto_whitelist_after=greylist.auto_whitelist_after,
    )


def _unknown_tables(loaded: Loaded, plugins: Plugins) -> list[Problem]:
    """Tables of plugins that are not there or could not be loaded, with the reason."""
    models = plugins.settings_models()
    return [
        loaded.problem(("plugins", name), plugins.why_missing(name))
        for name in loaded.settings.plugins.tables
        if name not in models
    ]


def _wrong_rules(loaded: Loaded, registry: BuiltRegistry) -> Iterable[Problem]:
    for problem in check_rules(loaded.settings.rule, registry.traits, registry.slow_traits):
        place = problem.key.removeprefix("rule[").partition("]")
        yield loaded.problem(("rule", int(place[0]), place[2].lstrip(".")), problem.message)


def _unknown_words(loaded: Loaded, registry: BuiltRegistry) -> Iterable[Problem]:
    """Words nothing was registered under, each with its place and the nearest word there is."""
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
    near = get_close_matches(word, known, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    yield loaded.problem(path, f"{word!r} is no {what}{meant} (known: {', '.join(sorted(known))})")
