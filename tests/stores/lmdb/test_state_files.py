"""What can be said of files and file systems without LMDB."""

from __future__ import annotations

import errno
import os

import lmdb
import pytest

from multigrey.errors import StoreError
from multigrey.stores.lmdb.state_files import (
    REMOTE,
    StateFiles,
    check_file_system,
    file_system_of,
    prepare_directory,
    reserve_readers,
    take_lock,
    trouble,
)

MOUNTS = """\
22 28 0:20 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw
28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
90 28 0:45 / /srv/mail\\040store rw,relatime shared:50 - nfs4 files.example.org:/mail rw,vers=4.2
91 28 0:46 / /var/lib/x rw - fuse.sshfs me@files.example.org: rw
"""


@pytest.mark.parametrize(
    ("device", "kind"),
    [((254, 1), "ext4"), ((0, 45), "nfs4"), ((0, 46), "fuse.sshfs"), ((0, 4), ""), ((25, 4), "")],
)
def test_file_system_of(device, kind):
    assert file_system_of(os.makedev(*device), MOUNTS) == kind


@pytest.mark.parametrize("table", ["", "\n", "nonsense", "1 2", "a - b - c"])
def test_no_table_of_mounts_is_no_reason(table):
    assert file_system_of(os.makedev(8, 1), table) == ""


@pytest.mark.parametrize("kind", sorted(REMOTE))
def test_remote_file_systems_are_refused(tmp_path, kind):
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"90 28 {os.major(device)}:{os.minor(device)} / /x rw - {kind} files:/x rw\n")
    with pytest.raises(StoreError, match=f"is on {kind}, where LMDB is not safe"):
        check_file_system(tmp_path, mounts)


def test_local_and_unknown_file_systems_are_not(tmp_path):
    prepare_directory(tmp_path)
    check_file_system(tmp_path, tmp_path / "missing")


def test_the_lock_names_its_holder_and_can_be_had_again(tmp_path):
    path = tmp_path / "lock"
    path.write_text("123456789 and a longer text left behind\n")
    held = take_lock(path)
    assert path.read_text() == f"{os.getpid()}\n"
    with pytest.raises(StoreError, match=f"process {os.getpid()}"):
        take_lock(path)
    os.truncate(path, 0)
    with pytest.raises(StoreError, match="has not written its number"):
        take_lock(path)
    os.close(held)
    os.close(take_lock(path))


def test_the_lock_is_no_link(tmp_path):
    (tmp_path / "target").write_text("precious")
    (tmp_path / "lock").symlink_to("target")
    with pytest.raises(StoreError, match="lock: Too many levels of symbolic links"):
        take_lock(tmp_path / "lock")
    assert (tmp_path / "target").read_text() == "precious"


def test_the_table_of_readers_has_its_blocks(tmp_path):
    path = tmp_path / "store.mdb-lock"
    path.write_bytes(b"as it was")
    reserve_readers(path)
    assert path.read_bytes().startswith(b"as it was\0")
    assert path.stat().st_blocks * 512 >= 16384


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.EACCES, "x"), "Permission denied: it must belong to the user multigrey runs as"),
        (OSError(errno.EROFS, "x"), "Read-only file system: the file system is mounted read-only"),
        (OSError(errno.ENOTDIR, "x"), "Not a directory"),
        (OSError("no number"), "no number"),
        (lmdb.MapFullError("mdb_put: full"), "full: raise [store] map_size"),
        (lmdb.PageNotFoundError("page 9"), None),
        (lmdb.BadTxnError("mdb_get: bad"), "mdb_get: bad"),
    ],
)
def test_trouble_names_the_file(tmp_path, error, text):
    path = StateFiles(tmp_path).data
    expected = f"{path}: {text}" if text else f"{path}: damaged (page 9): "
    assert str(trouble(path, error)).startswith(expected)
