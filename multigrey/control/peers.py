"""The user at the other end of the control socket, and what that user may do.

The kernel reports the user of the process that connected (unix(7), SO_PEERCRED); a process cannot claim
another one.  Root and the daemon's own user may do everything.  For other users the groups of `[control]`
decide.  Their members are looked up at each connection, so a user who was just added to a group need not
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
    """A socket of Python or of trio."""

    def getsockopt(self, level: int, name: int, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups whose members may read (`read`) or do everything (`admin`); None: not configured."""

    read: str | None = None
    admin: str | None = None

    def words(self) -> str:
        """The groups in words, for the message to a client that is refused."""
        parts = [f"group {self.admin} (admin)"] if self.admin else []
        parts += [f"group {self.read} (read)"] if self.read else []
        return " and ".join(parts) or "no group ([control] read_group and admin_group are not set)"


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end, as it was when it connected."""

    pid: int
    uid: int
    gid: int
    name: str = ""
    """The user's name; empty for a uid without a name."""

    def __str__(self) -> str:
        return f"{self.name} (uid {self.uid})" if self.name else f"uid {self.uid}"


def peer_of(sock: socket.socket) -> Peer:
    """The process that connected.  Asks the system's user data base, which may take a while.

    Raises OSError.
    """
    pid, uid, gid = _credentials(sock)
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = ""
    return Peer(pid, uid, gid, name)


def uid_of(sock: _HasOptions) -> int:
    """The uid of the process that connected; asks only the kernel.  Raises OSError."""
    return _credentials(sock)[1]


def _credentials(sock: _HasOptions) -> tuple[int, int, int]:
    pid, uid, gid = _CREDENTIALS.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    return pid, uid, gid


def level_of(peer: Peer, groups: Groups, own_uid: int) -> Level | None:
    """What the peer may do; None: nothing.  Asks the system's user data base."""
    if peer.uid in (0, own_uid):
        return Level.ADMIN
    member = {peer.gid, *(os.getgrouplist(peer.name, peer.gid) if peer.name else ())}
    if _number(groups.admin) in member:
        return Level.ADMIN
    return Level.READ if _number(groups.read) in member else None


def unknown_groups(groups: Groups) -> list[str]:
    """The configured groups that the system does not know: they let no user in."""
    names = (groups.read, groups.admin)
    return [name for name in names if name is not None and _number(name) is None]


def _number(group: str | None) -> int | None:
    """The gid of a group; None: the system does not know it."""
    if group is None:
        return None
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None
