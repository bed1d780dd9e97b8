"""Makes the short ids of decisions."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

__all__ = ["ID_ALPHABET", "make_ids"]

ID_ALPHABET = "23456789abcdefghijkmnpqrstuvwxyz"
"""32 characters that look different on paper: no 0, 1, l, o."""
_ID_BITS = 30
_ID_STEP = 0x278DDE6D
"""Odd, so that 2^30 steps visit every number once; large, so that neighbours look different."""


def make_ids(seed: int | None = None) -> Iterator[str]:
    """Endless ids of six characters, none twice among 2^30.  `seed`: where to begin; None: at random."""
    pairs = [first + second for first in ID_ALPHABET for second in ID_ALPHABET]
    number = secrets.randbits(_ID_BITS) if seed is None else seed
    while True:
        number = (number + _ID_STEP) & 0x3FFFFFFF
        yield pairs[number >> 20] + pairs[number >> 10 & 1023] + pairs[number & 1023]
