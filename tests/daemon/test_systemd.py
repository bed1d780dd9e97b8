"""systemd's environment variables and datagrams."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from multigrey.daemon.systemd import Notifier, inherited_sockets, watchdog_seconds


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
