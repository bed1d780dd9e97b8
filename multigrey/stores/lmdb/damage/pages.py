"""Reads the pages of an LMDB file without LMDB, which would be ended by a signal when one is damaged.

Pages are read one at a time, and nothing in them is believed: numbers, offsets and lengths are checked before
they are used.  Layout of LMDB 0.9 on 64-bit machines, integers in the machine's order:

    page         own number (8), padding (2), flags (2), end of the offsets (2), begin of the nodes (2);
                 of a value on pages of its own: how many pages (4) in place of the last two
    then         the offset (2) of each node
    leaf node    length of the value (4), flags (2), length of the key (2), key, value
    branch node  number of the page below (6), length of the key (2), the least key on that page
    meta page    page header, then magic, version, …: two trees and the number of the transaction
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Pages", "Row"]

_HEADER = struct.Struct("=QHHHH")
_NODE = struct.Struct("=HHHH" if sys.byteorder == "little" else ">HHHH")
_SIZE = _HEADER.size
_COUNT = struct.Struct("=I")
_META = struct.Struct("=II8x8xI36xQ40xQQQ")
"""Magic, version, page size, root of the free list, root of the tables, last page, transaction."""
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_BRANCH, _LEAF, _OVERFLOW, _KINDS = 1, 2, 4, 0x6F
_BIG, _TABLE = 1, 2
_TABLE_SIZE, _ROOT = 48, 40
_NONE = (1 << 64) - 1
_LONGEST = 64
"""Most pages of one value that are passed over; its other pages have no header, and look like anything."""
_FIRST = 2
_PAGE_SIZES = tuple(1 << power for power in range(9, 17))


class Row(NamedTuple):
    """A row of a leaf."""

    key: bytes
    value: bytes


class _Node(NamedTuple):
    key: bytes
    flags: int
    number: int
    """The page below, of a branch; the length of the value, of a leaf."""
    data: bytes


class _Page(NamedTuple):
    number: int
    """What the page says it is."""
    kind: int
    nodes: list[_Node]
    whole: bool
    """Whether all of its nodes lie within the page."""


class _Meta(NamedTuple):
    page_size: int
    free: int
    tables: int
    last: int
    transaction: int


class Pages:
    """The pages of an open file."""

    def __init__(self, descriptor: int) -> None:
        """Without a readable meta page nothing is known of trees: then all leaves are strays."""
        self._file = descriptor
        size = os.fstat(descriptor).st_size
        metas = sorted(self._metas(), key=lambda meta: -meta.transaction)
        self._page_size = metas[0].page_size if metas else os.sysconf("SC_PAGE_SIZE")
        self._last = size // self._page_size - 1
        self._reached = bytearray(self._last + 1)
        """1 for each page that a tree has led to."""
        self._free = bytearray(self._last + 1)
        self.unreadable = 0
        """Places of trees that lead to no page, or to a damaged one."""
        self.tables: dict[bytes, int] = {}
        """The root of each table, by name."""
        self.free_known = False
        """Whether it is known which pages are free: they hold what was changed or removed later."""
        # Of a newer meta page that leads nowhere, the older one still has everything but the last commit.
        for meta in metas:
            if meta.tables == _NONE or self._page(meta.tables) is not None:
                self._begin(meta)
                return
        self.unreadable += 1

    def _begin(self, meta: _Meta) -> None:
        for node in self._walk(meta.tables):
            if node.flags & _TABLE and len(node.data) == _TABLE_SIZE:
                (self.tables[node.key],) = struct.unpack_from("=Q", node.data, _ROOT)
        before = self.unreadable
        for row in self.rows(meta.free):
            for (number,) in struct.iter_unpack("=Q", row.value[8 : len(row.value) // 8 * 8]):
                if number <= self._last:
                    self._free[number] = 1
        self.free_known = self.unreadable == before

    def rows(self, root: int) -> Iterator[Row]:
        """The rows of a tree, as far as they can be read, in the order of their keys."""
        for node in self._walk(root):
            value = self._value(node)
            if value is None:
                self.unreadable += 1
            else:
                yield Row(node.key, value)

    def strays(self) -> Iterator[list[Row]]:
        """The rows of each leaf that no tree has led to, and that is not known to be free.

        Call it when all trees have been read.
        """
        place = _FIRST
        while place <= self._last:
            data = self._read(place)
            page = None if data is None else _parsed(data)
            if data is not None and page is None and (long := _length(data, place)):
                place += min(long, _LONGEST)
                continue
            # By the number that the page says: two pages that were swapped are both found.
            if page is not None and page.kind == _LEAF and self._is_missed(page.number):
                found = [(node.key, self._value(node)) for node in page.nodes if not node.flags & _TABLE]
                yield [Row(key, value) for key, value in found if value is not None]
            place += 1

    def leaves(self, *, reached: bool) -> Iterator[list[bytes]]:
        """The keys of every leaf, of whatever tree: of free ones too, or only of those that a tree led to."""
        for place in range(_FIRST, self._last + 1):
            data = self._read(place)
            page = None if data is None else _parsed(data)
            if page is not None and page.kind == _LEAF and (self._reached[place] or not reached):
                yield [node.key for node in page.nodes]

    def _is_missed(self, number: int) -> bool:
        return _FIRST <= number <= self._last and not self._reached[number] and not self._free[number]

    def _walk(self, root: int) -> Iterator[_Node]:
        """The nodes of a tree's leaves, left to right."""
        todo: list[tuple[int, bytes, bytes | None]] = [] if root == _NONE else [(root, b"", None)]
        while todo:
            number, low, high = todo.pop()
            page = self._page(number)
            inside = [] if page is None else [node for node in page.nodes if _is_between(node.key, low, high)]
            # A leaf with other keys than the branch above says belongs elsewhere, and may be found there.
            astray = page is None or (page.kind == _LEAF and 2 * len(inside) < len(page.nodes))
            if page is None or astray or self._reached[number]:
                self.unreadable += 1
                continue
            self._reached[number] = 1
            if page.kind == _LEAF:
                self.unreadable += not page.whole or len(inside) < len(page.nodes)
                yield from inside
            else:
                lows = [low, *(node.key for node in page.nodes[1:])]
                below = zip(page.nodes, lows, [*lows[1:], high], strict=True)
                todo.extend(reversed([(node.number, least, end) for node, least, end in below]))

    def _page(self, number: int) -> _Page | None:
        """A page of a tree; None: there is none of this number, or it is damaged."""
        data = self._read(number) if _FIRST <= number <= self._last else None
        page = None if data is None else _parsed(data)
        return page if page is not None and page.number == number else None

    def _value(self, node: _Node) -> bytes | None:
        """The value of a leaf's node; None: it is on pages of its own, and these are damaged."""
        if not node.flags & _BIG:
            return node.data
        (number,) = struct.unpack("=Q", node.data)
        data = self._read(number) if _FIRST <= number <= self._last else None
        needed = (_SIZE - 1 + node.number) // self._page_size + 1
        if data is None or _length(data, number) != needed:
            return None
        try:
            value = os.pread(self._file, node.number, number * self._page_size + _SIZE)
        except OSError:
            return None
        return value if len(value) == node.number else None

    def _read(self, number: int) -> bytes | None:
        try:
            data = os.pread(self._file, self._page_size, number * self._page_size)
        except OSError:  # a disk that fails: only this page is lost
            return None
        return data if len(data) == self._page_size else None

    def _metas(self) -> Iterator[_Meta]:
        for place in (0, *_PAGE_SIZES):
            try:
                data = os.pread(self._file, _META.size, place + _SIZE)
            except OSError:
                continue
            if len(data) == _META.size:
                magic, version, page_size, *rest = _META.unpack(data)
                known = (magic, version) == (_MAGIC, _VERSION) and page_size in _PAGE_SIZES
                if known and place in {0, page_size}:
                    yield _Meta(page_size, *rest)


