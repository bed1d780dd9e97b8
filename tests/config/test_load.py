"""Loading as a whole: precedence, origins, places of problems, tables of plugins."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field

from multigrey.config.load import load
from multigrey.config.values.types import FilePath, UnixEndpoint, duration
from multigrey.errors import ConfigError, Problem

SYSTEMD = {"STATE_DIRECTORY": "/var/lib/multigrey", "RUNTIME_DIRECTORY": "/run/multigrey"}
PLAIN = {"HOME": "/nonexistent"}


@pytest.fixture
def write(tmp_path):
    """Writes a configuration and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "multigrey.toml"
        path.write_text(text)
        path.chmod(0o644)
        return path

    return write


def test_no_file_at_all():
    loaded = load(None, SYSTEMD)
    assert loaded.path is None
    assert loaded.warnings == ()
    assert loaded.settings.state_dir == Path("/var/lib/multigrey")
    assert [str(listen.address) for listen in loaded.settings.listen] == [
        "tcp:127.0.0.1:10023",
        "tcp:127.0.0.1:10024",
        "unix:/run/multigrey/postfix.sock",
        "unix:/run/multigrey/exim.sock",
    ]
    assert {listen.mode for listen in loaded.settings.listen} == {0o660}


@pytest.mark.parametrize(
    ("uid", "state_dir"), [(0, "/var/lib/multigrey"), (1000, "/nonexistent/.local/state/multigrey")]
)
def test_defaults_follow_the_user_it_was_started_as(uid, state_dir):
    loaded = load(None, PLAIN, uid=uid)
    assert loaded.settings.state_dir == Path(state_dir)
    assert loaded.settings.listen[2].address == UnixEndpoint(Path(state_dir) / "run" / "postfix.sock")


def test_nowhere_to_keep_state():
    with pytest.raises(ConfigError) as caught:
        load(None, {}, uid=1000)
    [problem] = caught.value.problems
    assert str(problem).startswith(
        "default: state_dir: has no default, because neither $STATE_DIRECTORY nor $HOME"
    )


def test_a_wrong_state_dir_is_one_problem(write):
    with pytest.raises(ConfigError) as caught:
        load(write("state_dir = 5\n"), SYSTEMD)
    assert len(caught.value.problems) == 1


def test_the_users_own_file_is_found(tmp_path):
    path = tmp_path / "multigrey" / "multigrey.toml"
    path.parent.mkdir()
    path.write_text('[greylist]\ndelay = "3m"\n')
    path.chmod(0o644)
    loaded = load(None, {"XDG_CONFIG_HOME": str(tmp_path), **SYSTEMD})
    assert loaded.path == path
    assert loaded.settings.greylist.delay == 180


def test_a_file_without_listeners_has_the_default_ones(write):
    loaded = load(write('state_dir = "state"\n'), PLAIN)
    directory = loaded.path.parent
    assert loaded.settings.state_dir == directory / "state"
    assert loaded.settings.listen[3].address == UnixEndpoint(directory / "state/run/exim.sock")
    assert (
        len(load(write('[[listen]]\nprotocol = "exim"\naddress = "systemd:exim"\n'), SYSTEMD).settings.listen)
        == 1
    )


def test_the_command_line_wins(write):
    path = write('state_dir = "/file"\nuser = "mail"\n[greylist]\ndelay = "3m"\n')
    loaded = load(path, SYSTEMD, {"state_dir": "/line", "greylist.max_age": "40d"})
    assert loaded.settings.state_dir == Path("/line")
    assert loaded.settings.user == "mail"
    assert loaded.settings.greylist.max_age == 40 * 86_400


def test_origins(write):
    path = write(
        'user = "mail"\n[greylist]\ndelay = "3m"\nkey = [\n"sender",\n"recipient"]\n'
        '[[listen]]\nprotocol = "exim"\naddress = "systemd:exim"\n'
    )
    loaded = load(path, SYSTEMD, {"greylist.max_age": "40d"})
    origins = {
        "user": f"{path}:1",
        "state_dir": "environment",
        "greylist.delay": f"{path}:3",
        "greylist.key": f"{path}:4",
        "greylist.key[2]": f"{path}:6",
        "greylist.max_age": "command line",
        "greylist.text": "default",
        "listen[1].address": f"{path}:9",
        "listen[1].mode": "default",
        "limits.idle": "default",
    }
    assert {key: loaded.origin_of(key) for key in origins} == origins
    assert loaded.origin_of(("listen", 0, "protocol")) == f"{path}:8"
    assert load(None, SYSTEMD).origin_of("listen[3].address") == "environment"
    assert load(None, PLAIN, uid=0).origin_of("listen[3].address") == "default"
    assert load(None, PLAIN, uid=0).origin_of("state_dir") == "default"


