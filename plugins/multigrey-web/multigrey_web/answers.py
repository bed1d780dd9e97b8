"""A cache of the daemon's answers, shared by all browsers.

A request is sent to the daemon once, no matter how many browsers wait for its answer.  It is sent again
when the answer is old and a browser needs it: without open pages, no request is sent.  A caller waits for
a limited time; then it gets the new answer, else the old one, else none yet.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import trio

from multigrey.control.client import ControlError

__all__ = ["Answer", "Answers", "Ask"]

_KEPT = 64
"""Most answers in the cache."""
_UNDER_WAY = 8
"""Most requests at a time; the control socket itself allows more."""
_SHARE = 10
"""An answer is valid for at least this many times as long as it took."""
_AFTER_TROUBLE = 5.0
"""Seconds until a failed request is sent again."""

Ask = Callable[[str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to show."""

    value: Mapping[str, Any] | None = None
    trouble: str = ""
    """Why the (new) value is missing; "" if it is not."""

    @property
    def is_pending(self) -> bool:
        """Whether the first answer has not arrived yet."""
        return self.value is None and not self.trouble


class _Asked:
    """A request, its last answer, and until when that is valid."""

    def __init__(self) -> None:
        self.answer = Answer()
        self.until = -1.0
        self.done: trio.Event | None = None
        """Set when the pending request is answered; None: no request is pending."""


class Answers:
    """The cache.  `ask` sends a request; `fresh`: the least seconds for which an answer is valid."""

    def __init__(self, ask: Ask, fresh: float, now: Callable[[], float] = trio.current_time) -> None:
        self._ask = ask
        self._fresh = fresh
        self._now = now
        self._asked: OrderedDict[str, _Asked] = OrderedDict()
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send the requests that are needed, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    async def get(
        self, name: str, options: Mapping[str, Any], *, patience: float, fresh: float | None = None
    ) -> Answer:
        """Return the answer that is available within `patience` seconds; it may be old or empty.

        `fresh`: the least seconds for which a new answer is valid, if not the usual ones.
        """
        fresh = self._fresh if fresh is None else fresh
        key = json.dumps([name, options], sort_keys=True)
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = _Asked()
            self._drop_old()
        self._asked.move_to_end(key)
        if asked.done is None and self._now() >= asked.until and not self._begin(asked, name, options, fresh):
            return Answer(asked.answer.value, "too many requests at a time")
        if asked.done is not None:
            with trio.move_on_after(patience):
                await asked.done.wait()
        return asked.answer

    def _begin(self, asked: _Asked, name: str, options: Mapping[str, Any], fresh: float) -> bool:
        under_way = sum(each.done is not None for each in self._asked.values())
        if self._nursery is None or under_way >= _UNDER_WAY:
            return False
        asked.done = trio.Event()
        self._nursery.start_soon(self._carry_out, asked, asked.done, name, options, fresh)
        return True

    async def _carry_out(
        self, asked: _Asked, done: trio.Event, name: str, options: Mapping[str, Any], fresh: float
    ) -> None:
        began = self._now()
        try:
            value = await self._ask(name, options)
        except ControlError as error:
            asked.answer = Answer(asked.answer.value, str(error) or "the daemon does not answer")
            asked.until = self._now() + _AFTER_TROUBLE
        else:
            asked.answer = Answer(value)
            took = self._now() - began
            asked.until = self._now() + max(fresh, _SHARE * took)
        finally:
            asked.done = None
            done.set()

    def _drop_old(self) -> None:
        """Drop the answers that were used longest ago; those of pending requests stay."""
        for key in [key for key, each in self._asked.items() if each.done is None]:
            if len(self._asked) <= _KEPT:
                return
            del self._asked[key]
