"""Who is at the other end of the control socket, and what they may do there.

The kernel says which user the process that connected runs as (unix(7), SO_PEERCRED); nobody can claim
to be another one.  Root and the daemon's own user may do everything; for others the groups of
`[control]` count, looked up when they connect, so that somebody who was just added to a group need not
log in again.
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from dataclasses import dataclass
from typing import Protocol

from multigrey.control.operations.operation import Level

__all__ = ["Groups", "Peer", "level_of", "peer_of", "uid_of", "unknown_groups"]

_CREDENTIALS = struct.Struct("=iII")
"""struct ucred: pid, uid, gid."""


class _HasOptions(Protocol):
    """A socket, of Python's or of trio's."""

    def getsockopt(self, level: int, name: int, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Groups:
    """Names of groups whose members may read, and do everything; None: there is no such group."""

    read: str | None = None
    admin: str | None = None

    def words(self) -> str:
        """What they let in, for whoever is refused."""
        parts = [f"group {self.admin} (admin)"] if self.admin else []
        parts += [f"group {self.read} (read)"] if self.read else []
        return " and ".join(parts) or "nobody else; [control] read_group and admin_group are not set"


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end, as it was when it connected."""

    pid: int
    uid: int
    gid: int
    name: str = ""
    """The user's name; empty for a number that has none."""

    def __str__(self) -> str:
        return f"{self.name} (uid {self.uid})" if self.name else f"uid {self.uid}"


def peer_of(sock: socket.socket) -> Peer:
    """Who connected; asks the system's user data base, which may take a while.  Raises OSError."""
    pid, uid, gid = _credentials(sock)
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = ""
    return Peer(pid, uid, gid, name)


def uid_of(sock: _HasOptions) -> int:
    """The number of the user who connected; asks only the kernel.  Raises OSError."""
    return _credentials(sock)[1]


def _credentials(sock: _HasOptions) -> tuple[int, int, int]:
    pid, uid, gid = _CREDENTIALS.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    return pid, uid, gid


def level_of(peer: Peer, groups: Groups, own_uid: int) -> Level | None:
    """What the peer may do; None: nothing.  Asks the user data base."""
    if peer.uid in (0, own_uid):
        return Level.ADMIN
    member = {peer.gid, *(os.getgrouplist(peer.name, peer.gid) if peer.name else ())}
    if _number(groups.admin) in member:
        return Level.ADMIN
    return Level.READ if _number(groups.read) in member else None


def unknown_groups(groups: Groups) -> list[str]:
    """Names that let nobody in, because the system knows no such group."""
    names = (groups.read, groups.admin)
    return [name for name in names if name is not None and _number(name) is None]


def _number(group: str | None) -> int | None:
    """The number of a group; None for one that is not known."""
    if group is None:
        return None
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None
