"""The package is tested where it lies, without being installed; also from multigrey's own root."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

for folder in (str(HERE), str(HERE.parent)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

# Run by itself, this folder is `tests` for pytest; what the tests of multigrey share lies in another one.
SHARED = str(HERE.parents[2] / "tests")
if SHARED not in (path := list(importlib.import_module("tests").__path__)):
    sys.modules["tests"].__path__ = [*path, SHARED]


@pytest.fixture
def package() -> Path:
    """The folder of the distribution."""
    return HERE.parent
