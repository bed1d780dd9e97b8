"""Writes small database files in MaxMind's format, for tests.

From the public description "MaxMind DB File Format Specification", version 2.0:
- A binary search tree of nodes, each with a left and a right record (here of 24 bits, big-endian).
  An address is looked up bit by bit from its first bit: 0 takes the left record, 1 the right.
  A record below the number of nodes is the next node; equal to it: nothing is known; above it: the
  value lies in the data section at offset (record - number of nodes - 16).
  IPv4 addresses are below ::/96 of an IPv6 tree.
- 16 zero bytes.
- The data section: fields with a control byte, type in the upper three bits, size in the lower five.
- The marker, then the metadata: one map in the same encoding.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

MARKER = b"\xab\xcd\xefMaxMind.com"
SEPARATOR = bytes(16)

_TEXT, _DOUBLE, _BYTES, _UINT16, _UINT32, _MAP, _UINT64, _ARRAY = 2, 3, 4, 5, 6, 7, 9, 11

Tree = list[Any]
"""Left and right: another Tree, the offset of a value, or None."""


def write(path: Path, values: Mapping[str, Any], database_type: str = "Test", ip_version: int = 6) -> Path:
    """A file that knows these values for these networks, which must not hold one another."""
    path.write_bytes(encode(values, database_type, ip_version))
    return path


def encode(values: Mapping[str, Any], database_type: str = "Test", ip_version: int = 6) -> bytes:
    """The bytes of such a file."""
    tree: Tree = [None, None]
    data = b""
    for text, value in values.items():
        _insert(tree, _bits(ip_network(text), ip_version), len(data))
        data += field(value)
    nodes = _flatten(tree)
    metadata = {
        "binary_format_major_version": Uint16(2),
        "binary_format_minor_version": Uint16(0),
        "build_epoch": Uint64(1_000_000_000),
        "database_type": database_type,
        "description": {"en": "made by a test"},
        "ip_version": Uint16(ip_version),
        "languages": ["en"],
        "node_count": len(nodes),
        "record_size": Uint16(24),
    }
    return _tree_bytes(nodes) + SEPARATOR + data + MARKER + field(metadata)


class Uint16(int):
    """A number to be written in this type."""


class Uint64(int):
    """A number to be written in this type."""


def field(value: Any) -> bytes:
    """One value of the data section."""
    match value:
        case str():
            return _control(_TEXT, len(value.encode())) + value.encode()
        case bytes():
            return _control(_BYTES, len(value)) + value
        case Uint16():
            return _number(_UINT16, value)
        case Uint64():
            return _number(_UINT64, value)
        case int():
            return _number(_UINT32, value)
        case list():
            return _control(_ARRAY, len(value)) + b"".join(map(field, value))
        case dict():
            pairs = (field(key) + field(item) for key, item in value.items())
            return _control(_MAP, len(value)) + b"".join(pairs)
    raise TypeError(value)


def _control(kind: int, size: int) -> bytes:
    extended = b"" if kind < 8 else bytes([kind - 7])
    first = 0 if kind >= 8 else kind << 5
    if size < 29:
        return bytes([first | size]) + extended
    if size < 285:
        return bytes([first | 29]) + extended + bytes([size - 29])
    return bytes([first | 30]) + extended + (size - 285).to_bytes(2, "big")


def _number(kind: int, value: int) -> bytes:
    """Numbers are as short as they can be: zero has no bytes at all."""
    data = int(value).to_bytes((value.bit_length() + 7) // 8, "big")
    return _control(kind, len(data)) + data


def _bits(network: IPv4Network | IPv6Network, ip_version: int) -> str:
    number, width = int(network.network_address), network.max_prefixlen
    bits = f"{number:0{width}b}"[: network.prefixlen]
    return "0" * 96 + bits if ip_version == 6 and network.version == 4 else bits


def _insert(tree: Tree, bits: str, offset: int) -> None:
    for bit in bits[:-1]:
        if tree[int(bit)] is None:
            tree[int(bit)] = [None, None]
        tree = tree[int(bit)]
    assert tree[int(bits[-1])] is None, "networks must not hold one another"
    tree[int(bits[-1])] = offset


def _flatten(tree: Tree) -> list[Tree]:
    """Every node, the root first."""
    nodes = [tree]
    for node in nodes:
        nodes.extend(side for side in node if isinstance(side, list))
    return nodes


def _tree_bytes(nodes: list[Tree]) -> bytes:
    numbers = {id(node): number for number, node in enumerate(nodes)}

    def record(side: Tree | int | None) -> bytes:
        if side is None:
            number = len(nodes)
        elif isinstance(side, list):
            number = numbers[id(side)]
        else:
            number = len(nodes) + len(SEPARATOR) + side
        return number.to_bytes(3, "big")

    return b"".join(record(side) for node in nodes for side in node)
