"""Giving up root.

The daemon never serves as root: started as root it binds its sockets, hands its state directory to
`user` and becomes that user for good.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from multigrey.errors import MultigreyError

__all__ = ["Identity", "PrivilegeError", "become", "hand_over", "identity_for"]


class PrivilegeError(MultigreyError):
    """The process runs as a user it must not run as, or cannot become the one it should."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The user to become."""

    name: str
    uid: int
    gid: int


def identity_for(user: str | None, uid: int) -> Identity | None:
    """Whom to become; None: stay who we are.  Raises PrivilegeError.

    `uid` is the effective user the process runs as.
    """
    if uid != 0:
        if user is not None and _name_of(uid) != user:
            raise PrivilegeError(
                f"user = {user!r}: only root can become another user; "
                f"start as {user} or leave `user` out (running as uid {uid})"
            )
        return None
    if user is None:
        raise PrivilegeError(
            'started as root, and multigrey never serves as root: set user = "multigrey" '
            "(or --user NAME) to a user of its own"
        )
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise PrivilegeError(f"user = {user!r}: there is no such user") from None
    if entry.pw_uid == 0:
        raise PrivilegeError(f"user = {user!r} is root under another name")
    return Identity(user, entry.pw_uid, entry.pw_gid)


def _name_of(uid: int) -> str:
    """The user's name; empty for a number without one (containers)."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def hand_over(path: Path, identity: Identity) -> None:
    """Give a directory of ours, and what lies directly in it, to the user to be.

    Symbolic links are not followed, and nothing is touched that belongs to a third user or that has
    another name elsewhere (hard links).
    """
    for entry in (path, *path.iterdir()):
        status = entry.lstat()
        if status.st_uid == 0 and (stat.S_ISDIR(status.st_mode) or status.st_nlink == 1):
            os.chown(entry, identity.uid, identity.gid, follow_symlinks=False)


def become(identity: Identity) -> None:
    """Drop root for good.  Raises PrivilegeError if the kernel refuses."""
    groups = [entry.gr_gid for entry in grp.getgrall() if identity.name in entry.gr_mem]
    try:
        os.setgroups([identity.gid, *groups])
        os.setgid(identity.gid)
        os.setuid(identity.uid)
    except OSError as error:
        raise PrivilegeError(f"cannot become {identity.name}: {error.strerror}") from error
