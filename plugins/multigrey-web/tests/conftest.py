"""The package is tested where it lies, without being installed; also from multigrey's own root."""

from __future__ import annotations

import importlib
import sys
import tempfile
import tomllib
from importlib.metadata import EntryPoint
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


@pytest.fixture
def entry_point(package):
    """The one that installing the distribution would make."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    ((name, value),) = project["entry-points"]["multigrey"].items()
    return EntryPoint(name, value, "multigrey")


@pytest.fixture
def short_directory():
    """A directory that unix sockets fit into and that another user can pass through."""
    with tempfile.TemporaryDirectory(prefix="mg-", ignore_cleanup_errors=True) as name:
        path = Path(name)
        path.chmod(0o755)
        yield path
