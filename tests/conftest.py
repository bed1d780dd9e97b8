"""Settings for all tests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples every time, so that a red run means a change; MULTIGREY_FUZZ=1 looks further.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("fuzz", deadline=None, max_examples=2000)
settings.load_profile("fuzz" if os.environ.get("MULTIGREY_FUZZ") else "steady")


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory that unix sockets fit into and that another user can pass through."""
    yield from _short_directory()


@pytest.fixture(scope="module")
def module_directory() -> Iterator[Path]:
    """The same, one for all tests of a module: of a daemon that is only started once."""
    yield from _short_directory()


def _short_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mg-", ignore_cleanup_errors=True) as name:
        path = Path(name)
        path.chmod(0o755)
        yield path
