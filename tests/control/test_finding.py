"""Where the control socket of a configuration is."""

from __future__ import annotations

from pathlib import Path

import pytest

from multigrey.control import finding
from multigrey.control.finding import load_as_daemon, socket_of, system_state_dir
from multigrey.errors import ConfigError


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
    monkeypatch.setattr(finding, "SYSTEM_CONFIG", path)
    loaded = load_as_daemon(path, {"HOME": "/home/somebody"})
    assert socket_of(loaded.settings) == system_state_dir() / "control.sock"


def test_a_wrong_one_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="nonsense"):
        load_as_daemon(written(tmp_path, "nonsense = 1"), {})
