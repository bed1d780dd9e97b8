"""The archive of a backup: what is written can be read, and everything else is refused."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.archive.names import ABOUT, DIGESTS, LARGEST_LIST, largest, why_no_name
from multigrey.archive.tar import ArchiveError, ArchiveWriter, about_of, members

ABOUT_TEXT = json.dumps(
    {
        "backup": 1,
        "multigrey": "0.2.0",
        "time": 1,
        "state_dir": "/x",
        "configuration": None,
        "elsewhere": {},
    }
).encode()
GOOD = {ABOUT: ABOUT_TEXT, "state/store.mdb": b"store" * 1000, "configuration/lists/Zürich.toml": b"list"}


Entry = tuple[tarfile.TarInfo, bytes]


def written(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    archive = ArchiveWriter(out, 1_000_000_000)
    for name, content in files.items():
        archive.add(name, len(content), [content[:3], content[3:]])
    archive.close()
    return out.getvalue()


def read(data: bytes) -> dict[str, bytes]:
    return {member.name: b"".join(member.content) for member in members(io.BytesIO(data))}


def info(name: str, *, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, link, size
    return made


def packed(*entries: Entry, sums: str | None = None, end: bytes = bytes(1024)) -> bytes:
    """An archive of anything, with the right digests if none are given."""
    out = io.BytesIO()
    lines = ""
    for header, content in entries:
        header.size = header.size or len(content)
        out.write(header.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512))
        lines += f"{sha256(content).hexdigest()}  {header.name}\n"
    text = (lines if sums is None else sums).encode()
    out.write(info(DIGESTS, size=len(text)).tobuf() + text + bytes(-len(text) % 512) + end)
    return gzip.compress(out.getvalue())


STORE = "state/store.mdb"
DIGEST = sha256(ABOUT_TEXT).hexdigest()
FIRST = (info(ABOUT), ABOUT_TEXT)


def hostile(name: str, **about: Any) -> Callable[[], bytes]:
    return lambda: packed(FIRST, (info(name, **about), b""))


# fmt: off
REFUSED: list[tuple[str, Callable[[], bytes], str]] = [
    ("a symbolic link", hostile(STORE, kind=tarfile.SYMTYPE, link="/x"), "not a regular file"),
    ("a hard link", hostile(STORE, kind=tarfile.LNKTYPE, link="/x"), "not a regular file"),
    ("a regular file with a link", hostile("state/store.mdb", link="/etc/shadow"), "not a regular file"),
    ("a device", hostile("state/store.mdb", kind=tarfile.CHRTYPE), "not a regular file"),
    ("a block device", hostile("state/store.mdb", kind=tarfile.BLKTYPE), "not a regular file"),
    ("a FIFO", hostile("state/store.mdb", kind=tarfile.FIFOTYPE), "not a regular file"),
    ("a directory", hostile("state/", kind=tarfile.DIRTYPE), "not a regular file"),
    ("an old directory", hostile("state/", kind=tarfile.AREGTYPE), "not a regular file"),
    ("a sparse file", hostile("state/store.mdb", kind=tarfile.GNUTYPE_SPARSE), "not a regular file"),
    ("a contiguous file", hostile("state/store.mdb", kind=tarfile.CONTTYPE), "not a regular file"),
    ("a long name", hostile("././@LongLink", kind=tarfile.GNUTYPE_LONGNAME, size=9**9), "not a regular file"),
    ("a pax header", hostile("pax", kind=tarfile.XHDTYPE, size=1 << 40), "not a regular file"),
    ("a global pax header", hostile("pax", kind=tarfile.XGLTYPE), "not a regular file"),
    ("an unknown type", hostile("state/store.mdb", kind=b"Z"), "not a regular file"),
    ("up", hostile("state/../../etc/passwd"), "not a name that a backup has"),
    ("up in the configuration", hostile("configuration/../x"), "not a name that a backup has"),
    ("up at the end", hostile("configuration/x/.."), "not a name that a backup has"),
    ("an absolute path", hostile("/etc/passwd"), "not a name that a backup has"),
    ("an absolute path behind", hostile("configuration//etc/passwd"), "not a name that a backup has"),
    ("a hidden file", hostile("configuration/.profile"), "not a name that a backup has"),
    ("nothing", hostile("configuration/"), "not a name that a backup has"),
    ("a control character", hostile("configuration/a\x1bb"), "not a name that a backup has"),
    ("a line end", hostile("configuration/a\nb"), "not a name that a backup has"),
    ("a backslash", hostile("configuration/a\\b"), "not a name that a backup has"),
    ("another file of the state", hostile("state/lock"), "not a name that a backup has"),
    ("a journal", hostile("state/store.journal.1"), "not a name that a backup has"),
    ("a long key", hostile("state/site.key", size=33), "claims 33 octets: at most 32"),
    ("a huge store", hostile("state/store.mdb", size=1 << 50), "at most"),
    ("a huge list", hostile("configuration/x", size=LARGEST_LIST + 1), "at most"),
    ("a negative size", hostile("state/store.mdb", size=-1), "at most|not a tar archive"),
    ("huge digests", lambda: packed(FIRST, (info(DIGESTS, size=1 << 40), b"")), "at most"),
    ("a name twice", lambda: packed(FIRST, *2 * [(info("configuration/x"), b"1")]), "in it twice"),
    ("itself twice", lambda: packed(FIRST, FIRST), "in it twice"),
    ("no beginning", lambda: packed((info("state/store.mdb"), b"x")), "begins with 'state"),
    ("nothing at all", packed, "not a backup of multigrey"),
    ("another digest", lambda: packed(FIRST, sums=f"{'0' * 64}  {ABOUT}\n"), f"'{ABOUT}' has another digest"),
    ("no digest", lambda: packed(FIRST, sums=""), f"'{ABOUT}' has another digest"),
    ("a digest too many", lambda: packed(FIRST, sums=f"{DIGEST}  {ABOUT}\nx  y\n"), f"'{DIGESTS}' has"),
    ("something behind", lambda: packed(FIRST, end=b"x" * 1024), "something follows"),
    ("something far behind", lambda: packed(FIRST, end=bytes(1024) + b"x"), "something follows"),
    ("an archive behind", lambda: written(GOOD) + written(GOOD), "something follows"),
    ("no end", lambda: packed(FIRST, end=b""), "cut short"),
    ("no digests", lambda: gzip.compress(info(ABOUT).tobuf() + bytes(1024)), "is missing"),
    ("padding", lambda: gzip.compress(info(ABOUT, size=1).tobuf() + b"x" * 512), "behind its end"),
    ("no gzip", lambda: b"PK\x03\x04 and so on", "not compressed by gzip"),
    ("an empty file", lambda: b"", "cut short"),
    ("no tar", lambda: gzip.compress(b"hello" * 1000), "not a tar archive"),
]
# fmt: on


@pytest.mark.parametrize(("make", "words"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_hostile_archives(make, words):
    with pytest.raises(ArchiveError, match=words):
        read(make())


def test_what_is_written_can_be_read_also_by_others(tmp_path):
    data = written(GOOD)
    assert read(data) == GOOD
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == [*GOOD, DIGESTS]
        assert {member.mode for member in archive} == {0o600}
        sums = archive.extractfile(DIGESTS)
        assert sums is not None
        lines = sums.read().decode().splitlines()
    assert lines == [f"{sha256(content).hexdigest()}  {name}" for name, content in GOOD.items()]


@pytest.mark.parametrize("share", range(0, 100, 7))
def test_an_archive_that_is_cut_is_never_whole(share):
    data = written({**GOOD, "state/history.mdb": bytes(range(256)) * 2000})
    with pytest.raises(ArchiveError):
        read(data[: len(data) * share // 100])
    with pytest.raises(ArchiveError):
        read(data[:-1])


def test_content_that_nobody_reads_is_checked_too():
    data = bytearray(written(GOOD))
    assert [member.name for member in members(io.BytesIO(bytes(data)))] == list(GOOD)
    data[len(data) // 2] ^= 1
    with pytest.raises(ArchiveError):
        list(members(io.BytesIO(bytes(data))))


@given(st.binary(max_size=2000), st.integers(0, 3000), st.booleans())
def test_no_octets_give_another_error(noise, place, zipped):
    whole = gzip.decompress(written(GOOD))
    data = whole[:place] + noise + whole[place + len(noise) :]
    try:
        found = read(gzip.compress(data) if zipped else data)
    except ArchiveError:
        return
    assert found == GOOD


def test_content_of_another_size_is_not_written():
    archive = ArchiveWriter(io.BytesIO(), 1)
    with pytest.raises(ArchiveError, match="5 octets came instead of 6"):
        archive.add("state/store.mdb", 6, [b"12345"])


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[]", b"7", b"{", b"[" * 100_000, b"\xff", ABOUT_TEXT.replace(b'"/x"', b"7")]
)
def test_what_is_no_description(text):
    with pytest.raises(ArchiveError, match=r"damaged: backup\.json is not what multigrey writes"):
        about_of(text)


def test_a_description_of_a_later_version():
    assert about_of(ABOUT_TEXT)["time"] == 1
    with pytest.raises(ArchiveError, match="a later multigrey"):
        about_of(ABOUT_TEXT.replace(b'"backup": 1', b'"backup": 2'))


@given(st.text())
def test_a_name_is_known_only_if_it_stays_where_it_belongs(text):
    for folder in ("configuration/", "elsewhere/"):
        name = folder + text
        assert (largest(name) is None) is bool(why_no_name(name))
        if not why_no_name(name):
            assert ".." not in name.split("/")
            assert "//" not in name