def _is_between(key: bytes, low: bytes, high: bytes | None) -> bool:
    return low <= key and (high is None or key < high)


def _parsed(data: bytes) -> _Page | None:
    """A branch or a leaf, with those of its nodes that lie within the page; None: it is neither."""
    number, _, flags, lower, upper = _HEADER.unpack_from(data)
    kind = flags & _KINDS
    if kind not in {_BRANCH, _LEAF} or not _SIZE <= lower <= upper <= len(data):
        return None
    offsets = struct.unpack_from(f"={(lower - _SIZE) // 2}H", data, _SIZE)
    nodes = [node for node in (_node(data, offset, kind) for offset in offsets if offset >= upper) if node]
    return _Page(number, kind, nodes, len(nodes) == len(offsets)) if nodes else None


def _node(data: bytes, offset: int, kind: int) -> _Node | None:
    if offset + _NODE.size > len(data):
        return None
    low, high, flags, key_size = _NODE.unpack_from(data, offset)
    begin = offset + _NODE.size + key_size
    if kind == _BRANCH:
        key = data[begin - key_size : begin]
        return _Node(key, 0, low | high << 16 | flags << 32, b"") if begin <= len(data) else None
    number = low | high << 16
    end = begin + (8 if flags & _BIG else number)
    return _Node(data[begin - key_size : begin], flags, number, data[begin:end]) if end <= len(data) else None


def _length(data: bytes, number: int) -> int:
    """How many pages a value takes that begins on this page; 0: none does."""
    own, _, flags = struct.unpack_from("=QHH", data)
    if own != number or flags & _KINDS != _OVERFLOW:
        return 0
    return int(_COUNT.unpack_from(data, 12)[0])
