"""Text for people: escaped so that it is safe to show, numbers with their nouns, the nearest known word."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["counted", "did_you_mean", "escaped", "printable"]


def counted(number: int, noun: str, nouns: str = "") -> str:
    """`1 attempt`, `12,345 attempts`; `nouns`: the plural, by default with an s."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def printable(text: str) -> str:
    """`text` with every character that is not printable, line ends included, escaped as in quoted values."""
    return escaped(text, "")


def escaped(text: str, special: str) -> str:
    """`text` with every character that is not printable or is in `special` escaped as in quoted values."""
    if text.isprintable() and not any(sign in text for sign in special):
        return text
    return "".join([sign if sign.isprintable() and sign not in special else _code(sign) for sign in text])


def _code(sign: str) -> str:
    if sign in '"\\':
        return "\\" + sign
    number = ord(sign)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that is not valid UTF-8 (surrogateescape)
        return f"\\x{number - 0xDC00:02x}"
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """The end of a message that names the nearest known word: `; did you mean "delay"?`; "" if none is near.

    `word` is the value that was given instead of a known word, of any type.  `_` and `-` count as equal.
    """
    if not isinstance(word, str):
        return ""
    words = sorted(known)
    low = word.lower()
    for spelling in (low.replace("_", "-"), low.replace("-", "_"), word):
        if near := get_close_matches(spelling, words, n=1):
            return f'; did you mean "{near[0]}"?'
    return ""
