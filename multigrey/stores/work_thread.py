"""One thread that does jobs in order, for work that must not hold up the event loop.

It is a thread of its own: if every commit went to trio's pool, there would be a third fewer commits a second.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

import trio

__all__ = ["WorkThread"]

T = TypeVar("T")


class _Job(Generic[T]):
    """A function, and its result."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._value: T | None = None
        self._error: BaseException | None = None
        self.done = trio.Event()

    def do(self) -> None:
        """In the thread.  Keeps the result, or any exception, for the task that waits."""
        try:
            self._value = self._work()
        except BaseException as error:  # noqa: BLE001  (raised again in `result`)
            self._error = error

    def result(self) -> T:
        """In the task.  Raises what the work raised."""
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # else exception and job keep each other alive
        return self._value  # type: ignore[return-value]  # (set before `done`)


class WorkThread:
    """The thread.  It starts at once, and belongs to the trio run in which it was made."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[_Job[object] | None] = SimpleQueue()
        self._token = trio.lowlevel.current_trio_token()
        # A daemon thread: a disk that hangs for ever must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[], T]) -> T:
        """Do `work` in the thread and return its result.

        Cancelling stops the waiting, not the work.
        """
        job = _Job(work)
        self._jobs.put(job)  # type: ignore[arg-type]  # (a queue of jobs of any result)
        await job.done.wait()
        return job.result()

    def stop(self) -> None:
        """End the thread after the jobs it already has."""
        self._jobs.put(None)

    def join(self, seconds: float) -> bool:
        """Wait for the end after `stop`; returns whether the thread has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.do()
            try:
                self._token.run_sync_soon(job.done.set)
            except trio.RunFinishedError:
                return
