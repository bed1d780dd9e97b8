"""What may be registered, and under which names."""

from __future__ import annotations

import functools

import pytest

from multigrey.contracts import Registry, SourceOptions
from multigrey.errors import ConfigError, PluginError, Problem
from multigrey.model import Match
from multigrey.plugins.guards import PluginInfo
from multigrey.plugins.registry import BuiltRegistry, PluginRegistry
from tests.support.clocks import FakeClock
from tests.support.plugins import SlowSource, Source, Text, Trait, attempt

ONE = PluginInfo("one", "multigrey-one 1.0")
TWO = PluginInfo("two", "multigrey-two 1.0")


class Service:
    async def run(self, *, task_status):
        pass


class Async:
    """Every method the wrong way round."""

    traits = frozenset()

    async def text(self, attempt):
        pass

    async def match(self, attempt):
        pass

    async def holds(self, attempt):
        pass

    def ask(self, attempt):
        pass

    def run(self, *, task_status):
        pass


async def make_async(options):
    pass


class MakesAsync:
    async def __call__(self, options):
        pass


@pytest.fixture
def built():
    return BuiltRegistry(FakeClock())


@pytest.fixture
def registry(built):
    return PluginRegistry(built, ONE)


def test_it_is_a_registry(registry):
    checked: Registry = registry
    assert checked is registry


def test_everything_can_be_registered(built, registry):
    service, make = Service(), functools.partial(Source)
    registry.key_component("a", Text("x"))
    registry.whitelist_source("a", lambda options: Source(Match("a", "b")))
    registry.trait("country:DE", Trait(True))
    registry.slow_source("a", SlowSource(traits={"listed"}))
    registry.store("a", Service)
    registry.protocol("a", make)
    registry.service("a", service)
    assert not built.owners
    built.adopt(registry)
    assert built.key_components["a"].text(attempt()) == "x"
    assert built.whitelist_sources["a"](SourceOptions(None)).match(attempt()) == Match("a", "b")
    assert built.traits["country:DE"].holds(attempt())
    assert built.slow_sources["a"].traits == built.slow_traits == {"listed"}
    assert (built.stores, built.protocols, built.services) == ({"a": Service}, {"a": make}, {"a": service})
    assert set(built.owners.values()) == {ONE}
    assert len(built.owners) == 7


@pytest.mark.parametrize(
    ("method", "value", "message"),
    [
        ("key_component", object(), "key component 'it' has no method text()"),
        ("key_component", Async(), "text() must be a plain function, not async def"),
        ("key_component", Text, "key component 'it' is the class Text: register an object of it"),
        ("key_component", None, "has no method text()"),
        ("trait", object(), "trait 'it' has no method holds()"),
        ("trait", Async(), "holds() must be a plain function, not async def"),
        ("slow_source", object(), "traits must be a frozenset of names"),
        ("slow_source", Async(), "slow source 'it': ask() must be async def"),
        ("service", object(), "service 'it' has no method run()"),
        ("service", Async(), "service 'it': run() must be async def"),
        ("whitelist_source", Source(), "whitelist source 'it' must be a plain function or class"),
        ("whitelist_source", make_async, "must be a plain function or class"),
        ("whitelist_source", MakesAsync(), "must be a plain function or class"),
        ("store", object(), "store 'it' must be a plain function or class"),
        ("store", make_async, "must be a plain function or class"),
        ("protocol", "postfix", "protocol 'it' must be a plain function or class"),
        ("protocol", make_async, "must be a plain function or class"),
    ],
)
def test_what_does_not_fit_is_refused(registry, method, value, message):
    with pytest.raises(PluginError) as caught:
        getattr(registry, method)("it", value)
    assert str(caught.value).startswith("plugin one (multigrey-one 1.0): ")
    assert message in str(caught.value)
    assert not registry.added


@pytest.mark.parametrize("traits", [None, "listed", ["listed"], {"listed"}, frozenset({1})])
def test_traits_of_a_slow_source_are_a_frozenset_of_names(registry, traits):
    source = SlowSource()
    source.traits = traits
    with pytest.raises(PluginError, match="traits must be a frozenset of names"):
        registry.slow_source("it", source)


@pytest.mark.parametrize("name", ["", " ", "a b", "a=b", 'a"b', "a\nb", "-a", "ü", "a,b", 7, None])
def test_names_stand_in_logs_and_configuration(registry, name):
    with pytest.raises(PluginError, match="cannot be the name of a trait"):
        registry.trait(name, Trait(True))


def test_a_name_is_taken_once_for_each_kind(built, registry):
    registry.trait("same", Trait(True))
    registry.key_component("same", Text("x"))
    with pytest.raises(PluginError, match=r"^plugin one .*trait 'same' is already registered by plugin one"):
        registry.trait("same", Trait(True))
    built.adopt(registry)
    with pytest.raises(PluginError, match=r"^plugin two .*'same' is already registered by plugin one"):
        PluginRegistry(built, TWO).trait("same", Trait(True))


def test_a_trait_is_quick_or_slow(built, registry):
    registry.trait("quick", Trait(True))
    registry.slow_source("a", SlowSource(traits={"slow"}))
    with pytest.raises(PluginError, match="'slow' is already found by a slow source"):
        registry.trait("slow", Trait(True))
    with pytest.raises(PluginError, match="trait 'quick' belongs to plugin one"):
        registry.slow_source("b", SlowSource(traits={"quick"}))
    built.adopt(registry)
    other = PluginRegistry(built, TWO)
    with pytest.raises(PluginError, match="'slow' is already found by a slow source"):
        other.trait("slow", Trait(True))
    with pytest.raises(PluginError, match="trait 'quick' belongs to plugin one"):
        other.slow_source("b", SlowSource(traits={"quick"}))
    other.slow_source("b", SlowSource(traits={"slow"}))


def test_nothing_can_be_added_later(registry):
    registry.close()
    with pytest.raises(PluginError, match="comes too late: register it before"):
        registry.trait("late", Trait(True))


def made(built, registry, make):
    registry.whitelist_source("it", make)
    built.adopt(registry)
    return built.whitelist_sources["it"]


def test_a_source_that_cannot_be_made_is_an_error_that_names_the_plugin(built, registry):
    def make(options):
        raise KeyError("column 3")

    expected = r"^plugin one \(multigrey-one 1.0\): whitelist source 'it': KeyError: 'column 3'"
    with pytest.raises(PluginError, match=expected):
        made(built, registry, make)(SourceOptions(None))


def test_errors_of_the_configuration_come_through(built, registry):
    def make(options):
        raise ConfigError([Problem("list", 1, "", "is empty")])

    with pytest.raises(ConfigError, match=r"^list:1: is empty$"):
        made(built, registry, make)(SourceOptions(None))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "has no method match"),
        (Async(), "must be a plain function, not async def"),
        (Source, "the class"),
    ],
)
def test_a_maker_that_makes_something_else(built, registry, source, message):
    with pytest.raises(PluginError, match=message):
        made(built, registry, lambda options: source)(SourceOptions(None))


def test_failures_are_counted_for_the_plugin(built, registry):
    registry.trait("bad", Trait(ValueError()))
    built.adopt(registry)
    assert not built.traits["bad"].holds(attempt())
    assert built.counters.failures == {"one": 1}
