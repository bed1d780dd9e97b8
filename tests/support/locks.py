"""The locks of what may be installed, and what requires what.

A lock is a requirements file below locks/ that `make lock` writes: a version and the hashes of its files
for each distribution.  What requires what is read from the installed distributions.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "locks"
PROJECTS = [ROOT / "pyproject.toml", *sorted(ROOT.glob("plugins/*/pyproject.toml"))]

PYTHONS = ("3.11", "3.12", "3.13", "3.14")

_PIN = re.compile(r"(?m)^([a-z0-9-]+)==([^ \n]+)[^\n]*((?:\n    --hash=.*)*)")


class Pin(NamedTuple):
    version: Version
    hashes: tuple[str, ...]
    """SHA-256 of each file that may be installed, in hexadecimal."""


def read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


def parse(text: str) -> dict[str, Pin]:
    """Every pin of a lock, by canonical name."""
    return {
        name: Pin(Version(version), tuple(re.findall(r"sha256:([0-9a-f]{64})", hashes)))
        for name, version, hashes in _PIN.findall(text)
    }


def pins(lock: str) -> dict[str, Pin]:
    return parse((LOCKS / f"{lock}.txt").read_text())


def _holds(wanted: Requirement, extra: str) -> bool:
    """Whether its marker holds on Linux, with any Python that we support."""
    return wanted.marker is None or any(
        wanted.marker.evaluate({"extra": extra, "python_version": one, "python_full_version": f"{one}.9"})
        for one in PYTHONS
    )


def graph(requirements: Iterable[str]) -> dict[str, set[str]]:
    """What requirements bring along: each distribution, and those it requires itself.

    Raises PackageNotFoundError if one is not installed.
    """
    found: dict[str, set[str]] = {}
    seen = set()
    todo = [Requirement(one) for one in requirements]
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        edges = found.setdefault(name, set())
        for extra in {"", *wanted.extras} - {done for known, done in seen if known == name}:
            seen.add((name, extra))
            for child in map(Requirement, distribution(name).requires or ()):
                if _holds(child, extra):
                    edges.add(canonicalize_name(child.name))
                    todo.append(child)
    return found
