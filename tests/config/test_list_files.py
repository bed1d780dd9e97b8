"""Lists that need no `[[whitelist]]` table, and whose directory nobody else may change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from multigrey.config.list_files import default_lists, ignored_in, inside, lists_directory
from multigrey.config.load import load
from multigrey.config.show import as_toml
from multigrey.errors import ConfigError

ENVIRON = {"HOME": "/home/ann"}
OWN = Path("/home/ann/.config/multigrey/whitelists")
SYSTEM = Path("/etc/multigrey/whitelists")


@pytest.mark.parametrize(
    ("config", "environ", "uid", "there", "directory"),
    [
        (Path("/srv/mail/multigrey.toml"), ENVIRON, 0, (), Path("/srv/mail/whitelists")),
        (None, ENVIRON, 0, (), SYSTEM),
        (None, ENVIRON, 1000, (), OWN),
        (None, ENVIRON, 1000, (SYSTEM,), SYSTEM),
        (None, ENVIRON, 1000, (SYSTEM, OWN), SYSTEM),
        (None, ENVIRON, 0, (OWN,), OWN),
        (None, {}, 1000, (), SYSTEM),
    ],
)
def test_where_the_directory_is(config, environ, uid, there, directory):
    assert lists_directory(config, environ, uid, there.__contains__) == directory


def test_what_is_read_in_it(tmp_path):
    names = ["b.toml", "a.toml", "whitelist_clients", "whitelist_clients.local", "whitelist_recipients.local"]
    for name in [*names, "README", ".hidden.toml", "a.toml~", "a.toml.dpkg-old", "a.toml.bak"]:
        (tmp_path / name).write_text("")
    found = [(source, path.name) for source, path in default_lists(tmp_path, set())]
    assert found == [
        ("list", "a.toml"),
        ("list", "b.toml"),
        ("postgrey-clients", "whitelist_clients"),  # which reads the .local file itself
        ("postgrey-recipients", "whitelist_recipients.local"),
    ]
    assert [path.name for path in inside(tmp_path)] == sorted(["README", *names])
    assert [path.name for path in ignored_in(tmp_path, default=True)] == ["README"]
    assert len(ignored_in(tmp_path)) == 4


def test_what_a_table_names_is_read_once(tmp_path):
    for name in ("a.toml", "b.toml", "whitelist_clients"):
        (tmp_path / name).write_text("")
    real = Path(os.path.realpath(tmp_path))
    assert [path.name for _, path in default_lists(tmp_path, {real / "a.toml"})] == [
        "b.toml",
        "whitelist_clients",
    ]
    assert [path.name for _, path in default_lists(tmp_path, {real})] == ["whitelist_clients"]


# --- in a configuration ----------------------------------------------------------------------------


def site(directory: Path, text: str = "", *names: str) -> Path:
    directory.chmod(0o755)
    (directory / "whitelists").mkdir(mode=0o755)
    for name in names:
        (directory / "whitelists" / name).write_text("")
    config = directory / "multigrey.toml"
    config.write_text(text)
    return config


def test_a_configuration_has_tables_for_them_that_it_shows(tmp_path):
    text = '[[whitelist]]\nsource = "list"\npath = "whitelists/named.toml"\nowner = "ops"\n'
    config = site(tmp_path, text, "named.toml", "other.toml")
    loaded = load(config, {"STATE_DIRECTORY": "/s"})
    lists = tmp_path / "whitelists"
    assert loaded.lists_dir == lists
    assert [(each.path, each.owner) for each in loaded.settings.whitelist] == [
        (lists / "named.toml", "ops"),
        (lists / "other.toml", None),
    ]
    assert loaded.origin_of("whitelist[1].path") == f"{config}:3"
    assert loaded.origin_of("whitelist[2].path") == "default"
    shown = as_toml(loaded)
    assert f'path = "{lists}/other.toml"  # default' in shown
    config.write_text(shown)
    assert load(config, {"STATE_DIRECTORY": "/s"}).settings == loaded.settings


def test_an_empty_directory_and_none_are_no_fault(tmp_path):
    config = site(tmp_path)
    assert load(config, {"STATE_DIRECTORY": "/s"}).settings.whitelist == ()
    (tmp_path / "whitelists").rmdir()
    assert load(config, {"STATE_DIRECTORY": "/s"}).settings.whitelist == ()
    assert load(config, {"STATE_DIRECTORY": "/s"}).warnings == ()


@pytest.mark.parametrize(
    "whitelist", ["whitelist = 3\n", "[whitelist]\npath = 3\n", '[[whitelist]]\npath = "\\u0000"\n']
)
def test_a_wrong_table_is_reported_as_before(tmp_path, whitelist):
    config = site(tmp_path, whitelist, "a.toml")
    with pytest.raises(ConfigError):
        load(config, {"STATE_DIRECTORY": "/s"})


@pytest.mark.parametrize("names", [(), ("a.toml",)])
def test_nobody_else_may_put_lists_there(tmp_path, names):
    config = site(tmp_path, "", *names)
    lists = tmp_path / "whitelists"
    for place in (lists, tmp_path):
        place.chmod(0o775)
        with pytest.raises(ConfigError) as told:
            load(config, {"STATE_DIRECTORY": "/s"})
        assert [f"run chmod go-w {place}" in str(problem) for problem in told.value.problems] == [True]
        place.chmod(0o755)
    tmp_path.chmod(0o1777)  # as /tmp: nobody can replace another user's directory
    load(config, {"STATE_DIRECTORY": "/s"})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_it_belongs_to_root_or_the_daemons_user(tmp_path):
    config = site(tmp_path)
    os.chown(tmp_path / "whitelists", 12_345, 12_345)
    with pytest.raises(ConfigError, match="belongs to user id 12345"):
        load(config, {"STATE_DIRECTORY": "/s"})
    config.write_text('[[whitelist]]\nsource = "list"\npath = "whitelists"\n')  # chosen by the administrator
    load(config, {"STATE_DIRECTORY": "/s"})
