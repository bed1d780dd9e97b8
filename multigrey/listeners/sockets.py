"""Opens endpoints: unix sockets, TCP sockets, and sockets that systemd handed over.

This happens before the daemon gives up root, so that a socket can be in the mail server's own directory.
Every failure is a ListenerError that says what holds the endpoint and what to do.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import socket
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from multigrey.config.values.types import Endpoint, SystemdEndpoint, TcpEndpoint, UnixEndpoint
from multigrey.errors import ListenerError
from multigrey.listeners.directories import Directory, open_directory
from multigrey.listeners.free_ports import port_holder

__all__ = ["OpenSocket", "open_endpoint"]

_BACKLOG = 1024
_PROBE_SECONDS = 1.0
_WELL_KNOWN = {
    10023: "postgrey listens there by default; to run beside it, take another port "
    '([[listen]] address = "tcp:127.0.0.1:10025", or serve --listen postfix=tcp:127.0.0.1:10025) or a unix '
    "socket, and point one MTA at a time to it",
    2501: "sqlgrey listens there by default",
    1337: "bley listens there by default",
}


@dataclass(frozen=True, slots=True)
class OpenSocket:
    """A listening socket, and the file that was made for it, if any."""

    socket: socket.socket
    directory: Directory | None = None
    name: str = ""
    inode: int = 0

    def close(self) -> None:
        """Close it and remove its file, unless another socket has replaced the file meanwhile."""
        self.socket.close()
        if self.directory is None:
            return
        place = self.directory.descriptor
        with suppress(OSError):
            if os.stat(self.name, dir_fd=place, follow_symlinks=False).st_ino == self.inode:
                os.unlink(self.name, dir_fd=place)
        self.directory.close()


def open_endpoint(
    endpoint: Endpoint,
    *,
    mode: int,
    owner: str | None,
    group: str | None,
    inherited: Mapping[str, list[int]],
    default_owner: tuple[int, int] = (-1, -1),
) -> list[OpenSocket]:
    """Listening, non-blocking sockets for one endpoint (systemd may hand over several of one name).

    `inherited`: see `systemd.inherited_sockets`.  `default_owner`: user and group of a unix socket
    for which none are configured (-1: ours).  Raises ListenerError.
    """
    if isinstance(endpoint, SystemdEndpoint):
        return _adopt(endpoint, inherited)
    if isinstance(endpoint, TcpEndpoint):
        return [OpenSocket(_open_tcp(endpoint))]
    return [_open_unix(endpoint, mode, (owner, group), default_owner)]


def _adopt(endpoint: SystemdEndpoint, inherited: Mapping[str, list[int]]) -> list[OpenSocket]:
    descriptors = inherited.get(endpoint.name)
    if not descriptors:
        names = ", ".join(inherited) or "none"
        raise ListenerError(
            f"{endpoint}: systemd handed over no socket of that name (got: {names}): "
            "check FileDescriptorName= in the socket unit, and whether systemd started the daemon"
        )
    found = []
    for descriptor in descriptors:
        sock = socket.socket(fileno=descriptor)
        sock.setblocking(False)
        found.append(OpenSocket(sock))
    return found


def _open_tcp(endpoint: TcpEndpoint) -> socket.socket:
    try:
        info = socket.getaddrinfo(
            endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(info[0], info[1], info[2])
    except OSError as error:
        raise ListenerError(f"{endpoint}: {error.strerror or error}") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # An answer is one small write: waiting to fill a packet would delay it by 40 ms.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind(info[4])
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise ListenerError(f"{endpoint}: {_explain(endpoint, error)}") from error
    return sock


def _explain(endpoint: TcpEndpoint, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        usual = _WELL_KNOWN.get(endpoint.port, "is another multigrey running?")
        if holder := port_holder(endpoint.port):
            return f"the port is in use by {holder}; {usual}"
        return f"the port is in use; {usual} (ss -ltnp 'sport = :{endpoint.port}' shows who has it)"
    if error.errno == errno.EACCES:
        return "permission denied: ports below 1024 need root or systemd's socket activation"
    return error.strerror or str(error)


def _open_unix(
    endpoint: UnixEndpoint, mode: int, names: tuple[str | None, str | None], default_owner: tuple[int, int]
) -> OpenSocket:
    name = endpoint.path.name
    try:
        directory = open_directory(endpoint.path.parent)
    except OSError as error:
        raise ListenerError(f"{endpoint}: {error.strerror or error}") from error
    path = directory.path / name
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear_the_way(endpoint, path)
        # No client may connect between bind and chmod.
        mask = os.umask(0o777)
        try:
            sock.bind(str(path))
        finally:
            os.umask(mask)
        inode = _give(path, mode, *names, *default_owner)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except (OSError, ListenerError) as error:
        sock.close()
        directory.close()
        if isinstance(error, ListenerError):
            raise
        raise ListenerError(f"{endpoint}: {error.strerror or error}") from error
    return OpenSocket(sock, directory, name, inode)


def _clear_the_way(endpoint: UnixEndpoint, path: Path) -> None:
    """Remove a socket on which no program listens.  Anything else in the way is an error."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise ListenerError(f"{endpoint}: is not a socket: move it away, or choose another path")
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(_PROBE_SECONDS)
    try:
        probe.connect(str(path))
    except ConnectionRefusedError:
        path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ListenerError(f"{endpoint}: cannot find out whether it is in use: {error.strerror}") from error
    else:
        raise ListenerError(f"{endpoint}: another program listens on it: is another multigrey running?")
    finally:
        probe.close()


def _chown(path: Path, uid: int, gid: int) -> None:
    try:
        os.chown(path, uid, gid)
    except PermissionError as error:
        hint = (
            f"may not give the socket to uid {uid} and gid {gid}: let its folder give the group (chmod g+s), "
            "or a socket unit of systemd; otherwise the daemon's user has to be in that group, and its unit "
            "needs SystemCallFilter=@chown"
        )
        raise PermissionError(error.errno, hint) from error


def _looked_up(what: str, name: str, look_up: Callable[[str], int]) -> int:
    try:
        return look_up(name)
    except KeyError:
        raise OSError(
            errno.ENOENT, f"the {what} {name} does not exist on this host: name another, or make it"
        ) from None


def _give(path: Path, mode: int, owner: str | None, group: str | None, uid: int, gid: int) -> int:
    """Change mode, owner and group (by name or else by number) of a new socket; returns its inode number.

    Raises OSError for a name that the system does not know, and if another file is there.
    """
    if owner is not None:
        uid = _looked_up("user", owner, lambda name: pwd.getpwnam(name).pw_uid)
    if group is not None:
        gid = _looked_up("group", group, lambda name: grp.getgrnam(name).gr_gid)
    # By descriptor: the owner of the folder can put a link to a file of root in place of the name.
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISSOCK(status.st_mode) or status.st_uid != os.geteuid():
            raise OSError(errno.EEXIST, "another file was put in place of the new socket")
        itself = Path(f"/proc/self/fd/{descriptor}")
        wanted = (status.st_uid if uid == -1 else uid, status.st_gid if gid == -1 else gid)
        if wanted != (status.st_uid, status.st_gid):
            _chown(itself, *wanted)
        itself.chmod(mode)
    finally:
        os.close(descriptor)
    return status.st_ino
