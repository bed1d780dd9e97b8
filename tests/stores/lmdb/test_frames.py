"""The journal's format: what is whole comes back, what is not ends a file or is told."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigrey.errors import StoreError
from multigrey.model import Entry, Table
from multigrey.stores.lmdb.frames import HEAD_SIZE, Head, frame, frames, pack, read_head
from tests.support.stores import key

PATH = Path("/state/store.journal.1")
HEAD = Head(salt=0xFEED, first=7)
BATCHES = [
    {key(1): Entry(b"one", 5), key(1, Table.META): Entry(b"", None)},
    {key(2): None},
    {key(3, Table.ORIGIN): Entry(b"x" * 300, 1 << 40)},
    {(Table.META, b"k" * 255): Entry(b"last", 0)},
]


def written(batches=BATCHES, head=HEAD) -> bytes:
    parts = [frame(head.salt, head.first + index, pack(puts)) for index, puts in enumerate(batches)]
    return head.packed() + b"".join(parts)


def ends(batches=BATCHES) -> list[int]:
    return [len(written(batches[:count])) for count in range(len(batches) + 1)]


def read(data: bytes) -> list[tuple[int, dict]]:
    head = read_head(PATH, data)
    return [] if head is None else [(number, dict(puts)) for number, puts in frames(PATH, data, head)]


def numbered(batches):
    return list(enumerate(batches, HEAD.first))


keys = st.tuples(st.sampled_from(Table), st.binary(min_size=1, max_size=255))
entries = st.builds(Entry, st.binary(max_size=50), st.none() | st.integers(0, (1 << 63) - 1))


@given(st.lists(st.dictionaries(keys, st.none() | entries, max_size=5), max_size=5), st.integers(0, 9))
def test_what_was_written_is_read(batches, zeros):
    assert read(written(batches) + bytes(zeros)) == numbered(batches)


@pytest.mark.parametrize(("until", "kept"), [(-5, 0), (1 << 70, (1 << 63) - 1)])
def test_times_that_do_not_fit(until, kept):
    ((_, puts),) = read(written([{key(1): Entry(b"x", until)}]))
    assert puts[key(1)].keep_until == kept


@pytest.mark.parametrize("zeros", [0, 5000])
def test_torn_anywhere(zeros, caplog):
    """What was whole counts, and nobody is alarmed; with and without the zeros written in advance."""
    whole = written()
    for cut in range(HEAD_SIZE, len(whole)):
        count = sum(end <= cut for end in ends()) - 1
        assert read(whole[:cut] + bytes(zeros)) == numbered(BATCHES[:count]), cut
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_frame_of_half_its_pages(caplog):
    """A disk may write the end of a batch before its middle."""
    whole = bytearray(written())
    begin, end = ends()[2:4]
    whole[begin + 100 : begin + 200] = bytes(100)
    assert read(bytes(whole[:end])) == numbered(BATCHES[:2])
    assert caplog.records == []


def test_damage_in_the_middle_is_told_and_what_follows_counts(caplog):
    whole = written()
    begin, end = ends()[1:3]
    for place in range(begin, end):
        caplog.clear()
        data = bytearray(whole)
        data[place] ^= 0x20
        assert read(bytes(data)) == [*numbered(BATCHES)[:1], *numbered(BATCHES)[2:]]
        assert f"{PATH}: damaged at offset {begin}: 1 batch is lost" in caplog.text
        assert f"those from offset {end} on are used" in caplog.text


def test_a_value_that_looks_like_a_frame(caplog):
    """Nobody who sends mail knows the salt of the file."""
    forged = frame(HEAD.salt + 1, HEAD.first + 1, pack({key(666): Entry(b"forged", None)}))
    data = bytearray(written([{key(1): Entry(forged, None)}]))
    data[HEAD_SIZE] ^= 1
    assert read(bytes(data)) == []


def test_a_file_that_was_never_used():
    for size in (0, 1, HEAD_SIZE, 5000):
        assert read_head(PATH, bytes(size)) is None


@pytest.mark.parametrize("place", range(HEAD_SIZE))
def test_a_damaged_head(place, caplog):
    data = bytearray(written())
    data[place] ^= 0x01
    assert read(bytes(data)) == []
    assert "damaged at offset 0: nothing of it" in caplog.text


def test_a_later_version():
    data = HEAD.packed(version=2) + b"whatever"
    with pytest.raises(StoreError, match=r"journal\.1: written by a later multigrey .journal 2, this one"):
        read(data)
