"""Many strangers take a bounded number of octets.  `python -m tests.faults.strangers` asks with millions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.figures import Figures
from tests.faults.shim import SLOW, shim_or_skip
from tests.faults.strangers import CONFIG, run
from tests.faults.witness import LONG

COUNT = 1_000_000 if LONG else 20_000
MOST_AT_ALL = 24 << 20
"""Octets of anonymous memory on top of those of the start: caches, the overlay, one checkpoint."""
MOST_LATER = 8 << 20
"""Octets by which it may grow in the second half: mostly the overlay, when the disk is slow."""
MOST_EACH = 2 * 500
"""Octets of the store for a stranger, who takes one record under each of two keys."""
LEAK = """
from multigrey.api import hookimpl
kept = []
class Trait:
    def holds(self, attempt):
        kept.append(bytes(16_384))
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


def too_much(start: Figures, half: Figures, end: Figures, count: int) -> list[str]:
    """The bounds that are exceeded."""
    found = {
        "memory at all": end.anonymous - start.anonymous > MOST_AT_ALL,
        "memory in the second half": end.anonymous - half.anonymous > MOST_LATER,
        "the store": end.store - start.store > MOST_EACH * count + (2 << 20),
    }
    return [name for name, is_so in found.items() if is_so]


@pytest.mark.timeout(7200 if LONG else 60)
@pytest.mark.parametrize("named", [False, True], ids=["unnamed", "named"])
def test_what_they_take_is_bounded(short_directory: Path, named: bool):
    told = list(run(short_directory, COUNT, 2, named=named))
    assert [deferred for _, deferred, _ in told] == [0, COUNT // 2, COUNT]
    assert too_much(*[found for _, _, found in told], COUNT) == []


def test_a_leak_is_found(short_directory: Path):
    plugin = short_directory / "plugins" / "leak.py"
    plugin.parent.mkdir(mode=0o755)
    plugin.write_text(LEAK)
    told = list(run(short_directory, 4_000, 2, named=False, config=CONFIG + RULE))
    assert "memory in the second half" in too_much(*[found for _, _, found in told], 4_000)


def test_a_flood_that_is_faster_than_the_checkpoints(short_directory: Path):
    """The journal is as fast as ever, and has room; only LMDB lags behind."""
    shim = shim_or_skip(short_directory, short_directory / "state" / "store.mdb")
    told = run(short_directory, 8_000, 1, named=True, env=shim.env)
    next(told)
    shim.arm("fdatasync", error=SLOW, delay=1_000)
    _, deferred, _ = next(told)
    shim.disarm()
    told.close()
    assert deferred == 8_000
