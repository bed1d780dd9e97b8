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
from collections.abc import Mapping
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
    """The groups whose members may read, operate (`Level.OPERATE`) or do everything; None: not configured."""

    read: str | None = None
    admin: str | None = None
    operate: str | None = None

    def words(self) -> str:
        """The groups in words, for the message to a client that is refused."""
        return self.words_for(Level.READ)

    def words_for(self, needed: Level) -> str:
        """The groups whose members have this right, in words."""
        having = {
            level: group for level, group in reversed([*self.by_level().items()]) if level.includes(needed)
        }
        parts = [f"group {group} ({level.value})" for level, group in having.items() if group]
        keys = [f"{level.value}_group" for level in having]
        verb = "is" if len(keys) == 1 else "are"
        return " and ".join(parts) or f"no group ([control] {' and '.join(keys)} {verb} not set)"

    def by_level(self) -> Mapping[Level, str | None]:
        """The group for each right, the smallest right first."""
        return {Level.READ: self.read, Level.OPERATE: self.operate, Level.ADMIN: self.admin}


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
    having = [level for level, group in groups.by_level().items() if _number(group) in member]
    return having[-1] if having else None


def unknown_groups(groups: Groups) -> list[str]:
    """The configured groups that the system does not know: they let no user in."""
    return [name for name in groups.by_level().values() if name is not None and _number(name) is None]


def _number(group: str | None) -> int | None:
    """The gid of a group; None: the system does not know it."""
    if group is None:
        return None
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None
