"""The package is tested where it lies, without being installed; also from multigrey's own root."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

for folder in (str(HERE), str(HERE.parent)):
    if folder not in sys.path:
        sys.path.insert(0, folder)


@pytest.fixture
def package() -> Path:
    """The folder of the distribution."""
    return HERE.parent
