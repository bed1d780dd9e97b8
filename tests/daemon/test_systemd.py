"""systemd's environment variables and datagrams."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from multigrey.config.defaults import SYSTEM_CONFIG
from multigrey.daemon.systemd import Notifier, find_unit, inherited_sockets, watchdog_seconds


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, {}),
        ({"LISTEN_PID": "41", "LISTEN_FDS": "1"}, {}),
        ({"LISTEN_PID": "nonsense", "LISTEN_FDS": "1"}, {}),
        ({"LISTEN_PID": "42", "LISTEN_FDS": "0"}, {}),
    ],
)
def test_no_sockets_for_us(environ, expected):
    assert inherited_sockets(environ, 42) == expected


def test_sockets_by_name(monkeypatch: pytest.MonkeyPatch):
    kept = []
    monkeypatch.setattr(os, "set_inheritable", lambda fd, on: kept.append((fd, on)))
    environ = {"LISTEN_PID": "42", "LISTEN_FDS": "4", "LISTEN_FDNAMES": "postfix:exim:postfix"}
    assert inherited_sockets(environ, 42) == {"postfix": [3, 5], "exim": [4], "unknown": [6]}
    assert kept == [(3, False), (4, False), (5, False), (6, False)]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "41"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "nonsense"}, None),
    ],
)
def test_watchdog(environ, expected):
    assert watchdog_seconds(environ, 42) == expected


@pytest.mark.parametrize("abstract", [False, True])
def test_notices(tmp_path: Path, abstract: bool):
    name = f"multigrey-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(("\0" + name) if abstract else name)
        notifier = Notifier({"NOTIFY_SOCKET": ("@" + name) if abstract else name})
        notifier.ready("serving")
        notifier.reloading(1.5)
        notifier.watchdog()
        notifier.stopping()
        assert [heard.recv(200) for _ in range(4)] == [
            b"READY=1\nSTATUS=serving",
            b"RELOADING=1\nMONOTONIC_USEC=1500000",
            b"WATCHDOG=1",
            b"STOPPING=1",
        ]


def test_nobody_asked():
    Notifier({}).ready("serving")


def test_systemd_gone_is_only_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).watchdog()
    assert "cannot notify systemd" in caplog.text


SHIPPED = Path(__file__).parents[2] / "integrations/systemd"


def test_the_unit_that_comes_with_multigrey():
    unit = find_unit([SHIPPED])
    assert unit is not None
    assert (unit.user, unit.config) == ("multigrey", SYSTEM_CONFIG)
    assert Path("/var/log/multigrey") in unit.made
    assert unit.writable is not None
    assert {Path("/var/lib/multigrey"), Path("/var/log/multigrey"), Path("/run/multigrey")} <= {
        *unit.writable
    }


def test_drop_ins_count_and_come_from_every_directory(tmp_path):
    low, high = tmp_path / "low", tmp_path / "high"
    for directory in (low, high / "multigrey.service.d"):
        directory.mkdir(parents=True)
    (low / "multigrey.service").write_text(
        "[Service]\nUser=a\nProtectSystem=strict\nExecStart=/x/multigrey serve\n"
    )
    (high / "multigrey.service.d" / "local.conf").write_text("[Service]\nUser=b\nReadWritePaths=-/srv/log\n")
    unit = find_unit([high, low])
    assert unit is not None
    assert (unit.path, unit.user, unit.config) == (low / "multigrey.service", "b", SYSTEM_CONFIG)
    assert Path("/srv/log") in (unit.writable or ())


def test_no_unit_and_one_that_protects_nothing(tmp_path):
    assert find_unit([tmp_path]) is None
    (tmp_path / "multigrey.service").write_text("[Service]\nExecStart=m serve --config='/etc/m.toml\n")
    unit = find_unit([tmp_path])
    assert unit is not None
    assert (unit.user, unit.writable, unit.config) == (None, None, SYSTEM_CONFIG)
    (tmp_path / "multigrey.service").write_text("[Service]\nExecStart=m serve -c /etc/m.toml\n")
    assert getattr(find_unit([tmp_path]), "config", None) == Path("/etc/m.toml")
