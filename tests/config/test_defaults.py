"""The default locations, for every combination of environment and user."""

from __future__ import annotations

from pathlib import Path

import pytest

from multigrey.config.defaults import (
    SYSTEM_CONFIG,
    Default,
    find_config,
    handed_over,
    listen_default,
    state_dir_default,
)

HOME = {"HOME": "/home/mail"}


@pytest.mark.parametrize(
    ("environ", "there", "found"),
    [
        (HOME, [], None),
        ({}, [], None),
        (HOME, ["/etc/multigrey/multigrey.toml"], "/etc/multigrey/multigrey.toml"),
        ({}, ["/etc/multigrey/multigrey.toml"], "/etc/multigrey/multigrey.toml"),
        (
            HOME,
            ["/home/mail/.config/multigrey/multigrey.toml"],
            "/home/mail/.config/multigrey/multigrey.toml",
        ),
        (
            HOME,
            ["/home/mail/.config/multigrey/multigrey.toml", "/etc/multigrey/multigrey.toml"],
            "/etc/multigrey/multigrey.toml",
        ),
        (
            {**HOME, "XDG_CONFIG_HOME": "/srv/config"},
            ["/srv/config/multigrey/multigrey.toml", "/home/mail/.config/multigrey/multigrey.toml"],
            "/srv/config/multigrey/multigrey.toml",
        ),
        (
            {**HOME, "XDG_CONFIG_HOME": "relative"},
            ["/home/mail/.config/multigrey/multigrey.toml"],
            "/home/mail/.config/multigrey/multigrey.toml",
        ),
        ({"HOME": "relative"}, ["relative/.config/multigrey/multigrey.toml"], None),
    ],
)
def test_the_configuration_is_looked_for(environ, there, found):
    result = find_config(environ, lambda path: str(path) in there)
    assert result == (found and Path(found))


def test_the_system_file_is_where_packages_put_it():
    assert Path("/etc/multigrey/multigrey.toml") == SYSTEM_CONFIG


@pytest.mark.parametrize(
    ("environ", "uid", "expected"),
    [
        ({}, 0, Default("/var/lib/multigrey", "default")),
        (HOME, 0, Default("/var/lib/multigrey", "default")),
        (HOME, 1000, Default("/home/mail/.local/state/multigrey", "environment")),
        ({**HOME, "XDG_STATE_HOME": "/srv/state"}, 1000, Default("/srv/state/multigrey", "environment")),
        (
            {**HOME, "XDG_STATE_HOME": "state"},
            1000,
            Default("/home/mail/.local/state/multigrey", "environment"),
        ),
        ({"STATE_DIRECTORY": "/var/lib/grey"}, 0, Default("/var/lib/grey", "environment")),
        ({**HOME, "STATE_DIRECTORY": "/a:/b"}, 1000, Default("/a", "environment")),
        ({**HOME, "STATE_DIRECTORY": ""}, 1000, Default("/home/mail/.local/state/multigrey", "environment")),
        ({"STATE_DIRECTORY": "relative"}, 0, Default("/var/lib/multigrey", "default")),
        ({}, 1000, None),
    ],
)
def test_the_state_directory(environ, uid, expected):
    assert state_dir_default(environ, uid) == expected


@pytest.mark.parametrize(
    ("environ", "sockets", "origin"),
    [
        ({}, "/state/run", "default"),
        ({"RUNTIME_DIRECTORY": "/run/multigrey"}, "/run/multigrey", "environment"),
        ({"RUNTIME_DIRECTORY": "/run/multigrey:/run/other"}, "/run/multigrey", "environment"),
        ({"RUNTIME_DIRECTORY": "multigrey"}, "/state/run", "default"),
    ],
)
def test_the_listeners(environ, sockets, origin):
    default = listen_default(environ, Path("/state"))
    assert default.origin == origin
    assert [(table["protocol"], table["address"]) for table in default.value] == [
        ("postfix", "tcp:127.0.0.1:10023"),
        ("exim", "tcp:127.0.0.1:10024"),
        ("postfix", f"unix:{sockets}/postfix.sock"),
        ("exim", f"unix:{sockets}/exim.sock"),
    ]


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({}, []),
        ({"LISTEN_PID": "41", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "postfix"}, []),
        ({"LISTEN_PID": "42", "LISTEN_FDS": "0", "LISTEN_FDNAMES": ""}, []),
        ({"LISTEN_PID": "42", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "exim:postfix"}, ["exim", "postfix"]),
        ({"LISTEN_PID": "42", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "exim"}, ["exim", "unknown"]),
    ],
)
def test_the_sockets_that_systemd_hands_over(environ, names):
    assert handed_over(environ, 42) == names


def test_sockets_that_are_handed_over_are_the_listeners():
    default = listen_default({"RUNTIME_DIRECTORY": "/run/x"}, Path("/state"), ["exim", "postfix", "exim"])
    assert default.origin == "environment"
    assert default.value == [
        {"protocol": "exim", "address": "systemd:exim"},
        {"protocol": "postfix", "address": "systemd:postfix"},
    ]
