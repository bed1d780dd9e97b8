"""What both stages on the way to the disk have in common."""

from __future__ import annotations

import pytest

from multigrey.errors import StoreError
from multigrey.stores.lmdb.batches import Batch, Failures, attempt
from tests.support.stores import key


async def test_whoever_waits_makes_it_urgent_and_is_told(nursery):
    batch = Batch()
    batch.settle("no")
    assert not batch.urgent.is_set()
    with pytest.raises(StoreError, match="no"):
        await batch.committed()
    await batch.settled()
    assert batch.urgent.is_set()
    assert batch.filled.is_set()


@pytest.mark.parametrize(
    ("error", "told"), [(StoreError("full"), "full"), (KeyError("ours"), "commit failed: KeyError('ours')")]
)
async def test_an_attempt_never_raises(error, told):
    async def write(puts):
        raise error

    assert await attempt(write, {key(1): None}) == told


async def test_pauses_grow_and_begin_anew(autojump_clock, caplog):
    failures = Failures("entries lost", "all is well")
    assert [failures.note("full", 3) for _ in range(7)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert (failures.total, failures.last) == (7, "full")
    failures.over()
    failures.over()
    assert failures.last is None
    assert failures.note("full", 3) == 0.05
    assert [record.message for record in caplog.records] == [
        "full (entries lost: 3)",
        "all is well, after 7 failures",
    ]
