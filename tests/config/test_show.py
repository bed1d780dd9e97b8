"""What show-config writes is a configuration again, and says where each value is from."""

from __future__ import annotations

import tomllib

import pytest

from multigrey.config.load import load
from multigrey.config.show import as_plain, as_toml

SYSTEMD = {"STATE_DIRECTORY": "/var/lib/multigrey"}

RICH = r"""
state_dir = "/srv/multi grey"
user = "mail"

[greylist]
delay = "90s"
unnamed_delay = "1h30m"
key = ["client-address", "helo"]
text = "Later, \"please\" \\o/"
recipient_delimiter = "+-"
message_pass = false
auto_whitelist_after = 0

[[listen]]
protocol = "postfix"
address = "unix:/var/spool/postfix/multigrey/policy.sock"
group = "postfix"
mode = 0o600
on_error = "silent"

[[listen]]
protocol = "exim"
address = "tcp:[2001:db8::1]:10024"
name = "exim on the wire"
allow_from = ["2001:db8::/64", "192.0.2.1"]

[[listen]]
protocol = "postfix"
address = "systemd:postfix"

[[whitelist]]
source = "postgrey-clients"
path = "clients"
owner = "postmaster@example.org"

[[rule]]
name = "strangers"
traits = ["no-client-name"]
action = "greylist"
delay = "10m"

[[rule]]
name = "bounces"
traits = []
action = "reject"
text = "No bounces"

[store]
backend = "memory"
map_size = 10_000_000

[limits]
slow = "250ms"
request_size = "128KiB"

[control]
address = "unix:/run/multigrey/control.sock"

[log]
format = "postgrey"
to = "/var/log/multigrey.log"

[plugins.geoip]
"odd key" = 1
nested = { a = [1, 2.5, { b = "c" }], "d d" = true, e = {} }
when = 1979-05-27T07:32:00Z
text = "control \u007f \u0000 \n ä"

[plugins."a b"]
x = -1e30
"""


@pytest.mark.parametrize("text", [RICH, "", '[log]\nformat = "postgrey"\n'], ids=["rich", "empty", "small"])
def test_what_is_shown_loads_to_the_same_settings(tmp_path, text):
    first = tmp_path / "first.toml"
    first.write_text(text)
    first.chmod(0o644)
    loaded = load(first, SYSTEMD)

    second = tmp_path / "second.toml"
    second.write_text(as_toml(loaded))
    second.chmod(0o644)
    again = load(second, {})
    assert again.settings == loaded.settings
    assert again.settings.plugins.tables == loaded.settings.plugins.tables

    assert [_values(line) for line in as_toml(again).splitlines()] == [
        _values(line) for line in as_toml(loaded).splitlines()
    ]


def _values(line: str) -> str:
    return line.rpartition("  # ")[0]


def test_each_value_has_its_origin_behind_it(tmp_path):
    path = tmp_path / "multigrey.toml"
    path.write_text(RICH)
    path.chmod(0o644)
    lines = as_toml(load(path, SYSTEMD, {"user": "nobody"})).splitlines()
    assert f'delay = "1m30s"  # {path}:6' in lines
    assert 'user = "nobody"  # command line' in lines
    assert 'retry_window = "2d"  # default' in lines
    assert f'mode = "0600"  # {path}:18' in lines
    odd = '"odd key" = 1'
    assert f"{odd}  # {path}:{RICH.splitlines().index(odd) + 1}" in lines
    assert any(line.startswith(f'map_size = "10MB"  # {path}:') for line in lines)
    assert "# dir is not set  # default" in lines
    assert all("  # " in line or line[:1] in {"", "["} for line in lines)


def test_every_key_is_shown_for_some_listener():
    shown = as_toml(load(None, SYSTEMD))
    for key in ("protocol", "address", "name", "mode", "owner", "group", "allow_from", "on_error"):
        assert f"\n{key} = " in shown or f"\n# {key} is not set" in shown


def test_json(tmp_path):
    path = tmp_path / "multigrey.toml"
    path.write_text(RICH)
    path.chmod(0o644)
    loaded = load(path, SYSTEMD)
    document = as_plain(loaded)
    assert document["path"] == str(path)
    settings = document["settings"]
    assert settings["greylist"]["delay"] == "1m30s"
    assert settings["greylist"]["message_pass"] is False
    assert settings["listen"][1]["allow_from"] == ["2001:db8::/64", "192.0.2.1/32"]
    assert settings["control"]["address"] == "unix:/run/multigrey/control.sock"
    assert settings["plugins"]["geoip"]["nested"]["a"] == [1, 2.5, {"b": "c"}]
    assert document["origins"]["greylist.delay"] == f"{path}:6"
    assert document["origins"]["listen[2].on_error"] == "default"
    assert as_plain(load(None, SYSTEMD))["path"] is None

    del settings["plugins"]["geoip"]["when"], tomllib.loads(as_toml(loaded))["plugins"]["geoip"]["when"]
    written = tomllib.loads(as_toml(loaded))
    assert {key: value for key, value in settings["greylist"].items() if value is not None} == written[
        "greylist"
    ]
