"""Who asks, and what the groups of the configuration make of them."""

from __future__ import annotations

import grp
import os
import pwd
import socket

import pytest

from multigrey.control.operations.operation import Level
from multigrey.control.peers import Groups, Peer, level_of, peer_of, unknown_groups

NOBODY = pwd.getpwnam("nobody")
DAEMON = pwd.getpwnam("daemon")
NOGROUP = grp.getgrgid(NOBODY.pw_gid).gr_name
OTHERS = grp.getgrgid(DAEMON.pw_gid).gr_name


def test_the_kernel_tells_who_connected():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        peer = peer_of(ours)
    assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.geteuid(), os.getegid())
    assert str(peer).endswith(f"uid {os.geteuid()})") or str(peer) == f"uid {os.geteuid()}"


@pytest.mark.parametrize(
    ("uid", "gid", "name", "groups", "level"),
    [
        (0, 0, "root", Groups(), Level.ADMIN),
        (4711, 1, "multigrey", Groups(), Level.ADMIN),
        (NOBODY.pw_uid, NOBODY.pw_gid, "nobody", Groups(), None),
        (NOBODY.pw_uid, NOBODY.pw_gid, "nobody", Groups(read=NOGROUP), Level.READ),
        (NOBODY.pw_uid, NOBODY.pw_gid, "nobody", Groups(admin=NOGROUP), Level.ADMIN),
        (NOBODY.pw_uid, NOBODY.pw_gid, "nobody", Groups(read=NOGROUP, admin=NOGROUP), Level.ADMIN),
        (NOBODY.pw_uid, NOBODY.pw_gid, "nobody", Groups(operate=NOGROUP), Level.OPERATE),
        (NOBODY.pw_uid, NOBODY.pw_gid, "nobody", Groups(read=NOGROUP, operate=NOGROUP), Level.OPERATE),
        (NOBODY.pw_uid, NOBODY.pw_gid, "nobody", Groups(admin=NOGROUP, operate=NOGROUP), Level.ADMIN),
        (NOBODY.pw_uid, NOBODY.pw_gid, "nobody", Groups(read=OTHERS, admin=OTHERS, operate=OTHERS), None),
        (NOBODY.pw_uid, NOBODY.pw_gid, "nobody", Groups(read="no-such-group"), None),
        # a process that took another group along, and a user without a name
        (NOBODY.pw_uid, DAEMON.pw_gid, "nobody", Groups(read=OTHERS), Level.READ),
        (54321, DAEMON.pw_gid, "", Groups(read=OTHERS), Level.READ),
        (54321, 54321, "", Groups(read=OTHERS), None),
    ],
)
def test_who_may_do_what(uid, gid, name, groups, level):
    assert level_of(Peer(1, uid, gid, name), groups, own_uid=4711) is level


def test_groups_that_are_not_there_are_told():
    assert unknown_groups(Groups("no-such-group", NOGROUP)) == ["no-such-group"]
    assert unknown_groups(Groups()) == []


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (Groups(), "admin_group and operate_group and read_group are not set"),
        (Groups(read="adm"), "group adm (read)"),
        (Groups(read="adm", admin="staff"), "group staff (admin) and group adm (read)"),
        (Groups(operate="help"), "group help (operate)"),
    ],
)
def test_who_is_refused_is_told_who_is_not(groups, words):
    assert words in groups.words()
