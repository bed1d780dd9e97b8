"""The thread for commits."""

from __future__ import annotations

import threading
from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from multigrey.stores.work_thread import WorkThread


@pytest.fixture
async def thread():
    thread = WorkThread("test")
    yield thread
    thread.stop()
    assert thread.join(10)


async def test_jobs_are_done_in_order_in_one_thread(thread):
    done = []
    async with trio.open_nursery() as nursery:
        for number in range(20):
            work = partial(lambda number: done.append((number, threading.current_thread().name)), number)
            nursery.start_soon(thread.run, work)
            await wait_all_tasks_blocked()
    assert done == [(number, "test") for number in range(20)]


async def test_results_and_errors_come_back(thread):
    assert await thread.run(lambda: 42) == 42
    with pytest.raises(ZeroDivisionError):
        await thread.run(lambda: 1 // 0)
    with pytest.raises(SystemExit):
        await thread.run(lambda: exit(1))
    assert await thread.run(lambda: None) is None


async def test_cancelling_stops_the_waiting_only(thread):
    go, done = threading.Event(), threading.Event()

    def work():
        go.wait(10)
        done.set()

    with trio.move_on_after(0.01) as scope:
        await thread.run(work)
    assert scope.cancelled_caught
    assert not done.is_set()
    go.set()
    await thread.run(lambda: None)
    assert done.is_set()


async def test_stop_does_what_is_left_first(thread):
    done = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(thread.run, lambda: done.append(1))
        await wait_all_tasks_blocked()
        thread.stop()
    assert thread.join(10)
    assert done == [1]


def test_a_result_after_the_end_of_trio_is_nobodys(recwarn):
    go = threading.Event()

    async def main():
        thread = WorkThread("test")
        with trio.move_on_after(0.01):
            await thread.run(lambda: go.wait(10))
        thread.stop()
        return thread

    thread = trio.run(main)
    go.set()
    assert thread.join(10)
