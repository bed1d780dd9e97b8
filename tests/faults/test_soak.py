"""Some seconds of what `python -m tests.faults.soak` does for hours."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.shim import shim_or_skip
from tests.faults.soak import leaks, soak
from tests.faults.witness import LONG

SECONDS = 120 if LONG else 3
LEAK = """
from multigrey.api import hookimpl
kept = []
class Trait:
    def holds(self, attempt):
        kept.append(open("/dev/null") if len(kept) % 8 == 0 else bytes(1 << 16))
        return False
@hookimpl
def multigrey_register(registry, settings):
    registry.trait("leaking", Trait())
"""
RULE = """
[plugins]
dir = "{dir}/plugins"
[[rule]]
name = "leak"
when = { trait = "leaking" }
action = "pass"
"""


@pytest.mark.timeout(600 if LONG else 60)
def test_nothing_leaks_and_nothing_is_lost(short_directory: Path):
    shim_or_skip(short_directory, short_directory)  # the skip says what is missing
    told = list(soak(short_directory, SECONDS))
    assert told[-1][0] > 100


def test_what_leaks_is_found(short_directory: Path):
    shim_or_skip(short_directory, short_directory)
    plugin = short_directory / "plugins" / "leak.py"
    plugin.parent.mkdir(mode=0o755)
    plugin.write_text(LEAK)
    told = [found for _, found in zip(range(9), soak(short_directory, 0, RULE), strict=False)]
    assert {"descriptors", "anonymous"} <= {*leaks([found for _, found in told])}
