"""The names of files in a backup, and how large they may be.

backup.json          what the backup is of; the first
state/NAME           files of the state directory
configuration/NAME   the configuration, and the lists beside it or below
elsewhere/N/NAME     lists that lie elsewhere
SHA256SUMS           the digest of each file, as sha256sum writes it; the last
"""

from __future__ import annotations

__all__ = [
    "ABOUT",
    "CONFIGURATION",
    "DIGESTS",
    "ELSEWHERE",
    "LARGEST_LIST",
    "LONGEST",
    "MOST_FILES",
    "STATE",
    "largest",
    "why_no_name",
]

ABOUT = "backup.json"
DIGESTS = "SHA256SUMS"
STATE = "state/"
CONFIGURATION = "configuration/"
ELSEWHERE = "elsewhere/"
LONGEST = 100
"""Octets of a name: the field of a plain tar header."""
MOST_FILES = 10_000
LARGEST_LIST = 64 << 20
"""Octets of the configuration or a list."""

_LARGEST = {
    ABOUT: 4 << 20,
    DIGESTS: MOST_FILES * (LONGEST + 67),
    "state/site.key": 32,
    "state/store.mdb": 1 << 44,
    "state/history.mdb": 1 << 44,
}
"""Octets of the files with a fixed name."""


def largest(name: str) -> int | None:
    """How many octets a file of this name may have; None: a backup has no such name."""
    if name in _LARGEST:
        return _LARGEST[name]
    return LARGEST_LIST if name.startswith((CONFIGURATION, ELSEWHERE)) and not why_no_name(name) else None


def why_no_name(name: str) -> str:
    """Why a file cannot have this name in a backup; "" if it can."""
    if len(name.encode("utf-8", "surrogateescape")) > LONGEST:
        return f"its name in the backup would have more than {LONGEST} octets"
    if not name.isprintable() or "\\" in name:
        return "its name has a character that names in a backup may not have"
    if any(not word or word.startswith(".") for word in name.split("/")):
        return "its name, or that of a directory, begins with a dot"
    return ""
