"""Background work is started again, ever less often."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio

from multigrey.background.supervise import supervise
from multigrey.errors import StoreError


async def test_failing_work_is_started_again_with_growing_pauses(
    autojump_clock, caplog: pytest.LogCaptureFixture
):
    starts: list[float] = []

    async def work() -> None:
        starts.append(trio.current_time())
        raise RuntimeError("broken")

    with trio.move_on_after(200):
        await supervise("worker", work)
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert gaps == [1, 2, 4, 8, 16, 32, 60, 60]
    assert "worker failed" in caplog.text


async def test_an_error_of_a_file_takes_one_line(autojump_clock, caplog: pytest.LogCaptureFixture):
    async def work() -> None:
        raise StoreError("/var/lib/multigrey/store.mdb: page 7 is damaged")

    with trio.move_on_after(2):
        await supervise("expiry", work)
    assert [record.getMessage() for record in caplog.records] == [
        f"expiry: /var/lib/multigrey/store.mdb: page 7 is damaged; trying again in {pause} s"
        for pause in (1, 2)
    ]
    assert "Traceback" not in caplog.text


async def test_after_a_calm_time_the_pause_is_short_again(autojump_clock):
    starts: list[float] = []

    async def work() -> None:
        starts.append(trio.current_time())
        await trio.sleep(1000 if len(starts) == 4 else 0)

    with trio.move_on_after(1012):
        await supervise("worker", work)
    assert starts == [0, 1, 3, 7, 1008, 1010]


async def test_cancelling_ends_it(autojump_clock):
    with trio.move_on_after(1) as scope:
        await supervise("worker", trio.sleep_forever)
    assert scope.cancelled_caught
