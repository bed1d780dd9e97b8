"""Opening endpoints, and what is said when they cannot be opened."""

from __future__ import annotations

import grp
import os
import socket
import stat
from pathlib import Path

import pytest

from multigrey.config.values.types import SystemdEndpoint, TcpEndpoint, UnixEndpoint
from multigrey.errors import ListenerError
from multigrey.listeners.sockets import OpenSocket, open_endpoint


def open_whole(
    endpoint, mode=0o660, owner=None, group=None, inherited=None, default_owner=(-1, -1)
) -> OpenSocket:
    (one,) = open_endpoint(
        endpoint,
        mode=mode,
        owner=owner,
        group=group,
        inherited=inherited or {},
        default_owner=default_owner,
    )
    return one


def open_one(*arguments, **named) -> socket.socket:
    return open_whole(*arguments, **named).socket


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "s.sock"


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_unix_socket_has_its_mode_and_its_directory_is_made(path: Path, mode: int):
    with open_one(UnixEndpoint(path), mode):
        assert stat.S_IMODE(path.stat().st_mode) == mode
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_a_unix_socket_gets_its_group(path: Path):
    name = next((group.gr_name for group in grp.getgrall() if group.gr_gid == os.getgid()), None)
    if name is None:
        pytest.skip("our group has no name")
    with open_one(UnixEndpoint(path), group=name):
        assert path.stat().st_gid == os.getgid()


def test_an_unknown_group_is_named(path: Path):
    with pytest.raises(ListenerError, match="no-such-group"):
        open_one(UnixEndpoint(path), group="no-such-group")


def test_a_stale_socket_is_replaced(path: Path):
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with open_one(UnixEndpoint(path)), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_socket_somebody_answers_on_is_left_alone(path: Path):
    with open_one(UnixEndpoint(path)):
        inode = path.stat().st_ino
        with pytest.raises(ListenerError, match="another program listens on it"):
            open_one(UnixEndpoint(path))
        assert path.stat().st_ino == inode


def test_a_file_in_the_way_is_left_alone(path: Path):
    path.parent.mkdir()
    path.write_text("precious")
    with pytest.raises(ListenerError, match="not a socket"):
        open_one(UnixEndpoint(path))
    assert path.read_text() == "precious"


def test_the_socket_is_removed_at_the_end(path: Path):
    open_whole(UnixEndpoint(path)).close()
    assert not path.exists()


def test_a_successors_socket_is_not_removed(path: Path):
    endpoint = UnixEndpoint(path)
    old = open_whole(endpoint)
    path.rename(path.with_suffix(".old"))
    with open_one(endpoint):
        old.close()
        assert path.exists()


def test_a_port_in_use_says_so():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenerError, match=f"127.0.0.1:{port}: the port is in use"):
            open_one(TcpEndpoint("127.0.0.1", port))


def test_postgreys_port_in_use_says_how_to_run_beside_it():
    try:
        taken = socket.create_server(("127.0.0.1", 10023))
    except OSError:
        taken = socket.socket()  # somebody else has it: as good
    with taken, pytest.raises(ListenerError, match=r"postgrey listens there.*run beside it"):
        open_one(TcpEndpoint("127.0.0.1", 10023))


def test_a_host_that_is_not_ours_is_an_error():
    with pytest.raises(ListenerError, match=r"tcp:192\.0\.2\.1:1"):
        open_one(TcpEndpoint("192.0.2.1", 10099))


def test_ipv6_loopback():
    try:
        sock = open_one(TcpEndpoint("::1", 0))
    except ListenerError:
        pytest.skip("no IPv6 on this machine")
    with sock:
        assert sock.family == socket.AF_INET6


def test_systemds_socket_is_adopted_by_name():
    with socket.create_server(("127.0.0.1", 0)) as handed:
        descriptor = os.dup(handed.fileno())
        with open_one(SystemdEndpoint("postfix"), inherited={"postfix": [descriptor]}) as sock:
            assert sock.getsockname() == handed.getsockname()
            assert not sock.getblocking()


def test_a_name_systemd_did_not_hand_over():
    with pytest.raises(ListenerError, match=r"systemd:exim: .*\(got: postfix\).*FileDescriptorName"):
        open_one(SystemdEndpoint("exim"), inherited={"postfix": [77]})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder of another group")
def test_where_the_folder_gives_the_group_nothing_has_to_be_changed(path: Path, monkeypatch):
    """systemd's unit forbids chown: a folder with the set-group-id bit makes it unnecessary."""

    def refuses(*arguments, **named):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuses)
    path.parent.mkdir()
    with pytest.raises(ListenerError, match=r"let its folder give the group \(chmod g\+s\)"):
        open_one(UnixEndpoint(path), group="mail")
    path.unlink()
    monkeypatch.undo()
    os.chown(path.parent, -1, grp.getgrnam("mail").gr_gid)
    path.parent.chmod(0o2755)
    monkeypatch.setattr(os, "chown", refuses)
    with open_one(UnixEndpoint(path), group="mail"):
        assert path.stat().st_gid == grp.getgrnam("mail").gr_gid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a socket away")
def test_a_socket_made_by_root_goes_to_the_user_to_be_unless_somebody_else_is_named(path: Path):
    with open_one(UnixEndpoint(path), default_owner=(65534, 65534)):
        assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)
    path.unlink()
    with open_one(UnixEndpoint(path), owner="root", default_owner=(65534, 65534)):
        assert (path.stat().st_uid, path.stat().st_gid) == (0, 65534)


@pytest.mark.parametrize("kind", ["link", "file", "socket of another user"])
def test_what_is_put_in_place_of_a_new_socket_is_not_changed(path: Path, monkeypatch, kind: str):
    """The folder may belong to the daemon's user, who could wait for the moment after bind."""
    path.parent.mkdir(exist_ok=True)
    victim = path.with_name("victim")
    if kind == "socket of another user":
        if os.geteuid() != 0:
            pytest.skip("only root can give a file away")
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(victim))
        os.chown(victim, 65534, 65534)
    else:
        victim.touch()
    victim.chmod(0o600)
    before = victim.lstat()
    umask = os.umask

    def exchange(mask: int) -> int:
        if path.exists():  # it is bound
            path.unlink()
            if kind == "link":
                path.symlink_to(victim)
            else:
                victim.rename(path)
        return umask(mask)

    monkeypatch.setattr(os, "umask", exchange)
    with pytest.raises(ListenerError, match="in place of the new socket"):
        open_one(
            UnixEndpoint(path), mode=0o666, default_owner=(os.getuid(), 65534 if os.getuid() == 0 else -1)
        )
    after = path.stat()
    if kind == "link":
        assert path.is_symlink()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
