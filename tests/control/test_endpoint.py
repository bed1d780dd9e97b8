"""Where the control socket is, and who may connect."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from multigrey.config.settings import Control
from multigrey.control import endpoint
from multigrey.control.endpoint import control_path, load_as_daemon, open_control, socket_of, system_state_dir
from multigrey.errors import ConfigError, ListenerError
from tests.support.control import make_settings


@pytest.mark.parametrize(
    ("control", "path"),
    [
        ({}, Path("/state/control.sock")),
        ({"address": "unix:/run/c"}, Path("/run/c")),
        ({"address": "off"}, None),
    ],
)
def test_where_it_is(control, path):
    assert control_path(Control.model_validate(control), Path("/state")) == path


@pytest.mark.parametrize(
    ("control", "mode"),
    [
        ("", 0o600),
        ('read_group = "adm"', 0o666),
        ('operate_group = "adm"', 0o666),
        ('admin_group = "adm"', 0o666),
    ],
)
def test_only_with_groups_others_may_connect(tmp_path, control, mode):
    opened = open_control(make_settings(tmp_path, f"[control]\n{control}"))
    assert opened is not None
    assert stat.S_IMODE((tmp_path / "control.sock").stat().st_mode) == mode
    opened.close()
    assert not (tmp_path / "control.sock").exists()


def test_none_at_all(tmp_path):
    assert open_control(make_settings(tmp_path, '[control]\naddress = "off"')) is None


def test_a_path_that_is_too_long_costs_the_control_socket_only(tmp_path, caplog):
    settings = make_settings(tmp_path).model_copy(update={"state_dir": tmp_path / ("x" * 100)})
    assert open_control(settings) is None
    assert "no control socket" in caplog.text


def test_an_address_that_was_chosen_has_to_work(tmp_path):
    (tmp_path / "c").write_text("")
    with pytest.raises(ListenerError, match="is not a socket"):
        open_control(make_settings(tmp_path, '[control]\naddress = "unix:{dir}/c"'))


def written(directory, text):
    path = directory / "multigrey.toml"
    path.write_text(text)
    path.chmod(0o644)
    return path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", "/var/lib/mg/control.sock"),
        ('state_dir = "/srv/mg"', "/srv/mg/control.sock"),
        ('[control]\naddress = "unix:/run/mg.sock"', "/run/mg.sock"),
    ],
)
def test_it_is_where_the_configuration_says(tmp_path, text, path):
    loaded = load_as_daemon(written(tmp_path, text), {"STATE_DIRECTORY": "/var/lib/mg"})
    assert socket_of(loaded.settings) == Path(path)


def test_there_may_be_none(tmp_path):
    loaded = load_as_daemon(written(tmp_path, '[control]\naddress = "off"'), {"STATE_DIRECTORY": "/nowhere"})
    assert socket_of(loaded.settings) is None


def test_the_configuration_of_the_system_has_the_state_of_the_system(tmp_path, monkeypatch):
    path = written(tmp_path, "")
    monkeypatch.setattr(endpoint, "SYSTEM_CONFIG", path)
    loaded = load_as_daemon(path, {"HOME": "/home/somebody"})
    assert socket_of(loaded.settings) == system_state_dir() / "control.sock"


def test_a_wrong_one_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="nonsense"):
        load_as_daemon(written(tmp_path, "nonsense = 1"), {})


def test_sockets_of_the_system_are_those_that_systemd_hands_over(tmp_path, monkeypatch):
    """A command on the same host, which systemd hands nothing over to, sees the listeners of the daemon."""
    monkeypatch.setattr(endpoint, "enabled_names", lambda: ["postfix"])
    monkeypatch.setattr(endpoint, "SYSTEM_CONFIG", path := written(tmp_path, ""))
    listens = load_as_daemon(path, {"HOME": "/home/alice"}).settings.listen
    assert [str(each.address) for each in listens] == ["systemd:postfix"]
    own = 'listen = [{protocol = "exim", address = "tcp:127.0.0.1:1234"}]'
    listens = load_as_daemon(written(tmp_path, own), {"HOME": "/home/alice"}).settings.listen
    assert [str(each.address) for each in listens] == ["tcp:127.0.0.1:1234"]
    named = load_as_daemon(written(tmp_path, 'state_dir = "/srv/mg"'), {"HOME": "/home/alice"})
    assert len(named.settings.listen) == 4