def test_later_problems_have_their_place_too(write):
    path = write('[[listen]]\nprotocol = "exm"\naddress = "systemd:exim"\n')
    loaded = load(path, SYSTEMD, {"store.backend": "lmbd"})
    assert loaded.problem(("listen", 0, "protocol"), "x") == Problem(str(path), 2, "listen[1].protocol", "x")
    assert loaded.problem(("listen", 0, "name"), "x") == Problem(str(path), 1, "listen[1].name", "x")
    assert loaded.problem(("greylist", "key", 0), "x") == Problem(str(path), None, "greylist.key[1]", "x")
    assert loaded.problem(("store", "backend"), "x") == Problem("command line", None, "store.backend", "x")
    assert load(None, SYSTEMD).problem(("greylist", "key"), "x").file == "default"


def test_a_wrong_word_on_the_command_line_is_said_to_be_there(write):
    with pytest.raises(ConfigError) as caught:
        load(write("[greylist]\n"), SYSTEMD, {"greylist.delay": "3", "user": ""})
    assert [str(problem).split(": ")[:2] for problem in caught.value.problems] == [
        ["command line", "greylist.delay"],
        ["command line", "user"],
    ]


def test_an_override_inside_what_is_no_table_is_harmless(write):
    with pytest.raises(ConfigError, match="greylist: expected a table, got 5"):
        load(write("greylist = 5\n"), SYSTEMD, {"greylist.delay": "3m"})


def test_warnings_do_not_stop_it(write):
    path = write('[greylist]\ntext = "Service unavailable"\n[limits]\nidle = "10s"\n')
    loaded = load(path, SYSTEMD)
    assert [(warning.line, warning.key) for warning in loaded.warnings] == [
        (2, "greylist.text"),
        (4, "limits.idle"),
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_the_user_to_be_may_own_the_plugin_directory(write, tmp_path):
    plugins = tmp_path / "plugins"
    plugins.mkdir(mode=0o755)
    os.chown(plugins, 65_534, -1)
    path = write('user = "nobody"\n[plugins]\ndir = "plugins"\n')
    assert load(path, SYSTEMD).settings.plugins.dir == plugins
    with pytest.raises(ConfigError, match="belongs to user id 65534"):
        load(write('[plugins]\ndir = "plugins"\n'), SYSTEMD)


class Geo(BaseModel):
    model_config = ConfigDict(extra="forbid")

    database: FilePath
    refresh: Annotated[int, duration("1m")] = 3600
    limit: int = Field(default=5, ge=1)


class Easy(BaseModel):
    colour: str = "grey"


MODELS = {"geoip": Geo, "easy": Easy}


def test_tables_of_plugins(write):
    path = write('[plugins.geoip]\ndatabase = "asn.mmdb"\nrefresh = "2h"\n[plugins]\ndir = "."\n')
    loaded = load(path, SYSTEMD)
    tables = loaded.plugin_tables(MODELS)
    assert tables == {"geoip": Geo(database=path.parent / "asn.mmdb", refresh="2h"), "easy": Easy()}
    assert loaded.origin_of("plugins.geoip.refresh") == f"{path}:3"


def test_a_plugin_that_needs_settings_and_has_none_is_left_out(write):
    assert load(write("\n"), SYSTEMD).plugin_tables(MODELS) == {"easy": Easy()}
    assert load(None, SYSTEMD).plugin_tables({}) == {}


def test_everything_wrong_with_the_tables_of_plugins(write):
    path = write('[plugins.geoip]\nrefresh = 2\nlimt = 7\nlimit = 0\n[plugins.esy]\n[plugins."b b"]\n')
    with pytest.raises(ConfigError) as caught:
        load(path, SYSTEMD).plugin_tables(MODELS)
    assert [str(problem).removeprefix(str(path)) for problem in caught.value.problems] == [
        ':5: plugins.esy: no plugin of this name is installed; did you mean "easy"?',
        ':6: plugins."b b": no plugin of this name is installed (plugins with settings: easy, geoip)',
        ":1: plugins.geoip.database: is missing, and has no default",
        ':2: plugins.geoip.refresh: 2 has no unit; write "2s" for 2 seconds',
        ":4: plugins.geoip.limit: is 0; expected at least 1",
        ':3: plugins.geoip.limt: unknown key; did you mean "limit"?',
    ]


def test_tables_are_not_shared_with_whoever_reads_them(write):
    class Keeper(BaseModel):
        inner: dict[str, int] = {}

    loaded = load(write("[plugins.keeper]\ninner = { a = 1 }\n"), SYSTEMD)
    loaded.plugin_tables({"keeper": Keeper})["keeper"].inner["a"] = 2
    assert loaded.plugin_tables({"keeper": Keeper})["keeper"].inner == {"a": 1}
