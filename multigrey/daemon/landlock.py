"""Landlock (landlock(7), Linux 5.13): a process gives up rights for good, without being root.

The system calls have the same numbers on every architecture; the C library has no functions for them.  The
packages that wrap them are drafts of one author each (0.1, 0.2 and a development release), so they are called
here.

Only what changes something is restricted: writing, making, removing, listening, connecting, signalling.  What
the kernel at hand does not know yet is left out, so an older kernel confines less.  A restriction holds for
the thread that asks for it and for all that it starts later: it has to come before any other thread.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Collection, Mapping
from contextlib import closing
from enum import IntFlag
from pathlib import Path

__all__ = ["Access", "forbid_new_privileges", "restrict", "version"]

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PR_SET_NO_NEW_PRIVS = 38
_ASK_VERSION = 1
_PATH_BENEATH, _NET_PORT = 1, 2
_BIND_TCP, _CONNECT_TCP = 1, 2
_ABSTRACT_SOCKETS, _SIGNALS = 1, 2


class Access(IntFlag):
    """What may be done to a file, or in a directory and everything below it."""

    WRITE_FILE = 1 << 1
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    """Move and link between directories."""
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


_SINCE = {Access.REFER: 2, Access.TRUNCATE: 3, Access.IOCTL_DEV: 5}
"""The version from which on a right is known; the others are from the first."""
_NETWORK_SINCE, _SCOPES_SINCE = 4, 6


class _Closing:
    """A descriptor for `with`."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def close(self) -> None:
        """Close it."""
        os.close(self.descriptor)


def version() -> int:
    """The version of Landlock that this kernel has; 0: none, or switched off."""
    try:
        return _call(_CREATE_RULESET, None, 0, _ASK_VERSION)
    except OSError:
        return 0


def restrict(
    paths: Mapping[Path, Access],
    bind: Collection[int],
    connect: Collection[int] | None,
    *,
    abstract_sockets: bool = False,
) -> None:
    """Give up everything but this, for this thread and those it starts, for good.  Raises OSError.

    `paths` have to exist.  `bind` and `connect`: TCP ports (None: all).  `abstract_sockets`: whether to
    connect to abstract unix sockets of other programs.
    """
    known = version()
    rights = [right for right in Access if _SINCE.get(right, 1) <= known]
    handled = Access(sum(rights))
    network = 0 if known < _NETWORK_SINCE else _BIND_TCP | (0 if connect is None else _CONNECT_TCP)
    scopes = 0 if known < _SCOPES_SINCE else _SIGNALS | (0 if abstract_sockets else _ABSTRACT_SOCKETS)
    attributes = struct.pack("=QQQ", handled, network, scopes)
    with closing(_Closing(_call(_CREATE_RULESET, attributes, len(attributes), 0))) as rules:
        for path, access in paths.items():
            with closing(_Closing(os.open(path, os.O_PATH | os.O_CLOEXEC))) as place:
                beneath = struct.pack("=Qi", access & handled, place.descriptor)
                if access & handled:  # a rule that allows nothing is an error
                    _call(_ADD_RULE, rules.descriptor, _PATH_BENEATH, beneath, 0)
        for right, ports in ((_BIND_TCP, bind), (_CONNECT_TCP, connect or ())):
            for port in ports if network & right else ():
                _call(_ADD_RULE, rules.descriptor, _NET_PORT, struct.pack("=QQ", right, port), 0)
        forbid_new_privileges()
        _call(_RESTRICT_SELF, rules.descriptor, 0)


def forbid_new_privileges() -> None:
    """Let no program that this process starts have more rights than it has (set-user-id).  Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _call(number: int, *arguments: int | bytes | None) -> int:
    """A system call.  Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    result: int = libc.syscall(
        ctypes.c_long(number),
        *(ctypes.c_long(each) if isinstance(each, int) else ctypes.c_char_p(each) for each in arguments),
    )
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
