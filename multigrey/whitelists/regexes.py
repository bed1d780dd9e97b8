r"""Whether a regular expression holds a name fast, or is found in names of strangers too.

A client name is verified, but whose it is depends on its end: `/example\.org/` is found in
`example.org.example.net`, and `/example\.org$/` in `notexample.org`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["alternatives", "loose_ends"]

_PIECE = re.compile(r"\\Q.*?(?:\\E|\Z)|\\.|\[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\]|.", re.DOTALL)
_FAST_BEGINNING = re.compile(r"\^|\\A|\\\.|\[\.\]|\((?:\?:)?(?:\^|\\A)\|(?:\\\.|\[\.\])\)")
_FAST_END = re.compile(r".*(?<!\\)(?:\\\\)*(?:\$|\\z)", re.DOTALL)


def loose_ends(pattern: str) -> str:
    """What is loose about a pattern, as the end of a sentence; "" if both ends hold.

    Only looks at how its alternatives begin and end: one that holds may still be too generous in
    between.
    """
    parts = list(alternatives(pattern))
    if not all(_FAST_END.fullmatch(part) for part in parts):
        return "does not end with $: it is also found in names that only begin like that"
    if not all(_FAST_BEGINNING.match(part) for part in parts):
        return "does not begin with ^ or \\.: it is also found at the end of longer names"
    return ""


def alternatives(pattern: str) -> Iterator[str]:
    """The parts of a pattern between those of its | that stand in no group."""
    depth = 0
    part = ""
    for piece in _PIECE.findall(pattern):
        depth += {"(": 1, ")": -1}.get(piece, 0)
        if piece == "|" and not depth:
            yield part
            part = ""
        else:
            part += piece
    yield part
