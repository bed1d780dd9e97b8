"""Finding plugins, and what follows when one of them is broken."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import sys

import pluggy
import pytest
from pydantic import BaseModel

from multigrey.api import hookimpl
from multigrey.config.tables.greylist import Greylist
from multigrey.contracts import SourceOptions
from multigrey.errors import PluginError
from multigrey.model import Match
from multigrey.plugins.guards import BUILT_IN, PluginInfo, PluginKind
from multigrey.plugins.loader import load_plugins
from tests.support.clocks import FakeClock
from tests.support.plugins import Settings, Source, Text, Trait, attempt, broken_point, plugin, point

GREYLIST = {"greylist": Greylist()}


@pytest.fixture
def directory(tmp_path):
    tmp_path.chmod(0o755)

    def write(name, text):
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o644)
        return path

    write.path = tmp_path
    return write


def load(*points, directory=None):
    return load_plugins(directory, entry_points=points)


def register_trait(name):
    return lambda registry, settings: registry.trait(name, Trait(True))


def test_without_plugins_there_is_what_is_built_in():
    plugins = load()
    assert [info.name for info in plugins.infos] == ["multigrey"]
    assert plugins.settings_models() == {}
    built = plugins.register(GREYLIST)
    assert "postfix" in built.protocols
    assert built.warnings == []
    assert built.owners[PluginKind.PROTOCOL, "postfix"] is BUILT_IN


def test_entry_points_of_installed_distributions_are_found(monkeypatch):
    asked = []

    def entry_points(*, group):
        asked.append(group)
        return [point("one", plugin(register_trait("one")))]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    plugins = load_plugins(None)
    assert asked == ["multigrey"]
    assert [info.name for info in plugins.infos] == ["multigrey", "one"]


def test_a_plugin_registers_and_is_remembered():
    def register(registry, settings):
        assert settings["one"].word == "given"
        assert settings["greylist"] is GREYLIST["greylist"]
        registry.key_component("text", Text("value"))
        registry.trait("trait", Trait(True))
        registry.whitelist_source("rows", lambda options: Source(Match("list", str(options.path))))

    plugins = load(point("one", plugin(register, "one")))
    assert plugins.settings_models() == {"one": Settings}
    built = plugins.register({**GREYLIST, "one": Settings(word="given")}, clock=FakeClock())
    assert built.key_components["text"].text(attempt()) == "value"
    assert built.traits["trait"].holds(attempt()) is True
    assert built.whitelist_sources["rows"](SourceOptions(None)).match(attempt()).entry == "None"
    one = PluginInfo("one", "multigrey-one 1.0")
    assert [key for key, owner in built.owners.items() if owner == one] == [
        (PluginKind.KEY_COMPONENT, "text"),
        (PluginKind.TRAIT, "trait"),
        (PluginKind.WHITELIST_SOURCE, "rows"),
    ]


def test_settings_cannot_be_changed_by_a_plugin():
    def register(registry, settings):
        settings["other"] = 1

    (warning,) = load(point("one", plugin(register))).register(GREYLIST).warnings
    assert "TypeError" in warning


def test_two_sets_of_plugins_live_side_by_side():
    first, second = (load(point(name, plugin(register_trait(name)))) for name in ("first", "second"))
    assert "first" in first.register(GREYLIST).traits
    built = second.register(GREYLIST)
    assert "first" not in built.traits
    assert second.register(GREYLIST).traits["second"] is not built.traits["second"]


# Plugins that cannot be loaded


@pytest.mark.parametrize(
    "error", [ImportError("No module named 'gone'"), SyntaxError("bad"), SystemExit(3), RuntimeError()]
)
def test_a_plugin_that_cannot_be_imported_is_named_and_skipped(error):
    plugins = load(broken_point("bad", error), point("good", plugin(register_trait("good"))))
    built = plugins.register(GREYLIST)
    assert "good" in built.traits
    (warning,) = built.warnings
    assert warning.startswith("plugin bad (multigrey-bad 1.0) could not be loaded: ")
    assert type(error).__name__ in warning
    assert list(plugins.broken) == [PluginInfo("bad", "multigrey-bad 1.0")]


def test_a_configured_plugin_that_cannot_be_imported_is_an_error():
    plugins = load(broken_point("bad"))
    why = "plugin bad (multigrey-bad 1.0) could not be loaded: ImportError: No module named 'gone'"
    assert plugins.why_missing("bad").startswith(why)
    with pytest.raises(PluginError) as caught:
        plugins.register({**GREYLIST, "bad": Settings()})
    assert str(caught.value).startswith(f"[plugins.bad]: {why}")


def test_a_configured_plugin_that_is_not_there_is_an_error():
    plugins = load(point("geoip", plugin(table="geoip")))
    with pytest.raises(
        PluginError, match=r'\[plugins.geopi\]: no plugin geopi is installed; did you mean "geoip"'
    ):
        plugins.register({**GREYLIST, "geopi": Settings()})


def test_a_table_for_a_plugin_without_settings():
    plugins = load(point("one", plugin(register_trait("one"))))
    assert plugins.why_missing("one") == "plugin one has no settings"


def test_a_distribution_with_damaged_metadata_still_works():
    damaged = point("one", plugin(register_trait("one")))
    damaged.dist._text = ""
    plugins = load(damaged)
    assert plugins.infos[1].name == "one"
    assert "one" in plugins.register(GREYLIST).traits


def test_an_entry_point_without_a_distribution_goes_by_its_place():
    lonely = point("one", plugin(register_trait("one")))
    lonely.dist = None
    assert load(lonely).infos[1] == PluginInfo("one", "somewhere:plugin")


def test_settings_that_raise():
    class Bad:
        @hookimpl
        def multigrey_settings(self):
            raise OSError("no licence file")

        @hookimpl
        def multigrey_register(self, registry):
            pytest.fail("was not skipped")

    plugins = load(point("bad", Bad()), point("good", plugin(register_trait("good"), "good")))
    assert list(plugins.settings_models()) == ["good"]
    built = plugins.register(GREYLIST)
    assert "good" in built.traits
    assert "OSError: no licence file" in built.warnings[0]


# Plugins that break the contract of hooks


def mistake_of(*points, **kwargs):
    with pytest.raises(PluginError) as caught:
        load(*points, **kwargs)
    return str(caught.value)


def test_a_misspelt_hook_is_an_error():
    class Bad:
        @hookimpl
        def multigrey_registre(self, registry):
            pass

    message = mistake_of(point("bad", Bad()), point("good", plugin(register_trait("good"))))
    assert message == (
        "plugin bad (multigrey-bad 1.0): hook multigrey_registre does not exist "
        "(known: multigrey_register and multigrey_settings)"
    )


def test_a_hook_of_a_later_version_may_be_optional():
    class Newer:
        @hookimpl(optionalhook=True)
        def multigrey_something_new(self, registry):
            pass

        @hookimpl
        def multigrey_register(self, registry):
            registry.trait("newer", Trait(True))

    assert "newer" in load(point("newer", Newer())).register(GREYLIST).traits


def test_an_unknown_argument_is_an_error():
    class Bad:
        @hookimpl
        def multigrey_register(self, registry, store):
            pass

    message = mistake_of(point("bad", Bad()))
    assert message.startswith("plugin bad (multigrey-bad 1.0): ")
    assert "{'store'}" in message
    assert "\n" not in message


def test_a_plugin_without_hooks_is_an_error():
    class Bad:
        def multigrey_register(self, registry):
            pass

    expected = "plugin bad (multigrey-bad 1.0): has no hook: mark a function with multigrey.api.hookimpl"
    assert mistake_of(point("bad", Bad())) == expected


def test_a_wrapper_is_an_error():
    class Bad:
        @hookimpl(wrapper=True)
        def multigrey_register(self, registry):
            return (yield)

    assert "must not be a wrapper" in mistake_of(point("bad", Bad()))


def test_a_hook_of_somebody_else_does_not_count():
    class Bad:
        @pluggy.HookimplMarker("pytest")
        def multigrey_register(self, registry):
            pass

    assert "has no hook" in mistake_of(point("bad", Bad()))


def test_two_plugins_of_one_name_are_an_error():
    one, two = (plugin(register_trait(name)) for name in ("one", "two"))
    message = mistake_of(point("same", one, "first"), point("same", two, "second"))
    assert message == (
        "plugin same (second 1.0): is the same plugin as plugin same (first 1.0), or has the same name"
    )


def test_one_object_under_two_names_is_an_error():
    one = plugin(register_trait("one"))
    message = mistake_of(point("a", one), point("b", one))
    assert message.startswith("plugin b (multigrey-b 1.0): is the same plugin as plugin a (multigrey-a 1.0)")


def test_all_mistakes_are_told_at_once():
    class Misspelt:
        @hookimpl
        def multigrey_registre(self, registry):
            pass

    message = mistake_of(point("a", Misspelt()), point("b", object()), point("c", plugin(table="greylist")))
    assert [line.partition(" (")[0] for line in message.splitlines()] == ["plugin a", "plugin b", "plugin c"]


@pytest.mark.parametrize(
    "result",
    [
        None,
        "name",
        ("name",),
        ("name", dict),
        ("", Settings),
        ("name", Settings()),
        (3, Settings),
        ("a", BaseModel, 1),
    ],
)
def test_settings_of_the_wrong_shape_are_an_error(result):
    class Bad:
        @hookimpl
        def multigrey_settings(self):
            return result

    assert "must return a name and a class made from BaseModel" in mistake_of(point("bad", Bad()))


def test_async_settings_are_an_error_and_leave_no_warning(recwarn):
    class Bad:
        @hookimpl
        async def multigrey_settings(self):
            return "bad", Settings

    assert "must return a name" in mistake_of(point("bad", Bad()))
    gc.collect()
    assert not recwarn.list


def test_the_greylist_table_is_taken():
    assert "[plugins.greylist]: this name is reserved" in mistake_of(point("a", plugin(table="greylist")))


def test_two_plugins_for_one_table_are_an_error():
    message = mistake_of(point("a", plugin(table="same")), point("b", plugin(table="same")))
    assert message == (
        "plugin b (multigrey-b 1.0): [plugins.same] is already the table of plugin a (multigrey-a 1.0)"
    )


# Plugins whose register fails


def fail_half_way(registry, settings):
    registry.trait("half", Trait(True))
    registry.key_component("half", Text("x"))
    raise FileNotFoundError(2, "No such file or directory", "/nowhere/asn.mmdb")


def test_one_that_raises_is_named_and_rolled_back_and_hides_nobody():
    plugins = load(
        point("a", plugin(register_trait("a"))),
        point("b", plugin(fail_half_way, "b")),
        point("c", plugin(register_trait("c"))),
    )
    built = plugins.register(GREYLIST)
    assert {"a", "c"} <= built.traits.keys()
    assert "half" not in built.traits
    assert "half" not in built.key_components
    assert not any(name == "half" for _, name in built.owners)
    (warning,) = built.warnings
    assert warning.startswith("plugin b (multigrey-b 1.0): FileNotFoundError: [Errno 2] No such file")
    assert "/nowhere/asn.mmdb" in warning


def test_one_that_raises_is_an_error_if_it_is_configured():
    plugins = load(point("b", plugin(fail_half_way, "b")), point("c", plugin(register_trait("c"), "c")))
    with pytest.raises(PluginError, match=r"^plugin b \(multigrey-b 1.0\): FileNotFoundError.*asn.mmdb"):
        plugins.register({**GREYLIST, "b": Settings(), "c": Settings()})


def test_defaults_are_no_configuration():
    plugins = load(point("b", plugin(fail_half_way, "b")))
    settings = {**GREYLIST, "b": Settings()}
    assert len(plugins.register(settings, configured=()).warnings) == 1
    with pytest.raises(PluginError, match="plugin b"):
        plugins.register(settings, configured={"b"})


def test_every_failure_of_a_configured_plugin_is_told():
    plugins = load(point("a", plugin(fail_half_way, "a")), point("b", plugin(fail_half_way, "b")))
    with pytest.raises(PluginError) as caught:
        plugins.register({**GREYLIST, "a": Settings(), "b": Settings(), "gone": Settings()})
    lines = str(caught.value).splitlines()
    assert [line.split()[1] for line in lines] == ["no", "a", "b"]


def test_an_async_register_is_refused_and_leaves_no_warning(recwarn):
    class Bad:
        @hookimpl
        async def multigrey_register(self, registry):
            pytest.fail("nobody awaits this")

    (warning,) = load(point("bad", Bad())).register(GREYLIST).warnings
    assert warning.endswith("multigrey_register must be a plain function that returns nothing")
    gc.collect()
    assert not recwarn.list


def test_system_exit_of_a_plugin_does_not_end_the_daemon():
    def leave(registry, settings):
        sys.exit("licence expired")

    (warning,) = load(point("bad", plugin(leave))).register(GREYLIST).warnings
    assert "SystemExit: licence expired" in warning


def test_a_name_taken_names_both():
    plugins = load(
        point("a", plugin(register_trait("same"))), point("b", plugin(register_trait("same"), "b"))
    )
    (warning,) = plugins.register(GREYLIST).warnings
    assert warning == (
        "plugin b (multigrey-b 1.0): trait 'same' is already registered by plugin a (multigrey-a 1.0)"
    )
    with pytest.raises(PluginError, match=r"plugin b .* plugin a "):
        plugins.register({**GREYLIST, "b": Settings()})


def test_built_in_names_are_taken():
    plugins = load(point("a", plugin(lambda registry, settings: registry.key_component("sender", Text("x")))))
    (warning,) = plugins.register(GREYLIST).warnings
    assert "'sender' is already registered by plugin multigrey (built in)" in warning


# Files


PLUGIN = """
from __future__ import annotations
from dataclasses import dataclass
from pydantic import BaseModel
from multigrey.api import hookimpl

