"""Threads of plugins and of the daemon are limited apart."""

from __future__ import annotations

import threading

import pytest
import trio

from multigrey.threads import Threads, in_thread


async def test_what_a_function_returns_or_raises_comes_back():
    assert await in_thread(divmod, 7, 2) == (3, 1)
    assert await Threads().run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await Threads().run(divmod, 7, 0)


async def test_a_cancelled_caller_leaves_its_thread_which_keeps_its_place():
    gate = threading.Event()
    threads = Threads(2)
    try:
        for _ in range(2):
            with trio.move_on_after(0.01) as scope:
                await threads.run(gate.wait)
            assert scope.cancelled_caught
        with trio.move_on_after(0.01) as scope:
            await threads.run(int)
        assert scope.cancelled_caught, "both places are taken"
        assert await Threads(1).run(int) == 0, "others have places of their own"
        with trio.fail_after(5):
            assert await in_thread(int) == 0
    finally:
        gate.set()
    with trio.fail_after(5):
        assert await threads.run(int) == 0


async def test_default_threads_that_hang_take_none_of_the_daemon():
    gate = threading.Event()
    try:
        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(trio.to_thread.run_sync, gate.wait)
            await trio.testing.wait_all_tasks_blocked(0.05)
            with trio.fail_after(5):
                assert await in_thread(int) == 0
            gate.set()
    finally:
        gate.set()
