r"""Checks whether a regular expression is anchored at both ends, or also matches names of strangers.

A client name is verified, but its owner depends on its end: `/example\.org/` matches
`example.org.example.net`, and `/example\.org$/` matches `notexample.org`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["alternatives", "loose_ends"]

_PIECE = re.compile(r"\\Q.*?(?:\\E|\Z)|\\.|\[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*(?:\]|\Z)|.", re.DOTALL)
_ANCHORED_BEGINNING = re.compile(r"\^|\\A|\\\.|\[\.\]|\((?:\?:)?(?:\^|\\A)\|(?:\\\.|\[\.\])\)")
_ANCHORED_END = re.compile(r".*(?<!\\)(?:\\\\)*(?:\$|\\z)", re.DOTALL)


def loose_ends(pattern: str) -> str:
    """Return which end of a pattern is not anchored, as the end of a sentence; "" if both are.

    Looks only at the beginning and end of each alternative: an anchored pattern may still match too
    much in between.
    """
    parts = list(alternatives(pattern))
    if not all(_ANCHORED_END.fullmatch(part) for part in parts):
        return "does not end with $: it also matches longer names that only begin like that"
    if not all(_ANCHORED_BEGINNING.match(part) for part in parts):
        return "does not begin with ^ or \\.: it also matches the end of longer names"
    return ""


def alternatives(pattern: str) -> Iterator[str]:
    """Yield the alternatives of a pattern: the parts between each | that is outside of groups."""
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
