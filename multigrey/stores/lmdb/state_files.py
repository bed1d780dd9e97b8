"""The files of the LMDB store, and the checks before LMDB may open them.

    STATE_DIR/lock            held by the one daemon that uses the directory; contains its process id
    STATE_DIR/store.mdb       the records (LMDB data format 1, independent of the library's default)
    STATE_DIR/store.mdb-lock  LMDB's own table of readers
    STATE_DIR/store.mdb.new   a store being made; gets its name when it is complete
    STATE_DIR/store.journal.N entries that the store does not have yet (see `journal`)
    STATE_DIR/store.damaged.N a store or journal that was damaged, moved aside; it may be deleted
    STATE_DIR/starts          notes of starts that died (see `damage.starts`)

LMDB maps the file, and reading a mapped page beyond the file's end kills the process.  So a file that is cut
short is detected here, by arithmetic over its two meta pages, before it is opened.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, NamedTuple, cast

import lmdb
from lmdb.verify import VerifyError, verify

from multigrey.errors import StoreError

__all__ = [
    "DamagedStoreError",
    "StateFiles",
    "check_file",
    "check_file_system",
    "file_system_of",
    "prepare_directory",
    "remove",
    "reserve_readers",
    "spare_file",
    "stands_for",
    "sync_directory",
    "take_lock",
    "trouble",
]

REMOTE = frozenset(
    {"afs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4"}
    | {"smb3", "smbfs"}
)
"""File systems that other machines write to: LMDB's locks and its memory map do not work there."""

_READER_TABLE = 16384
"""Bytes for LMDB's table of 126 readers (64 each and a header)."""
_MOUNTS = Path("/proc/self/mountinfo")
_JOURNAL = re.compile(r"store\.journal\.[1-9][0-9]{0,17}")
_DAMAGED = re.compile(r"store\.damaged\.[1-9][0-9]{0,17}")


class DamagedStoreError(StoreError):
    """The store's file is damaged: reading it again does not help."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"{path}: damaged ({what}): start multigrey again, which saves what can be read, or put a backup "
            "in its place"
        )
        self.what = what


class StateFiles(NamedTuple):
    """The paths inside a state directory."""

    directory: Path

    @property
    def lock(self) -> Path:
        """Held by the daemon."""
        return self.directory / "lock"

    @property
    def data(self) -> Path:
        """The store."""
        return self.directory / "store.mdb"

    @property
    def readers(self) -> Path:
        """LMDB's lock file beside it."""
        return self.directory / "store.mdb-lock"

    @property
    def starts(self) -> Path:
        """Notes of starts."""
        return self.directory / "starts"

    @property
    def draft(self) -> Path:
        """A store that is not complete yet."""
        return self.directory / "store.mdb.new"

    def journal(self, number: int | None = None) -> Path:
        """A segment of the journal; None: what the names of all segments begin with."""
        return self.directory / ("store.journal" if number is None else f"store.journal.{number}")

    def journals(self) -> list[Path]:
        """The segments that exist, by number.  Raises OSError."""
        return self._numbered(_JOURNAL)

    def damaged(self, number: int) -> Path:
        """A store or a segment that was damaged."""
        return self.directory / f"store.damaged.{number}"

    def all_damaged(self) -> list[Path]:
        """Those that exist, by number.  Raises OSError."""
        return self._numbered(_DAMAGED)

    def kept_text(self) -> str:
        """What an administrator has to know while damaged files are kept; "" when there are none."""
        try:
            kept = self.all_damaged()
        except OSError:
            return ""
        if not kept:
            return ""
        return (
            f"a damaged file was moved aside as {kept[-1]}, and what could be read was saved: look at the "
            "log and the disk, then delete it"
        )

    def _numbered(self, name: re.Pattern[str]) -> list[Path]:
        found = [path for path in self.directory.iterdir() if name.fullmatch(path.name)]
        return sorted(found, key=lambda path: int(path.suffix[1:]))

    def all(self) -> tuple[Path, ...]:
        """Every path above that is a file now or could be one."""
        known = self.lock, self.data, self.readers, self.draft, self.starts
        return *known, *self.journals(), *self.all_damaged()


_ADVICE = {
    errno.ENOSPC: "make room on that file system",
    errno.EDQUOT: "make room on that file system, or raise the quota",
    errno.EFBIG: "raise the limit on file sizes (LimitFSIZE, ulimit -f)",
    errno.EACCES: "it must belong to the user multigrey runs as",
    errno.EPERM: "it must belong to the user multigrey runs as",
    errno.EROFS: "the file system is mounted read-only",
    # LMDB also reports this when only a part of what it writes fits on the disk.
    errno.EIO: "the file system is full, or the disk fails: make room, or look at the kernel's log",
    errno.ENOMEM: "lower [store] map_size, or raise the limit on address space (LimitAS, ulimit -v)",
}


def trouble(path: Path, error: OSError | lmdb.Error) -> StoreError:
    """The error for `path`, with advice where there is any."""
    if isinstance(error, lmdb.MapFullError):
        return StoreError(f"{path}: full: raise [store] map_size")
    if isinstance(error, lmdb.CorruptedError | lmdb.PageNotFoundError | lmdb.CursorFullError):
        return DamagedStoreError(path, str(error))
    code = error.errno if isinstance(error, OSError) else getattr(error, "code", 0)
    words = os.strerror(code) if isinstance(code, int) and code > 0 else str(error)
    advice = _ADVICE.get(code) if isinstance(code, int) else None
    return StoreError(f"{path}: {words}: {advice}" if advice else f"{path}: {words}")


