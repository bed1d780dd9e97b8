"""Gives up root: the daemon changes to an unprivileged user before it serves.

Started as root, it binds its sockets, gives its state directory to `user` and becomes that user
permanently.  It never serves as root.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from multigrey.errors import MultigreyError
from multigrey.listeners.directories import Directory

__all__ = [
    "Identity",
    "PrivilegeError",
    "become",
    "hand_over",
    "identity_for",
    "import_before_dropping_root",
]

_LATE_COMERS = ("lmdb._envid", "encodings.unicode_escape")


class PrivilegeError(MultigreyError):
    """The process runs as a user that is not allowed, or cannot become the configured one."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The user to become."""

    name: str
    uid: int
    gid: int


def identity_for(user: str | None, uid: int) -> Identity | None:
    """Return the user to become; None: keep the current user.  Raises PrivilegeError.

    `uid` is the effective user of the process.
    """
    if uid != 0:
        if user is not None and _name_of(uid) != user:
            raise PrivilegeError(
                f"user = {user!r}: only root can become another user, and this process runs as uid {uid}: "
                f"start it as {user}, or leave `user` out"
            )
        return None
    if user is None:
        raise PrivilegeError(
            'started as root, and multigrey never serves as root: set user = "multigrey" '
            "(or --user NAME) to a separate user"
        )
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise PrivilegeError(f"user = {user!r}: this user does not exist") from None
    if entry.pw_uid == 0:
        raise PrivilegeError(f"user = {user!r} is root (user id 0): name a separate user")
    return Identity(user, entry.pw_uid, entry.pw_gid)


def _name_of(uid: int) -> str:
    """The user's name; "" for a number without a name, as in containers."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def import_before_dropping_root() -> None:
    """Import modules that are otherwise imported at their first use.

    After root is given up the process may not be able to read them any more.  One of them is needed to
    report plugins that cannot be imported for that very reason.
    """
    for name in _LATE_COMERS:
        if find_spec(name) is not None:
            import_module(name)


def hand_over(directory: Directory, identity: Identity) -> None:
    """Give the daemon's directory, and what is directly in it, to the user that the daemon becomes.

    Symbolic links are not followed.  Entries of a third user, and files with other names elsewhere
    (hard links), are left alone: they may not be the daemon's own.  Raises OSError.
    """
    inside = [path.name for path in Path(f"/proc/self/fd/{directory.descriptor}").iterdir()]
    for name in (".", *inside):
        # By descriptor: the user, who owns the directory, can exchange a name after we have looked at it.
        descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory.descriptor)
        try:
            status = os.fstat(descriptor)
            own = stat.S_ISDIR(status.st_mode) or (status.st_nlink == 1 and not stat.S_ISLNK(status.st_mode))
            if status.st_uid == 0 and own:
                os.chown(f"/proc/self/fd/{descriptor}", identity.uid, identity.gid)
        finally:
            os.close(descriptor)


def become(identity: Identity) -> None:
    """Become this user permanently.  Raises PrivilegeError if the kernel refuses."""
    groups = [entry.gr_gid for entry in grp.getgrall() if identity.name in entry.gr_mem]
    try:
        # The order matters: after setuid the process may not change its groups any more.
        os.setgroups([identity.gid, *groups])
        os.setgid(identity.gid)
        os.setuid(identity.uid)
    except OSError as error:
        raise PrivilegeError(f"cannot become {identity.name}: {error.strerror}") from error
