"""A task of a plugin holds nobody, and its errors end nothing."""

from __future__ import annotations

import pytest
import trio

from multigrey.plugins.isolation import IsolatedTask, end_isolated


async def shielded(gate: trio.Event) -> None:
    with trio.CancelScope(shield=True):
        await gate.wait()


async def test_a_task_runs_and_ends():
    ran = []

    async def run():
        ran.append(True)

    task = IsolatedTask("it", run)
    await task.ended.wait()
    assert ran == [True]
    assert await end_isolated(1) == []


async def test_a_cancelled_task_ends(autojump_clock):
    task = IsolatedTask("it", trio.sleep_forever)
    await trio.sleep(3)
    task.cancel()
    task.cancel()
    await task.ended.wait()
    assert trio.current_time() == pytest.approx(3)


@pytest.mark.parametrize("error", [ValueError("odd"), SystemExit(1), ExceptionGroup("several", [OSError()])])
async def test_an_error_is_logged_and_ends_nothing_else(caplog: pytest.LogCaptureFixture, error):
    async def fail():
        raise error

    task = IsolatedTask("service odd", fail)
    await task.ended.wait()
    assert "service odd failed" in caplog.text


async def test_those_that_do_not_end_are_named(autojump_clock):
    gate = trio.Event()
    tasks = [IsolatedTask(name, lambda: shielded(gate)) for name in ("b", "a")]
    IsolatedTask("c", trio.sleep_forever)
    before = trio.current_time()
    assert await end_isolated(2) == ["a", "b"]
    assert trio.current_time() == before + 2
    gate.set()
    for task in tasks:
        await task.ended.wait()
    assert await end_isolated(2) == []
