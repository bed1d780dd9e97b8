"""Ports in use: by which program, and which port is free instead."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from pathlib import Path

from multigrey.config.values.types import TcpEndpoint
from multigrey.listeners.free_ports import free_port, is_free, port_holder


def listening() -> tuple[socket.socket, int]:
    sock = socket.create_server(("127.0.0.1", 0))
    return sock, sock.getsockname()[1]


def test_a_port_in_use_its_holder_and_the_next_one():
    sock, port = listening()
    with closing(sock):
        endpoint = TcpEndpoint("127.0.0.1", port)
        assert not is_free(endpoint)
        assert port_holder(port).endswith(f"(pid {os.getpid()})")
        found = free_port(endpoint, [port + 1])
        assert found is not None
        assert found.port > port + 1
        assert is_free(found)
    assert is_free(endpoint)
    assert port_holder(port) == ""


def test_no_port_is_left():
    assert free_port(TcpEndpoint("127.0.0.1", 65_535), ()) is None
    assert free_port(TcpEndpoint("127.0.0.1", 65_533), range(65_536)) is None


def test_an_address_that_cannot_be_used_is_left_to_those_who_open_it():
    assert is_free(TcpEndpoint("192.0.2.1", 25))
    assert is_free(TcpEndpoint("no.such.host.invalid", 25))


def test_what_proc_shows(tmp_path: Path):
    assert port_holder(25, tmp_path) == ""
    (tmp_path / "net").mkdir()
    rows = "  sl  local_address\n   0: 0100007F:2727 00000000:0000 {} 0:0 00:00000000 00000000 0 0 77\n"
    (tmp_path / "net/tcp").write_text(rows.format("0A"))
    assert port_holder(10_023, tmp_path) == ""  # it belongs to a process that others may not look into
    (tmp_path / "812/fd").mkdir(parents=True)
    (tmp_path / "812/fd/3").symlink_to("socket:[77]")
    (tmp_path / "812/comm").write_text("postgrey\n")
    assert port_holder(10_023, tmp_path) == "postgrey (pid 812)"
    assert port_holder(10_024, tmp_path) == ""
    (tmp_path / "net/tcp").write_text(rows.format("01"))
    assert port_holder(10_023, tmp_path) == ""
