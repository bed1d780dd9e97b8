"""The archive of a backup: a gzip-compressed tar of plain files, written and read as a stream.

The reader takes what the writer writes and nothing else: regular files in a plain tar header, with names that
a backup has (see `names`), each once, the digests last.  So no link, device, path, extension of the format or
size that is claimed is ever acted on.  It holds one piece in memory at a time.
"""

from __future__ import annotations

import gzip
import json
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from typing import Any, BinaryIO, NamedTuple

from multigrey.archive.names import ABOUT, DIGESTS, MOST_FILES, largest
from multigrey.errors import MultigreyError

__all__ = ["ArchiveError", "ArchiveWriter", "Member", "about_of", "members"]

_BLOCK = 512
_AT_ONCE = 1 << 20
_LEVEL = 6
_NO_GZIP = "not a backup: its content is not compressed by gzip"
_REGULAR = (b"0", b"\0")
"""The type of a regular file in a header: ustar, and before ustar."""
_ABOUT: tuple[tuple[str, Any], ...] = (
    ("backup", int),
    ("multigrey", str),
    ("time", int),
    ("state_dir", str),
    ("configuration", str | None),
    ("elsewhere", dict),
)
"""What a backup says of itself, and the type of each."""
_END_OF_TIME = 253_402_300_800
"""Seconds since 1970: the year 10,000."""


class ArchiveError(MultigreyError):
    """The archive cannot be used; the text says why."""


class ArchiveWriter:
    """Writes an archive.  Every method raises OSError."""

    def __init__(self, out: BinaryIO, time: int) -> None:
        """`time` (seconds since 1970) becomes that of each file."""
        self._out = gzip.GzipFile("", "wb", _LEVEL, out, mtime=time)
        self._time = time
        self._sums: dict[str, str] = {}

    def add(self, name: str, size: int, content: Iterable[bytes]) -> None:
        """Add a file.  Raises ArchiveError when the content has another size."""
        header = tarfile.TarInfo(name)
        header.size, header.mode, header.mtime = size, 0o600, self._time
        self._out.write(header.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
        digest, written = sha256(), 0
        for data in content:
            digest.update(data)
            self._out.write(data)
            written += len(data)
        if written != size:
            raise ArchiveError(f"{name}: {written} octets came instead of {size}")
        self._out.write(bytes(-size % _BLOCK))
        self._sums[name] = digest.hexdigest()

    def close(self) -> None:
        """Add the digests and the end.  Without it the archive is not complete, which a reader notices."""
        lines = [f"{digest}  {name}\n" for name, digest in self._sums.items()]
        text = "".join(lines).encode("utf-8", "surrogateescape")
        self.add(DIGESTS, len(text), [text])
        self._out.write(bytes(2 * _BLOCK))
        self._out.close()


class Member(NamedTuple):
    """A file in an archive."""

    name: str
    size: int
    content: Iterator[bytes]
    """To be read before the next member is asked for; what is not read is skipped."""


def members(file: BinaryIO) -> Iterator[Member]:
    """The files of an archive in order, the digests not among them.

    Only when the iterator has ended without an error is everything that came before known to be whole.
    Raises ArchiveError, also while content is read, and OSError.
    """
    with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
        stream = _Stream(unpacked)
        sums: dict[str, str] = {}
        while True:
            name, size = stream.header()
            if not sums and name != ABOUT:
                raise ArchiveError(f"not a backup of multigrey: it begins with {name!a}, not with {ABOUT}")
            if name in sums:
                raise ArchiveError(f"{name!a} is in it twice")
            if len(sums) >= MOST_FILES:
                raise ArchiveError(f"it has more than {MOST_FILES} files")
            if name == DIGESTS:
                break
            yield Member(name, size, stream.content(size))
            sums[name] = stream.finish(name)
        _compare(b"".join(stream.content(size)), sums)
        stream.finish(name)
        stream.end()


class _Stream:
    """The unpacked octets."""

    def __init__(self, unpacked: gzip.GzipFile) -> None:
        self._unpacked = unpacked
        self._left = 0
        self._size = 0
        self._digest = sha256()

    def header(self) -> tuple[str, int]:
        """Name and size of the next file."""
        block = self._read(_BLOCK)
        if not any(block):
            raise ArchiveError(f"cut short: {DIGESTS} is missing")
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise ArchiveError(f"not a tar archive, or damaged: {error}") from error
        name = header.name
        if header.type not in _REGULAR or header.linkname:
            raise ArchiveError(f"{name!a} is not a regular file: a backup has nothing else")
        most = largest(name)
        if most is None:
            raise ArchiveError(f"{name!a} is not a name that a backup has")
        if not 0 <= header.size <= most:
            raise ArchiveError(f"{name!a} claims {header.size} octets: at most {most} are possible")
        self._size = self._left = header.size
        self._digest = sha256()
        return name, header.size

    def content(self, size: int) -> Iterator[bytes]:
        """The octets of the file whose header was read."""
        assert size == self._size
        while self._left:
            data = self._read(min(self._left, _AT_ONCE))
            self._left -= len(data)
            self._digest.update(data)
            yield data

    def finish(self, name: str) -> str:
        """Skip what was not read; returns the digest."""
        for _ in self.content(self._size):
            pass
        if any(self._read(-self._size % _BLOCK)):
            raise ArchiveError(f"{name!a}: damaged: something stands behind its end")
        return self._digest.hexdigest()

    def end(self) -> None:
        """Make sure that nothing follows but the end."""
        if any(self._read(2 * _BLOCK)) or self._some(1):
            raise ArchiveError(f"something follows {DIGESTS}")

    def _read(self, size: int) -> bytes:
        data = self._some(size)
        if len(data) < size:
            raise ArchiveError("cut short")
        return data

    def _some(self, size: int) -> bytes:
        try:
            return self._unpacked.read(size)
        except EOFError:
            raise ArchiveError("cut short") from None
        except gzip.BadGzipFile as error:
            raise ArchiveError(f"{_NO_GZIP}, or it is damaged ({error})") from error
        except zlib.error as error:
            raise ArchiveError(f"damaged ({error})") from error


def _compare(text: bytes, sums: Mapping[str, str]) -> None:
    lines = [f"{digest}  {name}\n" for name, digest in sums.items()]
    if text == "".join(lines).encode("utf-8", "surrogateescape"):
        return
    found = set(text.decode("utf-8", "surrogateescape").splitlines(keepends=True))
    wrong = next((name for line, name in zip(lines, sums, strict=True) if line not in found), DIGESTS)
    raise ArchiveError(f"damaged: {wrong!a} has another digest")


def about_of(text: bytes) -> Mapping[str, Any]:
    """What a backup says of itself.  Raises ArchiveError."""
    about: Any = None
    with suppress(ValueError, RecursionError):
        about = json.loads(text)
    known = isinstance(about, dict) and all(isinstance(about.get(name), kind) for name, kind in _ABOUT)
    if not known or not 0 <= about["time"] < _END_OF_TIME:
        raise ArchiveError(f"damaged: {ABOUT} is not what multigrey writes")
    if about["backup"] != 1:
        raise ArchiveError(f"a later multigrey ({about['multigrey']!a}) wrote it: restore it with that one")
    return dict(about)