class Local(BaseModel):
    words: list[Word] = []

class Word(BaseModel):
    text: str

@dataclass
class Fixed:
    value: bool
    def holds(self, attempt):
        return self.value

@hookimpl
def multigrey_settings():
    return "local", Local

@hookimpl
def multigrey_register(registry, settings):
    registry.trait("VERSION", Fixed(True))
"""


def test_a_file_in_the_directory_is_a_plugin(directory):
    path = directory("local.py", PLUGIN.replace("VERSION", "one"))
    directory("_helper.py", "raise RuntimeError")
    directory("notes.txt", "not Python")
    plugins = load(directory=directory.path)
    assert plugins.infos[1:] == (PluginInfo("local", str(path)),)
    model = plugins.settings_models()["local"]
    settings = {**GREYLIST, "local": model.model_validate({"words": [{"text": "a"}]})}
    assert plugins.register(settings).traits["one"].holds(attempt())


def test_a_file_is_read_anew_each_time(directory):
    """Also when neither its size nor the second of its change differ."""
    path = directory("local.py", PLUGIN.replace("VERSION", "one"))
    stamp = (1_000_000_000, 1_000_000_000)
    os.utime(path, stamp)
    before = load(directory=directory.path).register(GREYLIST)
    path.write_text(PLUGIN.replace("VERSION", "two"))
    os.utime(path, stamp)
    after = load(directory=directory.path).register(GREYLIST)
    assert ("one" in before.traits, "two" in after.traits, "one" in after.traits) == (True, True, False)
    assert not (directory.path / "__pycache__").exists()


def test_a_broken_file_is_named_and_skipped(directory):
    path = directory("bad.py", "import gone_for_good\n")
    directory("worse.py", "def\n")
    directory("local.py", PLUGIN)
    modules = set(sys.modules)
    plugins = load(directory=directory.path)
    assert [info.name for info in plugins.infos] == ["multigrey", "local"]
    bad, worse = plugins.register(GREYLIST).warnings
    assert bad.startswith(f"plugin bad ({path}) could not be loaded: ModuleNotFoundError")
    assert f"{path}:1" in bad
    assert "SyntaxError" in worse
    assert all(
        "_local_" in name for name in set(sys.modules) - modules if name.startswith("multigrey_plugin")
    )


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_directory_others_can_write_is_refused(directory, mode):
    directory.path.chmod(mode)
    assert "is writable by group or others" in mistake_of(directory=directory.path)


@pytest.mark.parametrize("name", ["local.py", "_helper.py"])
def test_a_file_others_can_write_is_refused(directory, name):
    path = directory(name, PLUGIN)
    path.chmod(0o664)
    assert mistake_of(directory=directory.path).startswith(f"{path}: is writable by group or others")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("everything", [True, False], ids=["directory", "file"])
def test_root_runs_no_code_of_another_user(directory, short_directory, everything):
    """The daemon's user may own the plugins; a command that root calls would run them as root."""
    marker = short_directory / "marker"
    text = f"{PLUGIN}\nimport pathlib\npathlib.Path({str(marker)!r}).touch()\n"
    path = directory("local.py", text)
    load(directory=directory.path)
    assert marker.exists(), "a plugin of root runs"
    marker.unlink()
    for each in [directory.path, path] if everything else [path]:
        os.chown(each, 65534, 65534)
    mistake = mistake_of(directory=directory.path)
    assert "belongs to user id 65534, and root runs no code of other users: run the command as" in mistake
    assert not marker.exists()


def test_a_directory_that_is_not_there_is_an_error(tmp_path):
    assert (
        mistake_of(directory=tmp_path / "gone")
        == f"{tmp_path}/gone: cannot be read: No such file or directory"
    )


def test_the_table_of_the_control_socket_is_everybodys():
    assert "[plugins.control]: this name is reserved" in mistake_of(point("a", plugin(table="control")))
