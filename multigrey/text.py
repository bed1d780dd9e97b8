"""Text that is safe to show, and the known word that is nearest to one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["did_you_mean", "escaped", "printable"]


def printable(text: str) -> str:
    """`text` with everything that is not printable, line ends included, as in quoted values."""
    return escaped(text, "")


def escaped(text: str, special: str) -> str:
    """`text` with everything that is not printable, and every sign of `special`, as in quoted values."""
    if text.isprintable() and not any(sign in text for sign in special):
        return text
    return "".join([sign if sign.isprintable() and sign not in special else _code(sign) for sign in text])


def _code(sign: str) -> str:
    if sign in '"\\':
        return "\\" + sign
    number = ord(sign)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that is no UTF-8 (surrogateescape)
        return f"\\x{number - 0xDC00:02x}"
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """The nearest known word as the end of a message: `; did you mean "delay"?`; "" if none is near.

    `word`: whatever stands where a known word is expected; `_` and `-` are taken for each other.
    """
    if not isinstance(word, str):
        return ""
    words = sorted(known)
    low = word.lower()
    for spelling in (low.replace("_", "-"), low.replace("-", "_"), word):
        if near := get_close_matches(spelling, words, n=1):
            return f'; did you mean "{near[0]}"?'
    return ""
