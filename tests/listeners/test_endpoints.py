"""All endpoints are opened, or none is."""

from __future__ import annotations

import socket

import pytest

from multigrey.errors import MultigreyError
from multigrey.listeners.endpoints import open_all
from tests.support.control import make_settings

CONFIG = """
state_dir = "{dir}/state"
[[listen]]
protocol = "postfix"
address = "unix:{dir}/postfix.sock"
name = "postfix"
[[listen]]
protocol = "exim"
address = "ADDRESS"
"""


def test_each_table_has_its_socket(tmp_path):
    settings = make_settings(tmp_path, CONFIG.replace("ADDRESS", "unix:{dir}/exim.sock"))
    opened = open_all(settings, {})
    try:
        assert [each.listen.protocol for each in opened] == ["postfix", "exim"]
        assert all(each.open.socket.family == socket.AF_UNIX for each in opened)
    finally:
        for each in opened:
            each.open.close()


def test_one_that_cannot_be_opened_closes_the_others(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = make_settings(tmp_path, CONFIG.replace("ADDRESS", f"tcp:127.0.0.1:{port}"))
        with pytest.raises(MultigreyError, match="in use"):
            open_all(settings, {})
    with pytest.raises(OSError), socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(tmp_path / "postfix.sock"))
