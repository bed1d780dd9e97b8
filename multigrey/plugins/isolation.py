"""Runs what a plugin awaits in a task that no caller has to wait for.

A task may ignore that it is cancelled: it shields itself, or waits for a thread that does not return.  In a
nursery it would hold its caller, and the end of the daemon, for as long as it likes.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

__all__ = ["IsolatedTask", "end_isolated"]

_log = logging.getLogger(__name__)

_running: trio.lowlevel.RunVar[set[IsolatedTask]] = trio.lowlevel.RunVar("isolated tasks of multigrey")


class IsolatedTask:
    """A task that runs on its own; `ended` is set when it has ended."""

    __slots__ = ("_scope", "ended", "name")

    def __init__(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Start `run` at once.  `name` says in messages whose task it is."""
        self.name = name
        self.ended = trio.Event()
        self._scope = trio.CancelScope()
        _all().add(self)
        spawn = trio.lowlevel.spawn_system_task  # noqa: TID251  (a nursery would wait for the task)
        spawn(self._run, run, name=name)

    def cancel(self) -> None:
        """Ask it to end, and do not wait for it."""
        self._scope.cancel()

    async def _run(self, run: Callable[[], Awaitable[None]]) -> None:
        try:
            with self._scope:
                await run()
        except (Exception, SystemExit):  # noqa: BLE001  (it would end the whole daemon)
            _log.exception("%s failed", self.name)
        finally:
            self.ended.set()
            _all().discard(self)


def _all() -> set[IsolatedTask]:
    try:
        return _running.get()
    except LookupError:
        made: set[IsolatedTask] = set()
        _running.set(made)
        return made


async def end_isolated(seconds: float) -> list[str]:
    """Cancel all isolated tasks, and return the names of those that have not ended after `seconds`."""
    left = list(_all())
    for task in left:
        task.cancel()
    with trio.move_on_after(seconds):
        for task in left:
            await task.ended.wait()
    return sorted(task.name for task in left if not task.ended.is_set())