def prepare_directory(path: Path) -> None:
    """Make the directory, with access for us alone, if it is missing.  Raises StoreError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise trouble(path, error) from error
    check_file_system(path)


def check_file_system(path: Path, mounts: Path = _MOUNTS) -> None:
    """Refuse (StoreError) a directory on another machine; accept one whose file system is not known."""
    try:
        device = path.stat().st_dev
        table = mounts.read_text(errors="surrogateescape")
    except OSError:
        return
    kind = file_system_of(device, table)
    if kind in REMOTE:
        raise StoreError(f"{path}: is on {kind}, where LMDB is not safe: choose a state_dir on a local disk")


def file_system_of(device: int, mountinfo: str) -> str:
    """The kind of file system that has a device number, from a mountinfo table (see proc(5)).

    Empty if it is not listed (btrfs and overlays have numbers of their own).
    """
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        if fields.split(" ")[2:3] == [wanted]:
            return rest.split(" ")[0]
    return ""


def take_lock(path: Path) -> int:
    """Take the lock file; returns its descriptor, to be closed at the end.

    The kernel releases the lock when the process ends, even by a crash.  Raises StoreError, which names the
    process that holds the lock.
    """
    descriptor = -1
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"{path.parent} is in use by another multigrey ({_holder(descriptor)}): "
                "stop that one, or give this one a state_dir of its own"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    except (OSError, StoreError) as error:
        if descriptor >= 0:
            os.close(descriptor)
        if isinstance(error, StoreError):
            raise
        raise trouble(path, error) from error
    return descriptor


def _holder(descriptor: int) -> str:
    text = os.pread(descriptor, 32, 0).strip()
    return f"process {int(text)}" if text.isdigit() else "its process has not written its number yet"


def stands_for(path: Path, file: os.stat_result) -> bool:
    """Whether a name still stands for an open file, which was not removed, renamed or mounted over."""
    try:
        found = path.stat()
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (file.st_dev, file.st_ino)


def reserve_readers(path: Path) -> None:
    """Allocate the blocks of LMDB's lock file: on a full disk, writing to a hole would kill the process.

    Raises OSError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, _READER_TABLE)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Make names in a directory durable.  Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def spare_file(directory: Path) -> BinaryIO:
    """A new file (0600) without a name, which is gone when it is closed.  Raises OSError.

    It lies in the directory.  Of a directory that was removed, what is open is all that is left: then it lies
    in memory.
    """
    try:
        return cast("BinaryIO", TemporaryFile(prefix="backup-", dir=directory))
    except FileNotFoundError:
        return cast("BinaryIO", os.fdopen(os.memfd_create("backup", os.MFD_CLOEXEC), "w+b"))


def remove(*paths: Path) -> None:
    """Remove files; those that are missing are ignored.  Raises OSError for other reasons."""
    for path in paths:
        with suppress(FileNotFoundError):
            path.unlink()


_MAGIC = 0xBEEFC0DE
_FORMAT = 1
_META = struct.Struct("=IIQQI92xQQ")
"""Magic, data format, address, map size, page size; then the last page and the transaction number.

Layout of MDB_meta in LMDB 0.9 on 64-bit machines; it follows a page header of 16 bytes (24 in 1.0).
"""


def check_file(path: Path) -> None:
    """Refuse (StoreError) a file that LMDB 0.9 cannot read, or that would kill the process."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(65536 + 16 + _META.size)
    except OSError as error:
        raise trouble(path, error) from error
    version = _data_format(head)
    if version is None:
        raise _not_ours(path, "empty" if not size else "not an LMDB file")
    if version != _FORMAT:
        raise StoreError(
            f"{path}: LMDB data format {version}, this multigrey uses {_FORMAT}: convert it with mdb_dump "
            "and mdb_load of the matching versions, or move it away to start empty"
        )
    pages = _pages(head)
    if pages is None:
        raise DamagedStoreError(path, "its meta pages are wrong")
    page_size, count = pages
    if size < page_size * count:
        _check_short_file(path, size, page_size * count)


def _not_ours(path: Path, what: str) -> StoreError:
    return StoreError(f"{path}: {what}: put a backup in its place, or move it away to start empty")


def _data_format(head: bytes) -> int | None:
    for offset in (16, 24):
        if len(head) >= offset + 8:
            magic, version = struct.unpack_from("=II", head, offset)
            if magic == _MAGIC:
                return int(version) & 0xFFFF
    return None


def _pages(head: bytes) -> tuple[int, int] | None:
    """Page size and number of pages according to the newer meta page; None if they make no sense."""
    if len(head) < 16 + _META.size:
        return None
    *_, page_size, last_page, transaction = _META.unpack_from(head, 16)
    if page_size not in {1 << power for power in range(9, 17)} or len(head) < page_size + 16 + _META.size:
        return None
    magic, version, _, _, _, other_last_page, other_transaction = _META.unpack_from(head, page_size + 16)
    if (magic, version) != (_MAGIC, _FORMAT):
        return None
    return page_size, 1 + (last_page if transaction > other_transaction else other_last_page)


def _check_short_file(path: Path, size: int, expected: int) -> None:
    """Refuse a file that lacks pages in use.  Freed pages at its end may never have been written."""
    try:
        problems = verify(path)  # type: ignore[no-untyped-call]  # (lmdb has no types)
    except (VerifyError, OSError, struct.error) as error:
        raise DamagedStoreError(path, str(error)) from error
    if problems:
        raise DamagedStoreError(path, f"cut short: {size} of {expected} bytes")
