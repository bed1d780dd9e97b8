"""How late the event loop is."""

from __future__ import annotations

import trio
import trio.testing

from multigrey.control.lag import LoopLag


async def test_what_held_up_the_loop_is_seen_and_forgotten_after_a_minute(mock_clock):
    lag = LoopLag()
    assert (lag.latest, lag.worst) == (0.0, 0.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lag.run)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(3.25)
        await trio.testing.wait_all_tasks_blocked()
        assert lag.latest == lag.worst == 3.0
        mock_clock.jump(0.25)
        await trio.testing.wait_all_tasks_blocked()
        assert (lag.latest, lag.worst) == (0.0, 3.0)
        for _ in range(240):
            mock_clock.jump(0.25)
            await trio.testing.wait_all_tasks_blocked()
        assert lag.worst == 0.0
        nursery.cancel_scope.cancel()
