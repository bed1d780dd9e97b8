"""Guards between the engine and plugins: an error of a plugin is counted and means "no vote".

Every object of a plugin is wrapped once, when it is registered.  The hot path calls the wrapper, which
has one `try` and one type check and does not use pluggy.  An exception or a value of the wrong type is
counted for the plugin and logged at most once a minute.  A coroutine that is never awaited counts as a
wrong value and is closed, so that it is neither taken for a match nor causes a warning later.

This is one of the three places that may catch `Exception` (the others are the connection and the
restart of background tasks).  `SystemExit` of a plugin is caught too: only an administrator stops the
daemon.  `trio.Cancelled` is never caught, so that cancellation always reaches its scope.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType, TracebackType

from multigrey.clock import Clock
from multigrey.contracts import KeyComponent, SlowSource, Trait, WhitelistSource
from multigrey.model import Attempt, Findings, Match, Origin
from multigrey.plugins.isolation import IsolatedTask
from multigrey.text import counted
from multigrey.throttle import Throttle

__all__ = [
    "BUILT_IN",
    "FAILURES",
    "GuardCounters",
    "GuardedComponent",
    "GuardedSlowSource",
    "GuardedTrait",
    "PluginInfo",
    "PluginKind",
    "describe",
    "discard",
    "guarded_ask",
    "guarded_holds",
    "guarded_match",
    "guarded_text",
]

FAILURES = (Exception, SystemExit)
"""The exceptions that count as a failure of a plugin."""

_log = logging.getLogger(__name__)


class PluginKind(StrEnum):
    """The kinds of objects that a plugin can register, as messages name them."""

    KEY_COMPONENT = "key component"
    WHITELIST_SOURCE = "whitelist source"
    TRAIT = "trait"
    SLOW_SOURCE = "slow source"
    STORE = "store"
    PROTOCOL = "protocol"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """The name of a plugin and where it comes from, for messages."""

    name: str
    distribution: str
    """Name and version of the distribution, or the path of the file it is in."""

    def __str__(self) -> str:
        return f"plugin {self.name} ({self.distribution})"


BUILT_IN = PluginInfo("multigrey", "built in")


class GuardCounters:
    """Counts failures of plugins, and logs them at most once a minute for each plugin."""

    def __init__(self, clock: Clock, owners: Mapping[tuple[PluginKind, str], PluginInfo]) -> None:
        """`owners` maps the kind and name of an object to its plugin; all others are built in."""
        self._clock = clock
        self._owners = owners
        self._seldom = Throttle()
        self._failures: dict[str, int] = {}
        self._calls: dict[str, int] = {}
        self._timeouts: dict[str, int] = {}
        self.failing: dict[tuple[PluginKind, str], str] = {}
        """The objects that fail now, and how that began.  Usually empty: a call looks at no more."""

    @property
    def troubles(self) -> Mapping[str, str]:
        """What fails now, by plugin: each call has failed since.  A plugin that works is left out."""
        found: dict[str, str] = {}
        for (kind, name), why in self.failing.items():
            found.setdefault(self._owners.get((kind, name), BUILT_IN).name, f"{kind} {name}: {why}")
        return found

    @property
    def calls(self) -> Mapping[str, int]:
        """The number of calls of slow sources, by plugin."""
        return MappingProxyType(self._calls)

    @property
    def timeouts(self) -> Mapping[str, int]:
        """The number of calls of slow sources that were not answered in time, by plugin.

        `failures` includes them.
        """
        return MappingProxyType(self._timeouts)

    @property
    def failures(self) -> Mapping[str, int]:
        """The number of failures of each plugin that has failed at least once."""
        return MappingProxyType(self._failures)

    def called(self, kind: PluginKind, name: str) -> None:
        """Count a call of the object registered under this kind and name."""
        plugin = self._owners.get((kind, name), BUILT_IN).name
        self._calls[plugin] = self._calls.get(plugin, 0) + 1

    def late(self, kind: PluginKind, name: str, seconds: float) -> None:
        """Count a call that was not answered within `seconds`, also as a failure."""
        plugin = self._owners.get((kind, name), BUILT_IN).name
        self._timeouts[plugin] = self._timeouts.get(plugin, 0) + 1
        self.failed(kind, name, f"no answer within {seconds:g} s")

    def failed(self, kind: PluginKind, name: str, error: BaseException | str) -> None:
        """Count a failure of the object registered under this kind and name, and perhaps log it."""
        plugin = self._owners.get((kind, name), BUILT_IN)
        self._failures[plugin.name] = self._failures.get(plugin.name, 0) + 1
        due = self._seldom.due(plugin.name, self._clock.monotonic())
        if not due and (kind, name) in self.failing:
            return
        what = error if isinstance(error, str) else describe(error)
        self.failing.setdefault((kind, name), what)
        if due:
            before = self._seldom.held_back(plugin.name)
            more = f" (and {counted(before, 'failure')} before this one)" if before else ""
            _log.error("%s failed and was ignored: %s %s: %s%s", plugin, kind, name, what, more)

    def worked(self, kind: PluginKind, name: str) -> None:
        """Note that a call was answered: the object does not fail any more.  Called while any fails."""
        self.failing.pop((kind, name), None)

    def wrong(self, kind: PluginKind, name: str, value: object, expected: str) -> None:
        """Count a value of the wrong type as a failure; a coroutine is closed."""
        discard(value)
        self.failed(kind, name, f"returned a {type(value).__name__} instead of {expected}")


def discard(value: object) -> None:
    """Close a coroutine that will not be awaited, so that Python does not warn about it later."""
    if inspect.iscoroutine(value):
        with suppress(*FAILURES):
            value.close()


def describe(error: BaseException) -> str:
    """Return one short line about an exception: its type, its text, and the place where it was raised."""
    try:
        text = str(error)
    except FAILURES:
        text = "(no text)"
    line = f"{type(error).__name__}: {text}" if text else type(error).__name__
    line = line[:300].encode("unicode_escape").decode("ascii")
    place = _place(error.__traceback__)
    return f"{line} (at {place})" if place else line


def _place(trace: TracebackType | None) -> str:
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


class GuardedComponent:
    """A key component that never raises and returns only text or None."""

    __slots__ = ("_counters", "_name", "_text")

    def __init__(self, component: KeyComponent, counters: GuardCounters, name: str) -> None:
        self._text = component.text
        self._counters = counters
        self._name = name

    def text(self, attempt: Attempt) -> str | None:
        """See `KeyComponent.text`; None also if it failed, so that the client network takes its place."""
        try:
            value: object = self._text(attempt)
        except FAILURES as error:
            self._counters.failed(PluginKind.KEY_COMPONENT, self._name, error)
            return None
        if value is None or isinstance(value, str):
            if self._counters.failing:
                self._counters.worked(PluginKind.KEY_COMPONENT, self._name)
            return value
        self._counters.wrong(PluginKind.KEY_COMPONENT, self._name, value, "text or None")
        return None


class GuardedTrait:
    """A trait that never raises and returns only True or False."""

    __slots__ = ("_counters", "_holds", "_name")

    def __init__(self, trait: Trait, counters: GuardCounters, name: str) -> None:
        self._holds = trait.holds
        self._counters = counters
        self._name = name

    def holds(self, attempt: Attempt) -> bool:
        """See `Trait.holds`; False also if it failed."""
        try:
            value: object = self._holds(attempt)
        except FAILURES as error:
            self._counters.failed(PluginKind.TRAIT, self._name, error)
            return False
        if isinstance(value, bool):
            if self._counters.failing:
                self._counters.worked(PluginKind.TRAIT, self._name)
            return value
        self._counters.wrong(PluginKind.TRAIT, self._name, value, "True or False")
        return False


class GuardedSlowSource:
    """A slow source that never raises (except when cancelled) and returns only well-formed findings."""

    __slots__ = ("_counters", "_source", "cancelled", "name", "no_answer", "traits")

    def __init__(self, source: SlowSource, counters: GuardCounters, name: str) -> None:
        self._source = source
        self._counters = counters
        self.name = name
        self.traits = source.traits
        self.no_answer = Findings(unanswered=source.traits)
        """The findings when no answer came: it is unknown which of its traits hold."""
        self.cancelled: dict[IsolatedTask, float] = {}
        """Calls that have not ended, and when they were cancelled (trio's seconds), the longest ago first."""

    async def ask(self, attempt: Attempt) -> Findings:
        """See `SlowSource.ask`.  If it failed, its traits are unknown.  Traits of others are dropped."""
        try:
            found: object = await self._source.ask(attempt)
        except FAILURES as error:
            self._counters.failed(PluginKind.SLOW_SOURCE, self.name, error)
            return self.no_answer
        except BaseExceptionGroup as group:
            # A group can hold failures and trio.Cancelled at once: only the rest must go on to the caller.
            failures, rest = group.split(FAILURES)
            if failures is not None:
                self._counters.failed(PluginKind.SLOW_SOURCE, self.name, failures)
            if rest is not None:
                raise rest from None
            return self.no_answer
        if isinstance(found, Findings) and _is_well_formed(found):
            traits, unanswered = found.traits & self.traits, found.unanswered & self.traits
            if self._counters.failing and not unanswered:
                self._counters.worked(PluginKind.SLOW_SOURCE, self.name)
            return replace(found, traits=traits, unanswered=unanswered)
        self._counters.wrong(PluginKind.SLOW_SOURCE, self.name, found, "well-formed Findings")
        return self.no_answer


def _is_well_formed(found: Findings) -> bool:
    match: object = found.match
    origin: object = found.origin
    names: tuple[object, ...] = (found.traits, found.unanswered)
    own: object = found.own
    listed_by: object = found.listed_by
    return (
        (match is None or (isinstance(match, Match) and _are_texts(match.source, match.entry, match.owner)))
        and (origin is None or (isinstance(origin, Origin) and _is_a_name(origin.text, origin.named)))
        and all(isinstance(each, frozenset) and _are_texts(*each) for each in names)
        and isinstance(own, bool)
        and isinstance(listed_by, tuple)
        and _are_texts(*listed_by)
    )


def _are_texts(*values: object) -> bool:
    return all(isinstance(value, str) for value in values)


def _is_a_name(text: object, named: object) -> bool:
    """Whether an origin of a slow source is valid: it must be named."""
    return isinstance(text, str) and bool(text) and named is True


def guarded_text(component: KeyComponent, counters: GuardCounters, name: str) -> GuardedComponent:
    """Return the component registered under `name`, guarded (once)."""
    if isinstance(component, GuardedComponent):
        return component
    return GuardedComponent(component, counters, name)


def guarded_holds(trait: Trait, counters: GuardCounters, name: str) -> GuardedTrait:
    """Return the trait registered under `name`, guarded (once)."""
    return trait if isinstance(trait, GuardedTrait) else GuardedTrait(trait, counters, name)


def guarded_ask(source: SlowSource, counters: GuardCounters, name: str) -> GuardedSlowSource:
    """Return the slow source registered under `name`, guarded (once)."""
    return source if isinstance(source, GuardedSlowSource) else GuardedSlowSource(source, counters, name)


def guarded_match(
    source: WhitelistSource, counters: GuardCounters, name: str
) -> Callable[[Attempt], Match | None]:
    """Return the `match` of a source whose maker is registered under `name`, guarded."""
    match = source.match

    def guarded(attempt: Attempt) -> Match | None:
        try:
            found: object = match(attempt)
        except FAILURES as error:
            counters.failed(PluginKind.WHITELIST_SOURCE, name, error)
            return None
        if found is None or isinstance(found, Match):
            if counters.failing:
                counters.worked(PluginKind.WHITELIST_SOURCE, name)
            return found
        counters.wrong(PluginKind.WHITELIST_SOURCE, name, found, "a Match or None")
        return None

    return guarded
